"""Waiting for jobs: blocking, in an event loop, as futures. All of it sleeps on a socket and is woken by a settle."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import select
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import handle
from .errors import InvalidType, JobFailed, WaitTimeout
from .given import unknown
from .handle import Batch, JobHandle
from .policies import duration_s
from .states import FINAL, JobStatus
from .store import pausing, reads
from .store.db import Database
from .store.reads import Final

if TYPE_CHECKING:
    from .queue import JobQueue
    from .runtime.bell import Bell

_FINAL = frozenset(status.value for status in FINAL)
_LOOK_S = 1.0
MOST_FAILURES = 20


class Waiting:
    """What waits for the jobs of one file."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._bell: Bell | None = None

    @property
    def bell(self) -> Bell:
        """Rings and hears; made when it is first needed."""
        if self._bell is None:
            from .runtime.bell import Bell

            self._bell = Bell(self.database.path)
        return self._bell

    def close(self) -> None:
        """Give the descriptors back."""
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    def while_paused(self) -> str:
        """What a message about jobs that are not done has to add: that the queue is paused, and the way out; else nothing."""
        with self.database.read() as db:
            at = pausing.paused_at(db)
        return "" if at is None else f" (the queue is {pausing.words(at)}: queue.resume() lets jobs begin again)"

    def _statuses(self, ids: Sequence[str]) -> dict[str, str]:
        with self.database.read() as db:
            return reads.statuses(db, ids)

    def statuses_after_change(self, ids: Sequence[str], most_s: float) -> dict[str, str]:
        """Statuses, after a ring or after ``most_s`` seconds; at once when one of them is done."""
        with self.bell.listen("k") as ear:
            statuses = self._statuses(ids)
            if not any(status in _FINAL for status in statuses.values()):
                ear.wait(most_s if all(status == "pending" for status in statuses.values()) else min(most_s, 0.1))
                statuses = self._statuses(ids)
        return statuses

    def final(self, job_id: str, timeout: Any) -> Final | None:
        """Wait for one job, and read its end as soon as it is there. None: the timeout came first.

        Raises:
            JobNotFound: unknown id.
        """
        end_s = None if timeout is None else time.monotonic() + duration_s(timeout, "timeout", least=0.0)
        final = self.now(job_id)
        if final.status in _FINAL:
            return final
        with self.bell.listen("k") as ear:
            while (final := self.now(job_id)).status not in _FINAL:
                rest_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
                if rest_s <= 0:
                    return None
                ear.wait(rest_s)
        return final

    def now(self, job_id: str) -> Final:
        """The end of a job as bytes, or how it stands if it is not done.

        Raises:
            JobNotFound: unknown id.
        """
        with self.database.read() as db:
            found = reads.finals(db, ids=[job_id])
        if not found:
            raise unknown(job_id)
        return found[0]

    def wait(self, ids: Sequence[str], timeout: Any, return_when: str = "ALL_COMPLETED") -> set[str]:
        """Wait for jobs. Returns the ids that are not done.

        Raises:
            JobNotFound: an id is unknown.
        """
        end_s = None if timeout is None else time.monotonic() + duration_s(timeout, "timeout", least=0.0)
        left = dict.fromkeys(ids)
        with self.bell.listen("k") as ear:
            while not _is_over(return_when, self.strike_off(left), bool(left)):
                rest_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
                if rest_s <= 0:
                    break
                ear.wait(rest_s)
        return set(left)

    def strike_off(self, left: dict[str, None]) -> list[str]:
        """Remove what is done from ``left``. Returns how those ended."""
        statuses = self._statuses(list(left))
        ended = []
        for job_id in list(left):
            status = statuses.get(job_id)
            if status is None:
                raise unknown(job_id)
            if status in _FINAL:
                ended.append(status)
                del left[job_id]
        return ended

    async def wait_async(self, ids: Sequence[str], timeout: Any = None, return_when: str = "ALL_COMPLETED") -> set[str]:
        """:meth:`wait` without blocking the event loop."""
        loop = asyncio.get_running_loop()
        end_s = None if timeout is None else loop.time() + duration_s(timeout, "timeout", least=0.0)
        left = dict.fromkeys(ids)
        rung = asyncio.Event()
        with self.bell.listen("k") as ear:
            loop.add_reader(ear.fileno(), rung.set)
            try:
                while not _is_over(return_when, self.strike_off(left), bool(left)):
                    rest_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - loop.time())
                    if rest_s <= 0:
                        break
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(rung.wait(), rest_s)
                    rung.clear()
                    ear.drain()
            finally:
                loop.remove_reader(ear.fileno())
        return set(left)

    def wait_batch(self, number: int, timeout: Any) -> bool:
        """Wait until all jobs of a batch are done, by its kept counts. Returns False when the timeout came first."""
        end_s = None if timeout is None else time.monotonic() + duration_s(timeout, "timeout", least=0.0)
        with self.bell.listen("k") as ear:
            while True:
                with self.database.read() as db:
                    counts = reads.counts(db, number)
                if counts.done == counts.total:
                    return True
                rest_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
                if rest_s <= 0:
                    return False
                ear.wait(rest_s)
                if counts.total - counts.done > 1000:  # far from the end: not each ring is worth a look
                    time.sleep(0.005)
                    ear.drain()


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
    left = _wait(_by_queue(jobs), timeout, return_when)
    for one in jobs:
        if str(one) not in left:
            handle.arrived(one)
    return JobSet({one for one in jobs if str(one) not in left}, {one for one in jobs if str(one) in left})


