"""What a submit gives back: a job (:class:`JobHandle`) or many (:class:`Batch`), to watch, wait for, read and stop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from collections.abc import Generator, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .errors import InvalidType, JobFailed, WaitTimeout
from .job import BatchRow, Counts, ExecutionRow, JobRow
from .payload import reduce_handle
from .policies import duration_s
from .states import FINAL, JobStatus

if TYPE_CHECKING:
    import pandas as pd

    from .queue import JobQueue

_FINAL = frozenset(status.value for status in FINAL)


class JobHandle(str):
    """A job's id, with its verbs on top. It is a ``str``, so it goes wherever an id goes: JSON, joins, SQL parameters.

    Passed as an argument of another job it makes an edge, and arrives there as the job's result.
    """

    __slots__ = ("_queue",)
    _queue: JobQueue

    def __new__(cls, job_id: str, queue: JobQueue) -> JobHandle:
        handle = super().__new__(cls, job_id)
        handle._queue = queue
        return handle

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return reduce_handle(str(self))

    def __dir__(self) -> list[str]:
        return [name for name in vars(JobHandle) if not name.startswith("_")]

    # ------------------------------------------------------------------------------------------ reading

    @property
    def id(self) -> str:
        """The plain id."""
        return str(self)

    @property
    def queue(self) -> JobQueue:
        """The queue that holds the job."""
        return self._queue

    def row(self) -> JobRow:
        """The job as the file has it now. Nothing is unpickled.

        Raises:
            JobNotFound: it was pruned.
        """
        return self._queue._row(str(self))

    @property
    def status(self) -> JobStatus:
        """Where it is in its lifecycle."""
        return JobStatus(self.row().status)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.row().name

    @property
    def attempts(self) -> int:
        """Charged attempts so far, the running one included."""
        return self.row().attempts

    @property
    def error(self) -> str | None:
        """The message of the last attempt that failed."""
        return self.row().error

    @property
    def created_at(self) -> datetime:
        """When it was submitted, in UTC."""
        return datetime.fromtimestamp(self.row().created_at / 1000, UTC)

    @property
    def progress(self) -> tuple[float | None, float | None, str]:
        """(done, total, text) as the job reported it last."""
        row = self.row()
        return row.progress_done, row.progress_total, row.progress_text or ""

    def done(self) -> bool:
        """Whether it is in a final status."""
        return self.status in FINAL

    def running(self) -> bool:
        """Whether it runs now."""
        return self.status is JobStatus.RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status is JobStatus.CANCELLED

    def logs(self, attempt: int | None = None) -> str:
        """What an attempt (the newest by default) printed so far."""
        return self._queue.logs(self, attempt)

    def tail(self, lines: int = 10) -> str:
        """The last lines of its log."""
        return "\n".join(self.logs().splitlines()[-lines:])

    def executions(self) -> list[ExecutionRow]:
        """Its attempts, the oldest first."""
        return self._queue._executions(str(self))

    # ------------------------------------------------------------------------------------------ waiting

    def wait(self, timeout: Any = None) -> bool:
        """Wait until it is in a final status. Returns False when the timeout came first; the job goes on."""
        return not self._queue._wait([str(self)], timeout)

    def result(self, timeout: Any = None) -> Any:
        """What the function returned; waits for it.

        Args:
            timeout: Seconds (or ``"10m"``) to wait; None: as long as it takes.

        Raises:
            WaitTimeout: not done in time; the job goes on.
            JobCancelled, JobTimeout, JobLost: how it ended.
            Exception: the function's own exception, its cause the traceback of the process where it ran.
            ResultLoadError, PayloadDamaged, PayloadRefused: there is a result, but it cannot be loaded here.
        """
        if not self.wait(timeout):
            raise WaitTimeout(f"job {self} is not done after {duration_s(timeout, 'timeout', least=0.0):g} s; it goes on")
        return self._queue._load(str(self))

    def exception(self, timeout: Any = None) -> BaseException | None:
        """The exception that :meth:`result` raises, or None; waits for the end."""
        try:
            self.result(timeout)
        except WaitTimeout:
            raise
        except BaseException as error:
            return error
        return None

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._queue._wait_async([str(self)]).__await__()
        return self._queue._load(str(self))

    def future(self) -> concurrent.futures.Future[Any]:
        """A :class:`concurrent.futures.Future` of this job, for code that expects one."""
        return self._queue._futures().future(self)

    # ------------------------------------------------------------------------------------------ acting

    def cancel(self) -> bool:
        """Cancel it, also while it runs: its processes are ended. True when it is or will be cancelled."""
        return self._queue.cancel(self)

    def retry(self) -> JobHandle:
        """Run it again after a bad end: one more attempt, and what depended on it comes back."""
        self._queue.requeue_job(self)
        return self

    # ------------------------------------------------------------------------------------------ showing

    def __repr__(self) -> str:
        return f"<job {str(self)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        from .notebook.display import mimebundle

        return mimebundle(self)

    def _ipython_display_(self) -> None:
        from .notebook.display import show

        show(self)


class Batch:
    """The jobs of one ``map`` (or one workflow): watch, wait, results, frame."""

    def __init__(self, queue: JobQueue, number: int, ids: list[str] | None = None) -> None:
        self.queue = queue
        self.number = number
        self._ids = ids

    @property
    def ids(self) -> list[str]:
        """The ids, in the order of the submit."""
        if self._ids is None:
            self._ids = self.queue._batch_ids(self.number)
        return self._ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[JobHandle]:
        return (JobHandle(one, self.queue) for one in self.ids)

    def __getitem__(self, index: int) -> JobHandle:
        return JobHandle(self.ids[index], self.queue)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return list, ([JobHandle(one, self.queue) for one in self.ids],)

    def row(self) -> BatchRow:
        """Name, times and counts as the file has them now."""
        return self.queue._batch_row(self.number)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.row().name

    @property
    def counts(self) -> Counts:
        """How many of its jobs have each status."""
        return self.queue._counts(self.number)

    def done(self) -> bool:
        """Whether all are in a final status."""
        counts = self.counts
        return counts.done == counts.total

    def wait(self, timeout: Any = None) -> bool:
        """Wait until all are done. Returns False when the timeout came first."""
        return self.queue._wait_batch(self.number, timeout)

    def results(self, timeout: Any = None, *, errors: str = "raise") -> list[Any]:
        """All results in the order of the submit; waits for them.

        Args:
            timeout: Seconds to wait; None: as long as it takes.
            errors: ``"raise"`` the first failure, or ``"return"`` exceptions in their places.
        """
        if errors not in ("raise", "return"):
            raise InvalidType("errors is 'raise' or 'return'")
        if not self.wait(timeout):
            counts = self.counts
            raise WaitTimeout(f"{counts.total - counts.done} of {counts.total} jobs are not done; they go on")
        return self.queue._load_batch(self.number, raising=errors == "raise")

    def __await__(self) -> Generator[Any, None, list[Any]]:
        yield from self.queue._wait_async(list(self.ids)).__await__()
        return self.queue._load_batch(self.number, raising=True)

    def failed(self, limit: int = 1000) -> list[JobHandle]:
        """The newest jobs that ended badly."""
        return [JobHandle(row.id, self.queue) for row in self.queue._unsuccessful(self.number, limit)]

    def cancel(self) -> int:
        """Cancel all that is not done. Returns how many are or will be cancelled."""
        return self.queue._cancel_many(self.ids)

    def retry(self) -> int:
        """Run again what ended badly. Returns how many came back."""
        return self.queue._retry_many([str(one) for one in self.failed(10**9)])

    def frame(self) -> pd.DataFrame:
        """One row a job: its arguments, status, seconds and result (a dict's keys become columns)."""
        from .notebook.frames import batch_frame

        return batch_frame(self)

    def __repr__(self) -> str:
        counts = self.counts
        return (
            f"<batch {self.number} {self.name!r}: {counts.done} of {counts.total} done, {counts.unsuccessful} without a result>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        from .notebook.display import mimebundle

        return mimebundle(self)

    def _ipython_display_(self) -> None:
        from .notebook.display import show

        show(self)


def flat(handles: Iterable[JobHandle | Batch]) -> list[JobHandle]:
    """Handles from handles and batches."""
    if isinstance(handles, (JobHandle, Batch)):
        handles = [handles]
    found: list[JobHandle] = []
    for one in handles:
        if isinstance(one, Batch):
            found += one
        elif isinstance(one, JobHandle):
            found.append(one)
        else:
            raise InvalidType(f"this takes jobs and batches, not {type(one).__name__}")
    return found


class JobSet:
    """What :func:`wait` returns: the sets ``done`` and ``not_done``, also as a pair."""

    def __init__(self, done: set[JobHandle], not_done: set[JobHandle]) -> None:
        self.done, self.not_done = done, not_done

    def __iter__(self) -> Iterator[set[JobHandle]]:
        return iter((self.done, self.not_done))

    def __repr__(self) -> str:
        return f"<{len(self.done)} done, {len(self.not_done)} not done>"


def wait(handles: Iterable[JobHandle | Batch], timeout: Any = None, return_when: str = "ALL_COMPLETED") -> JobSet:
    """Wait for jobs, as :func:`concurrent.futures.wait` does for futures (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED)."""
    jobs = list(dict.fromkeys(flat(handles)))
    if return_when not in ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"):
        raise InvalidType("return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION")
    left: set[str] = set()
    for queue, ids in _by_queue(jobs).items():
        left |= queue._wait(ids, timeout, return_when)
    return JobSet({one for one in jobs if str(one) not in left}, {one for one in jobs if str(one) in left})


class as_completed:  # noqa: N801 - named as in concurrent.futures
    """Yield jobs as they end: ``for job in as_completed(sweep)`` or ``async for job in as_completed(sweep)``."""

    def __init__(self, handles: Iterable[JobHandle | Batch], timeout: Any = None) -> None:
        self._jobs = list(dict.fromkeys(flat(handles)))
        self._timeout_s = None if timeout is None else duration_s(timeout, "timeout", least=0.0)

    def __iter__(self) -> Iterator[JobHandle]:
        import time

        end_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        left = {str(one): one for one in self._jobs}
        while left:
            rest_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            queue, ids = next(iter(_by_queue(left.values()).items()))
            open_ = queue._wait(ids, rest_s, "FIRST_COMPLETED")
            ended = [one for one in ids if one not in open_]
            if not ended:
                raise WaitTimeout(f"{len(left)} of {len(self._jobs)} jobs are not done; they go on")
            for one in ended:
                yield left.pop(one)

    async def __aiter__(self) -> Any:
        left = {str(one): one for one in self._jobs}
        end_s = None if self._timeout_s is None else asyncio.get_running_loop().time() + self._timeout_s
        while left:
            rest_s = None if end_s is None else max(0.0, end_s - asyncio.get_running_loop().time())
            queue, ids = next(iter(_by_queue(left.values()).items()))
            open_ = await queue._wait_async(ids, rest_s, "FIRST_COMPLETED")
            ended = [one for one in ids if one not in open_]
            if not ended:
                raise WaitTimeout(f"{len(left)} of {len(self._jobs)} jobs are not done; they go on")
            for one in ended:
                yield left.pop(one)


def _by_queue(jobs: Iterable[JobHandle]) -> dict[JobQueue, list[str]]:
    groups: dict[JobQueue, list[str]] = {}
    for one in jobs:
        groups.setdefault(one._queue, []).append(str(one))
    return groups


class Futures:
    """Real futures of jobs, completed by one thread per queue that ends when none is left."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._open: dict[str, list[concurrent.futures.Future[Any]]] = {}
        self._thread: threading.Thread | None = None
        self._names = itertools.count()

    def future(self, job: JobHandle) -> concurrent.futures.Future[Any]:
        """A future that follows the job; cancelling it cancels the job."""
        future: concurrent.futures.Future[Any] = _JobFuture(job)
        with self._lock:
            self._open.setdefault(str(job), []).append(future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="gigq_nb futures", daemon=True)
                self._thread.start()
        return future

    def _follow(self) -> None:
        while True:
            with self._lock:
                ids = list(self._open)
                if not ids:
                    self._thread = None
                    return
            try:
                statuses = self._queue._statuses_after_change(ids, 0.5)
            except Exception as error:
                self._end_all(error)
                return
            for job_id, status in statuses.items():
                if status == "running":
                    with self._lock:
                        futures = list(self._open.get(job_id, ()))
                    for future in futures:
                        if not future.running() and not future.done():
                            future.set_running_or_notify_cancel()
                elif status in _FINAL:
                    self._end(job_id, status)

    def _end(self, job_id: str, status: str) -> None:
        with self._lock:
            futures = self._open.pop(job_id, [])
        for future in futures:
            if future.done():
                continue
            if status == "cancelled":
                concurrent.futures.Future.cancel(future) or future.set_exception(concurrent.futures.CancelledError())
                future.set_running_or_notify_cancel() if future.cancelled() else None
                continue
            if not future.running():
                future.set_running_or_notify_cancel()
            try:
                future.set_result(self._queue._load(job_id))
            except BaseException as error:
                future.set_exception(error)

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            futures = [one for some in self._open.values() for one in some]
            self._open.clear()
            self._thread = None
        for future in futures:
            if not future.done():
                future.set_exception(JobFailed(f"the job can no longer be followed: {error}"))


class _JobFuture(concurrent.futures.Future[Any]):
    """A future whose ``cancel`` reaches the job."""

    def __init__(self, job: JobHandle) -> None:
        super().__init__()
        self.job = job

    def cancel(self) -> bool:
        if self.done():
            return self.cancelled()
        if self.running():  # as concurrent.futures: what runs is not cancelled through its future; job.cancel() does
            return False
        if self.job.status is JobStatus.PENDING and self.job.cancel():
            return super().cancel()
        return False
