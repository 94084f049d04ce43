"""Section C of the fault matrix: what a function can do to the process in which it runs, and to the worker."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigq_nb import JobFailed, JobQueue, JobTimeout, NotSerializable, task
from gigq_nb.errors import InvalidArgument, ResultLoadError
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.hanging import KINDS
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, outcomes, statuses, until

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- C1 to C6: what hangs


@pytest.mark.parametrize("how", ["timeout", "cancel"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_hangs_is_ended_with_all_its_processes(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, kind: str, how: str
) -> None:
    pids = tmp_path / "pids"
    job = queue.submit(task(timeout=1 if how == "timeout" else None)(KINDS[kind]), str(pids))
    until(lambda: "ready" in lines(pids), "it hangs")
    if how == "cancel":
        assert job.cancel() is True
    assert job.wait(LIMIT_S)
    left = [int(pid) for pid in lines(pids) if pid != "ready" and is_alive(int(pid))]
    assert (job.status, left) == ("timeout" if how == "timeout" else "cancelled", [])
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
    assert is_alive(worker.pid)


def test_what_a_job_left_behind_is_told_in_its_log(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    def dies_with_a_daemon() -> None:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        os.kill(os.getpid(), signal.SIGKILL)

    job = queue.submit(dies_with_a_daemon)
    job.exception(LIMIT_S)
    assert "[gigq_nb ended 1 process(es) that the job had left]" in job.logs()


# ------------------------------------------------------------------------------------------- C7, C8: what dies


def _exits(how: Callable[[], Any]) -> None:
    how()


def _raises(error: BaseException) -> Callable[[], None]:
    def raising() -> None:
        raise error

    return raising


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda: os._exit(0), "exited with code 0 before"),
        (lambda: os._exit(3), "exited with code 3 before"),
        (lambda: sys.exit(0), "exited with code 0 before"),
        (lambda: sys.exit(3), "exited with code 3 before"),
        (lambda: sys.exit("words"), "exited with code 'words' before"),
        (_raises(KeyboardInterrupt()), "KeyboardInterrupt"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "signal 15 (SIGTERM)"),
        (lambda: ctypes.string_at(0), "signal 11 (SIGSEGV)"),
        (os.abort, "signal 6 (SIGABRT)"),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "signal 7 (SIGBUS)"),
        (lambda: os.kill(os.getpid(), signal.SIGFPE), "signal 8 (SIGFPE)"),
    ],
)
def test_a_child_that_dies_fails_its_job_alone_and_says_how(
    queue: JobQueue, worker: WorkerHandle, how: Callable[[], Any], words: str
) -> None:
    before, job, after = queue.submit(pow, 2, 3), queue.submit(_exits, how), queue.submit(pow, 2, 4)
    error = job.exception(LIMIT_S)
    assert words in (job.error or "")
    assert isinstance(error, JobFailed), "what would end the caller's own process is told, not raised"
    assert [before.result(LIMIT_S), after.result(LIMIT_S), outcomes(queue, job)] == [8, 16, ["failed"]]
    assert is_alive(worker.pid)


def test_a_crash_in_native_code_leaves_its_traceback_in_the_log(queue: JobQueue, worker: WorkerHandle) -> None:
    def crashes_here() -> None:
        ctypes.string_at(0)

    job = queue.submit(crashes_here)
    job.exception(LIMIT_S)
    assert "Fatal Python error: Segmentation fault" in job.logs()
    assert "crashes_here" in job.logs()


# ------------------------------------------------------------------------------------------- C9, C10: memory


def test_a_job_that_limits_itself_fails_by_memory_error(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def eats() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.RLIM_INFINITY))
        bytearray(2**32)

    job = queue.submit(eats)
    with pytest.raises(MemoryError):
        job.result(LIMIT_S)
    assert "MemoryError" in (queue.get_status(job)["error"] or "")
    assert queue.submit(lambda: len(bytearray(2**31))).result(LIMIT_S) == 2**31, "the limit was the job's own"


def test_a_job_killed_for_memory_is_the_victim_and_not_its_worker(
    queue: JobQueue, start: Start, need: Any, tmp_path: Path
) -> None:
    """A memory cgroup: version 1 or 2, as the machine has it."""
    group = _memory_group(need)
    one = start(concurrency=1)
    try:
        for pid in (one.pid, *one.children):
            (group / "cgroup.procs").write_text(str(pid))

        def eats() -> None:
            hold = []
            while True:
                hold.append(b"x" * 1_000_000)

        job = queue.submit(eats)
        job.exception(LIMIT_S)
        assert "signal 9 (SIGKILL), as the system does when memory runs out" in (job.error or "")
        assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
        assert one.process.poll() is None
    finally:
        one.end()
        until(lambda: _removed(group), "the group is empty")


def _memory_group(need: Any) -> Path:
    name = f"gigq-test-{os.getpid()}"
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    base, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    group = base / name
    try:
        group.mkdir()
        (group / limit).write_text("300000000")
    except OSError:
        need(False, "a memory cgroup that can be written")
    return group


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


# ------------------------------------------------------------------------------------------- C11, C12: forks and threads


def test_only_the_first_of_two_returns_after_a_fork_counts(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    start(concurrency=1)

    def forks() -> str:
        return "copy" if os.fork() == 0 else "first"

    def forks_and_raises() -> str:
        if os.fork() == 0:
            raise ValueError("in the copy")
        time.sleep(0.2)
        return "first"

    jobs = [queue.submit(one) for one in (forks, forks_and_raises, forks)]
    assert [job.result(LIMIT_S) for job in jobs] == ["first"] * 3
    assert [outcomes(queue, job) for job in jobs] == [["completed"]] * 3


def test_threads_that_never_end_do_not_keep_a_job_or_its_process(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def leaves() -> int:
        threading.Thread(target=time.sleep, args=(600,)).start()
        return os.getpid()

    pid = queue.submit(leaves).result(LIMIT_S)
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
    until(lambda: not is_alive(pid), "the process with the thread is gone")


# ------------------------------------------------------------------------------------------- C13, C14: output


def test_a_gigabyte_of_output_is_bounded_everywhere(queue: JobQueue, start: Start) -> None:
    one = start(concurrency=1)

    def floods() -> None:
        block = (b"\x1b[31m" + bytes(range(256)) + b"x" * 760 + b"\n") * 1024
        os.write(1, b"THE HEAD\n")
        for _ in range(1024):
            view = memoryview(block)
            while view:
                view = view[os.write(1, view) :]
        os.write(1, b"THE TAIL\n")

    job = queue.submit(floods)
    most = 0
    while not job.wait(0.05):
        most = max(most, psutil.Process(one.pid).memory_info().rss)
    job.result(1)
    log = job.logs()
    assert log.startswith("THE HEAD\n")
    assert log.endswith("THE TAIL\n")
    assert "bytes left out" in log
    assert len(log) < 6_000_000, "a byte that is no text is shown as \\xNN"
    assert most < 300e6
    size = sum(os.stat(one).st_size for one in queue.path.parent.glob("jobs.db*"))
    assert size < 20e6


def test_a_job_that_never_stops_printing_is_ended_at_its_timeout(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(timeout=1)
    def floods() -> None:
        while True:
            os.write(1, b"x" * 65536)

    job = queue.submit(floods)
    others = queue.map(pow, range(50), [2] * 50)
    with pytest.raises(JobTimeout):
        job.result(LIMIT_S)
    assert others.results(LIMIT_S) == [n**2 for n in range(50)]


def test_a_job_that_prints_while_its_worker_is_stopped_waits_and_goes_on(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1)
    begun = tmp_path / "begun"

    def speaks() -> str:
        begun.touch()
        for n in range(100_000):
            print(f"{n} " + "x" * 90)
        return "done"

    job = queue.submit(speaks)
    until(begun.exists, "it runs")
    one.send(signal.SIGSTOP)
    time.sleep(1)
    one.send(signal.SIGCONT)
    assert job.result(LIMIT_S) == "done"
    assert job.logs().endswith(f"99999 {'x' * 90}\n")


# ------------------------------------------------------------------------------------------- C15, C16: descriptors


@pytest.mark.parametrize("lowest", [0, 3])
def test_a_job_that_closes_all_descriptors_harms_nobody_else(queue: JobQueue, start: Start, lowest: int) -> None:
    one = start(concurrency=1)

    def closes(lowest: int) -> str:
        os.closerange(lowest, 1024)
        return "done"

    job = queue.submit(closes, lowest)
    assert job.wait(LIMIT_S)
    assert "before the function returned" in (job.error or "")
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
    assert one.process.poll() is None


def test_the_engine_never_writes_into_a_file_that_took_the_number_of_its_descriptor(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    start(concurrency=1)
    files = [tmp_path / f"mine-{n}" for n in range(40)]

    def takes_their_numbers() -> str:
        os.closerange(3, 1024)
        for file in files:
            os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        return "done"

    queue.submit(takes_their_numbers).wait(LIMIT_S)
    assert [file.read_bytes() for file in files] == [b""] * 40


def test_a_job_that_writes_into_every_descriptor_fails_alone(queue: JobQueue, start: Start) -> None:
    one = start(concurrency=1)

    def scribbles() -> str:
        for n in range(3, 30):
            for harm in (lambda n: os.write(n, b"scribble" * 20), lambda n: os.ftruncate(n, 0)):
                try:
                    harm(n)
                except OSError:
                    pass
        time.sleep(600)
        return "never"

    job = queue.submit(scribbles)
    assert "wrote into a descriptor that it had not opened" in str(job.exception(LIMIT_S))
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
    assert one.process.poll() is None


@pytest.mark.parametrize(
    "spoils",
    [
        lambda: os.close(1),
        lambda: os.close(0),
        lambda: [os.close(n) for n in (0, 1, 2)],
        lambda: setattr(sys, "stdout", None),
        lambda: sys.stdout.close(),
        lambda: sys.stderr.detach(),
        lambda: setattr(sys, "stdout", open(os.devnull, "w")),  # noqa: SIM115
    ],
)
def test_a_job_may_close_or_replace_its_streams(queue: JobQueue, start: Start, spoils: Callable[[], Any]) -> None:
    start(concurrency=1)

    def run() -> str:
        spoils()
        return "done"

    def speaks() -> str:
        print("heard")
        sys.stderr.write("again\n")
        try:
            return input()
        except EOFError:
            return "no input"

    assert queue.submit(run).result(LIMIT_S) == "done"
    job = queue.submit(speaks)
    assert (job.result(LIMIT_S), job.logs()) == ("no input", "heard\nagain\n")


# ------------------------------------------------------------------------------------------- C17, C18: isolation


def _limits() -> Any:
    import resource

    return [resource.getrlimit(one) for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)]


def _lower_limits() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _seed_all() -> None:
    import random

    import numpy as np

    random.seed(1)
    np.random.seed(1)


def _is_seeded() -> tuple[bool, bool]:
    import random

    import numpy as np

    expected = random.Random(1).random(), np.random.RandomState(1).random()
    return random.random() == expected[0], np.random.random() == expected[1]


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "cwd": (lambda: os.chdir("/"), os.getcwd),
    "environment": (
        lambda: os.environ.update(HOME="/", MINE="x") or os.environ.pop("PATH"),
        lambda: dict(os.environ) | {"GIGQ_NB_CHILD": ""},
    ),
    "umask": (lambda: os.umask(0o777), _umask),
    "signal handlers": (
        lambda: [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)],
        lambda: [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)],
    ),
    "blocked signals": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT]),
        lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    ),
    "an alarm": (lambda: signal.alarm(1), lambda: time.sleep(1.2)),
    "sys.path": (lambda: sys.path.insert(0, "/nowhere"), lambda: list(sys.path)),
    "limits": (_lower_limits, _limits),
    "recursion limit": (lambda: sys.setrecursionlimit(100), sys.getrecursionlimit),
    "random numbers": (_seed_all, _is_seeded),
    "a trace function": (lambda: sys.settrace(lambda *_: None), sys.gettrace),
    "asyncio": (
        lambda: asyncio.set_event_loop(asyncio.new_event_loop()),
        lambda: "loops run: " + asyncio.run(asyncio.sleep(0, "yes")),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_job_in_a_child_does_not_see_a_change_of(queue: JobQueue, start: Start, name: str) -> None:
    start(concurrency=1)
    change, look = CHANGES[name]

    def changes() -> None:
        change()

    before = queue.submit(look).result(LIMIT_S)
    queue.submit(changes).result(LIMIT_S)
    assert queue.submit(look).result(LIMIT_S) == before


def test_the_next_job_does_not_see_what_one_did_to_the_globals_of_its_function(queue: JobQueue, worker: WorkerHandle) -> None:
    """As functions of a notebook: their globals travel with them, and are made anew for each job."""
    code = f"""
