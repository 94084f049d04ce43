"""A queue and real workers, which are gone when the test is."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gigq_nb import GigQError, JobQueue
from gigq_nb.runtime.launcher import WorkerHandle, keeper_of
from tests import invariants
from tests.leftovers import kill, left_behind
from tests.runtime.rig import WorkerProcess


@pytest.fixture
def queue(queue_path: Path, isolated: Path) -> Iterator[JobQueue]:
    """A queue; what works on it is ended with the test, and its file must hold its invariants."""
    queue = JobQueue(queue_path)
    yield queue
    with contextlib.suppress(GigQError):
        keeper_of(queue).close()
        queue.stop_worker(now=True, timeout=10)
    queue.close()
    left = left_behind(isolated)
    kill([one for one in left if "gigq_nb" in " ".join(_words(one))])
    if queue_path.exists():
        assert invariants.broken_file(queue_path) == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def worker(queue: JobQueue) -> WorkerHandle:
    """A worker as a kernel starts one, with two children, and nobody who starts it again."""
    from gigq_nb.runtime.launcher import start_worker

    return start_worker(queue, 2, keep_alive=False)


@pytest.fixture
def start(queue: JobQueue) -> Iterator[Callable[..., WorkerProcess]]:
    """start(env, **options): a worker in a process of its own."""
    started: list[WorkerProcess] = []

    def begin(env: dict[str, str] | None = None, *, ready: bool = True, **options: object) -> WorkerProcess:
        options.setdefault("concurrency", 2)
        started.append(WorkerProcess(queue.path, env, **options))
        return started[-1].wait_ready() if ready else started[-1]

    yield begin
    for one in started:
        one.end()
