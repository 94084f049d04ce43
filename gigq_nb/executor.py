"""``queue.executor()``: the queue as a PEP 3148 executor, for code that knows ``concurrent.futures``."""

from __future__ import annotations

import concurrent.futures
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgument
from .handle import JobHandle
from .task import Task

if TYPE_CHECKING:
    from .queue import JobQueue


class QueueExecutor(concurrent.futures.Executor):
    """Submits calls as durable jobs and gives real futures.

    What is cancelled through a future before it runs is cancelled in the queue. Unlike a pool, the jobs outlive this
    object and this process; ``shutdown(wait=True)`` waits for its own ones.

    Args:
        queue: Where the jobs go; a worker of it must run (``queue.start_worker()``).
        options: As for ``@task``: ``timeout max_attempts memory fresh …``.
    """

    def __init__(self, queue: JobQueue, **options: Any) -> None:
        Task(len, **options)  # refuses bad options now rather than at the first submit
        self._queue = queue
        self._options = options
        self._futures: set[concurrent.futures.Future[Any]] = set()
        self._shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Submit one call. The future's ``job`` is the handle.

        Raises:
            RuntimeError: after :meth:`shutdown`.
        """
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        job = self._queue.submit(Task(fn, **self._options), *args, **kwargs)
        return self._follow(job)

    def _follow(self, job: JobHandle) -> concurrent.futures.Future[Any]:
        future = job.future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1, **_: Any
    ) -> Iterator[Any]:
        """As :meth:`concurrent.futures.Executor.map`; ``chunksize`` calls share a job."""
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if chunksize < 1:
            raise InvalidArgument("chunksize must be >= 1.")
        end_s = None if timeout is None else time.monotonic() + timeout
        calls = list(zip(*iterables, strict=False))
        if not calls:
            return iter(())
        if chunksize == 1:
            batch = self._queue.map(Task(fn, **self._options), *zip(*calls, strict=True))
            futures = [self._follow(job) for job in batch]
        else:
            chunks = [calls[i : i + chunksize] for i in range(0, len(calls), chunksize)]
            batch = self._queue.map(Task(_run_chunk, name=Task(fn).name, **self._options), [fn] * len(chunks), chunks)
            futures = [self._follow(job) for job in batch]
        return self._results(futures, end_s, chunksize > 1)

    def _results(self, futures: list[concurrent.futures.Future[Any]], end_s: float | None, chunked: bool) -> Iterator[Any]:
        try:
            parts = (one.result(None if end_s is None else max(0.0, end_s - time.monotonic())) for one in futures)
            yield from itertools.chain.from_iterable(parts) if chunked else parts
        finally:
            for one in futures:
                one.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new calls; wait for the submitted ones; ``cancel_futures`` cancels what has not begun."""
        self._shut = True
        futures = list(self._futures)
        if cancel_futures:
            for one in futures:
                one.cancel()
        if wait:
            concurrent.futures.wait(futures)


def _run_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in calls]
