"""What must hold in every queue file at any moment, as SQL that counts the exceptions: 0 each. faults.md calls them I1 to I10.

The queue never judges itself: what jobs did is in a ledger that they write (I9), what was acknowledged in the
submitters' own list (I1).
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

_FINAL = "('completed', 'failed', 'timeout', 'cancelled')"
_BAD = "('failed', 'timeout', 'cancelled')"

#: Name -> a SELECT whose rows are exceptions. They hold between any two transactions.
ALWAYS: dict[str, str] = {
    "I3 a job completes at most once": """
        select job, count(*) from executions where outcome = 'completed' group by job having count(*) > 1""",
    "I3 nothing is run after a completed attempt": """
        select a.job, a.n from executions a join executions b on b.job = a.job and b.n > a.n where a.outcome = 'completed'""",
    "I4 a completed job has a completed last attempt": """
        select seq from jobs j where status = 'completed' and not exists
        (select 1 from executions e where e.job = j.seq and e.n = j.runs and e.outcome = 'completed')""",
    "I4 only a completed job has a completed attempt": """
        select j.seq from jobs j join executions e on e.job = j.seq where e.outcome = 'completed' and j.status <> 'completed'""",
    "I4 attempts are the charged executions": """
        select seq from jobs j where attempts <> (select count(*) from executions e where e.job = j.seq and e.charged)""",
    "I4 no more attempts than allowed": "select seq from jobs where attempts > max_attempts",
    "I4 losses are the lost executions since the last revival": """
        select seq from jobs j where losses > (select count(*) from executions e where e.job = j.seq and e.outcome = 'lost')""",
    "I5 numbers have no gap": """
        select j.seq from jobs j left join executions e on e.job = j.seq group by j.seq
        having count(e.id) <> j.runs or coalesce(max(e.n), 0) <> j.runs""",
    "I5 tokens grow with the numbers": """
        select a.job from executions a join executions b on b.job = a.job and b.n > a.n where b.id < a.id""",
    "I5 one open attempt at most, and it is the last": """
        select e.job from executions e join jobs j on j.seq = e.job where e.outcome is null and e.n <> j.runs""",
    "I6 running jobs and open attempts are the same": """
        select j.seq from jobs j left join executions e on e.id = j.execution
        where j.status = 'running' and (e.id is null or e.outcome is not null or e.job <> j.seq)
        union all
        select e.job from executions e join jobs j on j.seq = e.job
        where e.outcome is null and (j.status <> 'running' or j.execution is not e.id)""",
    "I6 a worker that is gone holds nothing": """
        select e.id from executions e join workers w on w.id = e.worker where e.outcome is null and w.state = 'gone'""",
    "I6 no children of a worker that is gone": """
        select c.pid from children c join workers w on w.id = c.worker where w.state = 'gone'""",
    "I6 only what runs can be asked to stop": """
        select c.job from cancellations c join jobs j on j.seq = c.job where j.status <> 'running'""",
    "I7 a job ran only after its parents completed": """
        select c.seq from edges e join jobs c on c.seq = e.child join jobs p on p.seq = e.parent
        where e.on_failure = 'cancel' and p.status <> 'completed' and c.runs > 0""",
    "I7 nothing open depends on a bad end": f"""
        select c.seq from edges e join jobs c on c.seq = e.child join jobs p on p.seq = e.parent
        where e.on_failure = 'cancel' and p.status in {_BAD} and c.status in ('pending', 'running')""",
    "I7 waiting_on is the number of open parents": """
        select c.seq from jobs c where c.status = 'pending' and c.waiting_on <> (select count(*) from edges e
        join jobs p on p.seq = e.parent where e.child = c.seq and p.status in ('pending', 'running'))""",
    "I8 a completed job has one result, of its last attempt": """
        select j.seq from jobs j left join results r on r.job = j.seq left join executions e on e.id = r.execution
        where j.status = 'completed' and (r.job is null or e.job is not j.seq or e.n <> j.runs)""",
    "I8 only a completed job has a result": """
        select j.seq from results r join jobs j on j.seq = r.job where j.status <> 'completed'""",
    "I8 a bad end after an attempt says why": """
        select j.seq from jobs j where j.status in ('failed', 'timeout') and not exists (select 1 from executions e
        join failures f on f.execution = e.id where e.job = j.seq and e.n = j.runs and f.message <> '')""",
    "kept counts are true": """
        select batch, status, sum(n) from (
        select batch, status, n from counts
        union all select coalesce(batch, -1), status, -count(*) from jobs where batch is not null group by 1, 2
        union all select 0, status, -count(*) from jobs group by 2)
        group by 1, 2 having sum(n) <> 0""",
    "every job has its arguments": "select seq from jobs where not exists (select 1 from arguments a where a.job = jobs.seq)",
}

#: These hold when the faults are over and everything had its time.
AT_THE_END: dict[str, str] = {
    "I2 nothing is stuck": f"select seq, status from jobs where status not in {_FINAL}",
    "I2 no attempt is open": "select id from executions where outcome is null",
}


def broken(db: sqlite3.Connection, *, at_the_end: bool = False, whole_file: bool = True) -> list[str]:
    """Which invariants do not hold, with the first exceptions of each. Empty: all is well.

    Args:
        db: A connection to the file.
        at_the_end: Nothing may be open any more (I2).
        whole_file: Also SQLite's own checks (I10), which read all of it.
    """
    wrong = []
    for name, select in {**ALWAYS, **(AT_THE_END if at_the_end else {})}.items():
        rows = db.execute(select + " limit 5").fetchall()
        if rows:
            wrong.append(f"{name}: {rows}")
    if whole_file:
        said = [row[0] for row in db.execute("pragma integrity_check(5)")]
        if said != ["ok"]:
            wrong.append(f"I10 integrity_check: {said}")
        strays = db.execute("pragma foreign_key_check").fetchall()
        if strays:
            wrong.append(f"I10 foreign_key_check: {strays[:5]}")
    return wrong


def broken_file(path: Path, *, at_the_end: bool = False) -> list[str]:
    """:func:`broken` of a file that nobody in this process has open."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=30)
    try:
        return broken(db, at_the_end=at_the_end)
    finally:
        db.close()


def lost(db: sqlite3.Connection, acknowledged: Iterable[str]) -> list[str]:
    """I1: the acknowledged ids that are not in the file."""
    there = {row[0] for row in db.execute("select id from jobs")}
    return [one for one in acknowledged if one not in there]


def unearned(db: sqlite3.Connection, ended: Iterable[str]) -> list[str]:
    """I9: ids that are completed though the ledger has no end of a run of theirs."""
    ran = set(ended)
    return [row[0] for row in db.execute("select id from jobs where status = 'completed'") if row[0] not in ran]
