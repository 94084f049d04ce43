"""Worker processes as rows: registration, beats, children, kernels, and the rescue of what a dead worker held."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ..states import Outcome, Reason
from .transitions import Claim, Ending, Failure, settle

Db = sqlite3.Connection


@dataclass(frozen=True, slots=True)
class Process:
    """Which process on which machine: never a bare pid (proc(5): ``starttime``, ``boot_id``, pid namespace)."""

    host: str
    boot_id: str
    pid_ns: int
    pid: int
    birth: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another worker as its row has it."""

    id: int
    name: str
    process: Process
    beat: int
    state: str


def register(
    db: Db, name: str, who: Process, *, python: str, prefix: str, concurrency: int, terminal: bool, log: str | None, now: int,
    key_id: str = "", any_prefix: bool = False,
) -> int:  # fmt: skip
    """A new row for a worker that starts. Returns its number, which is never used again."""
    made = db.execute(
        "insert into workers (name, host, boot_id, pid_ns, pid, birth, python, prefix, key_id, any_prefix, concurrency, terminal,"
        " beat_at, started_at, log) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            who.host,
            who.boot_id,
            who.pid_ns,
            who.pid,
            who.birth,
            python,
            prefix,
            key_id,
            int(any_prefix),
            concurrency,
            int(terminal),
            now,
            now,
            log,
        ),
    )
    return int(made.lastrowid or 0)


def beat(db: Db, worker: int, now: int) -> str | None:
    """One sign of life for all attempts of a worker.

    Returns:
        ``"gone"`` when somebody declared it dead meanwhile, ``"gently"`` or ``"now"`` when it was asked to stop, else None.
    """
    row = db.execute(
        "update workers set beat = beat + 1, beat_at = ? where id = ? and state <> 'gone' returning stop", (now, worker)
    ).fetchone()
    return "gone" if row is None else row[0]


def beats(db: Db, worker: int) -> int | None:
    """How many signs of life a worker gave; None for one that is known to be gone."""
    row = db.execute("select beat from workers where id = ? and state <> 'gone'", (worker,)).fetchone()
    return None if row is None else int(row[0])


def asked(db: Db, worker: int) -> str | None:
    """``"gone"`` when somebody declared a worker dead, ``"gently"`` or ``"now"`` when it was asked to stop, else None."""
    row = db.execute("select state, stop from workers where id = ?", (worker,)).fetchone()
    return "gone" if row is None or row[0] == "gone" else row[1]


def was_stopped(db: Db, name: str | None) -> bool:
    """Whether a worker (the newest one without a name) ended because somebody asked it to."""
    row = db.execute(
        "select state = 'gone' and (stop is not null or why = 'asked to stop') from workers where ? is null or name = ?"
        " order by id desc limit 1",
        (name, name),
    ).fetchone()
    return bool(row and row[0])


def set_state(db: Db, worker: int, state: str, now: int, why: str | None = None) -> None:
    """running -> stopping -> gone."""
    db.execute(
        "update workers set state = ?, why = coalesce(?, why), stopped_at = case when ? = 'gone' then ? end where id = ?",
        (state, why, state, now, worker),
    )


def set_why(db: Db, worker: int, why: str | None) -> None:
    """What the worker waits for, for people."""
    db.execute("update workers set why = ? where id = ?", (why, worker))


def ask_to_stop(db: Db, how: str, worker: str | None = None) -> list[int]:
    """Ask workers (all, or the one of this name) to stop, ``gently`` or ``now``. Returns the pids of those asked."""
    return [
        row[0]
        for row in db.execute(
            "update workers set stop = ? where state <> 'gone' and (? is null or name = ?) returning pid", (how, worker, worker)
        ).fetchall()
    ]


def peers(db: Db, but: int = 0) -> list[Peer]:
    """All workers that are not known to be gone, without number ``but``."""
    return [
        Peer(row[0], row[1], Process(*row[2:7]), row[7], row[8])
        for row in db.execute(
            "select id, name, host, boot_id, pid_ns, pid, birth, beat, state from workers where state <> 'gone' and id <> ?",
            (but,),
        )
    ]


def add_child(db: Db, worker: int, pid: int, birth: int) -> None:
    """Record a child before it runs anything, so that whoever rescues can end it first."""
    db.execute("insert or replace into children (worker, pid, birth) values (?, ?, ?)", (worker, pid, birth))


def remove_child(db: Db, worker: int, pid: int, birth: int) -> None:
    """Forget a child that is gone."""
    db.execute("delete from children where worker = ? and pid = ? and birth = ?", (worker, pid, birth))


