"""What users give: bad values are refused where they are given, good ones are stored whole, also under interrupts."""

import importlib
import math
import signal
import sys
import time
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from gigq_nb import Batch, Job, JobQueue, Retry, Workflow, task
from gigq_nb.errors import CycleError, GigQError, InvalidArgument, InvalidType, JobNotFound, NotConnected, WaitTimeout
from gigq_nb.policies import MAX_NAME


def add(x: int, y: int = 0) -> int:
    return x + y


def ids_of(queue: JobQueue) -> list[str]:
    with queue._database.read() as db:
        return [row[0] for row in db.execute("select id from jobs order by seq")]


# ---------------------------------------------------------------------------------------------- durations, numbers

BAD_DURATIONS = [-1, 0, -0.0, math.nan, math.inf, -math.inf, "10", "x", "", " ", "-5s", "1e3s", "5 parsecs", True, False, 1e-9, 1e12, 2**2000,
                 b"5s", [], {}, timedelta(0), timedelta(days=-1), "٣s"]  # fmt: skip


@pytest.mark.parametrize("value", BAD_DURATIONS, ids=repr)
@pytest.mark.parametrize("where", ["Job", "task", "retry_delay of 0 is none"])
def test_a_timeout_that_is_no_duration_is_refused(where: str, value: Any) -> None:
    if where == "retry_delay of 0 is none":
        if value in (0, timedelta(0)) and not isinstance(value, bool):
            Job("a", add, retry_delay=value)  # GigQ's: at once
            return
        with pytest.raises((InvalidArgument, InvalidType), match="retry_delay") as caught:
            Job("a", add, retry_delay=value) if value != 1e-9 else Job("a", add, retry_delay=-1e-9)
    else:
        with pytest.raises((InvalidArgument, InvalidType), match="timeout") as caught:
            Job("a", add, timeout=value) if where == "Job" else task(timeout=value)(add)
    assert isinstance(caught.value, (ValueError, TypeError))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_a_timeout_is_a_number_a_text_or_a_timedelta(value: Any, seconds: float) -> None:
    assert Job("a", add, timeout=value).timeout == seconds
    assert Job("a", add).timeout is None


@pytest.mark.parametrize("name", ["max_attempts", "priority"])
@pytest.mark.parametrize("value", [1.5, "1", "hi", True, None, math.nan, 2**70, -(2**70), [], np.int64(1), 1 + 0j], ids=repr)
def test_a_whole_number_is_an_int_within_its_bounds(name: str, value: Any) -> None:
    with pytest.raises((InvalidArgument, InvalidType), match=f"{name}.* from -?\\d+ to \\d+"):
        Job("a", add, **{name: value})


@pytest.mark.parametrize(("name", "least", "most"), [("max_attempts", 1, 1000), ("priority", -1_000_000, 1_000_000)])
def test_bounds_are_allowed_and_what_is_beyond_is_not(queue: JobQueue, name: str, least: int, most: int) -> None:
    for value in (least, most):
        job = queue.submit(Job("a", add, {"x": 1}, **{name: value}))  # type: ignore[arg-type]
        assert queue.get_status(job)[name] == value
    for value in (least - 1, most + 1):
        with pytest.raises(InvalidArgument, match="out of range"):
            Job("a", add, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["2", "x", -1, 0, True, 1.5, "5 PB", 2**70, None], ids=repr)
def test_a_memory_limit_is_a_size(value: Any) -> None:
    if value is None:
        assert task(memory=None)(add).options.memory_bytes is None
        return
    with pytest.raises((InvalidArgument, InvalidType), match="memory"):
        task(memory=value)(add)


def test_sizes_are_read_by_their_units() -> None:
    assert [task(memory=one)(add).options.memory_bytes for one in ("2GB", "1.5 GiB", 2**21)] == [2 * 10**9, 3 * 2**29, 2**21]


@pytest.mark.parametrize(
    "bad",
    [{"delay_s": -1}, {"factor": 0.5}, {"jitter": 2}, {"jitter": math.nan}, {"cap_s": "x"}, {"retry_on": (5,)}, {"factor": True}],
    ids=repr,
)
def test_a_retry_policy_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((InvalidArgument, InvalidType)):
        Retry(**bad)


@pytest.mark.parametrize("bad", [{"a=b": "c"}, {"": "x"}, {"a": 1}, {1: "a"}, {"a": "b\0"}], ids=repr)
def test_an_environment_is_a_dict_of_texts(bad: dict[Any, Any]) -> None:
    with pytest.raises(InvalidArgument, match="env takes a dict of texts"):
        task(env=bad)(add)


