"""What the store should do, in plain Python: no SQL, no transactions, one dictionary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gigq_nb.policies import MAX_LOSSES

if TYPE_CHECKING:
    from collections.abc import Iterable

BAD = ("failed", "timeout", "cancelled")
OPEN = ("pending", "running")


@dataclass
class Row:
    seq: int
    priority: int
    max_attempts: int
    parents: dict[str, str]
    run_at: int | None
    status: str = "pending"
    reason: str | None = None
    attempts: int = 0
    runs: int = 0
    losses: int = 0
    backoff: int | None = None
    token: int | None = None
    worker: int | None = None
    cancelling: bool = False


@dataclass
class Model:
    rows: dict[str, Row] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    paused_at: int | None = None

    def waiting_on(self, row: Row) -> int:
        return sum(self.rows[one].status in OPEN for one in row.parents)

    def is_doomed(self, row: Row) -> bool:
        return any(mode == "cancel" and self.rows[one].status in BAD for one, mode in row.parents.items())

    def submit(self, job: str, priority: int, max_attempts: int, parents: dict[str, str], run_at: int | None) -> None:
        seq = max((row.seq for row in self.rows.values()), default=0) + 1
        self.rows[job] = Row(seq, priority, max_attempts, parents, run_at)
        self.settle_downstream()

    def settle_downstream(self) -> None:
        while doomed := [row for row in self.rows.values() if row.status == "pending" and self.is_doomed(row)]:
            for row in doomed:
                row.status, row.reason, row.run_at, row.backoff = "cancelled", "upstream", None, None

    def promote(self, now: int) -> None:
        for row in self.rows.values():
            early = row.backoff is not None and row.run_at is not None and row.run_at - row.backoff > now
            if row.run_at is not None and (row.run_at <= now or early):
                row.run_at = row.backoff = None

    def pause(self, now: int) -> int:
        self.paused_at = now if self.paused_at is None else self.paused_at
        return self.paused_at

    def resume(self) -> int | None:
        was, self.paused_at = self.paused_at, None
        return was

    def claimable(self, limit: int) -> list[str]:
        if self.paused_at is not None:
            return []
        ready = [
            (-row.priority, row.seq, job)
            for job, row in self.rows.items()
            if row.status == "pending" and row.run_at is None and not self.waiting_on(row)
        ]
        return [job for *_, job in sorted(ready)[:limit]]

    def claim(self, job: str, worker: int, token: int) -> None:
        row = self.rows[job]
        row.status, row.worker, row.token = "running", worker, token
        row.attempts, row.runs = row.attempts + 1, row.runs + 1

    def held_by(self, worker: int) -> dict[int, str]:
        return {
            row.token: job for job, row in self.rows.items() if row.status == "running" and row.worker == worker and row.token
        }

    def end(self, job: str, outcome: str, now: int, retry_ms: int | None = None, backoff_ms: int | None = None) -> None:
        row = self.rows[job]
        if row.cancelling and outcome != "cancelled":
            outcome = "cancelled"
        row.token = row.worker = None
        row.cancelling = False
        if outcome in ("lost", "returned"):
            row.attempts -= 1
            row.losses += outcome == "lost"
        again = outcome in ("lost", "returned") or (retry_ms is not None and outcome in ("failed", "timeout"))
        if again and not (outcome == "lost" and row.losses >= MAX_LOSSES):
            row.status = "pending"
            row.run_at, row.backoff = (now + retry_ms, backoff_ms) if retry_ms else (None, None)
            return
        row.status = {"lost": "failed"}.get(outcome, outcome)
        row.reason = {"completed": None, "failed": "error", "cancelled": "user"}.get(outcome, outcome)
        self.settle_downstream()

    def hand_back(self, job: str) -> None:
        row = self.rows[job]
        row.attempts, row.runs, row.token, row.worker = row.attempts - 1, row.runs - 1, None, None
        row.status, row.reason = ("cancelled", "user") if row.cancelling else ("pending", None)
        row.cancelling = False
        self.settle_downstream()

    def cancel(self, job: str) -> bool:
        row = self.rows[job]
        if row.status == "running":
            row.cancelling = True
        elif row.status == "pending":
            row.status, row.reason, row.run_at, row.backoff = "cancelled", "user", None, None
            self.settle_downstream()
        return row.status in ("cancelled", "running")

    def retry(self, jobs: Iterable[str]) -> set[str] | None:
        """The revived jobs; None when one of them cannot be, and nothing changed."""
        wanted = {job for job in jobs if self.rows[job].status in BAD}
        before = {job: (row.status, row.reason) for job, row in self.rows.items()}
        revived: set[str] = set()
        while able := [
            job
            for job, row in self.rows.items()
            if row.status in BAD
            and not self.is_doomed(row)
            and (job in wanted or (row.reason == "upstream" and revived & set(row.parents)))
        ]:
            for job in able:
                self.rows[job].status = "pending"
            revived.update(able)
        if not wanted <= revived:
            for job, (status, reason) in before.items():
                self.rows[job].status, self.rows[job].reason = status, reason
            return None
        for job in revived:
            row = self.rows[job]
            row.reason, row.losses, row.max_attempts = None, 0, max(row.max_attempts, row.attempts + 1)
        return revived

    def prune(self, statuses: Iterable[str]) -> int:
        doomed = {job for job, row in self.rows.items() if row.status in statuses}
        while needed := {
            parent
            for job, row in self.rows.items()
            if job not in doomed and row.status != "completed"
            for parent in row.parents
            if parent in doomed
        }:
            doomed -= needed
        for job in doomed:
            del self.rows[job]
        for row in self.rows.values():
            row.parents = {job: mode for job, mode in row.parents.items() if job in self.rows}
        return len(doomed)