def children(db: Db, worker: int) -> list[tuple[int, int]]:
    """(pid, birth) of the children of a worker."""
    return [(row[0], row[1]) for row in db.execute("select pid, birth from children where worker = ?", (worker,))]


# running -> pending (uncharged), or -> failed (lost) after too many losses, or -> cancelled if that was asked for.
def rescue(db: Db, peer: Peer, now: int, why: str) -> int:
    """End the attempts of a worker that is dead, and whose children are gone. Returns how many there were."""
    if db.execute("select 1 from workers where id = ? and state <> 'gone'", (peer.id,)).fetchone() is None:
        return 0
    endings = [
        Ending(
            claim=Claim(seq, job_id, task, batch, n, attempts, most, losses, None, 0, b"", False, token),
            outcome=Outcome.LOST,
            reason=Reason.LOST,
            started_at=started_at,
            finished_at=max(now, started_at),
            failure=Failure("gigq_nb.errors.JobLost", why),
            retry_in_ms=0,
        )
        for token, started_at, seq, job_id, task, batch, n, attempts, most, losses in db.execute(
            "select e.id, coalesce(e.started_at, e.claimed_at), j.seq, j.id, j.task, j.batch, e.n, j.attempts, j.max_attempts, j.losses"
            " from executions e join jobs j on j.seq = e.job where e.worker = ? and e.outcome is null",
            (peer.id,),
        ).fetchall()
    ]
    settle(db, peer.id, endings)
    db.execute("delete from children where worker = ?", (peer.id,))
    set_state(db, peer.id, "gone", now, why)
    return len(endings)


# ----------------------------------------------------------------------------------------------- while it runs


def open_tokens(db: Db, worker: int) -> set[int]:
    """The attempts of a worker that nobody ended."""
    return {row[0] for row in db.execute("select id from executions where worker = ? and outcome is null", (worker,))}


def cancelling_tokens(db: Db, worker: int) -> set[int]:
    """The attempts of a worker whose jobs are to be cancelled."""
    return {
        row[0]
        for row in db.execute(
            "select j.execution from cancellations c join jobs j on j.seq = c.job join executions e on e.id = j.execution where e.worker = ?",
            (worker,),
        )
    }


def mark_started(db: Db, starts: Sequence[tuple[int, int]]) -> None:
    """(started_at, token) of attempts that run for longer than a moment."""
    db.executemany("update executions set started_at = ? where id = ? and outcome is null", starts)
    db.executemany("update jobs set started_at = ? where execution = ?", starts)


def add_log(db: Db, token: int, text: str, keep_bytes: int, head_bytes: int) -> None:
    """Append to the log of an attempt; what is over ``keep_bytes`` goes from behind the part that has byte ``head_bytes``."""
    if db.execute("select 1 from executions where id = ?", (token,)).fetchone() is None:
        return
    part = db.execute("select coalesce(max(part), 0) + 1 from logs where execution = ?", (token,)).fetchone()[0]
    db.execute("insert into logs (execution, part, text) values (?, ?, ?)", (token, part, text))
    sizes = db.execute("select part, length(text) from logs where execution = ? order by part", (token,)).fetchall()
    over = sum(size for _, size in sizes) - keep_bytes
    before = 0
    for number, size in sizes[:-1]:
        if over <= 0:
            break
        if before < head_bytes:
            before += size
            continue
        db.execute("delete from logs where execution = ? and part = ?", (token, number))
        db.execute("update executions set log_dropped = log_dropped + ? where id = ?", (size, token))
        over -= size


def drop_from_log(db: Db, token: int, dropped: int) -> None:
    """Count bytes of a log that were left out before they reached the file."""
    db.execute("update executions set log_dropped = log_dropped + ? where id = ?", (dropped, token))


def set_progress(db: Db, token: int, done: float | None, total: float | None, text: str, now: int) -> None:
    """How far an attempt is."""
    db.execute(
        "insert into progress (execution, done, total, text, at) select ?, ?, ?, ?, ? where exists (select 1 from executions where id = ?)"
        " on conflict do update set done = excluded.done, total = excluded.total, text = excluded.text, at = excluded.at",
        (token, done, total, text, now, token),
    )


def set_outputs(db: Db, token: int, n: int, changed: Sequence[tuple[int, str, bytes]]) -> None:
    """The rich outputs of an attempt: ``n`` in all, and those that changed (place, bundle, signature)."""
    if db.execute("select 1 from executions where id = ?", (token,)).fetchone():
        db.execute("delete from outputs where execution = ? and n >= ?", (token, n))
        db.executemany(
            "insert or replace into outputs (execution, n, bundle, signature) values (?, ?, ?, ?)",
            [(token, *row) for row in changed],
        )


