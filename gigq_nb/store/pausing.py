"""Pausing a whole queue: one row of ``settings`` holds since when nothing is claimed, in every process and on every machine.

The claim asks for that row in its own statement (``transitions.claim``), so a pause holds from its commit on, whoever
claims. Submits, settles, retries and cancels do not look at it.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from ..failpoints import failpoint

Db = sqlite3.Connection


def pause(db: Db, now: int) -> int:
    """Let nothing be claimed from now on. Returns since when that is so; a queue that was paused before stays so since then."""
    db.execute("insert into settings (name, value) values ('paused', cast(? as text)) on conflict do nothing", (now,))
    failpoint("pause_before_commit")
    at = paused_at(db)
    return now if at is None else at


def resume(db: Db) -> int | None:
    """Let jobs be claimed again. Returns since when the queue was paused; None when it was not."""
    row = db.execute("delete from settings where name = 'paused' returning cast(value as integer)").fetchone()
    failpoint("resume_before_commit")
    return None if row is None else int(row[0])


def paused_at(db: Db) -> int | None:
    """Since when the queue is paused (UTC milliseconds); None when it is not."""
    row = db.execute("select cast(value as integer) from settings where name = 'paused'").fetchone()
    return None if row is None else int(row[0])


def words(at: int) -> str:
    """``paused since 2026-03-01 12:00:00 UTC``: the same in every view, word and message."""
    return f"paused since {datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
