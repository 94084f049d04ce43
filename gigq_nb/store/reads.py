"""What is read back. Nothing here unpickles; results come as bytes for whoever may verify and load them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidArgument, JobNotFound, PayloadDamaged
from ..job import BatchRow, Counts, ExecutionRow, JobRow, Options, WorkerRow
from ..states import JobStatus, Reason
from . import pausing

Db = sqlite3.Connection

_JOB = (
    "select j.seq, j.id, t.name, j.status, j.reason, j.priority, j.attempts, j.max_attempts, j.losses, j.waiting_on, j.run_at,"
    " j.created_at, j.started_at, j.finished_at, j.batch, j.task, f.name, t.options, t.notebook, t.cell, r.preview, r.json, e.arguments,"
    " x.message, x.type, x.traceback, p.done, p.total, p.text, exists (select 1 from cancellations c where c.job = j.seq),"
    " (select k.key from keys k where k.job = j.seq), j.runtime"
    " from jobs j join tasks t on t.id = j.task join functions f on f.id = t.function"
    " left join results r on r.job = j.seq"
    " left join executions e on e.id = coalesce(j.execution, (select max(id) from executions where job = j.seq))"
    " left join failures x on x.execution = e.id"
    " left join progress p on p.execution = e.id"
)
_FIELDS = (
    "seq id name status reason priority attempts max_attempts losses waiting_on run_at created_at started_at finished_at batch task"
    " function_name options notebook cell result_text result_json arguments_text error error_type traceback progress_done progress_total"
    " progress_text cancel_requested key"
).split()


def _job_rows(db: Db, where: str, values: Sequence[Any]) -> list[JobRow]:
    options: dict[str, Options] = {}
    rows = []
    paused_at = pausing.paused_at(db)
    for row in db.execute(_JOB + where, values).fetchall():
        data = dict(zip(_FIELDS, row, strict=False))
        text = data["options"]
        if text not in options:
            options[text] = _options(text)
        data["options"] = options[text]
        data["cancel_requested"] = bool(data["cancel_requested"])
        data["waits_for"] = waits_for(db, data["status"], data["waiting_on"], data["run_at"], row[-1], paused_at)
        data["paused_at"] = paused_at if data["status"] == "pending" else None
        rows.append(JobRow(**data))
    return rows


def _options(text: str) -> Options:
    """The options of a task. A row that somebody damaged must not hide the others: its worker says what is wrong."""
    try:
        return Options.from_json(text)
    except InvalidArgument as error:
        return Options(description=str(error))


def waits_for(db: Db, status: str, waiting_on: int, run_at: int | None, runtime: int, paused_at: int | None = None) -> str | None:
    """Why a pending job does not run, in words; None when a worker can take it, or when it is not pending."""
    if status != "pending":
        return None
    also = "" if paused_at is None else f"; the queue is {pausing.words(paused_at)}"
    if waiting_on:
        return f"waits for {waiting_on} other job{'s' if waiting_on > 1 else ''}{also}"
    if run_at is not None:
        return f"waits for its time{also}"
    if paused_at is not None:
        return f"waits for queue.resume(): {pausing.words(paused_at)}"
    key_id, python, prefix = db.execute("select key_id, python, prefix from runtimes where id = ?", (runtime,)).fetchone()
    able = db.execute(
        "select count(*) from workers where state = 'running' and key_id = ? and python = ? and (prefix = ? or any_prefix = 1)",
        (key_id, python, prefix),
    ).fetchone()[0]
    return None if able else f"waits for a worker with Python {python} in {prefix} and the key {key_id[:8]}"


def job(db: Db, job_id: str) -> JobRow:
    """One job.

    Raises:
        JobNotFound: no job has this id.
    """
    rows = _job_rows(db, " where j.id = ?", (job_id,))
    if not rows:
        raise JobNotFound(f"no job {job_id!r:.80} in this queue; queue.jobs() or 'list' show what there is")
    return rows[0]


def jobs(
    db: Db,
    *,
    status: Sequence[str] = (),
    name: str | None = None,
    batch: int | None = None,
    tag: str | None = None,
    notebook: str | None = None,
    limit: int | None = None,
    newest_first: bool = True,
) -> list[JobRow]:
    """Jobs by status, name, batch, tag or notebook; all of them without a filter."""
    where, values = conditions(status=status, name=name, batch=batch, tag=tag, notebook=notebook)
    order = " order by j.seq desc" if newest_first else " order by j.seq"
    return _job_rows(
        db, where + order + (" limit ?" if limit is not None else ""), [*values, *([limit] if limit is not None else [])]
    )


def ids(db: Db, *, status: Sequence[str] = (), notebook: str | None = None) -> list[str]:
    """The ids of jobs by status and notebook, the oldest first."""
    where, values = conditions(status=status, notebook=notebook)
    return [row[0] for row in db.execute(f"select j.id from jobs j{where} order by j.seq", values)]


def conditions(
    *,
    status: Sequence[str] = (),
    name: str | None = None,
    batch: int | None = None,
    tag: str | None = None,
    notebook: str | None = None,
    key: str | None = None,
) -> tuple[str, list[Any]]:
    """The WHERE of a list of jobs (alias ``j``), with bound values only."""
    parts: list[str] = []
    values: list[Any] = []
    for one in status:
        if one not in JobStatus._value2member_map_:
            raise InvalidArgument(f"status {one!r:.40} is none of: {', '.join(JobStatus)}")
    if status:
        parts.append(f"j.status in ({', '.join('?' * len(status))})")
        values += [str(one) for one in status]
    if name is not None:
        parts.append("j.task in (select id from tasks where name = ?)")
        values.append(name)
    if batch is not None:
        parts.append("j.batch = ?")
        values.append(batch)
    if tag is not None:
        parts.append("j.task in (select t.id from tasks t, json_each(t.options, '$.tags') w where w.value = ?)")
        values.append(tag)
    if notebook is not None:
        parts.append("j.task in (select id from tasks where notebook = ?)")
        values.append(notebook)
    if key is not None:
        parts.append("j.seq = (select job from keys where key = ?)")
        values.append(key)
    return (" where " + " and ".join(parts) if parts else ""), values


def statuses(db: Db, ids: Sequence[str]) -> dict[str, str]:
    """Status by id, for the ids that exist."""
    return dict(db.execute("select id, status from jobs where id in (select value from json_each(?))", (json.dumps(list(ids)),)))


def counts(db: Db, batch: int | None = None) -> Counts:
    """The kept counts of a batch, or of the whole queue."""
    return Counts(**dict(db.execute("select status, n from counts where batch = ?", (batch or 0,))))


def batch(db: Db, number: int, *, times: bool = True) -> BatchRow:
    """A batch or a workflow with its counts; ``times`` reads its first start and last end, too.

    Raises:
        JobNotFound: there is no such batch.
    """
    row = db.execute("select id, name, kind, created_at, notebook, cell from batches where id = ?", (number,)).fetchone()
    if row is None:
        raise JobNotFound(f"no batch {number} in this queue")
    started = finished = None
    if times:
        started, finished = db.execute("select min(started_at), max(finished_at) from jobs where batch = ?", (number,)).fetchone()
    return BatchRow(
        id=row[0], name=row[1], kind=row[2], created_at=row[3], notebook=row[4], cell=row[5], counts=counts(db, number),
        started_at=started, finished_at=finished,
    )  # fmt: skip


def batches(db: Db, limit: int = 20, notebook: str | None = None) -> list[int]:
    """The newest batches."""
    return [
        row[0]
        for row in db.execute(
            "select id from batches where ? is null or notebook = ? order by id desc limit ?", (notebook, notebook, limit)
        )
    ]


def batch_named(db: Db, name: str) -> int:
    """The newest batch of this name.

    Raises:
        JobNotFound: there is none.
    """
    row = db.execute("select max(id) from batches where name = ?", (name,)).fetchone()
    if row[0] is None:
        raise JobNotFound(f"no batch {name!r:.80} in this queue; queue.batches() lists them")
    return int(row[0])


def batch_ids(db: Db, number: int) -> list[str]:
    """The ids of a batch, in the order of their submit."""
    return [row[0] for row in db.execute("select id from jobs where batch = ? order by seq", (number,))]


def unsuccessful(db: Db, number: int | None, limit: int) -> list[JobRow]:
    """The newest jobs of a batch (or of the queue) that ended badly."""
    if number is None:
        newest = [
            seq
            for reason in Reason
            for (seq,) in db.execute(
                "select seq from jobs indexed by jobs_unsuccessful where reason = ? and reason is not null order by seq desc limit ?",
                (reason.value, limit),
            )
        ]
        chosen = json.dumps(sorted(newest, reverse=True)[:limit])
        return _job_rows(db, " where j.seq in (select value from json_each(?)) order by j.seq desc", (chosen,))
    return _job_rows(db, " where j.batch = ? and +j.reason is not null order by j.seq desc limit ?", (number, limit))


def running(db: Db, limit: int = 20) -> list[JobRow]:
    """What runs now, the oldest first."""
    return _job_rows(
        db,
        " where j.seq in (select job from executions indexed by executions_open where outcome is null order by id limit ?)",
        (limit,),
    )


def last(db: Db, name: str | None = None, *, tag: str | None = None, key: str | None = None) -> str | None:
    """The id of the newest job of this name, with this tag, under this key."""
    where, values = conditions(name=name, tag=tag, key=key)
    row = db.execute(f"select j.id from jobs j{where} order by j.seq desc limit 1", values).fetchone()
    return row[0] if row else None


def executions(db: Db, job_id: str | None = None) -> list[ExecutionRow]:
    """Attempts of a job (or all), the oldest first."""
    rows = db.execute(
        "select e.id, j.id, e.n, w.name, e.outcome, e.reason, e.charged, e.claimed_at, e.started_at, e.finished_at, f.message, f.traceback"
        " from executions e join jobs j on j.seq = e.job join workers w on w.id = e.worker left join failures f on f.execution = e.id"
        " where ? is null or j.id = ? order by e.id",
        (job_id, job_id),
    ).fetchall()
    names = "id job_id n worker outcome reason charged claimed_at started_at finished_at error traceback".split()
    return [ExecutionRow(**{**dict(zip(names, row, strict=True)), "charged": bool(row[6])}) for row in rows]


@dataclass(frozen=True, slots=True)
class Final:
    """The end of a job as bytes: what ``result()`` needs."""

    id: str
    status: str
    reason: str | None
    execution: int | None
    payload: bytes | None
    size: int
    signature: bytes | None
    error_type: str | None
    error: str | None
    traceback: str | None
    error_payload: bytes | None
    error_signature: bytes | None


_FINAL = (
    "select j.id, j.status, j.reason, coalesce(r.execution, x.execution), r.payload, r.size, r.signature, x.type, x.message, x.traceback,"
    " x.payload, x.signature from jobs j left join results r on r.job = j.seq and j.status = 'completed' left join failures x"
    " on j.status in ('failed', 'timeout', 'cancelled') and x.execution = (select max(id) from executions where job = j.seq)"
)


def finals(db: Db, *, ids: Sequence[str] = (), batch: int | None = None) -> list[Final]:
    """The ends of jobs by id, or of a whole batch in the order of its submit."""
    if batch is not None:
        return [Final(*row) for row in db.execute(_FINAL + " where j.batch = ? order by j.seq", (batch,))]
    found = {
        row[0]: Final(*row)
        for row in db.execute(_FINAL + " where j.id in (select value from json_each(?))", (json.dumps(list(ids)),))
    }
    return [found[one] for one in ids if one in found]


def parent_results(db: Db, seq: int) -> list[tuple[str, str, int | None, bytes | None, int, bytes | None]]:
    """(id, status, execution, payload, size, signature) of a job's parents."""
    return db.execute(
        "select p.id, p.status, r.execution, r.payload, coalesce(r.size, 0), r.signature from edges e join jobs p on p.seq = e.parent"
        " left join results r on r.job = p.seq where e.child = ? order by e.parent",
        (seq,),
    ).fetchall()