# ------------------------------------------------------------------------------------------------------ kernels


def see_kernel(db: Db, who: Process, notebook: str | None, now: int) -> None:
    """A process with a connected queue."""
    db.execute(
        "insert into kernels (host, boot_id, pid_ns, pid, birth, seen_at, notebook) values (?, ?, ?, ?, ?, ?, ?)"
        " on conflict do update set seen_at = excluded.seen_at, notebook = coalesce(excluded.notebook, notebook)",
        (who.host, who.boot_id, who.pid_ns, who.pid, who.birth, now, notebook),
    )


def kernels(db: Db) -> list[Process]:
    """All processes that connected and were not forgotten."""
    return [Process(*row) for row in db.execute("select host, boot_id, pid_ns, pid, birth from kernels")]


def forget_kernel(db: Db, who: Process, now: int) -> None:
    """A kernel that is dead or has closed its queue. When it was last there is kept for its notebook."""
    db.execute(
        "insert into settings (name, value) select 'left ' || notebook, cast(? as text) from kernels"
        " where boot_id = ? and pid_ns = ? and pid = ? and birth = ? and notebook is not null"
        " on conflict do update set value = excluded.value",
        (now, who.boot_id, who.pid_ns, who.pid, who.birth),
    )
    db.execute(
        "delete from kernels where boot_id = ? and pid_ns = ? and pid = ? and birth = ?",
        (who.boot_id, who.pid_ns, who.pid, who.birth),
    )


@dataclass(frozen=True, slots=True)
class Visit:
    """What a notebook's jobs did since it was here last. ``away_ms`` is None when it never was, or nobody knows which it is."""

    away_ms: int | None
    ended: dict[str, int]
    open: dict[str, int]


def visit(db: Db, notebook: str | None, now: int) -> Visit:
    """What happened since the last kernel of this notebook was here."""
    if notebook is None:
        return Visit(None, {}, {})
    seen = db.execute("select max(seen_at) from kernels where notebook = ?", (notebook,)).fetchone()[0]
    left = db.execute("select cast(value as integer) from settings where name = 'left ' || ?", (notebook,)).fetchone()
    times = [one for one in (seen, left[0] if left else None) if one is not None]
    if not times:
        return Visit(None, {}, {})
    ended: dict[str, int] = {}
    open_: dict[str, int] = {}
    for status, n, new in db.execute(
        "select status, count(*), sum(coalesce(finished_at > ?, 0)) from jobs where task in (select id from tasks where notebook = ?) group by 1",
        (max(times), notebook),
    ):
        if status in ("pending", "running"):
            open_[status] = n
        elif new:
            ended[status] = new
    return Visit(max(0, now - max(times)), ended, open_)


def has_open_work(db: Db) -> bool:
    """Whether anything is ready, running, delayed or blocked behind something that is.

    While the queue is paused only what runs counts: a worker that died is replaced to rescue that, and not to stand by.
    """
    row = db.execute(
        "select coalesce(sum(n), 0) from counts where batch = 0 and (status = 'running'"
        " or (status = 'pending' and not exists (select 1 from settings where name = 'paused')))"
    ).fetchone()
    return bool(row[0])


def able(db: Db, key_id: str, python: str, prefix: str) -> list[str]:
    """Names of the workers that are not known to be stopping or gone and may run the jobs of a runtime."""
    return [
        row[0]
        for row in db.execute(
            "select name from workers where state = 'running' and key_id = ? and python = ? and (prefix = ? or any_prefix = 1) order by id desc",
            (key_id, python, prefix),
        )
    ]


def runnable_runtimes(db: Db, key_id: str, python: str, prefix: str | None) -> list[int]:
    """Runtimes of this key and Python; of this environment, unless ``prefix`` is None (any)."""
    return [
        row[0]
        for row in db.execute(
            "select id from runtimes where key_id = ? and python = ? and (? is null or prefix = ?) order by id",
            (key_id, python, prefix, prefix),
        )
    ]


def has_work_for(db: Db, runtimes: Sequence[int]) -> bool:
    """Whether anything open can be run by a worker of these runtimes; what is blocked stands behind something that is."""
    if db.execute("select 1 from executions indexed by executions_open where outcome is null limit 1").fetchone():
        return True
    ready = (
        "select 1 from jobs indexed by jobs_ready where runtime = ? and status = 'pending' and waiting_on = 0 and run_at is null"
        " and held = 0 limit 1"
    )
    delayed = "select 1 from jobs indexed by jobs_delayed where runtime = ? and run_at is not null limit 1"
    return any(db.execute(ready, (runtime,)).fetchone() or db.execute(delayed, (runtime,)).fetchone() for runtime in runtimes)
