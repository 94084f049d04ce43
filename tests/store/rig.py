"""A queue file driven through the store's own functions: time is a number, workers are rows, payloads are a byte."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gigq_nb.job import JobRow, Options, new_ids
from gigq_nb.states import Outcome, Reason
from gigq_nb.store import reads, submissions, transitions, workers
from gigq_nb.store.db import Database
from gigq_nb.store.submissions import NewJob, NewTask
from gigq_nb.store.transitions import Claim, Ending, Failure, Stored
from tests import invariants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_MS = 1_700_000_000_000
REASONS = {
    Outcome.FAILED: Reason.ERROR,
    Outcome.TIMEOUT: Reason.TIMEOUT,
    Outcome.LOST: Reason.LOST,
    Outcome.CANCELLED: Reason.USER,
}


def new_task(name: str = "work", options: str = Options().as_json()) -> NewTask:
    """A task whose function is its name."""
    function = name.encode()
    mark = hashlib.sha256(function).digest()
    return NewTask(
        digest=hashlib.sha256(mark + options.encode()).digest(), name=name, function_digest=mark, function_name=name,
        function_payload=function, function_size=len(function), source="", cells="{}", folder="/", sys_path="[]", notebook=None,
        cell=None, options=options,
    )  # fmt: skip


def ending(claim: Claim, outcome: Outcome, at: int, *, retry_in_ms: int | None = None, backoff_ms: int | None = None) -> Ending:
    """How a worker reports the end of an attempt."""
    reason = {
        Outcome.FAILED: Reason.ERROR,
        Outcome.TIMEOUT: Reason.TIMEOUT,
        Outcome.LOST: Reason.LOST,
        Outcome.CANCELLED: Reason.USER,
    }
    one = Ending(claim, outcome, reason.get(outcome), at, at, retry_in_ms=retry_in_ms, backoff_ms=backoff_ms)
    if outcome is Outcome.COMPLETED:
        one.result = Stored(b"r", 1, b"s", "'r'", None)
    elif outcome in (Outcome.FAILED, Outcome.TIMEOUT, Outcome.LOST):
        one.failure = Failure("builtins.ValueError", "no")
    return one


class Rig:
    """One file, a clock that the test turns, and the moves by name."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, keep=True, durable=False)
        self.now = START_MS
        with self.write() as db:
            self.runtime = submissions.runtime_id(db, "key", "3.11", "/env")
            self.task = submissions.task_id(db, new_task())
        self.worker = self.new_worker()

    @contextmanager
    def write(self) -> Iterator[Any]:
        with self.database.write() as db:
            yield db

    def new_worker(self, pid: int = 4242, boot_id: str = "boot") -> int:
        with self.write() as db:
            who = workers.Process("here", boot_id, 1, pid, 1)
            count = db.execute("select count(*) from workers").fetchone()[0]
            return workers.register(
                db,
                f"w{count}",
                who,
                python="3.11",
                prefix="/env",
                concurrency=1,
                terminal=True,
                log=None,
                now=self.now,
                key_id="key",
            )

    def submit(
        self,
        *parents: str,
        priority: int = 0,
        max_attempts: int = 1,
        run_at: int | None = None,
        edges: Mapping[str, str] | None = None,
    ) -> str:
        """One job; ``edges`` says what the bad end of a parent does, ``parents`` are cancelled with it."""
        job = self.new_job(
            priority=priority, max_attempts=max_attempts, run_at=run_at, parents=edges or dict.fromkeys(parents, "cancel")
        )
        self.submit_all([job])
        return job.id

    def new_job(self, **more: Any) -> NewJob:
        more = {"priority": 0, "max_attempts": 1, **more}
        return NewJob(more.pop("id", None) or new_ids.take(1)[0], new_task().digest, b"a", 1, b"s", **more)

    def submit_all(self, jobs: Sequence[NewJob], batch: str | None = None) -> int | None:
        with self.write() as db:
            number = submissions.new_batch(db, batch, "map", None, None, self.now) if batch else None
            submissions.submit(db, jobs, {new_task().digest: self.task}, self.runtime, number, self.now)
        return number

    def claim(self, limit: int = 1, worker: int | None = None) -> list[Claim]:
        with self.write() as db:
            return transitions.claim(db, worker or self.worker, [self.runtime], self.now, limit)

    def claim_one(self, worker: int | None = None) -> Claim:
        (one,) = self.claim(1, worker)
        return one

    def settle(self, claim: Claim, outcome: Outcome, *, worker: int | None = None, **more: Any) -> bool:
        """Report an end. Returns whether it was written."""
        with self.write() as db:
            return not transitions.settle(db, worker or self.worker, [ending(claim, outcome, self.now, **more)])

    def run(self, outcome: Outcome = Outcome.COMPLETED, **more: Any) -> str:
        """Claim the next job and end it. Returns its id."""
        claim = self.claim_one()
        assert self.settle(claim, outcome, **more)
        return claim.id

    def hand_back(self, *claims: Claim, worker: int | None = None) -> None:
        with self.write() as db:
            transitions.hand_back(db, worker or self.worker, claims, self.now)

    def rescue(self, worker: int) -> int:
        with self.write() as db:
            (peer,) = [one for one in workers.peers(db) if one.id == worker]
            return workers.rescue(db, peer, self.now, "its worker died")

    def cancel(self, *ids: str) -> dict[str, bool]:
        with self.write() as db:
            return transitions.cancel(db, ids, self.now)

    def retry(self, *ids: str) -> list[str]:
        with self.write() as db:
            return transitions.retry(db, ids, self.now)

    def promote(self) -> int | None:
        with self.write() as db:
            return transitions.promote(db, self.now)

    def job(self, job_id: str) -> JobRow:
        with self.database.read() as db:
            return reads.job(db, job_id)

    def status(self, *ids: str) -> list[str]:
        with self.database.read() as db:
            found = reads.statuses(db, ids)
        return [found[one] for one in ids]

    def outcomes(self, job_id: str) -> list[tuple[str | None, bool]]:
        """(outcome, charged) of its attempts."""
        with self.database.read() as db:
            return [(one.outcome, one.charged) for one in reads.executions(db, job_id)]

    def broken(self) -> list[str]:
        with self.database.read() as db:
            return invariants.broken(db)

    def close(self) -> None:
        self.database.close()