def _is_over(return_when: str, ended: Sequence[str], any_left: bool) -> bool:
    if not any_left or (return_when == "FIRST_COMPLETED" and ended):
        return True
    return return_when == "FIRST_EXCEPTION" and any(status != "completed" for status in ended)


def _wait(groups: dict[JobQueue, list[str]], timeout: Any, return_when: str) -> set[str]:
    if len(groups) == 1:
        ((queue, ids),) = groups.items()
        return queue._waiting.wait(ids, timeout, return_when)
    return _wait_on_several(groups, timeout, return_when)


def _wait_on_several(groups: dict[JobQueue, list[str]], timeout: Any, return_when: str) -> set[str]:
    """:meth:`Waiting.wait` for jobs of several queues. Returns the ids that are not done."""
    end_s = None if timeout is None else time.monotonic() + duration_s(timeout, "timeout", least=0.0)
    left = {queue: dict.fromkeys(ids) for queue, ids in groups.items()}
    with contextlib.ExitStack() as stack:
        ears = [stack.enter_context(queue._waiting.bell.listen("k")) for queue in groups]
        while True:
            ended = [status for queue, ids in left.items() if ids for status in queue._waiting.strike_off(ids)]
            rest_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
            if _is_over(return_when, ended, any(left.values())) or rest_s <= 0:
                return {one for ids in left.values() for one in ids}
            select.select(ears, [], [], rest_s)
            for ear in ears:
                ear.drain()


