"""Removing what is over: jobs with their attempts, logs, payloads and files, and what nobody refers to any more."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from .counting import count
from .filesystem import Spill


# (completed, failed, timeout, cancelled) -> gone. A parent stays while a dependant may still need it.
def prune(db: sqlite3.Connection, statuses: Sequence[str], before: int | None, spill: Spill) -> int:
    """Remove jobs of these final statuses that ended before a time. Returns how many."""
    marks = ", ".join("?" * len(statuses))
    db.execute("create temp table if not exists doomed (seq integer primary key)")
    db.execute("delete from temp.doomed")
    db.execute(
        f"insert into temp.doomed select seq from jobs j where j.status in ({marks}) and (? is null or j.finished_at < ?)"  # noqa: S608 - marks only
        " and not exists (select 1 from edges e join jobs c on c.seq = e.child where e.parent = j.seq and c.status in ('pending', 'running'))",
        (*statuses, before, before),
    )
    moved: Counter[tuple[int | None, str]] = Counter()
    for batch, status, n in db.execute(
        "select batch, status, count(*) from jobs where seq in (select seq from temp.doomed) group by 1, 2"
    ):
        moved[batch, status] -= n
    files = [
        name
        for (job_id,) in db.execute(
            "select j.id from jobs j left join arguments a on a.job = j.seq left join results r on r.job = j.seq"
            " where j.seq in (select seq from temp.doomed) and ((a.size is not null and a.payload is null) or (r.size is not null and r.payload is null))"
        )
        for name in (f"arguments-{job_id}", f"result-{job_id}")
    ]
    db.execute("delete from edges where parent in (select seq from temp.doomed)")
    removed = db.execute("delete from jobs where seq in (select seq from temp.doomed)").rowcount
    count(db, moved)
    db.execute("delete from temp.doomed")
    db.execute("delete from batches where not exists (select 1 from jobs where batch = batches.id)")
    db.execute("delete from counts where batch <> 0 and batch not in (select id from batches)")
    for name in files:
        spill.remove(name)
    return removed


def sweep(db: sqlite3.Connection, spill: Spill) -> int:
    """Remove files beside the database that no row names, and drafts of writers that died. Returns how many."""
    removed = 0
    for name in spill.names():
        if name.startswith("."):
            spill.remove_draft(name)
            removed += 1
            continue
        kind, _, rest = name.partition("-")
        if kind == "function":
            known = db.execute("select 1 from functions where digest = ?", (bytes.fromhex(rest),)).fetchone()
        else:
            known = db.execute("select 1 from jobs where id = ?", (rest,)).fetchone()
        if not known:
            spill.remove(name)
            removed += 1
    return removed
