"""``JobQueue``: one SQLite file, with the verbs of its users. Every number and text it returns is read from the file."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import finding, submission, upkeep
from .compat import job_dict, status_dict
from .errors import GigQError, InvalidArgument, InvalidType
from .given import moment_ms, statuses, text_id, unknown
from .handle import Batch, JobHandle
from .job import Job, JobRow
from .loading import Loader
from .policies import clean_name, duration_s, whole_number
from .states import FINAL, JobStatus
from .store import pausing, reads, transitions
from .store.db import Database
from .store.submissions import NewJob, NewTask
from .task import Task, as_task
from .waiting import Futures, Waiting

if TYPE_CHECKING:
    import pandas as pd

    from .runtime.bell import Bell

Said = TypeVar("Said")
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
        return self._store(*self._submit.prepare(what, args, kwargs, now), now)

    def submit_once(self, key: str, what: Job | Task | Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """Submit as :meth:`submit` does, unless a job stands under this key already: then that job is returned.

        Running the cell again does no harm, in whatever kernel. The job keeps its key whatever becomes of it (``retry()``
        runs it again) until it is pruned. Code and arguments are not compared: what is new gets a new key.
        """
        if (held := finding.held(self, key)) is not None:
            return held
        now = _now_ms()
        return self._store(*self._submit.prepare(what, args, kwargs, now), now, key)

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
        return self._store_batch(*self._submit.from_jobs(jobs, now), now, name, kind)

    def _submit_cell(
        self, task: Task, variables: Any, source: str, cells: dict[str, str], parents: dict[str, str], key: str | None
    ) -> JobHandle:
        return self._store(*self._submit.from_cell(task, variables, source, cells, parents), _now_ms(), key)

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
        task = as_task(function)
        tasks, jobs = self._submit.from_calls(task, submission.calls(iterables, lists, product))
        name = clean_name(task.name if batch_name is None else batch_name, "batch_name")
        return self._store_batch(tasks, jobs, _now_ms(), name, "map")

    def _store(self, task: NewTask, job: NewJob, now: int, key: str | None = None) -> JobHandle:
        return JobHandle(self._submit.store_one(task, job, now, key), self)

    def _store_batch(self, tasks: Sequence[NewTask], jobs: Sequence[NewJob], now: int, name: str, kind: str) -> Batch:
        number = self._submit.store(tasks, jobs, now, batch=(name, kind))
        assert number is not None
        return Batch(self, number, [job.id for job in jobs])

    # ------------------------------------------------------------------------------------------ looking

    def job(self, job_id: str) -> JobHandle:
        """The handle of a job by its id, or by the beginning of its id where that is unambiguous.

        Raises:
            JobNotFound: no such job, or several.
        """
        return finding.job(self, job_id)

    def last(self, name: str | None = None, *, tag: str | None = None, key: str | None = None) -> JobHandle:
        """The newest job, of this name, with this tag, or under this key (see :meth:`submit_once`)."""
        return finding.last(self, name, tag, key)

    def mine(self, limit: int = 100, *, name: str | None = None, tag: str | None = None) -> list[JobHandle]:
        """The newest jobs that this notebook submitted, of this name, with this tag."""
        return finding.mine(self, limit, name, tag)

    def batch(self, number: int | str | None = None) -> Batch:
        """A batch by its number or its name (the newest of that name); the newest of all without one.

        Raises:
            JobNotFound: there is none.
        """
        return finding.batch(self, number)

    def batches(self, limit: int = 20) -> list[Batch]:
        """The newest batches and workflows."""
        return finding.batches(self, limit)

    def get_status(self, job_id: str) -> dict[str, Any]:
        """All about a job as a plain dict with GigQ's keys; ``{"exists": False}`` for an unknown id. Unpickles nothing."""
        return status_dict(self, job_id)

    def get_result(self, job_id: str) -> Any:
        """The result of a completed job, else None; never waits.

        Raises:
            JobNotFound: (a KeyError) unknown id.
        """
        final = self._waiting.now(text_id(job_id))
        return self._loader.value(final) if final.status == "completed" else None

    def list_jobs(self, status: JobStatus | str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest jobs as dicts with GigQ's keys."""
        most = whole_number(limit, "limit", 1, 10**12)
        with self._database.read() as db:
            return [job_dict(row) for row in reads.jobs(db, status=statuses(status), limit=most)]

    def stats(self) -> dict[str, int]:
        """How many jobs have each status, and ``total``."""
        with self._database.read() as db:
            counts = reads.counts(db)
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
        said = self._act(lambda db: transitions.cancel(db, [text], _now_ms()))
        if text not in said:
            raise unknown(text)
        return said[text]

    def requeue_job(self, job_id: str) -> bool:
        """Run a job again that ended badly, with one more attempt at least; dependants that it took along come back.

        Raises:
            JobNotFound: unknown id.
            InvalidArgument: a parent of it did not complete; retry that one.
        """
        return bool(self._retry_many([text_id(job_id)]))

    def _retry_many(self, ids: Sequence[str]) -> int:
        return len(self._act(lambda db: transitions.retry(db, ids, _now_ms())))

    def _cancel_many(self, ids: Sequence[str]) -> int:
        return sum(self._act(lambda db: transitions.cancel(db, ids, _now_ms())).values())

    def _act(self, move: Callable[[transitions.Db], Said]) -> Said:
        """A change in one transaction; then workers look what to run or to stop, and whoever waits, what ended."""
        with self._database.write() as db:
            said = move(db)
        self._bell.ring("w")
        self._bell.ring("k")
        return said

    def pause(self) -> datetime:
        """Begin no more jobs, in any process, until :meth:`resume`; also after a restart. Returns since when it is paused.

        What runs goes on and ends as it does. What a child had been given and has not begun goes back, uncharged. Submits
        go on; delays and retries that come due wait. Pausing a paused queue changes nothing.
        """
        at = self._act(lambda db: pausing.pause(db, _now_ms()))
        return datetime.fromtimestamp(at / 1000, UTC)

    def resume(self) -> bool:
        """Let jobs begin again; workers are woken at once. False when the queue was not paused."""
        return self._act(pausing.resume) is not None

    @property
    def paused(self) -> datetime | None:
        """Since when the queue is paused, in UTC; None when it is not. ``if queue.paused: queue.resume()``"""
        at = self._paused_at()
        return None if at is None else datetime.fromtimestamp(at / 1000, UTC)

    def clear_completed(self, before_timestamp: str | datetime | None = None) -> int:
        """Remove completed and cancelled jobs with all that belongs to them. Returns how many."""
        before = None if before_timestamp is None else moment_ms(before_timestamp)
        return upkeep.prune(self._database, ("completed", "cancelled"), before, _now_ms())

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
        now = _now_ms()
        return upkeep.prune(self._database, chosen, now - int(age_s * 1000), now)

    def backup(self, path: Any) -> Path:
        """A consistent copy of the file, under load, too. Returns its path.

        Raises:
            InvalidArgument: something is there already.
        """
        return upkeep.backup(self._database, path)

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

    # ------------------------------------------------------------------------------------------ what it is made of

    @functools.cached_property
    def _submit(self) -> submission.Submitter:
        return submission.Submitter(self._database, self._announce)

    @functools.cached_property
    def _waiting(self) -> Waiting:
        return Waiting(self._database)

    @functools.cached_property
    def _futures(self) -> Futures:
        return Futures(self)

    @functools.cached_property
    def _loader(self) -> Loader:
        return Loader(self)

    def _announce(self) -> None:
        """Wake the workers. It was stored, and must not look as if it was not: who is not woken looks by itself."""
        with contextlib.suppress(OSError, GigQError):
            self._bell.ring("w")

    @property
    def _bell(self) -> Bell:
        return self._waiting.bell

    # ------------------------------------------------------------------------------------------ for views

    def _paused_at(self) -> int | None:
        with self._database.read() as db:
            return pausing.paused_at(db)

    def _unsuccessful(self, number: int | None, limit: int) -> list[JobRow]:
        with self._database.read() as db:
            return reads.unsuccessful(db, number, limit)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
