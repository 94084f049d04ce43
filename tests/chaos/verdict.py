"""What must be 0 when the shooting is over."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import invariants
from tests.chaos.jobs import BEGAN, ENDED, MET

_EXPECTED = {
    "plain": ("completed",),
    "flaky": ("completed",),
    "child": ("completed",),
    "bad": ("failed",),
    "orphan": ("cancelled",),
    "hang": ("timeout", "failed"),  # its one attempt may be ended by a SIGKILL, too
    "unwanted": ("completed", "cancelled"),
    "refused": ("cancelled",),
}


@dataclass
class Fire:
    """What the harness did, and what it saw."""

    workers_killed: set[int] = field(default_factory=set)
    workers_frozen: set[int] = field(default_factory=set)
    workers_stopped: set[int] = field(default_factory=set)
    locks_held: int = 0
    pauses: int = 0
    claimed_in_a_pause: int = 0
    children_killed: int = 0
    submitters_killed: int = 0
    workers_started: int = 0
    seconds: float = 0.0
    left_processes: int = 0
    ended_by_themselves: int = 0


def acknowledged(folder: Path) -> dict[str, str]:
    """Id -> key, from the submitters' own lists."""
    found = {}
    for file in folder.glob("acks-*"):
        for line in file.read_text().splitlines():
            job, _, key = line.partition(" ")
            found[job] = key
    return found


def ledger(folder: Path) -> dict[str, Counter[str]]:
    """Event -> key -> how often, from the jobs' own lists."""
    found: dict[str, Counter[str]] = {event: Counter() for event in (BEGAN, ENDED, MET, "F")}
    for file in folder.glob("ledger-*"):
        for line in file.read_text().splitlines():
            event, key, _ = line.split(" ")
            found[event][key] += 1
    return found


def table(folder: Path, fire: Fire) -> list[tuple[str, int]]:
    """(what, how often): each must be 0."""
    db = sqlite3.connect(folder / "jobs.db", timeout=30)
    try:
        return list(_rows(db, folder, fire))
    finally:
        db.close()


def _rows(db: sqlite3.Connection, folder: Path, fire: Fire) -> Iterator[tuple[str, int]]:
    acks, said = acknowledged(folder), ledger(folder)
    jobs = {
        job: (seq, status, reason, json_text)
        for job, seq, status, reason, json_text in db.execute(
            "select j.id, j.seq, j.status, j.reason, r.json from jobs j left join results r on r.job = j.seq"
        )
    }
    yield "I1 acknowledged, and not in the file", sum(job not in jobs for job in acks)
    for name, select in {**invariants.AT_THE_END, **invariants.ALWAYS}.items():
        yield name, db.execute(f"select count(*) from ({select})").fetchone()[0]
    known = [(jobs[job], key) for job, key in acks.items() if job in jobs]
    yield "wrong: an innocent job ended badly, or a bad one well", sum(row[1] not in _EXPECTED[kind(key)] for row, key in known)
    yield (
        "wrong: a result is that of another job",
        sum(row[1] == "completed" and (row[3] is None or json.loads(row[3]) != key) for row, key in known),
    )
    yield "I9 completed without having run to its end", sum(row[1] == "completed" and not said[ENDED][key] for row, key in known)
    yield "two runs of one job at once", sum(said[MET].values())
    runs = dict(db.execute("select job, count(*) from executions group by job"))
    yield "a run that is in no attempt", sum(said[BEGAN][key] > runs.get(row[0], 0) for row, key in known)
    lost = db.execute(
        "select w.pid, count(*) from executions e join workers w on w.id = e.worker where e.outcome = 'lost' group by 1"
    ).fetchall()
    excused = fire.workers_killed | fire.workers_frozen
    yield "lost by a worker that nobody killed or froze", sum(n for pid, n in lost if pid not in excused)
    returned = db.execute(
        "select w.pid, count(*) from executions e join workers w on w.id = e.worker where e.outcome = 'returned' group by 1"
    ).fetchall()
    yield "returned by a worker that nobody stopped", sum(n for pid, n in returned if pid not in fire.workers_stopped)
    killed = db.execute(
        "select count(*) from executions e join failures f on f.execution = e.id where e.outcome = 'failed' and f.message like '%signal 9%'"
    ).fetchone()[0]
    yield "more attempts ended by SIGKILL than children were killed", max(0, killed - fire.children_killed)
    yield (
        "an attempt that ended in another way",
        db.execute(
            "select count(*) from executions e left join failures f on f.execution = e.id where e.outcome not in ('completed', 'lost', 'returned')"
            " and not (e.outcome = 'timeout' and (select name from tasks where id = (select task from jobs where seq = e.job)) = 'hangs')"
            " and not (e.outcome = 'cancelled' and (select reason from jobs where seq = e.job) = 'user')"
            " and not (e.outcome = 'failed' and (f.message like '%signal 9%' or f.message = 'on purpose'))"
        ).fetchone()[0],
    )
    yield "a worker that ended by itself", fire.ended_by_themselves
    yield "claimed while the queue was paused", fire.claimed_in_a_pause
    yield "a worker's log that tells of an error", sum("Traceback" in one.read_text() for one in folder.glob("worker-*.log"))
    yield "processes left behind", fire.left_processes
    yield "drafts and files that no row names", len(list(folder.glob("jobs.db.files/*")))
    yield "I10 integrity_check", sum(row[0] != "ok" for row in db.execute("pragma integrity_check"))
    yield "I10 foreign_key_check", len(db.execute("pragma foreign_key_check").fetchall())


def kind(key: str) -> str:
    """What a key promises."""
    return key.partition("-")[0]
