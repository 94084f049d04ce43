"""Every move of a job after its submit, one function each, and nothing else may change a status.

Each takes an open write transaction and ``now`` in UTC milliseconds. An attempt is the lease: who ends it must name
its token while it is open in the file. What somebody else has ended meanwhile is dropped, and said so.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ..errors import InvalidArgument, JobNotFound
from ..failpoints import failpoint
from ..policies import MAX_LOSSES
from ..states import UNSUCCESSFUL, JobStatus, Outcome, Reason
from .attempts import Claim as Claim
from .attempts import Ending as Ending
from .attempts import Failure as Failure
from .attempts import Stored as Stored
from .counting import count

Db = sqlite3.Connection

# What goes back to pending waits for this many: a parent that it was allowed to outlive may have been retried meanwhile.
_OPEN_PARENTS = (
    "(select count(*) from edges e join jobs p on p.seq = e.parent where e.child = jobs.seq"
    " and p.status in ('pending', 'running'))"
)


# ------------------------------------------------------------------------------------------------------- claim

_READY = (
    "select j.seq, j.id, j.task, j.batch, j.runs + 1, j.attempts + 1, j.max_attempts, j.losses, a.payload, a.size, a.signature,"
    " exists (select 1 from edges e where e.child = j.seq), j.priority"
    " from jobs j indexed by jobs_ready join arguments a on a.job = j.seq"
    " where j.runtime = ? and j.status = 'pending' and j.waiting_on = 0 and j.run_at is null and j.held = 0"
    " and not exists (select 1 from settings where name = 'paused')"  # looked up once, whatever the number of rows
    " order by j.priority desc, j.seq limit ?"
)


# pending -> running, and opens an attempt. One transaction: SQLite has one writer, so pick and mark cannot part.
def claim(
    db: Db, worker: int, runtimes: Sequence[int], now: int, limit: int, take: Callable[[Claim], bool] | None = None
) -> list[Claim]:
    """Claim up to ``limit`` ready jobs, the most urgent first; none while the queue is paused.

    Args:
        db: An open write transaction.
        worker: The claiming worker.
        runtimes: Runtimes it can and may run.
        now: UTC milliseconds.
        limit: At most so many.
        take: Asked for each in turn; at the first False the claiming stops.
    """
    if limit < 1 or not runtimes:
        return []
    rows = [row for runtime in runtimes for row in db.execute(_READY, (runtime, limit))]
    if len(runtimes) > 1:
        rows.sort(key=lambda row: (-row[12], row[0]))
    claims = []
    for row in rows[:limit]:
        one = Claim(*row[:12])
        if take is not None and not take(one):
            break
        claims.append(one)
    if not claims:
        return []
    failpoint("claim_after_select")
    last = db.execute("select seq from sqlite_sequence where name = 'executions'").fetchone()
    token = last[0] if last else 0
    for one in claims:
        token += 1
        one.token = token
    db.executemany(
        "insert into executions (id, job, n, worker, claimed_at) values (?, ?, ?, ?, ?)",
        [(one.token, one.seq, one.n, worker, now) for one in claims],
    )
    db.executemany(
        "update jobs set status = 'running', execution = ?, attempts = ?, runs = ?, started_at = ? where seq = ?",
        [(one.token, one.attempts, one.n, now, one.seq) for one in claims],
    )
    moved: Counter[tuple[int | None, str]] = Counter()
    for one in claims:
        moved[one.batch, "pending"] -= 1
        moved[one.batch, "running"] += 1
    count(db, moved)
    failpoint("claim_after_update")
    return claims


# pending stays pending: a delayed job that is due goes to the ready ones. A retry whose wait, counted from the latest
# moment at which it can have begun, lies wholly in the future was delayed by a clock that was set back: it is due.
def promote(db: Db, now: int, *, stepped: bool = True) -> int | None:
    """Make due jobs ready. Returns when the next one is due (UTC milliseconds), or None.

    ``stepped``: the clock may have been set; only then are all delayed jobs looked at.
    """
    first = _first_delayed(db)
    if first is None or (first > now and not stepped):
        return first
    db.execute("update jobs set run_at = null, backoff_ms = null where run_at <= ?", (now,))
    if stepped:
        db.execute(
            "update jobs set run_at = null, backoff_ms = null where run_at is not null and backoff_ms is not null and run_at - backoff_ms > ?",
            (now,),
        )
    return _first_delayed(db)


def _first_delayed(db: Db) -> int | None:
    row = db.execute("select min(run_at) from jobs where run_at is not null").fetchone()
    return None if row[0] is None else int(row[0])


# ------------------------------------------------------------------------------------------------------- settle


# running -> completed, failed, timeout, cancelled, or pending again. Only while the attempt is open.
def settle(db: Db, worker: int, endings: Sequence[Ending]) -> list[Ending]:
    """End attempts of one worker. Returns those that somebody else had ended before: their results are dropped."""
    if not endings:
        return []
    still_open = {row[0] for row in db.execute("select id from executions where worker = ? and outcome is null", (worker,))}
    cancelling = {row[0] for row in db.execute("select job from cancellations")}
    late = [one for one in endings if one.claim.token not in still_open]
    mine = [one for one in endings if one.claim.token in still_open] if late else list(endings)
    if cancelling:
        db.executemany("delete from cancellations where job = ?", [(one.claim.seq,) for one in mine])
    for one in mine:
        if one.claim.seq in cancelling and one.outcome is not Outcome.CANCELLED:
            one.outcome, one.reason, one.result, one.retry_in_ms = Outcome.CANCELLED, Reason.USER, None, None
    failpoint("settle_before_update")
    moved: Counter[tuple[int | None, str]] = Counter()
    good = [one for one in mine if one.outcome is Outcome.COMPLETED]
    if good:
        _complete(db, good, moved)
    for one in mine:
        if one.outcome is not Outcome.COMPLETED:
            _end_badly(db, one, moved)
        if one.outputs:
            db.execute("delete from outputs where execution = ? and n >= ?", (one.claim.token, len(one.outputs)))
            db.executemany(
                "insert or replace into outputs (execution, n, bundle, signature) values (?, ?, ?, ?)",
                [(one.claim.token, *row) for row in one.outputs],
            )
    count(db, moved)
    failpoint("settle_after_update")
    return late


# running -> completed; every dependant waits for one less, in the same transaction.
def _complete(db: Db, endings: list[Ending], moved: Counter[tuple[int | None, str]]) -> None:
    db.executemany(
        "update executions set outcome = 'completed', started_at = ?, finished_at = ?, arguments = ? where id = ?",
        [(one.started_at, one.finished_at, one.arguments, one.claim.token) for one in endings],
    )
    db.executemany(
        "update jobs set status = 'completed', execution = null, started_at = ?, finished_at = ? where seq = ?",
        [(one.started_at, one.finished_at, one.claim.seq) for one in endings],
    )
    db.executemany(
        "insert or replace into results (job, execution, payload, size, signature, preview, json) values (?, ?, ?, ?, ?, ?, ?)",
        [
            (one.claim.seq, one.claim.token, r.payload, r.size, r.signature, r.preview, r.json)
            for one in endings
            if (r := one.result) is not None
        ],
    )
    for one in endings:
        moved[one.claim.batch, "running"] -= 1
        moved[one.claim.batch, "completed"] += 1
    _release(db, [one.claim.seq for one in endings])


def _release(db: Db, parents: Iterable[int]) -> None:
    """Children of these parents wait for one parent less each."""
    less = Counter(
        child
        for (child,) in db.execute(
            "select child from edges where parent in (select value from json_each(?))", (json.dumps(list(parents)),)
        )
    )
    if less:
        db.executemany(
            "update jobs set waiting_on = waiting_on - ? where seq = ? and status = 'pending'",
            [(n, child) for child, n in less.items()],
        )


def _end_badly(db: Db, one: Ending, moved: Counter[tuple[int | None, str]]) -> None:
    """running -> pending (another attempt) or to a bad end, which settles everything downstream."""
    token, claim_ = one.claim.token, one.claim
    charged = one.outcome not in (Outcome.LOST, Outcome.RETURNED)
    db.execute(
        "update executions set outcome = ?, reason = ?, charged = ?, started_at = ?, finished_at = ?, arguments = ? where id = ?",
        (one.outcome.value, one.reason, charged, one.started_at, one.finished_at, one.arguments, token),
    )
    if one.failure is not None:
        f = one.failure
        db.execute(
            "insert or replace into failures (execution, type, message, traceback, payload, signature) values (?, ?, ?, ?, ?, ?)",
            (token, f.type, f.message, f.traceback, f.payload, f.signature),
        )
    moved[claim_.batch, "running"] -= 1
    lost = one.outcome is Outcome.LOST
    if one.retry_in_ms is not None and not (lost and claim_.losses + 1 >= MAX_LOSSES):
        moved[claim_.batch, "pending"] += 1
        delayed = one.retry_in_ms > 0
        db.execute(
            "update jobs set status = 'pending', execution = null, started_at = null, attempts = attempts - ?,"
            f" losses = losses + ?, run_at = ?, backoff_ms = ?, waiting_on = {_OPEN_PARENTS} where seq = ?",
            (
                int(not charged),
                int(lost),
                one.finished_at + one.retry_in_ms if delayed else None,
                one.backoff_ms if delayed else None,
                claim_.seq,
            ),
        )
        return
    status = {Outcome.TIMEOUT: JobStatus.TIMEOUT, Outcome.CANCELLED: JobStatus.CANCELLED}.get(one.outcome, JobStatus.FAILED)
    moved[claim_.batch, status.value] += 1
    db.execute(
        "update jobs set status = ?, reason = ?, execution = null, started_at = ?, finished_at = ?,"
        " attempts = attempts - ?, losses = losses + ? where seq = ?",
        (status.value, one.reason, one.started_at, one.finished_at, int(not charged), int(lost), claim_.seq),
    )
    upstream(db, [claim_.seq], one.finished_at, moved)


# pending -> cancelled (upstream), transitively. An edge that says 'run' is released instead.
def upstream(db: Db, parents: Sequence[int], now: int, moved: Counter[tuple[int | None, str]]) -> list[int]:
    """Settle what depends on jobs that ended badly. Returns the cancelled ones."""
    cancelled = []
    frontier = list(parents)
    while frontier:
        rows = db.execute(
            "select e.child, e.on_failure, j.batch, j.status from edges e join jobs j on j.seq = e.child"
            " where e.parent in (select value from json_each(?))",
            (json.dumps(frontier),),
        ).fetchall()
        ended: dict[int, None] = {}
        less: Counter[int] = Counter()
        for child, on_failure, batch, status in rows:
            less[child] += 1
            if on_failure == "cancel" and status == "pending" and child not in ended:
                ended[child] = None
                moved[batch, "pending"] -= 1
                moved[batch, "cancelled"] += 1
        db.executemany(
            "update jobs set waiting_on = waiting_on - ? where seq = ? and status = 'pending'",
            [(n, child) for child, n in less.items()],
        )
        db.executemany(
            "update jobs set status = 'cancelled', reason = 'upstream', finished_at = ?, run_at = null, backoff_ms = null where seq = ?",
            [(now, child) for child in ended],
        )
        frontier = list(ended)
        cancelled += frontier
    return cancelled


# running -> pending: claimed, but never started. The attempt did not happen: its row goes, its token never comes back.
def hand_back(db: Db, worker: int, claims: Sequence[Claim], now: int) -> None:
    """Give back what was claimed ahead and not started."""
    moved: Counter[tuple[int | None, str]] = Counter()
    for one in claims:
        gone = db.execute("delete from executions where id = ? and worker = ? and outcome is null", (one.token, worker)).rowcount
        if not gone:
            continue
        if db.execute("delete from cancellations where job = ?", (one.seq,)).rowcount:
            db.execute(
                "update jobs set status = 'cancelled', reason = 'user', execution = null, attempts = attempts - 1,"
                " runs = runs - 1, started_at = null, finished_at = ? where seq = ?",
                (now, one.seq),
            )
            moved[one.batch, "cancelled"] += 1
            moved[one.batch, "running"] -= 1
            upstream(db, [one.seq], now, moved)
            continue
        db.execute(
            "update jobs set status = 'pending', execution = null, started_at = null, attempts = attempts - 1, runs = runs - 1,"
            f" waiting_on = {_OPEN_PARENTS} where seq = ?",
            (one.seq,),
        )
        moved[one.batch, "running"] -= 1
        moved[one.batch, "pending"] += 1
    count(db, moved)


# ------------------------------------------------------------------------------------------------- by a person


# pending -> cancelled at once; running: marked, and cancelled by its worker after its processes are gone.
def cancel(db: Db, ids: Sequence[str], now: int) -> dict[str, bool]:
    """Cancel jobs. Returns for each id whether it is or will be cancelled; unknown ids are left out."""
    moved: Counter[tuple[int | None, str]] = Counter()
    said: dict[str, bool] = {}
    for job_id, seq, was, batch in db.execute(
        "select id, seq, status, batch from jobs where id in (select value from json_each(?))", (json.dumps(list(ids)),)
    ).fetchall():
        # A row fetched above may have been settled by an earlier turn of this very loop (downstream of it).
        status = was if was != "pending" else db.execute("select status from jobs where seq = ?", (seq,)).fetchone()[0]
        said[job_id] = status in ("pending", "running", "cancelled")
        if status == "pending":
            db.execute(
                "update jobs set status = 'cancelled', reason = 'user', finished_at = ?, run_at = null, backoff_ms = null where seq = ?",
                (now, seq),
            )
            moved[batch, "pending"] -= 1
            moved[batch, "cancelled"] += 1
            upstream(db, [seq], now, moved)
        elif status == "running":
            db.execute("insert into cancellations (job) values (?) on conflict do nothing", (seq,))
    count(db, moved)
    return said


# failed, timeout, cancelled -> pending: one more attempt at least, and what 'upstream' cancelled comes back with it.
def retry(db: Db, ids: Sequence[str], now: int) -> list[str]:  # noqa: ARG001 - every move is told the time
    """Revive jobs. Returns the revived ids, dependants included; final successes and open jobs are left alone.

    Raises:
        JobNotFound: an id is unknown.
        InvalidArgument: a parent of the job has not completed and will not: that one must be retried.
    """
    moved: Counter[tuple[int | None, str]] = Counter()
    revived: list[str] = []
    asked: dict[int, str] = {}
    for job_id in ids:
        row = db.execute("select seq, status from jobs where id = ?", (job_id,)).fetchone()
        if row is None:
            raise JobNotFound(f"no job {job_id!r:.80} in this queue; queue.jobs() lists them")
        if row[1] in {status.value for status in UNSUCCESSFUL}:
            asked[row[0]] = str(job_id)
    while asked:  # in whatever order they are named, a parent comes before its dependants
        able = [seq for seq in asked if not _bad_parents(db, seq)]
        if not able:
            seq, job_id = next(iter(asked.items()))
            bad = ", ".join(_bad_parents(db, seq)[:3])
            raise InvalidArgument(f"{job_id} waits for {bad}, which did not complete: retry that job, and this one follows")
        for seq in able:
            revived.append(asked.pop(seq))
            _revive(db, seq, moved)
        for seq, job_id in _revive_below(db, able, moved):
            asked.pop(seq, None)
            revived.append(job_id)
    count(db, moved)
    return revived


def _revive_below(db: Db, frontier: list[int], moved: Counter[tuple[int | None, str]]) -> list[tuple[int, str]]:
    """What a bad end had taken along comes back with it; what was let run by it waits for it again."""
    revived: list[tuple[int, str]] = []
    while frontier:
        below = json.dumps(frontier)
        children = db.execute(
            "select distinct j.seq, j.id from edges e join jobs j on j.seq = e.child where e.parent in (select value from json_each(?))"
            " and j.status = 'cancelled' and j.reason = 'upstream'",
            (below,),
        ).fetchall()
        comes_back = [(seq, job_id) for seq, job_id in children if not _bad_parents(db, seq)]
        for seq, _ in comes_back:
            _revive(db, seq, moved)
        db.execute(
            f"update jobs set waiting_on = {_OPEN_PARENTS} where status = 'pending' and seq in"
            " (select child from edges where parent in (select value from json_each(?)))",
            (below,),
        )
        revived += comes_back
        frontier = [seq for seq, _ in comes_back]
    return revived


def _bad_parents(db: Db, seq: int) -> list[str]:
    return [
        row[0]
        for row in db.execute(
            "select p.id from edges e join jobs p on p.seq = e.parent where e.child = ? and e.on_failure = 'cancel'"
            " and p.status in ('failed', 'timeout', 'cancelled')",
            (seq,),
        )
    ]


def _revive(db: Db, seq: int, moved: Counter[tuple[int | None, str]]) -> None:
    batch, status = db.execute("select batch, status from jobs where seq = ?", (seq,)).fetchone()
    db.execute(
        "update jobs set status = 'pending', reason = null, started_at = null, finished_at = null, run_at = null, backoff_ms = null,"
        f" losses = 0, max_attempts = max(max_attempts, attempts + 1), waiting_on = {_OPEN_PARENTS} where seq = ?",
        (seq,),
    )
    moved[batch, status] -= 1
    moved[batch, "pending"] += 1
