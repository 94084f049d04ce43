"""What a worker does when nothing goes wrong: real processes, through the public API."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from gigq_nb import Job, JobCancelled, JobQueue, JobTimeout, Retry, Worker, Workflow, current_job, progress, task
from gigq_nb.runtime.launcher import WorkerHandle, start_worker
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, outcomes, statuses, until, worker_rows

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------------- running


def test_a_function_runs_in_another_process_and_its_result_comes_back(queue: JobQueue, worker: WorkerHandle) -> None:
    mine = os.getpid()

    def where(x: int, *, y: int) -> tuple[int, int, int]:
        return x + y, os.getpid(), os.getppid()

    total, child, parent = queue.submit(where, 1, y=2).result(LIMIT_S)
    assert (total, parent) == (3, worker.pid)
    assert child != mine


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -5,
        2**100,
        1.5,
        float("inf"),
        "text \N{SNOWMAN} \0",
        b"\x00\xff",
        (1, [2, {"three": {4}}]),
        {1: "int key", (2, 3): None},
        frozenset({1, 2}),
        datetime(2024, 1, 2),
        range(5),
        complex(1, -1),
        Ellipsis,
        ValueError("as a value"),
    ],
    ids=repr,
)
def test_process_one_brings_values_back_equal_and_of_the_same_type(queue: JobQueue, value: object) -> None:
    job = queue.submit(lambda x: x, value)
    assert Worker(queue.path).process_one() is True
    back = job.result(LIMIT_S)
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_process_one_says_when_there_is_nothing_to_do(queue: JobQueue) -> None:
    worker = Worker(queue.path, "mine")
    assert worker.process_one() is False
    jobs = [queue.submit(pow, 2, n) for n in (3, 4)]
    assert [worker.process_one(), statuses(queue)] == [True, {"completed": 1, "pending": 1}]
    assert [worker.process_one(), worker.process_one()] == [True, False]
    assert [job.result(1) for job in jobs] == [8, 16]
    worker.close()


def test_process_one_waits_for_the_end_of_a_job_that_is_stopped(queue: JobQueue) -> None:
    @task(timeout=0.3)
    def sleeps() -> None:
        time.sleep(60)

    job = queue.submit(sleeps)
    assert Worker(queue.path).process_one() is True
    assert (job.status, outcomes(queue, job)) == ("timeout", ["timeout"])


def test_process_one_leaves_other_children_of_this_process_alone(queue: JobQueue) -> None:
    with subprocess.Popen(["sleep", "60"]) as other, subprocess.Popen(["sleep", "60"], start_new_session=True) as apart:
        queue.submit(os._exit, 3)
        assert Worker(queue.path).process_one() is True
        assert [other.poll(), apart.poll()] == [None, None]
        other.kill()
        apart.kill()


def test_a_worker_can_be_started_again_after_it_was_stopped(queue: JobQueue) -> None:
    worker = Worker(queue.path, "again")
    for n in (1, 2):
        job = queue.submit(lambda n: n, n)
        stopper = job.future()
        stopper.add_done_callback(lambda _: worker.stop())
        worker.start()
        assert job.result(LIMIT_S) == n


def test_many_jobs_each_run_once(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def note(n: int) -> int:
        with open(ledger, "a") as file:
            file.write(f"{n}\n")
        return n * n

    batch = queue.map(note, range(500))
    assert batch.results(LIMIT_S) == [n * n for n in range(500)]
    assert sorted(map(int, lines(ledger))) == list(range(500))


def test_urgent_jobs_run_first(queue: JobQueue, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def note(n: int) -> None:
        with open(ledger, "a") as file:
            file.write(f"{n}\n")

    for n in (1, 3, 2):
        queue.submit(Job(str(n), note, {"n": n}, priority=n))
    worker = Worker(queue.path)
    while worker.process_one():
        pass
    assert lines(ledger) == ["3", "2", "1"]


def test_an_async_function_is_awaited(queue: JobQueue, worker: WorkerHandle) -> None:
    async def add(x: int) -> int:
        await asyncio.sleep(0.01)
        return x + 1

    assert queue.submit(add, 1).result(LIMIT_S) == 2


def test_a_job_knows_which_job_it_is(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(name="known")
    def ask() -> tuple[str, str, int]:
        me = current_job()
        assert me is not None
        return me.id, me.name, me.attempt

    job = queue.submit(ask)
    assert job.result(LIMIT_S) == (str(job), "known", 1)


def test_progress_is_seen_while_it_runs_and_its_last_word_afterwards(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path
) -> None:
    go = tmp_path / "go"

    def steps() -> None:
        progress(1, 4, "first \ud800 \0")
        while not go.exists():
            time.sleep(0.01)
        for n in range(2, 5):
            progress(n, 4, "later")

    job = queue.submit(steps)
    until(lambda: job.progress[0] == 1, "progress is seen")
    go.touch()
    job.result(LIMIT_S)
    until(lambda: job.progress == (4, 4, "later"), "the last word is kept")


# ------------------------------------------------------------------------------------------------- retries


def test_a_failure_is_tried_again_after_its_backoff(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    start(polling_interval=600)  # the worker itself must know when the retry is due
    ledger = tmp_path / "ledger"

    @task(max_attempts=3, retry=Retry(delay_s=0.3, factor=2, jitter=0))
    def flaky() -> int:
        with open(ledger, "a") as file:
            file.write(f"{time.monotonic()}\n")
        if len(ledger.read_text().split()) < 3:
            raise ValueError("not yet")
        return 7

    job = queue.submit(flaky)
    assert job.result(LIMIT_S) == 7
    first, second, third = map(float, lines(ledger))
    assert second - first >= 0.29
    assert third - second >= 0.59
    assert outcomes(queue, job) == ["failed", "failed", "completed"]


def test_a_failure_that_is_not_among_retry_on_is_final(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(max_attempts=5, retry_on=OSError)
    def wrong() -> None:
        raise KeyError("never again")

    job = queue.submit(wrong)
    with pytest.raises(KeyError, match="never again"):
        job.result(LIMIT_S)
    assert outcomes(queue, job) == ["failed"]


def test_a_delayed_job_runs_when_it_is_due(queue: JobQueue, worker: WorkerHandle) -> None:
    began = time.time()
    job = queue.submit(Job("later", time.time, delay=0.5))
    assert job.result(LIMIT_S) >= began + 0.5


# ------------------------------------------------------------------------------------------------- parents


def test_handles_among_the_arguments_arrive_as_results(queue: JobQueue, worker: WorkerHandle) -> None:
    two, three = queue.submit(pow, 2, 1), queue.submit(pow, 3, 1)
    assert queue.submit(lambda x, *, more: (x, more), two, more=[three, {"k": two}]).result(LIMIT_S) == (2, [3, {"k": 2}])


def test_parent_results_are_injected_as_in_gigq(queue: JobQueue, worker: WorkerHandle) -> None:
    def collect(parent_results: dict[str, int]) -> list[int]:
        return sorted(parent_results.values())

    flow = Workflow("numbers")
    parents = [flow.add_job(Job(f"p{n}", pow, args=(n, 2))) for n in (1, 2, 3)]
    flow.add_job(Job("sum", collect), depends_on=parents)
    *_, last = flow.submit_all(queue)
    assert last.result(LIMIT_S) == [1, 4, 9]


# ------------------------------------------------------------------------------------------------- logs


def test_each_attempt_has_its_own_log(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    @task(max_attempts=2, retry_delay=0)
    def speaks() -> None:
        me = current_job()
        assert me is not None
        print(f"attempt {me.attempt}")
        if not mark.exists():
            mark.touch()
            raise ValueError("once")

    job = queue.submit(speaks)
    job.result(LIMIT_S)
    assert (job.logs(1), job.logs(2)) == ("attempt 1\n", "attempt 2\n")


def test_all_that_reaches_the_descriptors_is_in_the_log(queue: JobQueue, worker: WorkerHandle) -> None:
    def speaks() -> None:
        import ctypes
        import logging
        import warnings

        print("python")
        print("stderr", file=sys.stderr)
        logging.getLogger("x").error("logging")
        warnings.warn("warning", stacklevel=1)
        libc = ctypes.CDLL(None)
        libc.printf(b"native without newline")
        libc.puts(b"")
        os.write(1, b"descriptor\n")
        subprocess.run(["echo", "subprocess"], check=True)
        print("no newline at the end", end="")

    job = queue.submit(speaks)
    job.result(LIMIT_S)
    log = job.logs()
    for word in "python stderr logging warning native descriptor subprocess".split():
        assert word in log
    assert log.endswith("no newline at the end")


def test_output_is_given_to_the_job_that_printed_it(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def speaks(n: int) -> None:
        for i in range(n % 7):
            print(f"job {n} line {i}")
            if i == 3:
                os.write(2, f"job {n} raw\n".encode())
        print(f"job {n} ends", end="")

    batch = queue.map(speaks, range(300))
    batch.results(LIMIT_S)
    for n, job in enumerate(batch):
        said = [f"job {n} line {i}" for i in range(n % 7)]
        if n % 7 > 3:
            said.insert(4, f"job {n} raw")
        assert job.logs() == "\n".join([*said, f"job {n} ends"])


def test_what_a_job_left_running_does_not_print_into_the_log_of_the_next(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def leaves_a_thread() -> None:
        import threading

        def talk() -> None:
            while True:
                print("noise")
                time.sleep(0.001)

        threading.Thread(target=talk, daemon=True).start()

    def leaves_a_process() -> int:
        return subprocess.Popen(["sh", "-c", "while true; do echo noise; sleep 0.01; done"]).pid

    def quiet() -> str:
        time.sleep(0.2)
        return "quiet"

    noisy = [queue.submit(leaves_a_thread), queue.submit(quiet), queue.submit(leaves_a_process), queue.submit(quiet)]
    results = [job.result(LIMIT_S) for job in noisy]
    assert [noisy[1].logs(), noisy[3].logs()] == ["", ""]
    until(lambda: not is_alive(results[2]), "the process that a job left is gone")


def test_a_log_can_be_read_while_the_job_runs(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def speaks() -> None:
        print("begun")
        while not go.exists():
            time.sleep(0.01)

    job = queue.submit(speaks)
    until(lambda: job.logs() == "begun\n", "the log is seen")
    assert job.status == "running"
    go.touch()
    job.result(LIMIT_S)


# ------------------------------------------------------------------------------------------------- where it runs


def test_a_job_starts_in_the_folder_and_with_the_path_of_the_submitter(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    cwd, first = queue.submit(lambda: (os.getcwd(), sys.path[0])).result(LIMIT_S)
    assert (cwd, first) == (str(folder), str(folder))


def test_a_folder_that_is_gone_is_named(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with monkeypatch.context() as there:
        there.chdir(folder)
        job = queue.submit(Job("in it", os.getcwd, max_attempts=1, delay=0.5))
    folder.rmdir()
    assert f"the folder {folder}, from which the job was submitted, is gone" in str(job.exception(LIMIT_S))


def test_a_local_module_is_imported_anew_after_an_edit(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "edited_by_me.py"

    def use() -> tuple[str, int]:
        import edited_by_me

        return edited_by_me.WORD, os.getpid()

    module.write_text("WORD = 'first'\n")
    first, pid = queue.submit(use).result(LIMIT_S)
    assert (first, queue.submit(use).result(LIMIT_S)) == ("first", ("first", pid))
    module.write_text("WORD = 'after the edit'\n")
    assert queue.submit(use).result(LIMIT_S)[0] == "after the edit"


def test_an_edit_while_a_job_runs_is_seen_by_the_next_job(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    monkeypatch.syspath_prepend(str(tmp_path))
    module, begun, go = tmp_path / "edited_meanwhile.py", tmp_path / "begun", tmp_path / "go"

    def use(wait: bool) -> str:
        import edited_meanwhile

        begun.touch()
        while wait and not go.exists():
            time.sleep(0.01)
        return edited_meanwhile.WORD

    module.write_text("WORD = 'first'\n")
    job = queue.submit(use, True)
    until(begun.exists, "the module is imported")
    module.write_text("WORD = 'edited meanwhile'\n")
    go.touch()
    assert [job.result(LIMIT_S), queue.submit(use, False).result(LIMIT_S)] == ["first", "edited meanwhile"]


def test_two_notebooks_with_a_module_of_the_same_name_get_their_own(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)

    def use() -> str:
        import of_this_folder

        return of_this_folder.WORD

    jobs = []
    for name in ("a", "b", "a"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "of_this_folder.py").write_text(f"WORD = {name!r}\n")
        with monkeypatch.context() as there:
            there.syspath_prepend(str(folder))
            jobs.append(queue.submit(use))
    assert [job.result(LIMIT_S) for job in jobs] == ["a", "b", "a"]


def test_variables_given_with_a_job_are_its_own(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def read() -> str | None:
        return os.environ.get("MINE")

    assert queue.submit(task(env={"MINE": "yes"})(read)).result(LIMIT_S) == "yes"
    assert queue.submit(read).result(LIMIT_S) is None


def test_input_is_an_error_and_not_a_hang(queue: JobQueue, worker: WorkerHandle) -> None:
    with pytest.raises(EOFError):
        queue.submit(input).result(LIMIT_S)


def test_a_fresh_job_has_a_process_of_its_own(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)
    pid = task(fresh=True)(os.getpid)
    pids = [queue.submit(one).result(LIMIT_S) for one in (os.getpid, pid, pid, os.getpid, os.getpid)]
    assert len(set(pids[:4])) == 4
    assert pids[3] == pids[4]


# ------------------------------------------------------------------------------------------------- stopping a job


def test_a_pending_job_is_cancelled_at_once(queue: JobQueue) -> None:
    job = queue.submit(time.sleep, 60)
    assert job.cancel() is True
    with pytest.raises(JobCancelled):
        job.result(1)


def test_a_running_job_is_cancelled_and_its_process_is_gone(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def sleeps() -> None:
        begun.write_text(str(os.getpid()))
        time.sleep(60)

    job = queue.submit(sleeps)
    until(lambda: lines(begun), "it runs")
    assert job.cancel() is True
    with pytest.raises(JobCancelled):
        job.result(LIMIT_S)
    assert not is_alive(int(begun.read_text()))
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8


def test_what_waits_behind_a_cancelled_job_runs(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """All were quick so far, so that many are given to the child ahead; the one in front of them turns out long."""
    start(concurrency=1)
    begun = tmp_path / "begun"

    def work(n: int) -> int:
        if n == 1000:
            begun.touch()
            time.sleep(60)
        return n

    queue.map(work, range(50)).results(LIMIT_S)
    batch = queue.map(work, [1000, *range(20)])
    until(begun.exists, "the long one runs")
    until(lambda: batch.counts.running == 1, "what was given ahead is taken back")
    assert batch[0].cancel() is True
    assert batch[5].cancel() is True
    batch.wait(LIMIT_S)
    assert batch.counts.as_dict() == {"pending": 0, "running": 0, "completed": 19, "failed": 0, "timeout": 0, "cancelled": 2}


def test_nothing_waits_behind_a_long_job_while_another_child_is_free(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path
) -> None:
    go = tmp_path / "go"

    def work(n: int) -> int:
        while n == 1000 and not go.exists():
            time.sleep(0.01)
        return n

    queue.map(work, range(100)).results(LIMIT_S)
    batch = queue.map(work, [1000, *range(100)])
    until(lambda: batch.counts.completed == 100, "all others are done")
    assert batch.counts.running == 1
    go.touch()
    assert batch.wait(LIMIT_S)


def test_a_timeout_counts_from_the_start_of_the_function_and_leaves_time_for_a_retry(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    @task(timeout=0.4, max_attempts=2, retry_delay=0)
    def slow_at_first() -> str:
        if not mark.exists():
            mark.touch()
            time.sleep(60)
        return "quick"

    job = queue.submit(slow_at_first)
    assert job.result(LIMIT_S) == "quick"
    assert outcomes(queue, job) == ["timeout", "completed"]


def test_a_timeout_is_told_as_one(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(task(timeout=0.2)(time.sleep), 60)
    with pytest.raises(JobTimeout, match=r"timeout of 0\.2 s"):
        job.result(LIMIT_S)


def test_a_memory_limit_ends_the_job_and_nothing_else(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(memory="200MB")
    def eats() -> int:
        return len(bytearray(2_000_000_000))

    @task(memory="200MB")
    def modest() -> int:
        return len(bytearray(20_000_000))

    job = queue.submit(eats)
    assert isinstance(job.exception(LIMIT_S), MemoryError)
    assert "memory limit of 200 MB" in (job.error or "")
    assert queue.submit(modest).result(LIMIT_S) == 20_000_000
    assert queue.submit(lambda: len(bytearray(300_000_000))).result(LIMIT_S) == 300_000_000


def test_a_memory_limit_holds_for_all_processes_of_a_job_together(queue: JobQueue, worker: WorkerHandle) -> None:
    eater = "x = []\nwhile True:\n    x.append(bytearray(10_000_000)); import time; time.sleep(0.02)"

    @task(memory="300MB")
    def spreads() -> None:
        running = [subprocess.Popen([sys.executable, "-c", eater]) for _ in range(2)]
        while True:
            assert all(one.poll() is None for one in running), "an eater met its own limit"
            time.sleep(0.01)

    job = queue.submit(spreads)
    job.exception(LIMIT_S)
    assert "memory limit of 300 MB" in (job.error or "")


# ------------------------------------------------------------------------------------------------- worker processes


def test_a_busy_worker_sleeps_while_its_jobs_run(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """Also when more waits than it has room for, a retry is due, and its last look at the file is long ago."""
    one = start(concurrency=1, polling_interval=0.5)
    begun, go = tmp_path / "begun", tmp_path / "go"

    def waits() -> None:
        begun.touch()
        while not go.exists():
            time.sleep(0.01)

    queue.submit(waits)
    queue.submit(pow, 2, 2)
    queue.submit(Job("later", time.time, delay=1))
    until(begun.exists, "it runs")
    time.sleep(2)
    before = psutil.Process(one.pid).cpu_times()
    time.sleep(3)
    after = psutil.Process(one.pid).cpu_times()
    go.touch()
    used_s = after.user + after.system - before.user - before.system
    assert used_s < 1, "it took a core for nothing"


def test_a_second_kernel_finds_the_worker_of_the_first(queue: JobQueue, worker: WorkerHandle) -> None:
    code = (
        f"from gigq_nb import JobQueue; q = JobQueue({str(queue.path)!r}); w = q.start_worker();"
        "print(w.pid, w.started, q.submit(pow, 2, 5).result(30))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(worker.pid), "False", "32"]


def test_two_kernels_at_once_start_one_worker(queue: JobQueue) -> None:
    code = f"from gigq_nb import JobQueue; print(JobQueue({str(queue.path)!r}).start_worker(1, linger=60).pid)"
    kernels = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    pids = {one.communicate(timeout=LIMIT_S)[0] for one in kernels}
    assert len(pids) == 1
    assert len([row for row in worker_rows(queue) if row.state != "gone"]) == 1


def test_a_worker_leaves_when_no_kernel_lives_and_nothing_is_open(queue: JobQueue) -> None:
    code = (
        f"from gigq_nb import JobQueue; q = JobQueue({str(queue.path)!r}); w = q.start_worker(1, linger=0);"
        "import time; q.submit(time.sleep, 3); print(w.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    until(lambda: not is_alive(int(done.stdout)), "the worker left")
    assert statuses(queue) == {"completed": 1}
    [row] = worker_rows(queue)
    assert (row.state, row.why) == ("gone", "no kernel was alive and nothing was open")


def test_a_worker_stays_while_a_kernel_lives(queue: JobQueue) -> None:
    handle = start_worker(queue, 1, keep_alive=False, linger=0)
    until(lambda: (worker_rows(queue)[0].why or "").startswith("serves 1"), "it says why it stays")
    assert is_alive(handle.pid)


def test_a_worker_in_a_terminal_outlives_an_empty_queue(queue: JobQueue, start: Start) -> None:
    one = start(linger=0)
    beats = worker_rows(queue)[0].beats
    until(lambda: worker_rows(queue)[0].beats >= beats + 3, "it goes on beating")
    assert one.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_when_it_is_told_to(queue: JobQueue, start: Start, number: int) -> None:
    one = start()
    children = one.children
    one.send(number)
    assert one.wait(10) == 0
    assert not any(map(is_alive, children))
    assert worker_rows(queue)[0].state == "gone"


def test_a_worker_that_cannot_start_says_why(queue: JobQueue, tmp_path: Path) -> None:
    from gigq_nb.errors import WorkerFailed

    (tmp_path / "sitecustomize.py").write_text("import os, sys; print('a broken sitecustomize', file=sys.stderr); os._exit(7)")
    with pytest.raises(WorkerFailed, match="a broken sitecustomize") as told:
        queue.start_worker(1, env={"PYTHONPATH": str(tmp_path)})
    assert "code 7" in str(told.value)


def test_a_worker_whose_children_cannot_start_does_not_spin(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """sys.executable of the children's environment is broken after the worker itself has started."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        f"import os, sys\nif 'runtime.child' in ' '.join(sys.orig_argv):\n"
        f"    open({str(tmp_path / 'born')!r}, 'a').write('x\\n')\n    os._exit(9)\n"
    )
    start({"PYTHONPATH": str(hook)}, concurrency=1, ready=False)
    until(lambda: len(lines(tmp_path / "born")) >= 4, "it tried several times")
    began, before = time.monotonic(), len(lines(tmp_path / "born"))
    until(lambda: len(lines(tmp_path / "born")) > before, "it goes on trying")
    assert time.monotonic() - began > 0.3
    job = queue.submit(pow, 2, 2)
    (hook / "sitecustomize.py").unlink()
    assert job.result(LIMIT_S) == 4


