"""Sections C24 to C28 and D9 of the fault matrix: recursion, generators, processes and libraries within a job."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue, JobTimeout, task
from gigq_nb.errors import InvalidArgument
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, outcomes, statuses

Start = Callable[..., WorkerProcess]


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
