"""From what a child said to what the file will say, with the decision whether there is another attempt."""

from __future__ import annotations

import logging
import time

from ..errors import QueueFull
from ..failpoints import failpoint
from ..states import Outcome, Reason
from ..store.filesystem import SPILL_BYTES, Spill
from ..store.transitions import Ending, Failure, Stored
from .bell import now_ms
from .reports import Reports
from .runner import Finished
from .stopping import error_of

ROOM_AGAIN_S = 1.0
log = logging.getLogger("gigq_nb.worker")


class Settlements:
    """What is over, and not in the file yet.

    Attributes:
        endings: Of finished attempts, for the next transaction.
        kept: Finished attempts whose large results found no room on the disk.
        again_s: When that is tried again (monotonic).
    """

    def __init__(self, spill: Spill) -> None:
        self.spill = spill
        self.endings: list[Ending] = []
        self.kept: list[Finished] = []
        self.again_s = 0.0

    def __bool__(self) -> bool:
        return bool(self.endings or self.kept)

    def take_in(self, finished: list[Finished], reports: Reports) -> None:
        """Make endings of what is over. A large result that finds no room on the disk is kept, and tried again."""
        again = time.monotonic() >= self.again_s
        waiting, self.kept = ([*self.kept, *finished], []) if again else (finished, self.kept)
        for one in waiting:
            try:
                self.endings.append(self.ending(one))
                reports.keep_last_words(one)
            except (OSError, QueueFull) as error:
                log.warning("the result of %s is kept until it can be stored: %s", one.assignment.claim.id, error)
                self.kept.append(one)
                self.again_s = time.monotonic() + ROOM_AGAIN_S

    def ending(self, one: Finished) -> Ending:
        """What a finished attempt means for its job. A large result is on the disk before its row names it."""
        claim, task = one.assignment.claim, one.assignment.task
        finished_at = now_ms() - max(0, time.monotonic_ns() - one.finished_ns) // 1_000_000 if one.finished_ns else now_ms()
        started_at = finished_at - (one.finished_ns - one.started_ns) // 1_000_000 if one.started_ns else None
        ending = Ending(claim, one.outcome, None, started_at, finished_at, one.arguments or None)
        if one.assignment.outputs.bundles:  # all of them: what was written while it ran may have been rolled back
            ending.outputs = one.assignment.outputs.rows(range(len(one.assignment.outputs.bundles)))
        if one.outcome is Outcome.COMPLETED:
            size = len(one.payload)
            if size > SPILL_BYTES:
                self.spill.write(f"result-{claim.id}", one.payload)
                failpoint("spilled")
            stored = bytes(one.payload) if size <= SPILL_BYTES else None
            ending.result = Stored(stored, size, one.signature, one.preview or None, one.json or None)
            return ending
        if one.outcome is Outcome.RETURNED:
            ending.retry_in_ms = 0
            return ending
        error = one.error or error_of("", "")
        if one.outcome is Outcome.CANCELLED:
            ending.reason = Reason.USER
            return ending
        ending.reason = Reason.TIMEOUT if one.outcome is Outcome.TIMEOUT else Reason(error["reason"] or "error")
        kind = error["type"] or ("gigq_nb.errors.JobTimeout" if one.outcome is Outcome.TIMEOUT else "gigq_nb.errors.JobFailed")
        ending.failure = Failure(kind, error["message"] or kind, error["traceback"])
        if one.exception:
            ending.failure.payload, ending.failure.signature = one.exception, one.signature
        policy = task.options.retry
        curable = ending.reason not in (Reason.UNSERIALIZABLE, Reason.DAMAGED) and (
            one.outcome is Outcome.TIMEOUT or policy.covers(error["types"])
        )
        if curable and claim.attempts < claim.max_attempts:
            ending.retry_in_ms = int(policy.jittered_s(claim.attempts) * 1000)
            ending.backoff_ms = int(policy.wait_s(claim.attempts) * (1 + policy.jitter) * 1000) + 1
        return ending
