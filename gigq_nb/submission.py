"""From a function and its arguments to rows: packed, measured, signed, before anything is written."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import captures, packing, payload
from .errors import InvalidArgument, InvalidType, NotSerializable, QueueReplaced, Unsynced
from .job import Job, Options, new_ids
from .store import keys, submissions
from .store.db import Database
from .store.filesystem import SPILL_BYTES, Spill
from .store.submissions import NewJob, NewTask
from .task import Task, as_task, refuse_misfit, refuse_uncallable


def _nowhere() -> tuple[str | None, str | None]:
    return None, None


#: Tells in which notebook and cell a submit happens; the notebook surface sets it.
whereabouts: Callable[[], tuple[str | None, str | None]] = _nowhere


class CaptureWarning(UserWarning):
    """A function takes more than 10 MB along. The message names the variable; save it to a file and pass the path."""


class Submitter:
    """Prepares and stores submissions for one queue; ``announce`` wakes its workers."""

    def __init__(self, database: Database, announce: Callable[[], object]) -> None:
        self.database = database
        self.announce = announce
        self.spill = Spill(database.path)
        self.key = payload.load_key()
        self.key_id = payload.key_id(self.key)
        self._numbers: dict[bytes, int] = {}
        self._runtime: int | None = None
        self._stored: set[bytes] = set()
        self._tasks: dict[tuple[Any, ...], tuple[Options, NewTask]] = {}

    # ------------------------------------------------------------------------------------------ preparing

    def new_task(self, task: Task, *, quiet_parents: bool = False) -> NewTask:
        """What is stored of a task: its function packed, with the place and the options it starts with.

        Raises:
            NotSerializable: names what cannot leave the process.
        """
        packed = packing.pack_function(task.function, task.by_value)
        options = task.options
        if quiet_parents and options.pass_parent_results is None and not _names_parent_results(task.function):
            options = replace(options, pass_parent_results=False)
        folder, sys_path = _place()
        notebook, cell = whereabouts()
        key = (packed.digest, task.name, id(task.options), options is task.options, folder, sys_path, notebook, cell)
        known = self._tasks.get(key)
        if known is not None and known[0] is task.options:
            return known[1]
        if packed.digest not in self._stored and (text := captures.size_warning(task.function, len(packed.payload))):
            warnings.warn(text, CaptureWarning, stacklevel=5)
        options_text = options.as_json()
        new = NewTask(
            digest=payload.task_digest(packed.digest, task.name, folder, sys_path, options_text, notebook, cell),
            name=task.name,
            function_digest=packed.digest,
            function_name=packed.name,
            function_payload=packed.payload,
            function_size=len(packed.payload),
            source=packed.source,
            cells=json.dumps(packed.cells),
            folder=folder,
            sys_path=sys_path,
            notebook=notebook,
            cell=cell,
            options=options_text,
        )
        if len(self._tasks) > 1000:
            self._tasks.clear()
        self._tasks[key] = (task.options, new)
        return new

    def new_job(
        self,
        job_id: str,
        task: NewTask,
        arguments: bytes,
        *,
        priority: int,
        max_attempts: int,
        run_at: int | None = None,
        parents: Mapping[str, str] | None = None,
    ) -> NewJob:
        """A signed job; arguments too large for a row are on the disk when this returns."""
        signature = payload.sign(self.key, payload.SLOT_JOB, job_id, task.digest, arguments)
        stored: bytes | None = arguments
        if len(arguments) > SPILL_BYTES:
            self.spill.write(f"arguments-{job_id}", arguments)
            stored = None
        return NewJob(job_id, task.digest, stored, len(arguments), signature, priority, max_attempts, run_at, parents)

    def prepare(
        self, what: Job | Task | Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], now: int
    ) -> tuple[NewTask, NewJob]:
        """Whatever ``queue.submit`` takes: a :class:`Job`, or something to call with its arguments."""
        if not isinstance(what, Job):
            return self.from_call(as_task(what), args, kwargs)
        if args or kwargs:
            raise InvalidType("a Job has its arguments in params; submit(job) takes no others")
        return self.from_job(what, now)

    def from_jobs(self, jobs: Iterable[Job], now: int) -> tuple[list[NewTask], list[NewJob]]:
        """Many :class:`Job` objects; a task that several of them have is stored once."""
        pairs = [self.from_job(one, now) for one in jobs]
        return list({task.digest: task for task, _ in pairs}.values()), [job for _, job in pairs]

    def from_job(self, job: Job, now: int) -> tuple[NewTask, NewJob]:
        """A GigQ-style :class:`Job`; handles in its ``params`` stay ids."""
        refuse_uncallable(job.function)
        task = _task_of(job)
        injected = job.options.pass_parent_results is not False
        refuse_misfit(job.function, job.args, job.params, injected and bool(job.dependencies))
        new = self.new_task(task)
        arguments, _ = packing.pack_arguments(job.args, job.params, follow=False)
        run_at = None if job.delay_s is None else now + int(job.delay_s * 1000)
        parents = dict.fromkeys(job.dependencies, "cancel") or None
        if parents and job.id in parents:
            raise InvalidArgument(f"job {job.name!r} depends on itself")
        made = self.new_job(
            job.id, new, arguments, priority=job.priority, max_attempts=job.options.max_attempts, run_at=run_at, parents=parents
        )
        return new, made

    def from_call(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[NewTask, NewJob]:
        """``queue.submit(fn, *args, **kwargs)``: handles among the arguments become parents."""
        refuse_misfit(task.function, args, dict(kwargs), True)
        arguments, parents = packing.pack_arguments(args, kwargs)
        new = self.new_task(task, quiet_parents=bool(parents))
        made = self.new_job(
            new_ids.take(1)[0],
            new,
            arguments,
            priority=task.priority,
            max_attempts=task.options.max_attempts,
            parents=dict.fromkeys(parents, "cancel") or None,
        )
        return new, made

    def from_cell(
        self, task: Task, variables: Any, source: str, cells: Mapping[str, str], parents: Mapping[str, str]
    ) -> tuple[NewTask, NewJob]:
        """A notebook's cell: ``parents`` says of each job it waits for whether that one's bad end cancels it."""
        arguments, _ = packing.pack_arguments((variables,), {}, follow=False)
        new = replace(self.new_task(task), source=source, cells=json.dumps(dict(cells)))
        made = self.new_job(
            new_ids.take(1)[0],
            new,
            arguments,
            priority=task.priority,
            max_attempts=task.options.max_attempts,
            parents=dict(parents) or None,
        )
        return new, made

    def from_calls(
        self, task: Task, calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> tuple[list[NewTask], list[NewJob]]:
        """Many calls of one task: its function is packed once."""
        some = list(calls)
        if not some:
            raise InvalidArgument("map has nothing to do: the lists of arguments are empty")
        for args, kwargs in (some[0], some[-1]):
            refuse_misfit(task.function, args, dict(kwargs), True)
        plain = self.new_task(task)
        quiet: NewTask | None = None
        made = []
        for job_id, (args, kwargs) in zip(new_ids.take(len(some)), some, strict=True):
            arguments, parents = packing.pack_arguments(args, kwargs)
            new = plain
            if parents:
                new = quiet = quiet or self.new_task(task, quiet_parents=True)
            made.append(
                self.new_job(
                    job_id,
                    new,
                    arguments,
                    priority=task.priority,
                    max_attempts=task.options.max_attempts,
                    parents=dict.fromkeys(parents, "cancel") if parents else None,
                )
            )
        return [one for one in (plain, quiet) if one is not None], made

    # ------------------------------------------------------------------------------------------ storing

    def store(
        self,
        tasks: Sequence[NewTask],
        jobs: Sequence[NewJob],
        now: int,
        *,
        batch: tuple[str, str] | None = None,
        key: str | None = None,
    ) -> int | None:
        """All of it in one transaction. ``batch`` is (name, kind) of a new batch. Returns the batch's number.

        Raises:
            JobNotFound, CycleError, KeyHeld: and nothing is stored.
        """
        try:
            try:
                return self._store(tasks, jobs, now, batch, key)
            except submissions.StaleNumber:
                self._forget()
                return self._store(tasks, jobs, now, batch, key)
        except (Unsynced, QueueReplaced):  # it may have been committed, and need its files; sweep() knows
            self._forget()
            raise
        except Exception:
            self._forget()
            for job in jobs:  # an interrupt may come after the commit: then the row names the file, and sweep() knows
                if job.arguments is None:
                    self.spill.remove(f"arguments-{job.id}")
            raise
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """Numbers may be of tasks that were pruned meanwhile, or of a transaction that was rolled back."""
        self._numbers.clear()
        self._stored.clear()
        self._runtime = None

    def store_one(self, task: NewTask, job: NewJob, now: int, key: str | None = None) -> str:
        """One job; under a key, this one or that which stands there already. Returns its id."""
        try:
            self.store([task], [job], now, key=key)
        except keys.KeyHeld as held:
            return held.job_id
        return job.id

    def _store(
        self, tasks: Sequence[NewTask], jobs: Sequence[NewJob], now: int, batch: tuple[str, str] | None, key: str | None
    ) -> int | None:
        for task in tasks:
            if (
                task.function_size > SPILL_BYTES
                and task.function_payload is not None
                and task.function_digest not in self._stored
            ):
                self.spill.write(f"function-{task.function_digest.hex()}", task.function_payload)
        # Who finds a key in the file takes its job for submitted: a key is not seen before its fsync.
        with self.database.write(early=self.announce if key is None else None) as db:
            if key is not None:
                keys.refuse_held(db, key)
            if self._runtime is None:
                self._runtime = submissions.runtime_id(db, self.key_id, payload.PYTHON, sys.prefix)
            numbers = {}
            for task in tasks:
                number = self._numbers.get(task.digest)
                if number is None:
                    new = task if task.function_size <= SPILL_BYTES else replace(task, function_payload=None)
                    number = submissions.task_id(db, new)
                numbers[task.digest] = number
            batch_number = None
            if batch is not None:
                batch_number = submissions.new_batch(db, *batch, *whereabouts(), now)
            submissions.submit(db, jobs, numbers, self._runtime, batch_number, now)
            if key is not None:
                keys.hold(db, key, jobs[0].id)
        if key is not None:
            self.announce()
        if len(self._numbers) > 5000:
            self._numbers.clear()
        self._numbers.update(numbers)
        self._stored.update(task.function_digest for task in tasks)
        return batch_number


def stored(head: str, body: str) -> str:
    """The text of a cell, its first line being ``head``, as the file keeps it."""
    return f"{head}\n{body}"[:100_000].replace("\0", "")


def _task_of(job: Job) -> Task:
    task = Task.__new__(Task)
    task.function, task.name, task.priority, task.by_value, task.options = job.function, job.name, job.priority, (), job.options
    return task


def _names_parent_results(function: Callable[..., Any]) -> bool:
    try:
        return "parent_results" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


#: sys.path, the folder, and what became of them: the same from one submit to the next, nearly always.
_last_place: tuple[list[str], str, str] = ([], "", "")


def _place() -> tuple[str, str]:
    """(folder, sys.path as JSON) of whoever submits."""
    try:
        folder = os.getcwd()
    except OSError:
        raise NotSerializable("the current folder is gone, so a job could not start in it; change to another one") from None
    global _last_place
    path, where, text = _last_place
    if where != folder or path != sys.path:
        absolute = [os.path.abspath(os.path.join(folder, one)) if one else folder for one in sys.path if isinstance(one, str)]
        text = json.dumps(absolute)
        _last_place = (list(sys.path), folder, text)
    return folder, text


def calls(iterables: Sequence[Any], lists: dict[str, Any], product: bool) -> Iterable[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The sets of arguments of a ``map``: lists in step, or all combinations of keyword lists."""
    for name, values in [*((f"argument {i + 1}", one) for i, one in enumerate(iterables)), *lists.items()]:
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise InvalidType(
                f"map takes a list of values for {name}, not {type(values).__name__}; for one value write [{values!r:.40}]"
            )
    if product:
        if iterables:
            raise InvalidArgument("product=True combines keyword lists; name the arguments: map(f, x=[…], y=[…], product=True)")
        return [((), dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())] if lists else []
    try:
        columns = list(zip(*iterables, *lists.values(), strict=True))
    except ValueError:
        sizes = ", ".join(str(len(list(one))) for one in [*iterables, *lists.values()] if hasattr(one, "__len__"))
        raise InvalidArgument(
            f"map takes its lists in step, and their lengths differ ({sizes}); product=True combines them"
        ) from None
    n = len(iterables)
    if not lists:
        return [(values, {}) for values in columns]
    return [(values[:n], dict(zip(lists, values[n:], strict=True))) for values in columns]
