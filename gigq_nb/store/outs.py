"""Variables that cells promised to their notebook and that were not brought back yet: they outlive the kernel."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

Db = sqlite3.Connection

# In the settings table: 'outs ' and the job's id -> JSON of the notebook and the names.
_FIRST, _LAST = "outs ", "outs!"
MOST = 1_000


def promise(db: Db, job_id: str, notebook: str, names: Sequence[str]) -> None:
    """A job of this notebook will bring back these variables."""
    db.execute(
        "insert into settings (name, value) values (?, ?) on conflict do update set value = excluded.value",
        (_FIRST + job_id, json.dumps({"notebook": notebook, "names": list(names)})),
    )


def keep_promise(db: Db, job_id: str) -> None:
    """They were brought back, or it was said why not."""
    db.execute("delete from settings where name = ?", (_FIRST + job_id,))


def promised(db: Db, notebook: str) -> list[tuple[str, str, list[str]]]:
    """(job's id, its name, variables) of what a notebook still waits for, the oldest first."""
    rows = db.execute(
        "select j.id, t.name, s.value from settings s join jobs j on j.id = substr(s.name, ?) join tasks t on t.id = j.task"
        " where s.name > ? and s.name < ? and t.notebook = ? order by j.seq desc limit ?",
        (len(_FIRST) + 1, _FIRST, _LAST, notebook, MOST),
    ).fetchall()
    return [(job_id, name, [str(one) for one in json.loads(value)["names"]]) for job_id, name, value in reversed(rows)]


def forget_pruned(db: Db) -> None:
    """Promises of jobs that are no longer in the file."""
    db.execute(
        "delete from settings where name > ? and name < ?"
        " and not exists (select 1 from jobs where id = substr(settings.name, ?))",
        (_FIRST, _LAST, len(_FIRST) + 1),
    )
