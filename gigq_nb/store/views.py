"""Reads for live views: each costs what is shown, whatever else the file holds (a million jobs included)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..job import BatchRow, Counts
from ..states import Reason
from . import pausing, reads

Db = sqlite3.Connection

TAIL_PARTS, TAIL_CHARS = 40, 8_000
_FAILED = tuple(one.value for one in Reason if one not in (Reason.USER, Reason.UPSTREAM))
ENDS = 250  # jobs at either end of a batch, from which its first start and its last end are read
_TIMES = "select min(started_at), max(finished_at) from jobs where seq between ? and ? and +batch = ?"


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that ended badly, as a list of them shows it."""

    id: str
    name: str
    status: str
    reason: str | None
    error: str | None
    error_type: str | None
    finished_at: int | None


def job_marks(db: Db, ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """For each job a value that changes when anything on its card may have changed; unknown ids are left out."""
    able = (_able(db), pausing.paused_at(db))
    return {
        row[0]: (*row[1:], able) if row[1] == "pending" else tuple(row[1:])
        for row in db.execute(
            "select j.id, j.status, j.reason, j.attempts, j.max_attempts, j.runs, j.waiting_on, j.run_at, j.started_at,"
            " exists (select 1 from cancellations c where c.job = j.seq), p.at, p.done, p.text, (select max(l.part) from logs l where l.execution = j.execution),"
            " (select group_concat(hex(substr(o.signature, 1, 6))) from outputs o where o.execution = j.execution)"
            " from jobs j left join progress p on p.execution = j.execution"
            " where j.id in (select value from json_each(?))",
            (json.dumps([str(one) for one in ids]),),
        )
    }


def batch_marks(db: Db, numbers: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """For each batch its kept counts; while some wait, whether they may be claimed, too."""
    found: dict[int, list[Any]] = {}
    for number, status, n in db.execute(
        "select batch, status, n from counts where batch in (select value from json_each(?)) order by batch, status",
        (json.dumps(list(numbers)),),
    ):
        found.setdefault(number, []).append((status, n))
    able = (_able(db), pausing.paused_at(db)) if found else None
    return {
        number: (*some, able) if any(s == "pending" and n for s, n in some) else tuple(some) for number, some in found.items()
    }


def _able(db: Db) -> Any:
    """A value that changes when a worker comes or goes."""
    return db.execute("select count(*), max(id) from workers where state = 'running'").fetchone()


def log_tail(db: Db, seq: int) -> str:
    """The end of the log of a job's newest attempt: enough for the last lines, never all of it."""
    parts = db.execute(
        "select substr(text, ?) from logs where execution = (select max(id) from executions where job = ?) order by part desc limit ?",
        (-TAIL_CHARS, seq, TAIL_PARTS),
    ).fetchall()
    text = ""
    for (part,) in parts:
        text = part + text
        if len(text) >= TAIL_CHARS:
            break
    return text[-TAIL_CHARS:]


def span(db: Db, number: int) -> tuple[int, int]:
    """The first and the last ``seq`` of a batch. One transaction wrote it, so nothing else stands between them."""
    first = db.execute("select min(seq) from jobs where batch = ?", (number,)).fetchone()[0]
    last = db.execute("select max(seq) from jobs where batch = ?", (number,)).fetchone()[0]
    return (first or 0, last or 0)


def batch(db: Db, number: int, first: int, last: int) -> BatchRow:
    """A batch whose times come from its first and last jobs: exact up to 500 jobs, and near it beyond.

    Raises:
        JobNotFound: there is no such batch.
    """
    row = reads.batch(db, number, times=False)
    started = db.execute(_TIMES, (first, min(first + ENDS, last), number)).fetchone()[0]
    finished = None
    if row.counts.done == row.counts.total:
        some = [
            db.execute(_TIMES, (*ends, number)).fetchone()[1] for ends in ((first, min(first + ENDS, last)), (last - ENDS, last))
        ]
        finished = max((one for one in some if one is not None), default=None)
    return BatchRow(
        id=row.id, name=row.name, kind=row.kind, created_at=row.created_at, notebook=row.notebook, cell=row.cell,
        counts=row.counts, started_at=started, finished_at=finished,
    )  # fmt: skip


def failed(db: Db, limit: int, first: int = 0, last: int = 2**62, number: int | None = None) -> list[Failed]:
    """The newest jobs that failed or timed out, of a batch (by its span) or of the queue.

    The index of the unsuccessful ones holds them by reason and ``seq``, so each reason is asked for by itself.
    """
    rows: list[tuple[Any, ...]] = []
    for reason in _FAILED:
        rows += db.execute(
            "select j.seq, j.id, t.name, j.status, j.reason, f.message, f.type, j.finished_at"
            " from jobs j join tasks t on t.id = j.task"
            " left join failures f on f.execution = (select max(id) from executions where job = j.seq)"
            " where j.reason is not null and j.reason = ? and j.seq between ? and ? and (? is null or +j.batch = ?)"
            " order by j.seq desc limit ?",
            (reason, first, last, number, number, limit),
        ).fetchall()
    rows.sort(key=lambda row: -row[0])
    return [Failed(*row[1:]) for row in rows[:limit]]


def waits_for(db: Db, seq: int) -> str | None:
    """Why a job that waits for no other and for no time does not run: the queue is paused, or no worker can take it. None: one can."""
    row = db.execute("select runtime from jobs where seq = ?", (seq,)).fetchone()
    return reads.waits_for(db, "pending", 0, None, row[0], pausing.paused_at(db)) if row else None


def graph(db: Db, number: int, most: int) -> tuple[list[reads.Node], list[tuple[int, int]]] | None:
    """The graph of a workflow, or None when it has more than ``most`` jobs."""
    if sum(row[0] for row in db.execute("select n from counts where batch = ?", (number,))) > most:
        return None
    return reads.graph(db, number)


def graph_statuses(db: Db, number: int) -> dict[int, tuple[str, str | None, float | None]]:
    """What of a graph changes: status, reason and seconds by ``seq``."""
    return {
        row[0]: (row[1], row[2], row[3])
        for row in db.execute(
            "select seq, status, reason, (finished_at - started_at) / 1000.0 from jobs where batch = ? order by seq", (number,)
        )
    }


def recent_ends(db: Db, since: int, limit: int = 2_000) -> list[int]:
    """When the newest attempts ended, as far as that lies after ``since``; at most ``limit`` are looked at."""
    newest = db.execute("select max(id) from executions").fetchone()[0] or 0
    return [
        row[0]
        for row in db.execute("select finished_at from executions where id > ? and finished_at >= ?", (newest - limit, since))
    ]


def totals(db: Db) -> Counts:
    """The kept counts of the whole queue."""
    return reads.counts(db, None)
