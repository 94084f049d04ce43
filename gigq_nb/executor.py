"""``queue.executor()``: the queue as a PEP 3148 executor, for code that knows ``concurrent.futures``."""

from __future__ import annotations

import concurrent.futures
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgument
from .handle import JobHandle
from .policies import whole_number
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
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """As :meth:`concurrent.futures.Executor.map`; ``chunksize`` calls share a job.

        Args:
            fn: What to call.
            iterables: Its arguments, taken in step; the shortest one decides.
            timeout: Seconds until the last result, counted from this call.
            chunksize: How many calls share a job.
            buffersize: Checked and otherwise not needed: submitted jobs wait in the file, not in memory.
        """
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if chunksize < 1:
            raise InvalidArgument("chunksize must be >= 1.")
        if buffersize is not None and whole_number(buffersize, "buffersize", 1, 2**62) and chunksize != 1:
            raise InvalidArgument("buffersize goes with chunksize 1 only")
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
        futures.reverse()
        results = _results(futures, end_s)
        return itertools.chain.from_iterable(results) if chunksize > 1 else results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new calls; wait for the submitted ones; ``cancel_futures`` cancels what has not begun."""
        self._shut = True
        futures = list(self._futures)
        if cancel_futures:
            for one in futures:
                one.cancel()
        if wait:
            concurrent.futures.wait(futures)


def _results(futures: list[concurrent.futures.Future[Any]], end_s: float | None) -> Iterator[Any]:
    """Results from the end of the list; a future is let go before its result is handed out, so nothing keeps that alive."""
    try:
        while futures:
            yield _result(futures.pop(), end_s)
    finally:
        for one in futures:
            one.cancel()


def _result(future: concurrent.futures.Future[Any], end_s: float | None) -> Any:
    try:
        return future.result(None if end_s is None else max(0.0, end_s - time.monotonic()))
    finally:
        del future


def _run_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in calls]