async def _first_of_several(groups: dict[JobQueue, list[str]], rest_s: float | None) -> set[str]:
    """The same in an event loop, until the first one is done."""
    tasks = [asyncio.create_task(queue._waiting.wait_async(ids, rest_s, "FIRST_COMPLETED")) for queue, ids in groups.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    left: set[str] = set()
    for ids, result in zip(groups.values(), results, strict=True):
        if isinstance(result, asyncio.CancelledError):
            left |= set(ids)
        elif isinstance(result, BaseException):
            raise result
        else:
            left |= result
    return left


class as_completed:  # noqa: N801 - named as in concurrent.futures
    """Yield jobs as they end: ``for job in as_completed(sweep)`` or ``async for job in as_completed(sweep)``."""

    def __init__(self, handles: Iterable[JobHandle | Batch], timeout: Any = None) -> None:
        self._jobs = list(dict.fromkeys(flat(handles)))
        self._timeout_s = None if timeout is None else duration_s(timeout, "timeout", least=0.0)

    def __iter__(self) -> Iterator[JobHandle]:
        end_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        left = {str(one): one for one in self._jobs}
        while left:
            rest_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            open_ = _wait(_by_queue(left.values()), rest_s, "FIRST_COMPLETED")
            ended = [one for one in left if one not in open_]
            if not ended:
                raise WaitTimeout(self._not_done(left))
            for one in ended:
                yield left.pop(one)

    def _not_done(self, left: dict[str, JobHandle]) -> str:
        notes = dict.fromkeys(queue._waiting.while_paused() for queue in _by_queue(left.values()))
        return f"{len(left)} of {len(self._jobs)} jobs are not done; they go on{''.join(notes)}"

    async def __aiter__(self) -> Any:
        left = {str(one): one for one in self._jobs}
        end_s = None if self._timeout_s is None else asyncio.get_running_loop().time() + self._timeout_s
        while left:
            rest_s = None if end_s is None else max(0.0, end_s - asyncio.get_running_loop().time())
            open_ = await _first_of_several(_by_queue(left.values()), rest_s)
            ended = [one for one in left if one not in open_]
            if not ended:
                raise WaitTimeout(self._not_done(left))
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
        self._open: dict[str, list[_JobFuture]] = {}
        self._thread: threading.Thread | None = None

    def future(self, job: JobHandle) -> concurrent.futures.Future[Any]:
        """A future that follows the job; cancelling it cancels the job."""
        future = _JobFuture(job)
        with self._lock:
            self._open.setdefault(str(job), []).append(future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="gigq_nb futures", daemon=True)
                self._thread.start()
        return future

    def _follow(self) -> None:
        failures = 0
        while True:
            with self._lock:
                ids = list(self._open)
                if not ids:
                    self._thread = None
                    return
            try:
                statuses = self._queue._waiting.statuses_after_change(ids, 0.5)
            except Exception as error:
                failures += 1
                if failures >= MOST_FAILURES:
                    self._end_all(error)
                    return
                time.sleep(0.1)  # the queue was closed meanwhile (it opens again), or its file is locked
                continue
            failures = 0
            for job_id in ids:
                status = statuses.get(job_id)
                if status == "running":
                    self._begin(job_id)
                elif status in _FINAL or status is None:
                    self._end(job_id, status)

    def _begin(self, job_id: str) -> None:
        with self._lock:
            futures = list(self._open.get(job_id, ()))
        for future in futures:
            future.begin()

    def _end(self, job_id: str, status: str | None) -> None:
        with self._lock:
            futures = self._open.pop(job_id, [])
        for future in futures:
            if status == "cancelled":
                future.end_cancelled()
            elif future.begin():
                try:
                    future.set_result(self._queue._loader.load(job_id))
                except BaseException as error:
                    future.set_exception(error)

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            futures = [one for some in self._open.values() for one in some]
            self._open.clear()
            self._thread = None
        for future in futures:
            if future.begin():
                future.set_exception(JobFailed(f"the job can no longer be followed: {error}"))


class _JobFuture(concurrent.futures.Future[Any]):
    """A future whose ``cancel`` reaches the job. It is moved by the caller and by the thread that follows its job."""

    def __init__(self, job: JobHandle) -> None:
        super().__init__()
        self.job = job
        self._moves = threading.Lock()

    def begin(self) -> bool:
        """Its job runs. False: it is over already."""
        with self._moves:
            if self.done():
                return False
            return self.running() or self.set_running_or_notify_cancel()

    def end_cancelled(self) -> None:
        """Its job was cancelled."""
        with self._moves:
            if self.done():
                return
            if super().cancel():
                # As an executor's thread does when it comes to a cancelled future: only now wait() and as_completed() see it.
                self.set_running_or_notify_cancel()
            else:
                self.set_exception(concurrent.futures.CancelledError())

    def cancel(self) -> bool:
        """Cancel the job if it has not begun. What runs is not cancelled through its future; ``job.cancel()`` does that."""
        if not self.done() and not self.running() and self.job.status is JobStatus.PENDING and self.job.cancel():
            self.end_cancelled()
        return self.cancelled()
