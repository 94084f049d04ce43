"""Whether anybody still needs a worker that was started for notebooks, and why it stays, in words."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..store import workers
from ..store.db import Database
from . import processes
from .bell import now_ms

NOBODY = "no kernel was alive and nothing was open"


class Presence:
    """Looks after each beat; forgets kernels that are dead."""

    def __init__(self, database: Database, worker: int, linger_s: float) -> None:
        self.database = database
        self.worker = worker
        self.linger_s = linger_s
        self._idle_since_s: float | None = None
        self._said: str | None = None

    def is_unneeded(self, runtimes: Sequence[int]) -> bool:
        """True when no kernel is alive and nothing is ready, running, delayed or blocked, for longer than the linger time."""
        with self.database.read() as db:
            busy = workers.has_work_for(db, runtimes)
            known = workers.kernels(db)
        dead = [one for one in known if processes.is_alive(one) is False]
        alive = len(known) - len(dead)
        now_s = time.monotonic()
        if alive or busy:
            self._idle_since_s = None
            why = f"serves {alive} notebook kernel(s)" if alive else "no kernel is alive, but jobs are open"
        else:
            self._idle_since_s = self._idle_since_s or now_s
            why = "no kernel is alive and nothing is open: ends soon"
        if dead or why != self._said:
            with self.database.write(durable=False, busy_s=0.25) as db:
                for one in dead:
                    workers.forget_kernel(db, one, now_ms())
                workers.set_why(db, self.worker, why)
            self._said = why
        return self._idle_since_s is not None and now_s - self._idle_since_s >= self.linger_s