def parents(db: Db, job_id: str) -> list[str]:
    """Ids of a job's parents."""
    return [
        row[0]
        for row in db.execute(
            "select p.id from edges e join jobs c on c.seq = e.child join jobs p on p.seq = e.parent where c.id = ? order by p.seq",
            (job_id,),
        )
    ]


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What the jobs of a task have in common; the function as bytes."""

    id: int
    digest: bytes
    name: str
    function: int
    function_digest: bytes
    function_name: str
    payload: bytes | None
    size: int
    cells: str
    source: str
    folder: str
    sys_path: str
    notebook: str | None
    cell: str | None
    options: str


def task(db: Db, number: int) -> TaskRow:
    """A task by its number.

    Raises:
        PayloadDamaged: it or its function is gone; somebody wrote to the file.
    """
    row = db.execute(
        "select t.id, t.digest, t.name, f.id, f.digest, f.name, f.payload, f.size, f.cells, f.source, t.folder, t.sys_path, t.notebook,"
        " t.cell, t.options from tasks t join functions f on f.id = t.function where t.id = ?",
        (number,),
    ).fetchone()
    if row is None:
        raise PayloadDamaged("its function is no longer in the file: somebody changed the file")
    return TaskRow(*row)


def arguments(db: Db, ids: Iterable[str]) -> dict[str, tuple[bytes, bytes | None, int, bytes]]:
    """(task digest, payload, size, signature) by id."""
    return {
        row[0]: row[1:]
        for row in db.execute(
            "select j.id, t.digest, a.payload, a.size, a.signature from jobs j join tasks t on t.id = j.task join arguments a"
            " on a.job = j.seq where j.id in (select value from json_each(?))",
            (json.dumps(list(ids)),),
        )
    }


def log(db: Db, job_id: str, execution: int | None = None) -> tuple[list[str], int]:
    """The parts of the log of an attempt (the newest by default), and how many bytes were left out in its middle."""
    row = db.execute(
        "select e.id, e.log_dropped from executions e join jobs j on j.seq = e.job where j.id = ? and (? is null or e.n = ?)"
        " order by e.id desc limit 1",
        (job_id, execution, execution),
    ).fetchone()
    if row is None:
        return [], 0
    return [one[0] for one in db.execute("select text from logs where execution = ? order by part", (row[0],))], row[1]


def outputs(db: Db, job_id: str) -> list[tuple[int, int, str, bytes]]:
    """(execution, n, bundle, signature) of the rich outputs of the newest attempt that has any."""
    return db.execute(
        "select o.execution, o.n, o.bundle, o.signature from outputs o where o.execution = (select max(o2.execution) from outputs o2 join"
        " executions e on e.id = o2.execution join jobs j on j.seq = e.job where j.id = ?) order by o.n",
        (job_id,),
    ).fetchall()


def workers(db: Db, *, gone: bool = False) -> list[WorkerRow]:
    """Worker processes, the newest first; those that are gone only when asked for."""
    rows = db.execute(
        "select w.id, w.name, w.host, w.pid, w.python, w.prefix, w.concurrency, w.state, w.beat, w.beat_at, w.started_at, w.stopped_at,"
        " (select count(*) from executions e where e.worker = w.id and e.outcome is null), w.why, w.log from workers w"
        " where ? or w.state <> 'gone' order by w.id desc",
        (gone,),
    ).fetchall()
    names = "id name host pid python prefix concurrency state beats beat_at started_at stopped_at running why log".split()
    return [WorkerRow(**dict(zip(names, row, strict=True))) for row in rows]


@dataclass(frozen=True, slots=True)
class Node:
    """One job in the drawing of a workflow."""

    seq: int
    id: str
    name: str
    status: str
    reason: str | None
    seconds: float | None


def graph(db: Db, number: int) -> tuple[list[Node], list[tuple[int, int]]]:
    """The jobs of a workflow and its edges as pairs of ``seq``."""
    nodes = [
        Node(*row)
        for row in db.execute(
            "select j.seq, j.id, t.name, j.status, j.reason, (j.finished_at - j.started_at) / 1000.0 from jobs j join tasks t on t.id = j.task"
            " where j.batch = ? order by j.seq",
            (number,),
        )
    ]
    edges = db.execute(
        "select e.parent, e.child from edges e join jobs c on c.seq = e.child join jobs p on p.seq = e.parent where c.batch = ?"
        " and p.batch = ? order by 1, 2",
        (number, number),
    ).fetchall()
    return nodes, [(row[0], row[1]) for row in edges]


def full_id(db: Db, text: str) -> str:
    """The id that begins with ``text`` (at least 4 characters).

    Raises:
        JobNotFound: none does, or several do.
    """
    if db.execute("select 1 from jobs where id = ?", (text,)).fetchone():
        return text
    found = []
    if len(text) >= 4:
        found = [row[0] for row in db.execute("select id from jobs where id >= ? and id < ? limit 3", (text, text + "g"))]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise JobNotFound(f"several jobs begin with {text!r:.80}: {', '.join(found)}")
    raise JobNotFound(f"no job {text!r:.80} in this queue; queue.jobs() or 'list' show what there is")
