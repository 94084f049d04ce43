"""Sections C1 to C10 of the fault matrix: jobs that hang, die, or eat memory, and what is left of them afterwards: nothing."""

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

import pytest

from gigq_nb import JobFailed, JobQueue, task
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.hanging import KINDS
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, outcomes, until

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
