"""What a submit gives back: a job (:class:`JobHandle`) or many (:class:`Batch`), to watch, wait for, read and stop."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .errors import InvalidType, WaitTimeout
from .job import BatchRow, Counts, ExecutionRow, JobRow
from .payload import keeps_handles, reduce_handle
from .policies import duration_s
from .states import FINAL, JobStatus
from .store import reads

if TYPE_CHECKING:
    import pandas as pd

    from .queue import JobQueue

#: Called after somebody waited for a job to its end: in a notebook, the variables of its cell come back then.
arrived: Callable[[JobHandle], None] = lambda _job: None  # noqa: E731 - replaced, so a variable


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
        if keeps_handles([str(self)]):
            return JobHandle, (str(self), self._queue)
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
        with self._queue._database.read() as db:
            return reads.job(db, str(self))

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
        with self._queue._database.read() as db:
            return reads.executions(db, str(self))

    # ------------------------------------------------------------------------------------------ waiting

    def wait(self, timeout: Any = None) -> bool:
        """Wait until it is in a final status. Returns False when the timeout came first; the job goes on."""
        if self._queue._waiting.wait([str(self)], timeout):
            return False
        arrived(self)
        return True

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
        __tracebackhide__ = True  # IPython and pytest leave such frames out: what failed is in the cause
        final = self._queue._waiting.final(str(self), timeout)
        if final is None:
            raise WaitTimeout(self._not_done_after(timeout))
        return self._queue._loader.value(final)

    def exception(self, timeout: Any = None) -> BaseException | None:
        """The exception that :meth:`result` raises, or None; waits for the end."""
        if not self.wait(timeout):
            raise WaitTimeout(self._not_done_after(timeout))
        try:
            self._queue._loader.load(str(self))
        except KeyboardInterrupt:  # of whoever waits here: that of a job arrives as a JobFailed
            raise
        except BaseException as error:
            return error
        return None

    def _not_done_after(self, timeout: Any) -> str:
        after_s = duration_s(timeout, "timeout", least=0.0)
        return f"job {self} is not done after {after_s:g} s; it goes on{self._queue._waiting.while_paused()}"

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._queue._waiting.wait_async([str(self)]).__await__()
        arrived(self)
        return self._queue._loader.load(str(self))

    def future(self) -> concurrent.futures.Future[Any]:
        """A :class:`concurrent.futures.Future` of this job, for code that expects one."""
        return self._queue._futures.future(self)

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
        return f"<job {self!s}>"

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
            with self.queue._database.read() as db:
                self._ids = reads.batch_ids(db, self.number)
        return self._ids

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[JobHandle]:
        return (JobHandle(one, self.queue) for one in self.ids)

    def __getitem__(self, index: int) -> JobHandle:
        return JobHandle(self.ids[index], self.queue)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        if keeps_handles(self.ids):
            return Batch, (self.queue, self.number, self.ids)
        return list, ([JobHandle(one, self.queue) for one in self.ids],)

    def row(self) -> BatchRow:
        """Name, times and counts as the file has them now."""
        with self.queue._database.read() as db:
            return reads.batch(db, self.number)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.row().name

    @property
    def counts(self) -> Counts:
        """How many of its jobs have each status."""
        with self.queue._database.read() as db:
            return reads.counts(db, self.number)

    def done(self) -> bool:
        """Whether all are in a final status."""
        counts = self.counts
        return counts.done == counts.total

    def wait(self, timeout: Any = None) -> bool:
        """Wait until all are done. Returns False when the timeout came first."""
        return self.queue._waiting.wait_batch(self.number, timeout)

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
            also = self.queue._waiting.while_paused()
            raise WaitTimeout(f"{counts.total - counts.done} of {counts.total} jobs are not done; they go on{also}")
        return self.queue._loader.load_batch(self.number, raising=errors == "raise")

    def __await__(self) -> Generator[Any, None, list[Any]]:
        yield from self.queue._waiting.wait_async(list(self.ids)).__await__()
        return self.queue._loader.load_batch(self.number, raising=True)

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
