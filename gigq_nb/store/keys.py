"""Keys: names that users give to single submits. The file holds at most one job for each, as long as it is not pruned."""

from __future__ import annotations

import sqlite3

Db = sqlite3.Connection


class KeyHeld(Exception):
    """Another job stands under this key: nothing is stored."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


def holder(db: Db, key: str) -> str | None:
    """The id of the job that stands under this key."""
    row = db.execute("select id from jobs where seq = (select job from keys where key = ?)", (key,)).fetchone()
    return row[0] if row else None


def source(db: Db, key: str) -> str:
    """The text of the function, or of the cell, that stands under this key; empty where it is not known."""
    row = db.execute(
        "select f.source from keys k join jobs j on j.seq = k.job join tasks t on t.id = j.task join functions f on f.id = t.function"
        " where k.key = ?",
        (key,),
    ).fetchone()
    return row[0] if row else ""


def refuse_held(db: Db, key: str) -> None:
    """Within the transaction that stores a job, before it does: two submits with one key cannot both go on.

    Raises:
        KeyHeld: naming the other job.
    """
    held = holder(db, key)
    if held is not None:
        raise KeyHeld(held)


def hold(db: Db, key: str, job_id: str) -> None:
    """A job of this transaction stands under the key from now on; it leaves it when it is pruned."""
    db.execute("insert into keys (key, job) select ?, seq from jobs where id = ?", (key, job_id))