def test_an_unknown_option_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidType, match="no option 'timout'; it has: name priority by_value timeout"):
        task(timout=5)(add)
    with pytest.raises(TypeError, match="timout"):
        Job("a", add, timout=5)


# ----------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["", "  ", "\t\n", "x" * (MAX_NAME + 1), "x" * 10_000_000, "a\0b", "\ud800", "a\udfff"], ids=lambda n: repr(n)[:20]
)
def test_a_name_that_cannot_be_stored_or_shown_is_refused(queue: JobQueue, name: str) -> None:
    for make in (
        lambda: Job(name, add),
        lambda: task(name=name)(add),
        lambda: Workflow(name),
        lambda: queue.map(add, [1], batch_name=name),
    ):
        with pytest.raises(InvalidArgument, match="name") as caught:
            make()  # type: ignore[no-untyped-call]
        assert len(str(caught.value)) < 300, "a message of 10 MB helps nobody"
    assert queue.stats()["total"] == 0


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"], add])
def test_a_name_is_a_text(name: Any) -> None:
    with pytest.raises(InvalidType, match="name is a text"):
        Job(name, add)


@pytest.mark.parametrize(
    "name", ["x", "ж é 🎉", "<script>alert(1)</script>", "\u202eevil", "a\nb\x1b[2J", "'; drop table jobs;--", "x" * MAX_NAME]
)
def test_any_other_name_is_kept_as_it_is(queue: JobQueue, name: str) -> None:
    job = queue.submit(Job(name, add, {"x": 1}))
    assert job.name == name
    assert queue.last(name) == job
    assert [one["name"] for one in queue.list_jobs()] == [name]


# ------------------------------------------------------------------------------------------- functions, arguments


@pytest.mark.parametrize("params", [[1], "x", 5, {1: 2}, {None: 1}, {("a",): 1}], ids=repr)
def test_params_is_a_dict_with_texts_as_keys(params: Any) -> None:
    with pytest.raises(InvalidType, match="params"):
        Job("a", add, params)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 2})], ids=repr
)
def test_arguments_that_do_not_fit_are_refused_at_the_submit_in_pythons_words(
    queue: JobQueue, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    for submit in (lambda: queue.submit(add, *args, **kwargs), lambda: queue.submit(Job("a", add, kwargs, args=args))):
        with pytest.raises(InvalidType, match=r"add\(x: int, y: int = 0\) -> int: "):
            submit()  # type: ignore[no-untyped-call]
    assert queue.stats()["total"] == 0


def test_a_job_takes_no_arguments_beside_its_own(queue: JobQueue) -> None:
    with pytest.raises(InvalidType, match="has its arguments in params"):
        queue.submit(Job("a", add, {"x": 1}), 5)


def test_what_has_no_signature_is_not_checked(queue: JobQueue) -> None:
    queue.submit(time.sleep, 1)
    queue.submit(dict, a=1)
    queue.submit(np.add, 1, 2)


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (([],), "lists of arguments are empty"), (([1], [1, 2]), r"lengths differ \(1, 2\)"), (("abc",), "not str; for one value write"),
        ((5,), "not int"), ((), "lists of arguments are empty|takes"),
    ],
)  # fmt: skip
def test_map_refuses_lists_that_are_none(queue: JobQueue, lists: tuple[Any, ...], words: str) -> None:
    with pytest.raises((InvalidArgument, InvalidType), match=words):
        queue.map(add, *lists)
    with pytest.raises(InvalidArgument, match="product=True combines keyword lists"):
        queue.map(add, [1], product=True)
    assert queue.stats()["total"] == 0


def test_map_combines_in_step_and_as_a_product(queue: JobQueue) -> None:
    step = queue.map(add, [1, 2], y=[3, 4])
    product = queue.map(add, x=[1, 2], y=[3, 4], product=True)
    found = queue._loader.arguments([*step.ids, *product.ids])
    assert [found[one] for one in step.ids] == [((1,), {"y": 3}), ((2,), {"y": 4})]
    assert [found[one] for one in product.ids] == [((), {"x": x, "y": y}) for x in (1, 2) for y in (3, 4)]


