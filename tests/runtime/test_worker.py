"""Jobs that are stopped, and the life of a worker: real processes, through the public API."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gigq_nb import Job, JobCancelled, JobQueue, JobTimeout, task
from gigq_nb.runtime.launcher import WorkerHandle, start_worker
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, outcomes, statuses, until, worker_rows

Start = Callable[..., WorkerProcess]


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
