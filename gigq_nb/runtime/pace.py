"""When a worker looks at the file, and when it writes to it. All of it counts on the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Iterable

from .bell import now_ms

BEAT_S = 2.0
RETRY_S = 0.2
#: While others submit, so many times as long as a write takes passes until the next one, within these bounds.
GROUP_SHARE, LEAST_GROUP_S, MOST_GROUP_S = 6, 0.0015, 0.01


class Pace:
    """What was done last, what is due next.

    Attributes:
        look: There may be something to claim.
        rung: Somebody rang for work since the last write.
        next_due_ms: When the next delayed job is due (UTC), if any waits.
    """

    def __init__(self, polling_interval_s: float, lease_s: float) -> None:
        self.polling_interval_s = polling_interval_s
        self.beat_every_s = min(BEAT_S, lease_s / 5)
        self.look = True
        self.rung = False
        self.next_due_ms: int | None = None
        self._beat_s = 0.0
        self._looked_s = 0.0
        self._wrote_s = 0.0
        self._group_s = LEAST_GROUP_S
        self._retry_s = 0.0
        self._clock_offset_s = 0.0

    # ------------------------------------------------------------------------------------------ what was done

    def beaten(self, began_s: float) -> None:
        """The beat was committed, in a write that began then."""
        self._beat_s = began_s + self.beat_every_s

    def looked(self) -> None:
        """For something to claim."""
        self._looked_s = time.monotonic()

    def wrote(self, locked_s: float) -> None:
        """A write was committed that had the lock since then."""
        self._wrote_s, self.rung = time.monotonic(), False
        self._group_s = min(MOST_GROUP_S, max(LEAST_GROUP_S, GROUP_SHARE * (self._wrote_s - locked_s)))

    def failed(self) -> None:
        """The file could not be written: try again a little later."""
        self.look, self._retry_s = True, time.monotonic() + RETRY_S

    # ------------------------------------------------------------------------------------------ what is due

    def is_beat_due(self, now_s: float) -> bool:
        """Whether the next write is to carry a sign of life."""
        return now_s >= self._beat_s

    def is_job_due(self, now: int) -> bool:
        """Whether a delayed job may begin (``now`` in UTC milliseconds)."""
        return self.next_due_ms is not None and now >= self.next_due_ms

    def look_if_due(self, now_s: float) -> None:
        """Look also when nobody rang: a ring is a hint, and may be lost."""
        if self.is_job_due(now_ms()) or now_s - self._looked_s >= self.polling_interval_s:
            self.look = True

    def clock_stepped(self) -> bool:
        """Whether the wall clock was set since the last look: then waits that were written before mean something else."""
        offset_s = time.time() - time.monotonic()
        stepped, self._clock_offset_s = abs(offset_s - self._clock_offset_s) > 0.5, offset_s
        return stepped

    def wait_s(self, now_s: float, *, under_way: bool) -> float:
        """Seconds in which nothing may be written: after a failure, and between two groups (see :meth:`group_s`)."""
        return max(self._retry_s - now_s, self.group_s(now_s, under_way=under_way))

    def group_s(self, now_s: float, *, under_way: bool) -> float:
        """While others submit and jobs are under way, seconds until the next write: it takes the lock from them.

        A single job on an idle queue never waits here: nothing is under way when it comes, nobody rings when it ends.
        """
        return self._wrote_s + self._group_s - now_s if self.rung and under_way else 0.0

    def patience_s(self, now_s: float, *, hungry: bool, endings: bool, under_way: bool, others: Iterable[float]) -> float:
        """How long to sleep when nothing happens.

        Args:
            now_s: The monotonic clock.
            hungry: A child has room for another job.
            endings: Something is to be written.
            under_way: See :meth:`group_s`.
            others: Seconds until something else is due.
        """
        if self.look and hungry:
            return max(0.0, self.wait_s(now_s, under_way=under_way))
        waits = [self._beat_s - now_s, *others]
        if not self.look:  # else it is known that there is something to claim, and a child with room is waited for
            waits.append(self._looked_s + self.polling_interval_s - now_s)
            if self.next_due_ms is not None:
                waits.append((self.next_due_ms - now_ms()) / 1000)
        if endings:
            waits.append(self.wait_s(now_s, under_way=under_way))
        return max(0.0, self._retry_s - now_s, min(waits))