@pytest.mark.parametrize(
    ("old", "new", "fits", "misfits"),
    [
        ("def f(x): return x", "def f(x, y): return x + y", (1, 2), (1,)),
        ("def f(x, y): return x + y", "def f(x): return x", (1,), (1, 2)),
        ("def f(x): return x", "def f(x, y=1): return x + y", (1, 2), ()),
        ("def f(x, y=1): return x + y", "def f(x, y): return x + y", (1, 2), (1,)),
        ("def f(*, x=1): return x", "def f(*, x): return x + 0", (), ()),
    ],
)
def test_arguments_are_checked_against_the_function_as_autoreload_left_it(
    queue: JobQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    fits: tuple[int, ...],
    misfits: tuple[int, ...],
) -> None:
    from IPython.extensions.autoreload import superreload

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "edited_meanwhile.py").write_text(old)
    module = importlib.import_module("edited_meanwhile")
    try:
        f, held, objects = module.f, task(module.f), {}
        objects["edited_meanwhile", "f"] = [weakref.ref(f)]
        for _ in range(2):  # as it was read, and as it is remembered
            with pytest.raises(InvalidType, match=r"^f\("):
                queue.submit(f, 1, 2, 3)
        (tmp_path / "edited_meanwhile.py").write_text(new)
        superreload(module, old_objects=objects)
        assert f is held.function
        assert f.__code__ is module.f.__code__
        for submit in (lambda *some: queue.submit(f, *some), lambda *some: held.submit(queue, *some)):
            with pytest.raises(InvalidType, match=r"^f\("):
                submit(*misfits)
            if fits:
                submit(*fits)
    finally:
        del sys.modules["edited_meanwhile"]


def test_one_misfit_among_many_calls_stores_nothing(queue: JobQueue) -> None:
    with pytest.raises(GigQError):
        queue.submit_many([Job("a", add, {"x": 1}), Job("b", add, {"z": 1})])
    with pytest.raises(InvalidType, match="submit_many takes Job objects, not function"):
        queue.submit_many([Job("a", add, {"x": 1}), add])  # type: ignore[list-item]
    with pytest.raises(InvalidArgument, match="empty"):
        queue.submit_many([])
    assert queue.stats()["total"] == 0


# ---------------------------------------------------------------------------------------------------- dependencies


@pytest.mark.parametrize("bad", ["abc", b"abc", 5, {"a"}, {"a": 1}, [None], [5], [["a"]], [b"a"]], ids=repr)
def test_dependencies_is_a_list_of_ids(bad: Any) -> None:
    with pytest.raises(InvalidType, match="dependenc"):
        Job("a", add, {"x": 1}, dependencies=bad)


def test_an_unknown_parent_is_named_and_nothing_is_stored(queue: JobQueue) -> None:
    for unknown in ("no-such-id", "", "' or 1=1 --", "x" * 1000):
        with pytest.raises(JobNotFound, match="submit it first"):
            queue.submit(Job("a", add, {"x": 1}, dependencies=[unknown]))
    assert queue.stats()["total"] == 0


def test_a_parent_named_twice_is_one(queue: JobQueue) -> None:
    parent = queue.submit(add, 1)
    child = queue.submit(Job("a", add, {"x": 1}, dependencies=[parent, str(parent), parent]))
    assert queue.get_status(child)["dependencies"] == [str(parent)]
    assert child.row().waiting_on == 1


def test_circles_are_refused_and_named(queue: JobQueue) -> None:
    one, two = Job("one", add, {"x": 1}), Job("two", add, {"x": 1})
    one.dependencies, two.dependencies = [two.id], [one.id]
    with pytest.raises(CycleError, match="circle"):
        queue.submit_many([one, two])
    alone = Job("alone", add, {"x": 1})
    alone.dependencies = [alone.id]
    with pytest.raises(InvalidArgument, match="itself"):
        queue.submit(alone)
    flow = Workflow("w")
    first = flow.add_job(Job("first", add, {"x": 1}))
    second = flow.add_job(Job("second", add, {"x": 1}), depends_on=[first])
    first.dependencies.append(second.id)
    with pytest.raises(CycleError, match="'first', 'second'"):
        flow.submit(queue)
    assert queue.stats()["total"] == 0


