"""Removing what is over: jobs with their attempts, logs, payloads and files, and what nobody refers to any more."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from .counting import count
from .filesystem import Spill

ROWS_TO_READ = 2_000_000  # about a fifth of a second


# (completed, failed, timeout, cancelled) -> gone. A parent stays while a dependant may still need it: one that is open,
# or that a person may retry. Without its parent such a one would run as if it had none.
def prune(db: sqlite3.Connection, statuses: Sequence[str], before: int | None) -> tuple[int, list[str]]:
    """Remove jobs of these final statuses that ended before a time; their bytes are overwritten in the file.

    Returns:
        How many, and the names of their files: for :meth:`Spill.remove` once this is committed. A file that is removed
        before its row would be missing if the transaction fails.
    """
    db.execute("pragma secure_delete = on")
    try:
        return _prune(db, statuses, before)
    finally:
        db.execute("pragma secure_delete = fast")


def _prune(db: sqlite3.Connection, statuses: Sequence[str], before: int | None) -> tuple[int, list[str]]:
    marks = ", ".join("?" * len(statuses))
    db.execute("create temp table if not exists doomed (seq integer primary key)")
    db.execute("delete from temp.doomed")
    db.execute(
        f"insert into temp.doomed select seq from jobs j where j.status in ({marks}) and (? is null or j.finished_at < ?)",
        (*statuses, before, before),
    )
    while db.execute(
        "delete from temp.doomed where exists (select 1 from edges e join jobs c on c.seq = e.child where e.parent = doomed.seq"
        " and c.status <> 'completed' and c.seq not in (select seq from temp.doomed))"
    ).rowcount:
        pass  # who stays keeps its own parents
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
    _keep_newest_number(db)
    db.execute("delete from edges where parent in (select seq from temp.doomed)")
    removed = db.execute("delete from jobs where seq in (select seq from temp.doomed)").rowcount
    count(db, moved)
    db.execute("delete from temp.doomed")
    db.execute("delete from batches where not exists (select 1 from jobs where batch = batches.id)")
    db.execute("delete from counts where batch <> 0 and batch not in (select id from batches)")
    _forget_unused_tasks(db)
    return removed, files


def _keep_newest_number(db: sqlite3.Connection) -> None:
    """Where the newest job goes: the next one's number comes after it all the same (``submissions.submit`` asks here).

    Whoever looked at a file up to a number must not meet a later job under it: ``trust`` would sign what nobody was shown.
    AUTOINCREMENT would do, but it writes one more page with each submit.
    """
    db.execute(
        "insert into settings (name, value) select 'newest job', cast(seq as text) from temp.doomed where seq = (select max(seq) from jobs)"
        " on conflict do update set value = excluded.value"
    )


def _forget_unused_tasks(db: sqlite3.Connection) -> None:
    """Remove tasks that no job has, and their functions.

    Numbers of tasks and functions are never used again, so that what remembers one cannot mean another. The file of a
    large function may be written anew at this moment by who submits it again: it is left to sweep(). No index leads from
    a task to its jobs, so each removal reads them all: a few at a time in a large queue, the rest at the next prune.
    """
    jobs = db.execute("select coalesce(sum(n), 0) from counts where batch = 0").fetchone()[0]
    used = {task for (task,) in db.execute("select distinct task from jobs")}
    unused = [task for (task,) in db.execute("select id from tasks order by id") if task not in used]
    db.executemany("delete from tasks where id = ?", [(task,) for task in unused[: max(1, ROWS_TO_READ // (jobs + 1))]])
    db.execute("delete from functions where not exists (select 1 from tasks where function = functions.id)")


def orphans(db: sqlite3.Connection, spill: Spill, before: int) -> list[str]:
    """Files beside the database that no row names, and drafts of writers that died, last written before a time (UTC ms).

    A value is on the disk before its row, and a submit may take its time: what is young may just be on its way.
    """
    found = []
    for name in spill.names():
        if not spill.is_known_name(name) or spill.written_at(name) >= before:
            continue
        kind, _, rest = name.partition("-")
        if name.startswith("."):
            known = None
        elif kind == "function":
            known = db.execute("select 1 from functions where digest = ?", (bytes.fromhex(rest),)).fetchone()
        else:
            known = db.execute("select 1 from jobs where id = ?", (rest,)).fetchone()
        if not known:
            found.append(name)
    return found


def sweep(db: sqlite3.Connection, spill: Spill, before: int) -> int:
    """Remove the :func:`orphans`. Returns how many."""
    names = orphans(db, spill, before)
    for name in names:
        spill.remove_draft(name) if name.startswith(".") else spill.remove(name)
    return len(names)
