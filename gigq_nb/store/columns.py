"""Whole columns at once, for DataFrames.

A row that is fetched becomes a tuple of Python objects, at 0.1 us and 50 bytes a value. Here SQLite itself packs some
thousand rows into one text a column, which numpy reads at 15 ns a value: a million jobs in a second. What is read is
one consistent view of the file, and nothing is unpickled.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..errors import QueueCorrupt
from ..states import JobStatus, Outcome, Reason
from .reads import conditions

Db = sqlite3.Connection

#: Rows a slice: enough that a statement costs nothing, few enough that their longest texts fit into memory.
ROWS = 5_000
#: Characters of a result or an error in a list; ``job.result()`` and ``job.error`` have all of it.
MOST_CHARS = 2_000
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of some rows; ``keys`` are those of the rows, in one text."""

    rows: int
    keys: str
    types: list[str]
    messages: list[str]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows, column by column. Numbers stand in one text with commas between; a missing one is -1."""

    rows: int
    ids: list[str]
    numbers: dict[str, str]
    texts: dict[str, list[str | None]]
    errors: Errors


@dataclass(frozen=True, slots=True)
class TaskNames:
    """What the jobs of a task are called, what they call, and where they were submitted."""

    id: int
    name: str
    function: str
    notebook: str | None


def _code(column: str, kind: type[Enum]) -> str:
    """A status or a reason as its number in the enumeration."""
    cases = " ".join(f"when '{one.value}' then {i}" for i, one in enumerate(kind))
    return f"case {column} {cases} else -1 end"


def _or_missing(column: str) -> str:
    return f"coalesce({column}, -1)"


def _short(text: str) -> str:
    return f"case when length({text}) > {MOST_CHARS} then substr({text}, 1, {MOST_CHARS - 1}) || '…' else {text} end"


_JOB_NUMBERS = {
    "seq": "j.seq",
    "status": _code("j.status", JobStatus),
    "reason": _code("j.reason", Reason),
    "created_at": "j.created_at",
    "started_at": _or_missing("j.started_at"),
    "finished_at": _or_missing("j.finished_at"),
    "attempts": "j.attempts",
    "max_attempts": "j.max_attempts",
    "losses": "j.losses",
    "priority": "j.priority",
    "waiting_on": "j.waiting_on",
    "run_at": _or_missing("j.run_at"),
    "batch": _or_missing("j.batch"),
    "task": "j.task",
}
_JOB_TEXTS = {"result": _short("coalesce(r.preview, r.json)")}
_JOBS = "jobs j left join results r on r.job = j.seq"
_ERRORS = f"json_group_array(f.type), json_group_array({_short('f.message')})"
# The error of a job is that of its newest attempt; a completed job has none, and one that never ran has no attempt.
# "cross join": from the jobs to their failures, in this order, whatever else is filtered.
_JOB_ERRORS = (
    f"select count(*), group_concat(j.seq), {_ERRORS} from jobs j cross join executions e on e.job = j.seq and e.n = j.runs"
    " cross join failures f on f.execution = e.id where j.status <> 'completed' and j.runs > 0"
)

_EXECUTION_NUMBERS = {
    "id": "e.id",
    "task": "j.task",
    "attempt": "e.n",
    "worker": "e.worker",
    "outcome": _code("e.outcome", Outcome),
    "reason": _code("e.reason", Reason),
    "charged": "e.charged",
    "claimed_at": "e.claimed_at",
    "started_at": _or_missing("e.started_at"),
    "finished_at": _or_missing("e.finished_at"),
}
_EXECUTIONS = "executions e join jobs j on j.seq = e.job"
_EXECUTION_ERRORS = (
    f"select count(*), group_concat(e.id), {_ERRORS} from executions e cross join failures f on f.execution = e.id where true"
)


def jobs(
    db: Db,
    *,
    status: Sequence[str] = (),
    name: str | None = None,
    batch: int | None = None,
    tag: str | None = None,
    notebook: str | None = None,
    limit: int | None = None,
) -> Iterator[Slice]:
    """Jobs by status, name, batch, tag and notebook; with a limit the newest of them. Within a slice they have no order.

    Args:
        db: A connection in a read transaction, so that all slices show one moment.
        status: Only these statuses.
        name: Only jobs of this name.
        batch: Only jobs of the batch with this number.
        tag: Only jobs with this tag.
        notebook: Only jobs that this notebook submitted.
        limit: At most so many.
    """
    where, values = conditions(status=status, name=name, batch=batch, tag=tag, notebook=notebook)
    first, last = db.execute("select min(seq), max(seq) from jobs").fetchone()
    if limit is not None:
        newest = f"select j.seq from jobs j{where} order by j.seq desc limit ?"
        first = db.execute(f"select min(seq) from ({newest})", (*values, limit)).fetchone()[0]
    rest = where.replace(" where ", " and ", 1)
    yield from _slices(db, _JOBS, "j.seq", (first, last), (rest, values), _JOB_NUMBERS, _JOB_TEXTS, _JOB_ERRORS)


def executions(db: Db, job_id: str | None = None) -> Iterator[Slice]:
    """All attempts, or those of one job. Within a slice they have no order."""
    rest, values = ("", []) if job_id is None else (" and e.job = (select seq from jobs where id = ?)", [job_id])
    first, last = db.execute(f"select min(e.id), max(e.id) from executions e where true{rest}", values).fetchone()
    yield from _slices(db, _EXECUTIONS, "e.id", (first, last), (rest, values), _EXECUTION_NUMBERS, {}, _EXECUTION_ERRORS)


def _slices(
    db: Db,
    source: str,
    key: str,
    span: tuple[int | None, int | None],
    only: tuple[str, list[Any]],
    numbers: Mapping[str, str],
    texts: Mapping[str, str],
    errors: str,
) -> Iterator[Slice]:
    """Walk along an integer key. Each slice begins at a row that exists, so that gaps cost one look each."""
    where, values = only
    table = source.partition(" ")[0]
    column = key.partition(".")[2]
    parts = [f"group_concat({one})" for one in numbers.values()] + [f"json_group_array({one})" for one in texts.values()]
    rows_of = f" from {source} where {key} between ? and ?{where}"
    select = f"select count(*), group_concat(j.id), {', '.join(parts)}{rows_of}"
    begin, last = span
    while begin is not None and last is not None and begin <= last:
        end = min(begin + ROWS - 1, _LAST)
        bound = (begin, end, *values)
        row = db.execute(select, bound).fetchone()
        if row[0]:
            ids = row[1].split(",")
            if len(ids) != row[0]:  # not written by us: an id with a comma in it
                ids = json.loads(db.execute(f"select json_group_array(j.id){rows_of}", bound).fetchone()[0])
            at = 2 + len(numbers)
            yield Slice(
                row[0],
                ids,
                dict(zip(numbers, row[2:at], strict=True)),
                {name: json.loads(text) for name, text in zip(texts, row[at:], strict=True)},
                _errors(db.execute(f"{errors} and {key} between ? and ?{where}", bound).fetchone()),
            )
        if end == _LAST:
            return
        begin = db.execute(f"select min({column}) from {table} where {column} > ?", (end,)).fetchone()[0]


def _errors(row: tuple[int, str | None, str, str]) -> Errors:
    return Errors(row[0], row[1] or "", json.loads(row[2]), json.loads(row[3]))


def tasks(db: Db, numbers: Sequence[int]) -> dict[int, TaskNames]:
    """The names of tasks by number.

    Raises:
        QueueCorrupt: a job names a task that is not there.
    """
    rows = db.execute(
        "select t.id, t.name, f.name, t.notebook from tasks t join functions f on f.id = t.function"
        " where t.id in (select value from json_each(?))",
        (json.dumps(list(numbers)),),
    )
    found = {row[0]: TaskNames(*row) for row in rows}
    if len(found) != len(set(numbers)):
        raise QueueCorrupt("jobs in this file name tasks that are not there; keep it, and restore a backup")
    return found


def worker_names(db: Db) -> dict[int, str]:
    """The names of all workers that ever were, by number."""
    return dict(db.execute("select id, name from workers"))


def sources(db: Db, tasks: Sequence[int]) -> dict[int, str]:
    """The source text of the functions of tasks, where it was known at the submit; else ''."""
    return dict(
        db.execute(
            "select t.id, f.source from tasks t join functions f on f.id = t.function"
            " where t.id in (select value from json_each(?))",
            (json.dumps(list(tasks)),),
        )
    )
