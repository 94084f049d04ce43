"""``JobQueue``: one SQLite file, with the verbs of its users. Every number and text it returns is read from the file."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import loading, payload
from .compat import execution_dict, job_dict
from .errors import InvalidArgument, InvalidType, JobNotFound, NotConnected
from .given import moment_ms, statuses, text_id, unknown
from .handle import Batch, JobHandle
from .job import BatchRow, Counts, ExecutionRow, Job, JobRow
from .policies import clean_name, duration_s, whole_number
from .states import FINAL, JobStatus
from .store import pausing, pruning, reads, transitions
from .store.db import Database
from .store.filesystem import Spill
from .store.opening import resolve
from .submission import Submitter, calls
from .task import Task, holds_nothing
from .waiting import Futures, Waiting

if TYPE_CHECKING:
    import pandas as pd

    from .runtime.bell import Bell

_YOUNG_MS = 3_600_000  # a file beside the database that is younger may be of a submit that is under way
_FINAL = frozenset(status.value for status in FINAL)


class JobQueue:
    """One queue file: submit, look, wait, cancel, retry.

    Args:
        db_path: The file; made with mode 0600 when it is not there.
        initialize: Make a missing file (GigQ's parameter).
        durability: ``"power"``: an acknowledged submit survives a power cut (fsync before the answer).
            ``"process"``: it survives the death of every process, but not a power cut.

    Raises:
        NotAQueue, QueueTooNew, QueueReadOnly, NetworkFileSystem, …: what is there cannot be used, and was left untouched.
    """

    def __init__(self, db_path: Any = "gigq.db", initialize: bool = True, *, durability: str = "power") -> None:
        if durability not in ("power", "process"):
            raise InvalidArgument("durability is 'power' (fsync before each answer) or 'process'")
        self._database = Database(db_path, create=initialize, durable=durability == "power")
        self._durability = durability
        self._submitter: Submitter | None = None

    @property
    def path(self) -> Path:
        """The absolute path of the file."""
        return self._database.path

    @property
    def db_path(self) -> str:
        """The path as GigQ's users know it."""
        return str(self._database.path)

    def __reduce__(self) -> Any:
        return functools.partial(JobQueue, durability=self._durability), (str(self.path), False)

    # ------------------------------------------------------------------------------------------ submitting

    def submit(self, what: Job | Task | Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """Submit a :class:`Job`, or a function with its arguments. When it returns, the job is on the disk.

        Args:
            what: A Job, a ``@task``, or any callable.
            args: Positional arguments; a handle among them is a parent, and arrives as its result.
            kwargs: Keyword arguments, likewise.

        Raises:
            NotSerializable: names what cannot leave this process; nothing was stored.
            JobNotFound, CycleError: a dependency is unknown or circular; nothing was stored.
            InvalidType, InvalidArgument: the arguments do not fit the function.
        """
        now = _now_ms()
        if isinstance(what, Job):
            if args or kwargs:
                raise InvalidType("a Job has its arguments in params; submit(job) takes no others")
            task, job = self._submit.from_job(what, now)
        else:
            task, job = self._submit.from_call(what if isinstance(what, Task) else _plain_task(what), args, kwargs)
        self._submit.store([task], [job], now)
        self._bell.ring("w")
        return JobHandle(job.id, self)

    def submit_many(self, jobs: Iterable[Job], *, name: str | None = None) -> Batch:
        """Submit many :class:`Job` objects in one transaction: all of them or none.

        Args:
            jobs: They may depend on each other, in any order.
            name: What to call the batch.
        """
        some = list(jobs)
        for one in some:
            if not isinstance(one, Job):
                raise InvalidType(f"submit_many takes Job objects, not {type(one).__name__}; for calls of one function use map")
        if not some:
            raise InvalidArgument("submit_many has nothing to do: the list of jobs is empty")
        return self._submit_batch(some, clean_name(some[0].name if name is None else name), "map")

    def _submit_batch(self, jobs: Sequence[Job], name: str, kind: str) -> Batch:
        now = _now_ms()
        pairs = [self._submit.from_job(one, now) for one in jobs]
        tasks = {task.digest: task for task, _ in pairs}
        number = self._submit.store(list(tasks.values()), [job for _, job in pairs], now, batch=(name, kind))
        self._bell.ring("w")
        assert number is not None
        return Batch(self, number, [job.id for _, job in pairs])

    def _submit_cell(self, task: Task, variables: Any, source: str, cells: dict[str, str], parents: dict[str, str]) -> JobHandle:
        made = self._submit.from_cell(task, variables, source, cells, parents)
        self._submit.store([made[0]], [made[1]], _now_ms())
        self._bell.ring("w")
        return JobHandle(made[1].id, self)

    def map(
        self,
        function: Task | Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        product: bool = False,
        batch_name: str | None = None,
        **lists: Iterable[Any],
    ) -> Batch:
        """One job for each set of arguments, in one transaction.

        Args:
            function: A ``@task`` or any callable.
            iterables: Positional arguments, taken in step as by the builtin ``map``; the lengths must agree.
            product: Combine all keyword lists with each other instead of taking them in step.
            batch_name: What to call the batch; the function's name if not given.
            lists: Keyword arguments, each a list: ``map(train, lr=[.1, .01], depth=[3, 5], product=True)``.

        Raises:
            InvalidArgument: the lists are empty or of different lengths.
        """
        task = function if isinstance(function, Task) else _plain_task(function)
        some = calls(iterables, lists, product)
        now = _now_ms()
        tasks, jobs = self._submit.from_calls(task, some)
        number = self._submit.store(
            tasks, jobs, now, batch=(clean_name(task.name if batch_name is None else batch_name, "batch_name"), "map")
        )
        self._bell.ring("w")
        assert number is not None
        return Batch(self, number, [job.id for job in jobs])

    @property
    def _submit(self) -> Submitter:
        if self._submitter is None:
            self._submitter = Submitter(self._database)
        return self._submitter

    @property
    def _bell(self) -> Bell:
        return self._waiting.bell

    # ------------------------------------------------------------------------------------------ looking

    def job(self, job_id: str) -> JobHandle:
        """The handle of a job by its id, or by the beginning of its id where that is unambiguous.

        Raises:
            JobNotFound: no such job, or several.
        """
        with self._database.read() as db:
            return JobHandle(reads.full_id(db, text_id(job_id)), self)

    def last(self, name: str) -> JobHandle:
        """The newest job of this name."""
        with self._database.read() as db:
            found = reads.last(db, name)
        if found is None:
            raise JobNotFound(f"no job named {name!r:.80} in this queue")
        return JobHandle(found, self)

    def mine(self, limit: int = 100) -> list[JobHandle]:
        """The newest jobs that this notebook submitted."""
        from . import submission

        notebook = submission.whereabouts()[0]
        with self._database.read() as db:
            rows = reads.jobs(db, notebook=notebook, limit=limit) if notebook else []
        return [JobHandle(row.id, self) for row in rows]

    def batch(self, number: int | str | None = None) -> Batch:
        """A batch by its number or its name (the newest of that name); the newest of all without one.

        Raises:
            JobNotFound: there is none.
        """
        with self._database.read() as db:
            if number is None:
                newest = reads.batches(db, 1)
                if not newest:
                    raise JobNotFound("no batch in this queue yet; queue.map(...) makes one")
                number = newest[0]
            elif isinstance(number, str):
                number = reads.batch_named(db, number)
            else:
                reads.batch(db, whole_number(number, "number", 1, 2**62), times=False)
        return Batch(self, number)

    def batches(self, limit: int = 20) -> list[Batch]:
        """The newest batches and workflows."""
        with self._database.read() as db:
            return [Batch(self, number) for number in reads.batches(db, limit)]

    def get_status(self, job_id: str) -> dict[str, Any]:
        """All about a job as a plain dict with GigQ's keys; ``{"exists": False}`` for an unknown id. Unpickles nothing."""
        try:
            with self._database.read() as db:
                row = reads.job(db, text_id(job_id))
                attempts = reads.executions(db, row.id)
                parents = reads.parents(db, row.id)
        except JobNotFound:
            return {"exists": False}
        return {
            **job_dict(row),
            "dependencies": parents,
            "executions": [execution_dict(one) for one in attempts],
            "exists": True,
        }

    def get_result(self, job_id: str) -> Any:
        """The result of a completed job, else None; never waits.

        Raises:
            JobNotFound: (a KeyError) unknown id.
        """
        final = self._final(text_id(job_id))
        return self._value(final) if final.status == "completed" else None

    def list_jobs(self, status: JobStatus | str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest jobs as dicts with GigQ's keys."""
        most = whole_number(limit, "limit", 1, 10**12)
        with self._database.read() as db:
            return [job_dict(row) for row in reads.jobs(db, status=statuses(status), limit=most)]

    def stats(self) -> dict[str, int]:
        """How many jobs have each status, and ``total``."""
        counts = self._counts(None)
        return {**counts.as_dict(), "total": counts.total}

    def logs(self, job_id: str, attempt: int | None = None) -> str:
        """What an attempt (the newest by default) printed so far, as text with its control characters."""
        with self._database.read() as db:
            parts, dropped = reads.log(db, reads.full_id(db, text_id(job_id)), attempt)
        if dropped and len(parts) > 1 and not any("bytes left out" in one for one in parts):
            parts.insert(1, f"\n… {dropped:,} bytes left out …\n")
        return "".join(parts)

    def jobs(
        self,
        status: JobStatus | str | Sequence[str] | None = None,
        *,
        name: str | None = None,
        batch: Batch | int | None = None,
        tag: str | None = None,
        notebook: str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """The jobs as a DataFrame, the newest first; no default limit. Filters are combined."""
        from .notebook.frames import jobs_frame

        number = batch.number if isinstance(batch, Batch) else batch
        return jobs_frame(self, status=statuses(status), name=name, batch=number, tag=tag, notebook=notebook, limit=limit)

    def executions(self, job_id: str | None = None) -> pd.DataFrame:
        """All attempts (of one job) as a DataFrame."""
        from .notebook.frames import executions_frame

        return executions_frame(self, job_id)

    def workers(self, *, gone: bool = False) -> pd.DataFrame:
        """The worker processes as a DataFrame."""
        from .notebook.frames import workers_frame

        return workers_frame(self, gone=gone)

    def sql(self, query: str, values: Any = ()) -> pd.DataFrame:
        """Read with SQL over the views ``jobs executions workers batches``; columns ending in ``_at`` are UTC times.

        Raises:
            InvalidArgument: not a SELECT, or SQLite's message about it.
        """
        from .notebook.frames import sql_frame

        return sql_frame(self, query, values)

    # ------------------------------------------------------------------------------------------ acting

    def cancel(self, job_id: str) -> bool:
        """Cancel a job, also a running one: its processes are ended. True when it is or will be cancelled.

        Raises:
            JobNotFound: unknown id.
        """
        text = text_id(job_id)
        with self._database.write() as db:
            said = transitions.cancel(db, [text], _now_ms())
        if text not in said:
            raise unknown(text)
        self._bell.ring("w")
        self._bell.ring("k")
        return said[text]

    def requeue_job(self, job_id: str) -> bool:
        """Run a job again that ended badly, with one more attempt at least; dependants that it took along come back.

        Raises:
            JobNotFound: unknown id.
            InvalidArgument: a parent of it did not complete; retry that one.
        """
        return bool(self._retry_many([text_id(job_id)]))

    def _retry_many(self, ids: Sequence[str]) -> int:
        with self._database.write() as db:
            revived = transitions.retry(db, ids, _now_ms())
        self._bell.ring("w")
        self._bell.ring("k")
        return len(revived)

    def _cancel_many(self, ids: Sequence[str]) -> int:
        with self._database.write() as db:
            said = transitions.cancel(db, ids, _now_ms())
        self._bell.ring("w")
        self._bell.ring("k")
        return sum(said.values())

    def pause(self) -> datetime:
        """Begin no more jobs, in any process, until :meth:`resume`; also after a restart. Returns since when it is paused.

        What runs goes on and ends as it does. What a child had been given and has not begun goes back, uncharged. Submits
        go on; delays and retries that come due wait. Pausing a paused queue changes nothing.
        """
        with self._database.write() as db:
            at = pausing.pause(db, _now_ms())
        self._bell.ring("w")
        self._bell.ring("k")
        return datetime.fromtimestamp(at / 1000, UTC)

    def resume(self) -> bool:
        """Let jobs begin again; workers are woken at once. False when the queue was not paused."""
        with self._database.write() as db:
            at = pausing.resume(db)
        self._bell.ring("w")
        self._bell.ring("k")
        return at is not None

    @property
    def paused(self) -> datetime | None:
        """Since when the queue is paused, in UTC; None when it is not. ``if queue.paused: queue.resume()``"""
        at = self._paused_at()
        return None if at is None else datetime.fromtimestamp(at / 1000, UTC)

    def clear_completed(self, before_timestamp: str | datetime | None = None) -> int:
        """Remove completed and cancelled jobs with all that belongs to them. Returns how many."""
        before = None if before_timestamp is None else moment_ms(before_timestamp)
        return self._prune(("completed", "cancelled"), before)

    def prune(self, older_than: Any, status: JobStatus | str | Sequence[str] | None = None) -> int:
        """Remove jobs that ended longer ago than this, with their attempts, logs, payloads and files.

        Args:
            older_than: Seconds, ``"30d"`` or a timedelta.
            status: Only these final statuses; all four if not given.
        """
        age_s = duration_s(older_than, "older_than", least=0.0, most=100 * 365 * 86_400)
        chosen = statuses(status) or tuple(sorted(_FINAL))
        if not set(chosen) <= _FINAL:
            raise InvalidArgument("prune removes jobs that are done: completed, failed, timeout or cancelled")
        return self._prune(chosen, _now_ms() - int(age_s * 1000))

    def _prune(self, chosen: Sequence[str], before: int | None) -> int:
        spill = Spill(self.path)
        with self._database.write() as db:
            removed, files = pruning.prune(db, chosen, before)
        for name in files:
            spill.remove(name)
        if spill.names():
            with self._database.read() as db:
                pruning.sweep(db, spill, _now_ms() - _YOUNG_MS)
        return removed

    def backup(self, path: Any) -> Path:
        """A consistent copy of the file, under load, too. Returns its path.

        Raises:
            InvalidArgument: something is there already.
        """
        target = resolve(path)
        if target.exists():
            raise InvalidArgument(f"{target} is there already; name a new file for the backup")
        self._database.backup(target)
        files = self._submit.spill
        if files.names():
            files.copy_to(target)
        return target

    def start_worker(self, concurrency: int | None = None, **options: Any) -> Any:
        """Start a worker process for this queue, or find the one that runs; it outlives this process.

        Args:
            concurrency: Children; the number of this machine's cores if not given.
            options: ``any_environment``, ``stop_grace``, ``polling_interval``, ``env``.

        Raises:
            WorkerFailed: it could not start; the message has the end of its log.
        """
        from .runtime.launcher import start_worker

        return start_worker(self, concurrency, **options)

    def stop_worker(self, *, now: bool = False, timeout: Any = 30) -> int:
        """Ask all workers of this queue to stop, and wait until they did. Returns how many stopped.

        Args:
            now: Do not give running jobs their grace period.
            timeout: Seconds to wait.
        """
        from .runtime.launcher import stop_workers

        return stop_workers(self, now=now, timeout_s=duration_s(timeout, "timeout", least=0.0))

    def executor(self, **options: Any) -> Any:
        """A :class:`concurrent.futures.Executor` (PEP 3148) on this queue; options as for ``@task``."""
        from .executor import QueueExecutor

        return QueueExecutor(self, **options)

    def close(self) -> None:
        """Give the file back. The queue opens it again when it is used again."""
        self._database.close()
        self._waiting.close()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<queue {self.path}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        from .notebook.display import mimebundle

        return mimebundle(self)

    def _ipython_display_(self) -> None:
        from .notebook.display import show

        show(self)

    # ------------------------------------------------------------------------------------------ for handles and views

    def _paused_at(self) -> int | None:
        with self._database.read() as db:
            return pausing.paused_at(db)

    def _row(self, job_id: str) -> JobRow:
        with self._database.read() as db:
            return reads.job(db, job_id)

    def _executions(self, job_id: str) -> list[ExecutionRow]:
        with self._database.read() as db:
            return reads.executions(db, job_id)

    def _batch_ids(self, number: int) -> list[str]:
        with self._database.read() as db:
            return reads.batch_ids(db, number)

    def _batch_row(self, number: int) -> BatchRow:
        with self._database.read() as db:
            return reads.batch(db, number)

    def _counts(self, number: int | None) -> Counts:
        with self._database.read() as db:
            return reads.counts(db, number)

    def _unsuccessful(self, number: int | None, limit: int) -> list[JobRow]:
        with self._database.read() as db:
            return reads.unsuccessful(db, number, limit)

    def _final(self, job_id: str) -> reads.Final:
        with self._database.read() as db:
            found = reads.finals(db, ids=[job_id])
        if not found:
            raise unknown(job_id)
        return found[0]

    def _value(self, final: reads.Final) -> Any:
        __tracebackhide__ = True
        return loading.value_of(final, self._submit.key, self._submit.spill)

    def _load(self, job_id: str) -> Any:
        __tracebackhide__ = True
        return self._value(self._final(job_id))

    def _load_batch(self, number: int, *, raising: bool) -> list[Any]:
        with self._database.read() as db:
            finals = reads.finals(db, batch=number)
        values = []
        for final in finals:
            try:
                values.append(self._value(final))
            except BaseException as error:
                if raising or isinstance(error, KeyboardInterrupt):
                    raise
                values.append(error)
        return values

    def _arguments(self, ids: Sequence[str]) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]] | None]:
        """Arguments by id, for their owner: verified first; None for what is not ours or does not load."""
        key, spill = self._submit.key, self._submit.spill
        with self._database.read() as db:
            rows = reads.arguments(db, ids)
        found: dict[str, tuple[tuple[Any, ...], dict[str, Any]] | None] = {}
        for job_id, (digest, packed, size, signature) in rows.items():
            found[job_id] = None
            with contextlib.suppress(Exception):
                data = packed if packed is not None else spill.read(f"arguments-{job_id}", size)
                if payload.verify(key, signature, payload.SLOT_JOB, job_id, digest, data):
                    found[job_id] = payload.unpack_here(data)
        return found

    @functools.cached_property
    def _waiting(self) -> Waiting:
        return Waiting(self._database)

    @functools.cached_property
    def _futures(self) -> Futures:
        return Futures(self)


# ---------------------------------------------------------------------------------------------- the connected queue

_current: JobQueue | None = None


def connect(path: Any = "jobs.db", *, durability: str = "power") -> JobQueue:
    """Open or create a queue and make it the connected one, which ``task.submit()`` and ``%gigq`` use."""
    global _current
    _current = JobQueue(path, durability=durability)
    return _current


def current() -> JobQueue:
    """The connected queue.

    Raises:
        NotConnected: none is.
    """
    if _current is None:
        raise NotConnected("no queue is connected: run %gigq connect jobs.db, or pass a JobQueue as the first argument")
    return _current


# ---------------------------------------------------------------------------------------------- small conversions


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@functools.lru_cache(maxsize=64)
def _cached_task(function: Callable[..., Any]) -> Task:
    return Task(function)


def _plain_task(function: Any) -> Task:
    return _cached_task(function) if holds_nothing(function) else Task(function)
