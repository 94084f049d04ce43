"""For code inside a job: which job it is, how far it is, what it shows. Outside a job all of it does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from .shown import Shown

T = TypeVar("T")
MOST_TEXT = 200


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
        self.note: Callable[[float, float | None, str], None] | None = None
        self.send: Callable[[int, bytes], None] | None = None
        self.shown: Shown | None = None

    def begin(
        self, job: CurrentJob, note: Callable[[float, float | None, str], None], send: Callable[[int, bytes], None]
    ) -> None:
        """A job starts: ``note`` takes its progress, ``send`` its rich outputs (place, bundle)."""
        self.job, self.note, self.send, self.shown = job, note, send, None

    def end(self) -> None:
        """The job is over."""
        self.job, self.note, self.send, self.shown = None, None, None, None


state = _State()


def current_job() -> CurrentJob | None:
    """The job in which this code runs, or None."""
    return state.job


def progress(done: float, total: float | None = None, text: str = "") -> None:
    """Say how far this job is. A million calls cost next to nothing: each overwrites the last, and the worker looks now and then.

    Args:
        done: How much is done, in any unit.
        total: How much there is in all, if it is known.
        text: What is being done, up to 200 characters.
    """
    if state.note is not None:
        state.note(done, total, text)


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
    progress(done, total, text)
    for item in items:
        yield item
        done += 1
        progress(done, total, text)
    if total is None:
        progress(done, done, text)


def show(
    bundle: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    display_id: str | None = None,
    update: bool = False,
    *,
    kind: str = "display_data",
) -> bool:
    """Store a rich output (a MIME bundle) with the running job, and show it in its card. Returns False outside a job.

    Args:
        bundle: ``{MIME type: content}``, as ``display(..., raw=True)`` takes it.
        metadata: The metadata of the types.
        display_id: A name by which it can be replaced later.
        update: Replace the outputs of this name instead of adding one.
        kind: ``display_data``, or ``execute_result`` for the value of a cell.
    """
    if state.send is None:
        return False
    if state.shown is None:
        state.shown = Shown(state.send)
    state.shown.add(bundle, metadata or {}, display_id, update, kind)
    return True


def clear(wait: bool = False) -> None:
    """Remove the rich outputs so far; ``wait`` removes them when the next one comes."""
    if state.shown is not None:
        state.shown.clear(wait)