def test_a_workflow_refuses_what_does_not_belong_to_it(queue: JobQueue) -> None:
    flow, job = Workflow("w"), Job("a", add, {"x": 1})
    with pytest.raises(InvalidArgument, match="has no jobs yet"):
        flow.submit(queue)
    for parents, error, words in (
        ([Job("other", add)], InvalidArgument, "add that first"), ([job], CycleError, "itself"), ([5], InvalidType, "not int"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            flow.add_job(job, depends_on=parents)  # type: ignore[arg-type]
    assert flow.jobs == []
    assert job.dependencies == [], "a refusal leaves the job as it was"
    flow.add_job(job)
    with pytest.raises(InvalidArgument, match="already"):
        flow.add_job(job)
    with pytest.raises(InvalidType, match="takes a Job"):
        flow.add_job(add)  # type: ignore[arg-type]
    flow.submit(queue)
    with pytest.raises(InvalidArgument, match="submitted already"):
        flow.submit(queue)


def test_a_workflow_that_could_not_be_submitted_can_be_submitted_later(queue: JobQueue) -> None:
    flow = Workflow("w")
    flow.add_job(Job("a", add, {"x": 1}, dependencies=["not-there"]))
    with pytest.raises(JobNotFound):
        flow.submit(queue)
    flow.jobs[0].dependencies.clear()
    assert len(flow.submit(queue)) == 1


def one(x: int) -> int:
    return x


@pytest.mark.slow
def test_a_hundred_thousand_jobs_are_one_transaction_and_may_be_the_parents_of_one(queue: JobQueue) -> None:
    jobs = [Job("many", one, {"x": i}) for i in range(100_000)]
    writes: list[int] = []
    write = queue._database.write

    def counted(**how: Any) -> Any:
        writes.append(1)
        return write(**how)

    queue._database.write = counted  # type: ignore[method-assign]
    batch = queue.submit_many([*jobs, Job("last", one, {"x": 1}, dependencies=[each.id for each in jobs])])
    assert len(writes) == 1
    last = queue.job(batch.ids[-1])
    assert (len(batch), last.row().waiting_on, queue.stats()["pending"]) == (100_001, 100_000, 100_001)
    assert queue.cancel(batch.ids[0])
    assert last.cancelled()


def test_of_many_jobs_with_one_that_is_refused_by_the_file_none_is_stored(queue: JobQueue) -> None:
    jobs = [Job("many", one, {"x": i}) for i in range(500)]
    with pytest.raises(JobNotFound):
        queue.submit_many([*jobs, Job("last", one, {"x": 1}, dependencies=["unknown"])])
    assert queue.stats()["total"] == 0
    assert queue.batches() == []


# ------------------------------------------------------------------------------------------------------ looking


@pytest.mark.parametrize("bad", [None, 5, b"x", ["a"]], ids=repr)
def test_an_id_is_a_text(queue: JobQueue, bad: Any) -> None:
    for look in (queue.get_status, queue.get_result, queue.job, queue.cancel, queue.requeue_job, queue.logs):
        with pytest.raises(InvalidType, match="id is a text"):
            look(bad)


@pytest.mark.parametrize(
    "unknown",
    ["", "unknown", "%", "_", "' or 1=1 --", '1"; drop table jobs;', "x" * 100_000, "\ud800", "a\0b"],
    ids=lambda t: repr(t)[:15],
)
def test_an_unknown_id_is_a_key_error_that_quotes_little_of_it(queue: JobQueue, unknown: str) -> None:
    queue.submit(add, 1)
    assert queue.get_status(unknown) == {"exists": False}
    for look in (queue.get_result, queue.job, queue.cancel, queue.requeue_job, queue.logs):
        with pytest.raises(JobNotFound, match=r"queue\.jobs") as caught:
            look(unknown)
        assert isinstance(caught.value, KeyError)
        assert len(str(caught.value)) < 300
    assert queue.stats()["pending"] == 1


@pytest.mark.parametrize("limit", [-1, 0, 10**13, "1; drop", 1.5, None, True], ids=repr)
def test_a_limit_is_a_number_within_reason(queue: JobQueue, limit: Any) -> None:
    with pytest.raises((InvalidArgument, InvalidType), match="limit"):
        queue.list_jobs(limit=limit)
    assert queue.list_jobs(limit=10**12) == []


@pytest.mark.parametrize("status", ["done", "PENDING", "", 5, "pending' or '1'='1", ["pending", "x"]], ids=repr)
def test_a_status_is_one_of_six(queue: JobQueue, status: Any) -> None:
    with pytest.raises((InvalidArgument, InvalidType), match=r"is none of: pending, running|status"):
        queue.list_jobs(status)


@pytest.mark.parametrize("timeout", [-1, math.nan, "x", True, [], "10"], ids=repr)
def test_a_time_to_wait_is_a_duration(queue: JobQueue, timeout: Any) -> None:
    job = queue.submit(add, 1)
    for wait in (job.wait, job.result, job.exception):
        with pytest.raises((InvalidArgument, InvalidType), match="timeout"):
            wait(timeout)


def test_waiting_for_no_time_looks_once(queue: JobQueue) -> None:
    job = queue.submit(add, 1)
    assert job.wait(0) is False
    with pytest.raises(WaitTimeout, match="not done after 0 s; it goes on"):
        job.result(0)
    assert queue.get_result(job) is None


@pytest.mark.parametrize("age", [-1, "x", None, True, math.nan], ids=repr)
def test_prune_takes_an_age_and_final_statuses(queue: JobQueue, age: Any) -> None:
    with pytest.raises((InvalidArgument, InvalidType), match="older_than"):
        queue.prune(age)
    with pytest.raises(InvalidArgument, match="jobs that are done"):
        queue.prune(0, status="running")


def test_a_submit_after_a_prune_of_its_function_stores_it_again(queue: JobQueue) -> None:
    queue.cancel(queue.submit(add, 1))
    other = JobQueue(queue.path)
    other.submit(max, 1, 2)
    assert other.clear_completed() == 1
    job = queue.submit(add, 2)
    assert (job.name, queue.get_status(job)["function_name"]) == ("add", "add")


def test_a_batch_that_was_pruned_is_gone_and_does_not_become_the_next_one(queue: JobQueue) -> None:
    batch = queue.map(add, [1, 2])
    batch.cancel()
    queue.clear_completed()
    other = queue.map(max, [[1], [2]])
    assert other.number != batch.number
    assert Batch(queue, batch.number).ids == []
    with pytest.raises(JobNotFound, match="no batch"):
        batch.row()


def test_cleared_until_a_time_in_words_or_as_a_datetime(queue: JobQueue) -> None:
    queue.cancel(queue.submit(add, 1))
    assert queue.clear_completed("2020-01-01") == 0
    assert queue.clear_completed(datetime(2020, 1, 1)) == 0
    for bad in ("yesterday", 5, ""):
        with pytest.raises((InvalidArgument, InvalidType), match="before_timestamp"):
            queue.clear_completed(bad)  # type: ignore[arg-type]
    assert queue.clear_completed("2100-01-01T00:00:00Z") == 1


def test_without_a_queue_the_error_says_how_to_connect() -> None:
    with pytest.raises(NotConnected, match="%gigq connect"):
        task(add).submit(1)


# -------------------------------------------------------------------------------------------------- interrupts


class Interrupts:
    """SIGALRM raises KeyboardInterrupt after a delay, as Jupyter's interrupt does in the main thread."""

    def __enter__(self) -> "Interrupts":
        self.armed = False
        self.before = signal.signal(signal.SIGALRM, self._raise)
        return self

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt

    def after(self, delay_s: float, work: Callable[[], Any]) -> Any:
        """Do it, interrupted after a while. Returns what it returned; None when it was interrupted."""
        self.armed = True
        try:
            signal.setitimer(signal.ITIMER_REAL, max(delay_s, 1e-6))
            done = work()
            self.armed = False
            return done
        except KeyboardInterrupt:
            return None
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


# An interrupt that falls into a destructor or a weak reference's callback is told there by Python, and goes no further.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["one", "many", "cancel"])
def test_an_interrupt_leaves_a_submit_wholly_there_or_not_at_all(queue: JobQueue, what: str) -> None:
    rng = np.random.default_rng(5)
    queue.submit(add, 1)
    begin = time.perf_counter()
    for _ in range(20):
        queue.submit(add, 1)
    usual_s = (time.perf_counter() - begin) / 20 * (3 if what == "many" else 1)
    acknowledged, interrupted = set(ids_of(queue)), 0
    with Interrupts() as interrupts:
        for n in range(300):
            before = len(ids_of(queue)) if what == "many" else 0
            delay_s = float(rng.uniform(0, usual_s * 1.5))
            if what == "one":
                done = interrupts.after(delay_s, lambda n=n: queue.submit(add, n))
                acknowledged |= {str(done)} if done else set()
            elif what == "many":
                done = interrupts.after(delay_s, lambda: queue.map(add, range(30)))
                acknowledged |= set(done.ids) if done else set()
                assert len(ids_of(queue)) - before in ((30,) if done else (0, 30))
            else:
                job = queue.submit(add, n)
                acknowledged.add(str(job))
                done = interrupts.after(delay_s, job.cancel)
                assert job.status in (("cancelled",) if done else ("pending", "cancelled"))
            interrupted += done is None
    assert 30 < interrupted < 290, "the delays miss what they should hit"
    assert acknowledged <= set(ids_of(queue))
    assert not queue._database._connection or not queue._database._connection.in_transaction
    JobQueue(queue.path).submit(add, 1)  # nobody holds the write lock


def test_an_interrupted_wait_leaves_the_job_alone(queue: JobQueue) -> None:
    job = queue.submit(add, 1)
    with Interrupts() as interrupts:
        for delay_s in np.linspace(0.0005, 0.05, 40):
            assert interrupts.after(float(delay_s), lambda: job.wait(5)) is None
    assert job.status == "pending"
