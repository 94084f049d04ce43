"""How a worker is asked to stop: by a call, by Ctrl-C and SIGTERM, by a word in the file."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol


@dataclass(slots=True)
class StopRequest:
    """Whether a worker is to stop, and why.

    Attributes:
        how: None; ``"gently"``: what runs gets its grace; ``"now"``: none; ``"done"``: it has stopped.
        why: In words, for those who look.
    """

    how: str | None = None
    why: str | None = None

    def make(self) -> None:
        """Ask; the second time: at once."""
        self.how = "now" if self.how else "gently"


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