from gigq_nb import JobQueue
seen = []
def add(n):
    global more
    seen.append(n)
    more = n
    return list(seen), "more" in globals()
queue = JobQueue({str(queue.path)!r})
print([queue.submit(add, n).result(30)[0] for n in (1, 2, 3)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1], [2], [3]]"


def test_a_job_that_deletes_its_folder_does_not_harm_the_next(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    folder = tmp_path / "folder"
    folder.mkdir()
    with monkeypatch.context() as there:
        there.chdir(folder)

        def removes() -> None:
            import shutil

            shutil.rmtree(os.getcwd())

        job = queue.submit(removes)
    job.result(LIMIT_S)
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8


# ------------------------------------------------------------------------------------------- C19, C20: exceptions


class CannotBeLoaded(Exception):
    def __reduce__(self) -> Any:
        return _raises(RuntimeError("unpickled")), ()


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NeedsMore(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("needs more")


class ExitsWhenPickled(Exception):
    def __reduce__(self) -> Any:
        os._exit(4)


_STRANGE_NAME = type("StrangeName", (Exception,), {"__module__": "some\ud800where\0else"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CannotBeLoaded("cannot be loaded"), "cannot be loaded"),
        (NoText, "its message cannot be read"),
        (lambda: NeedsMore(1, 2), "needs more"),
        (ExitsWhenPickled, "exited with code 4"),
        (lambda: ValueError("lone \ud800 surrogate"), "lone \\ud800 surrogate"),
        (lambda: ValueError("NUL \0 inside"), "NUL \\0 inside"),
        (lambda: ValueError("x" * 5_000_000), "xxxx"),
        (lambda: _STRANGE_NAME("strange"), "strange"),
        (lambda: ValueError(threading.Lock()), "lock"),
        (lambda: ExceptionGroup("a group", [ValueError("one"), KeyError("two")]), "a group"),
        (lambda: StopIteration("stop"), "stop"),
        (lambda: GeneratorExit("generator"), "generator"),
        (lambda: asyncio.CancelledError("cancelled by itself"), "cancelled by itself"),
        (lambda: BaseExceptionGroup("base", [KeyboardInterrupt()]), "base"),
        (lambda: ValueError(), "ValueError"),
    ],
)
def test_any_exception_becomes_a_readable_failure_once(
    queue: JobQueue, worker: WorkerHandle, make: Callable[[], BaseException], words: str
) -> None:
    def fails() -> None:
        raise make()

    job = queue.submit(fails)
    assert job.exception(LIMIT_S) is not None
    assert (job.status, outcomes(queue, job)) == ("failed", ["failed"])
    assert words in (job.error or "")
    assert len(queue.get_status(job)["error"]) < 200_000
    assert is_alive(worker.pid)


def test_the_chain_of_an_exception_is_in_its_traceback(queue: JobQueue, worker: WorkerHandle) -> None:
    def chained() -> None:
        try:
            raise KeyError("the first")
        except KeyError as error:
            raise ValueError("the second") from error

    job = queue.submit(chained)
    with pytest.raises(ValueError, match="the second") as told:
        job.result(LIMIT_S)
    assert "KeyError: 'the first'" in str(told.value.__cause__)
    assert "raise KeyError" in str(told.value.__cause__)


# ------------------------------------------------------------------------------------------- C21, C22: results


class ExitsOnPickle:
    def __reduce__(self) -> Any:
        os._exit(5)


class RaisesOnPickle:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


class FailsToLoad:
    def __reduce__(self) -> Any:
        return _fails_to_load, ()

    def __repr__(self) -> str:
        return "a value that cannot be loaded"


def _fails_to_load() -> None:
    raise RuntimeError("cannot be loaded here")


class BadRepr:
    def __repr__(self) -> str:
        raise SystemExit(9)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (threading.Lock, "lock"),
        (lambda: (n for n in range(3)), "generator"),
        (lambda: open(os.devnull, "w"), "TextIOWrapper"),  # noqa: SIM115
        (RaisesOnPickle, "RaisesOnPickle"),
    ],
)
def test_a_result_that_cannot_be_stored_fails_its_job_once(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, make: Callable[[], Any], kind: str
) -> None:
    ledger = tmp_path / "ledger"

    @task(max_attempts=5, retry_delay=0)
    def gives() -> Any:
        with open(ledger, "a") as file:
            file.write("ran\n")
        return make()

    job = queue.submit(gives)
    error = job.exception(LIMIT_S)
    assert isinstance(error, (NotSerializable, JobFailed))
    assert f"the result ({kind}) cannot be stored" in (job.error or "")
    assert (queue.get_status(job)["reason"], len(lines(ledger))) == ("unserializable", 1)


