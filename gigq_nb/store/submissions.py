"""The move into the file: submit (-> pending), with the functions, tasks and batches that jobs refer to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CycleError, JobNotFound, PayloadRefused
from ..failpoints import failpoint
from ..states import UNSUCCESSFUL, JobStatus
from .counting import count

Db = sqlite3.Connection


@dataclass(frozen=True, slots=True)
class NewTask:
    """A function with a name, a place to start in and options; ``digest`` covers all that matters to a signature."""

    digest: bytes
    name: str
    function_digest: bytes
    function_name: str
    function_payload: bytes | None
    function_size: int
    source: str
    cells: str
    folder: str
    sys_path: str
    notebook: str | None
    cell: str | None
    options: str


@dataclass(slots=True)
class NewJob:
    """A job on its way into the file. ``parents``: ids in the file or in the same submission, with what a bad end does."""

    id: str
    task: bytes
    arguments: bytes | None
    size: int
    signature: bytes
    priority: int
    max_attempts: int
    run_at: int | None = None
    parents: Mapping[str, str] | None = None


class StaleNumber(Exception):
    """A remembered number of a task is of one that was pruned meanwhile: ask for it again."""


def runtime_id(db: Db, key_id: str, python: str, prefix: str) -> int:
    """The number of a runtime; made when it is new."""
    db.execute("insert into runtimes (key_id, python, prefix) values (?, ?, ?) on conflict do nothing", (key_id, python, prefix))
    row = db.execute(
        "select id from runtimes where key_id = ? and python = ? and prefix = ?", (key_id, python, prefix)
    ).fetchone()
    return int(row[0])


def task_id(db: Db, task: NewTask) -> int:
    """The number of a task; it and its function are stored when they are new.

    Raises:
        PayloadRefused: the stored function has other bytes than its digest says: somebody wrote to the file.
    """
    row = db.execute("select id from tasks where digest = ?", (task.digest,)).fetchone()
    if row is not None:
        return int(row[0])
    row = db.execute("select id, size from functions where digest = ?", (task.function_digest,)).fetchone()
    if row is None:
        function = db.execute(
            "insert into functions (digest, name, payload, size, source, cells) values (?, ?, ?, ?, ?, ?)",
            (task.function_digest, task.function_name, task.function_payload, task.function_size, task.source, task.cells),
        ).lastrowid
    elif row[1] != task.function_size:
        raise PayloadRefused(f"the stored bytes of {task.function_name} are damaged; use another file and restore a backup")
    else:
        function = row[0]
    stored = db.execute(
        "insert into tasks (digest, function, name, folder, sys_path, notebook, cell, options) values (?, ?, ?, ?, ?, ?, ?, ?)",
        (task.digest, function, task.name, task.folder, task.sys_path, task.notebook, task.cell, task.options),
    )
    return int(stored.lastrowid or 0)


def new_batch(db: Db, name: str, kind: str, notebook: str | None, cell: str | None, now: int) -> int:
    """The number of a new batch (``kind`` is ``map`` or ``workflow``)."""
    made = db.execute(
        "insert into batches (name, kind, created_at, notebook, cell) values (?, ?, ?, ?, ?)", (name, kind, now, notebook, cell)
    )
    return int(made.lastrowid or 0)


#: Not max(seq) + 1 alone: the newest jobs may be pruned, and a number is never used again (pruning remembers it).
_NEXT_NUMBER = (
    "select 1 + max(coalesce((select max(seq) from jobs), 0),"
    " coalesce((select cast(value as integer) from settings where name = 'newest job'), 0))"
)


# -> pending. All jobs of a submission or none. A parent that ended badly settles its dependants here and now, so that
# nobody can be added to a dead end; a job of the same submission may be a parent, in any order.
def submit(db: Db, jobs: Sequence[NewJob], tasks: Mapping[bytes, int], runtime: int, batch: int | None, now: int) -> None:
    """Store jobs with their arguments, edges and counts.

    Args:
        db: An open write transaction.
        jobs: What to store.
        tasks: Numbers of the tasks, by digest.
        runtime: Number of the submitting runtime.
        batch: Number of the batch, or None.
        now: UTC milliseconds.

    Raises:
        JobNotFound: a parent is neither in the file nor in this submission; it is named.
        CycleError: jobs wait for each other, or one for itself.
        StaleNumber: a task was pruned since its number was asked for.
    """
    first = db.execute(_NEXT_NUMBER).fetchone()[0]
    related = [job for job in jobs if job.parents]
    waiting: dict[str, int] = {}
    doomed: set[str] = set()
    edges: list[tuple[int, int, str]] = []
    if related:
        seqs = {job.id: first + i for i, job in enumerate(jobs)}
        waiting, doomed, edges = _relate(db, related, seqs)
    rows = (
        (
            first + i,
            job.id,
            "cancelled" if job.id in doomed else "pending",
            "upstream" if job.id in doomed else None,
            runtime,
            tasks[job.task],
            batch,
            job.priority,
            waiting.get(job.id, 0),
            None if job.id in doomed else job.run_at,
            job.max_attempts,
            now,
            now if job.id in doomed else None,
        )
        for i, job in enumerate(jobs)
    )
    failpoint("submit_before_insert")
    try:
        _insert_jobs(db, rows)
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorname != "SQLITE_CONSTRAINT_FOREIGNKEY":
            raise
        raise StaleNumber from error
    db.executemany(
        "insert into arguments (job, payload, size, signature) values (?, ?, ?, ?)",
        [(first + i, job.arguments, job.size, job.signature) for i, job in enumerate(jobs)],
    )
    if edges:
        db.executemany("insert into edges (parent, child, on_failure) values (?, ?, ?)", edges)
    count(db, {(batch, "pending"): len(jobs) - len(doomed), (batch, "cancelled"): len(doomed)})
    failpoint("submit_after_insert")


def _insert_jobs(db: Db, rows: Iterable[tuple[Any, ...]]) -> None:
    db.executemany(
        "insert into jobs (seq, id, status, reason, runtime, task, batch, priority, waiting_on, run_at, max_attempts, created_at,"
        " finished_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _relate(
    db: Db, related: Iterable[NewJob], seqs: Mapping[str, int]
) -> tuple[dict[str, int], set[str], list[tuple[int, int, str]]]:
    """For jobs with parents: how many unfinished ones each has, which cannot run any more, and the edges."""
    wanted = {parent for job in related for parent in job.parents or () if parent not in seqs}
    found = dict.fromkeys(seqs, JobStatus.PENDING)
    numbers = dict(seqs)
    for job_id, seq, status in db.execute(
        "select id, seq, status from jobs where id in (select value from json_each(?))", (json.dumps(sorted(wanted)),)
    ):
        found[job_id], numbers[job_id] = JobStatus(status), seq
    waiting: dict[str, int] = {}
    edges: list[tuple[int, int, str]] = []
    doomed: set[str] = set()
    children: dict[str, list[str]] = {}
    for job in related:
        unfinished = 0
        for parent, on_failure in (job.parents or {}).items():
            status = found.get(parent)
            if status is None:
                raise JobNotFound(
                    f"the parent {parent!r:.80} is not in this queue; submit it first, or take its id from queue.jobs()"
                )
            edges.append((numbers[parent], numbers[job.id], on_failure))
            unfinished += not status.is_final
            if status in UNSUCCESSFUL and on_failure == "cancel":
                doomed.add(job.id)
            if parent in seqs:
                children.setdefault(parent, []).append(job.id)
        waiting[job.id] = unfinished
    _refuse_cycles(children, {job.id: sum(p in seqs for p in job.parents or ()) for job in related})
    cuts = {job.id: job.parents or {} for job in related}
    frontier = list(doomed)
    while frontier:
        parent = frontier.pop()
        for child in children.get(parent, ()):
            waiting[child] -= 1
            if cuts[child][parent] == "cancel" and child not in doomed:
                doomed.add(child)
                frontier.append(child)
    return waiting, doomed, edges


def _refuse_cycles(children: Mapping[str, Sequence[str]], inside: dict[str, int]) -> None:
    """Kahn's algorithm (1962): what cannot be ordered stands in a circle, or behind one."""
    left = {job: n for job, n in inside.items() if n}
    free = [parent for parent in children if not inside.get(parent)]
    while free:
        for child in children.get(free.pop(), ()):
            left[child] -= 1
            if not left[child]:
                del left[child]
                free.append(child)
    if left:
        raise CycleError(f"these jobs wait for each other in a circle: {', '.join(sorted(left)[:5])}")
