"""The connected queue: the one of this process that ``task.submit()``, ``workflow.submit()`` and ``%gigq`` use."""

from __future__ import annotations

from typing import Any

from .errors import NotConnected
from .queue import JobQueue

_current: JobQueue | None = None


def connect(path: Any = "jobs.db", *, durability: str = "power") -> JobQueue:
    """Open or create a queue and make it the connected one, which ``task.submit()`` and ``%gigq`` use."""
    global _current
    _current = JobQueue(path, durability=durability)
    return _current


def current() -> JobQueue:
    """The connected queue.

    Raises:
        NotConnected: none is.
    """
    if _current is None:
        raise NotConnected("no queue is connected: run %gigq connect jobs.db, or pass a JobQueue as the first argument")
    return _current
