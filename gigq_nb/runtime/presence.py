"""Whether anybody still needs a worker that was started for notebooks, and why it stays, in words."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ..store import workers
from ..store.db import Database
from ..store.workers import Process
from . import processes
from .bell import now_ms
from .local import LocalRunner

NOBODY = "no kernel was alive and nothing was open"


class Presence:
    """Looks after each beat, and when a kernel ends: what a notebook is told later counts from then."""

    def __init__(self, database: Database, runner: LocalRunner, worker: int, linger_s: float) -> None:
        self.database = database
        self.runner = runner
        self._pidfds: dict[Process, int] = {}
        self.worker = worker
        self.linger_s = linger_s
        self._idle_since_s: float | None = None
        self._said: str | None = None

    def was_left(self) -> bool:
        """Whether a kernel has just ended."""
        return any(fd in self.runner.rang for fd in self._pidfds.values())

    def _watch(self, alive: list[Process]) -> None:
        """Wake when one of these kernels ends (pidfd_open(2)), and for no others."""
        for who in [one for one in self._pidfds if one not in alive]:
            fd = self._pidfds.pop(who)
            self.runner.unlisten(fd)
            os.close(fd)
        for who in alive:
            if who not in self._pidfds and processes.is_alive(who) is True:
                try:
                    self._pidfds[who] = os.pidfd_open(who.pid)
                except OSError:
                    continue
                self.runner.listen(self._pidfds[who])

    def close(self) -> None:
        """Give the descriptors back."""
        self._watch([])

    def is_unneeded(self, runtimes: Sequence[int]) -> bool:
        """True when no kernel is alive and nothing is ready, running, delayed or blocked, for longer than the linger time."""
        with self.database.read() as db:
            busy = workers.has_work_for(db, runtimes)
            known = workers.kernels(db)
        dead = [one for one in known if processes.is_alive(one) is False]
        self._watch([one for one in known if one not in dead])
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