def test_two_workers_share_the_jobs(queue: JobQueue, start: Start) -> None:
    pids = {start(concurrency=1).pid, start(concurrency=1).pid}

    def who() -> int:
        time.sleep(0.02)
        return os.getppid()

    batch = queue.map(lambda _: who(), range(100))
    assert set(batch.results(LIMIT_S)) == pids


def test_two_workers_of_the_same_name_keep_apart(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """A name may be given twice: when one dies, what the other runs is left alone."""
    first, second = start(worker_id="twin", concurrency=1), start(worker_id="twin", concurrency=1)
    go = tmp_path / "go"

    def work() -> int:
        (tmp_path / f"runs-{os.getppid()}").touch()
        while not go.exists():
            time.sleep(0.01)
        return os.getppid()

    batch = queue.map(lambda _: work(), range(2))
    until(lambda: len(list(tmp_path.glob("runs-*"))) == 2, "both run")
    first.kill()
    until(lambda: batch.counts.pending == 1 or outcomes(queue, batch[0]) + outcomes(queue, batch[1]) != [None, None], "rescued")
    go.touch()
    assert batch.results(LIMIT_S) == [second.pid] * 2
    assert sorted(map(str, outcomes(queue, batch[0]) + outcomes(queue, batch[1]))) == ["completed", "completed", "lost"]
