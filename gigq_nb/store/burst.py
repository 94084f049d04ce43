"""A kernel's connections: closed 100 ms after the last operation of a burst, and never used or closed in a fork.

To open one takes 0.4 ms, and 1 ms after a pause: half of it is SQLite reading the schema. A burst that also covers the
job it waits for halves the time from submit to result on an idle queue.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import Protocol

from .holding import holding

BURST_S = 0.1


class Closable(Protocol):
    """What the closer needs of a database."""

    def close_if_idle(self) -> float | None:
        """Close after a burst. Returns seconds until it is worth asking again, None when closed."""

    def forget_in_fork(self) -> None:
        """In the child of a fork: neither use nor close the parent's handle."""


class Closer:
    """Closes connections of kernels after a burst, in one thread that ends when nothing is open."""

    def __init__(self) -> None:
        # `with` on a plain lock cannot be cut in two by a Ctrl-C. Entering a condition can: its lock would stay held.
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._open: set[Closable] = set()
        self._thread: threading.Thread | None = None

    def watch(self, database: Closable) -> None:
        if database in self._open and self._thread is not None:
            return
        with self._lock:
            self._open.add(database)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="gigq_nb burst", daemon=True)
                with contextlib.suppress(RuntimeError):  # no thread is to be had now: the next operation asks again
                    thread.start()
                    self._thread = thread
            else:
                self._condition.notify()

    def _run(self) -> None:
        idle_turns = 0
        while True:
            with self._lock:
                waiting = list(self._open)
                if not waiting:
                    idle_turns += 1
                    if idle_turns > 5:
                        self._thread = None
                        return
                    self._condition.wait(0.2)
                    continue
            idle_turns = 0
            pauses = []
            for database in waiting:
                with self._lock:  # taken out first: a burst that starts now puts it back
                    self._open.discard(database)
                left_s = database.close_if_idle()
                if left_s is not None:
                    with self._lock:
                        self._open.add(database)
                    pauses.append(left_s)
            if pauses:
                time.sleep(min(pauses))

    def forget_in_fork(self) -> None:
        self.__init__()  # type: ignore[misc]


alive: weakref.WeakSet[Closable] = weakref.WeakSet()
closer = Closer()


def _after_fork() -> None:
    closer.forget_in_fork()
    holding.forget_in_fork()
    for database in list(alive):
        database.forget_in_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
