"""Ctrl-C and SIGTERM ask a worker to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Protocol


class Stoppable(Protocol):
    """What can be asked to stop."""

    def stop(self) -> None:
        """Stop soon; asked again: at once."""


class StopSignals:
    """SIGINT and SIGTERM ask to stop while it runs in the main thread; the handlers before come back afterwards."""

    def __init__(self, worker: Stoppable) -> None:
        self.worker = worker
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.handle)

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """The handler."""
        self.worker.stop()

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
