"""What ``queue.sql`` reads: views of the tables with names, UTC times and texts, and nothing that could be written."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from ..errors import InvalidArgument

Db = sqlite3.Connection

_UTC = "strftime('%Y-%m-%dT%H:%M:%fZ', {0} / 1000.0, 'unixepoch')"


def _utc(column: str) -> str:
    return f"{_UTC.format(column)} as {column.split('.')[1]}"


#: The public views, as temporary views of a reading connection: they stand before the tables of the same name.
VIEWS = {
    "jobs": "select j.id, t.name, j.status, j.reason, "
    + ", ".join(_utc(f"j.{one}") for one in ("created_at", "started_at", "finished_at"))
    + ", (j.finished_at - j.started_at) / 1000.0 as seconds, j.attempts, j.max_attempts, j.losses, j.priority, j.waiting_on, "
    + _utc("j.run_at")
    + ", j.batch, f.name as function, t.notebook, coalesce(r.preview, r.json) as result, x.type as error_type, x.message as error"
    " from main.jobs j join main.tasks t on t.id = j.task join main.functions f on f.id = t.function"
    " left join main.results r on r.job = j.seq"
    " left join main.executions e on j.status <> 'completed' and e.job = j.seq and e.n = j.runs"
    " left join main.failures x on x.execution = e.id",
    "executions": "select j.id as job_id, t.name, e.n as attempt, w.name as worker, e.outcome, e.reason, e.charged, "
    + ", ".join(_utc(f"e.{one}") for one in ("claimed_at", "started_at", "finished_at"))
    + ", (e.finished_at - e.started_at) / 1000.0 as seconds, f.type as error_type, f.message as error, f.traceback"
    " from main.executions e join main.jobs j on j.seq = e.job join main.tasks t on t.id = j.task"
    " join main.workers w on w.id = e.worker left join main.failures f on f.execution = e.id",
    "workers": "select name, host, pid, python, prefix, concurrency, state, "
    + ", ".join(_utc(f"w.{one}") for one in ("beat_at", "started_at", "stopped_at"))
    + ", why from main.workers w",
    "batches": f"select id, name, kind, {_utc('b.created_at')}, notebook from main.batches b",
}

_SELECT = re.compile(r"\s*(--[^\n]*\n\s*)*(select|with|values)\b", re.IGNORECASE)


def query(db: Db, sql: str, values: Any = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a SELECT over the public views; nothing can be written.

    Raises:
        InvalidArgument: not one SELECT, or SQLite's message about it.
    """
    if not isinstance(sql, str) or not _SELECT.match(sql):
        raise InvalidArgument("queue.sql reads: write one SELECT over jobs, executions, workers or batches")
    for name, text in VIEWS.items():
        db.execute(f"create temp view if not exists {name} as {text}")
    db.execute("pragma query_only = on")
    try:
        cursor = db.execute(sql, values)
        return [one[0] for one in cursor.description], cursor.fetchall()
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.OperationalError, sqlite3.Warning, OverflowError) as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname not in ("SQLITE_ERROR", "SQLITE_READONLY"):
            raise
        raise InvalidArgument(f"SQLite does not accept this query: {error}") from None
    finally:
        db.execute("pragma query_only = off")
        for name in VIEWS:
            db.execute(f"drop view if exists temp.{name}")
