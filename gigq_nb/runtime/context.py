"""For code inside a job: which job it is, how far it is, what it shows. Outside a job all of it does nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
REPORT_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """The job that runs here."""

    id: str
    name: str
    attempt: int


class _State:
    """What the engine of a child sets around each job."""

    def __init__(self) -> None:
        self.job: CurrentJob | None = None
        self.send: Callable[[bytes, bytes], None] | None = None
        self.next_report_s = 0.0
        self.unsaid: bytes | None = None

    def begin(self, job: CurrentJob, send: Callable[[bytes, bytes], None]) -> None:
        self.job, self.send, self.unsaid, self.next_report_s = job, send, None, 0.0

    def end(self) -> None:
        if self.unsaid is not None and self.send is not None:
            self.send(b"P", self.unsaid)
        self.job, self.send, self.unsaid = None, None, None


state = _State()


def current_job() -> CurrentJob | None:
    """The job in which this code runs, or None."""
    return state.job


def progress(done: float, total: float | None = None, text: str = "") -> None:
    """Say how far this job is. A million calls cost next to nothing: at most ten a second are passed on, and the last.

    Args:
        done: How much is done, in any unit.
        total: How much there is in all, if it is known.
        text: What is being done, up to 200 characters.
    """
    if state.send is None:
        return
    now_s = time.monotonic()
    if now_s < state.next_report_s:
        state.unsaid = _report(done, total, text) if total is not None and done >= total else state.unsaid
        return
    state.next_report_s = now_s + REPORT_EVERY_S
    state.unsaid = None
    state.send(b"P", _report(done, total, text))


def _report(done: float, total: float | None, text: str) -> bytes:
    return json.dumps([float(done), None if total is None else float(total), str(text)[:200]]).encode()


def track(items: Iterable[T], total: int | None = None, text: str = "") -> Iterator[T]:
    """Iterate and report progress: ``for x in track(xs): …``

    Args:
        items: Anything that can be iterated.
        total: Its length, where ``len()`` does not tell.
        text: What is being done.
    """
    if total is None:
        try:
            total = len(items)  # type: ignore[arg-type]
        except TypeError:
            total = None
    done = 0
    for done, item in enumerate(items):
        progress(done, total, text)
        yield item
    if total is not None or done:
        progress(done + 1, total if total is not None else done + 1, text)


def show(
    bundle: dict[str, Any], metadata: dict[str, Any] | None = None, display_id: str | None = None, update: bool = False
) -> bool:
    """Store a rich output (a MIME bundle of texts) with the running job. Returns False outside a job."""
    if state.send is None:
        return False
    data = {"data": bundle, "metadata": metadata or {}, "display_id": display_id, "update": update}
    state.send(b"D", json.dumps(data).encode())
    return True