def test_a_result_that_ends_the_process_when_it_is_packed_fails_its_job(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(ExitsOnPickle)
    assert "exited with code 5" in str(job.exception(LIMIT_S))
    assert is_alive(worker.pid)


def test_a_result_that_cannot_be_loaded_is_shown_everywhere_and_raised_by_result_alone(
    queue: JobQueue, worker: WorkerHandle
) -> None:
    job = queue.submit(FailsToLoad)
    assert job.wait(LIMIT_S)
    assert (job.status, queue.get_status(job)["result"]) == ("completed", "a value that cannot be loaded")
    assert queue.list_jobs()[0]["result"] == "a value that cannot be loaded"
    with pytest.raises(ResultLoadError, match="cannot be loaded here"):
        job.result(LIMIT_S)


def test_a_repr_that_does_anything_does_not_fail_the_job(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(lambda x: x, BadRepr())
    assert type(job.result(LIMIT_S)).__name__ == "BadRepr"
    assert "whose repr() fails" in queue.get_status(job)["result"]


def test_a_large_result_goes_to_a_file_of_its_own(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(lambda n: b"x" * n, 40_000_000)
    assert len(job.result(LIMIT_S)) == 40_000_000
    [file] = queue.path.with_name("jobs.db.files").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"result-{job}", 0o600)


@pytest.mark.slow
def test_two_gigabytes_are_refused_with_the_limit_named(queue: JobQueue, worker: WorkerHandle, need: Any) -> None:
    need(psutil.virtual_memory().available > 8 * 2**30, "8 GB of free memory")
    job = queue.submit(lambda: bytes(2**31 + 1))
    job.exception(4 * LIMIT_S)
    assert "more than 2 GiB" in (job.error or "")
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8


# ------------------------------------------------------------------------------------------- C24 to C28


def test_endless_recursion_is_an_error_or_a_signal(queue: JobQueue, worker: WorkerHandle) -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1)

    def deep_in_c() -> str:
        sys.setrecursionlimit(10**9)
        nested: Any = []
        for _ in range(10**6):
            nested = [nested]
        return repr(nested)

    with pytest.raises(RecursionError):
        queue.submit(deeper, 0).result(LIMIT_S)
    job = queue.submit(deep_in_c)
    assert "SIGSEGV" in str(job.exception(LIMIT_S))
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8


def test_a_deeply_nested_result_is_refused_and_not_a_crash(queue: JobQueue, worker: WorkerHandle) -> None:
    def nested() -> Any:
        value: Any = []
        for _ in range(100_000):
            value = [value]
        return value

    job = queue.submit(nested)
    job.exception(LIMIT_S)
    assert (job.status, queue.get_status(job)["reason"]) == ("failed", "unserializable")


def test_a_generator_function_is_refused_with_the_way_out(queue: JobQueue) -> None:
    def gives() -> Any:
        yield 1

    async def gives_later() -> Any:
        yield 1

    for one in (gives, gives_later):
        with pytest.raises(InvalidArgument, match="Return list"):
            queue.submit(one)
    assert statuses(queue) == {}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_within_a_job(queue: JobQueue, worker: WorkerHandle, method: str) -> None:
    def uses() -> list[float]:
        import math
        import multiprocessing

        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(math.sqrt, [1, 4, 9])

    assert queue.submit(uses).result(LIMIT_S) == [1, 2, 3]


def test_the_processes_of_a_pool_are_gone_after_a_timeout(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    @task(timeout=2)
    def uses() -> None:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(3) as pool:
            pids.write_text(" ".join(str(one.pid) for one in pool._pool))  # type: ignore[attr-defined]
            pool.map(time.sleep, [600] * 3)

    with pytest.raises(JobTimeout):
        queue.submit(uses).result(LIMIT_S)
    assert len(lines(pids)) == 3
    assert not [pid for pid in map(int, lines(pids)) if is_alive(pid)]


def test_libraries_that_a_fork_breaks_work_in_kernel_and_job(queue: JobQueue, worker: WorkerHandle) -> None:
    """C28: a child is a fresh process, whatever threads the submitter and the worker have."""
    import numpy as np

    threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    a = np.ones((300, 300))
    assert (a @ a)[0, 0] == 300
    assert float((queue.submit(lambda x: x @ x, a).result(LIMIT_S))[0, 0]) == 300


# ------------------------------------------------------------------------------------------- D9: arguments


class CrashesWhenLoaded:
    def __reduce__(self) -> Any:
        return _crash, ()


def _crash() -> None:
    ctypes.string_at(0)


def test_arguments_that_kill_the_process_when_they_are_loaded_are_a_charged_attempt(
    queue: JobQueue, worker: WorkerHandle
) -> None:
    job = queue.submit(task(max_attempts=2, retry_delay=0)(str), CrashesWhenLoaded())
    assert "SIGSEGV" in str(job.exception(LIMIT_S))
    assert outcomes(queue, job) == ["failed", "failed"]
    assert is_alive(worker.pid)
