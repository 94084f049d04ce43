"""One view in a notebook: where its snapshots come from, what its buttons do, and what of it was shown and saved."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING, Any

from ..errors import JobNotFound
from ..handle import Batch, JobHandle
from ..queue import JobQueue
from ..store import reads
from . import cards, plain
from .snapshots import BatchReader, BatchView, GoneView, JobView, QueueReader, QueueView, Snapshot, job_view
from .widgets import Action, stylesheet

if TYPE_CHECKING:
    from .widgets import Live

Thing = JobHandle | Batch | JobQueue


class View:
    """A job, a batch, a workflow or a queue, as one place in a notebook shows it."""

    def __init__(self, thing: Thing, cell: str | None = None, execution: str | None = None) -> None:
        self.thing = thing
        self.queue: JobQueue = thing if isinstance(thing, JobQueue) else thing.queue
        self.cell, self.execution = cell, execution
        self.display_id = f"gigq-{secrets.token_hex(8)}"
        self.live: Live | None = None
        self.snapshot: Snapshot | None = None
        self.mark: Any = None  # of what the snapshot was made from
        self.stale = True  # to be read again, whatever the mark says
        self.drawn_s = 0.0
        self.saved_s = 0.0
        self.saved: Snapshot | None = None
        self.saved_between = False  # while no cell ran
        self.closed = False
        self._reader: BatchReader | QueueReader | None = None
        if isinstance(thing, Batch):
            self._reader = BatchReader(thing.number)
        elif isinstance(thing, JobQueue):
            self._reader = QueueReader(str(thing.path))

    @property
    def ident(self) -> tuple[str, str]:
        """What it shows: the same thing shown again replaces it where cells have no names."""
        thing = self.thing
        about = str(thing) if isinstance(thing, JobHandle) else f"batch {thing.number}" if isinstance(thing, Batch) else ""
        return str(self.queue.path), about

    @property
    def about(self) -> str | int | None:
        """The id of its job or the number of its batch; None for the queue."""
        if isinstance(self.thing, JobHandle):
            return str(self.thing)
        return self.thing.number if isinstance(self.thing, Batch) else None

    @property
    def restless(self) -> bool:
        """Whether it may change while the counts stay: of a graph, which jobs run."""
        return isinstance(self.snapshot, BatchView) and self.snapshot.graph is not None and not self.snapshot.done

    @property
    def moving(self) -> bool:
        """Whether there may be something new to show."""
        return not self.closed and (self.stale or self.snapshot is None or not self.snapshot.done)

    # ------------------------------------------------------------------------------------------------------ reading

    def read(self, db: reads.Db, now_ms: int) -> Snapshot:
        """Take a new snapshot."""
        self.stale = False
        try:
            if isinstance(self._reader, (BatchReader, QueueReader)):
                self.snapshot = self._reader.view(db, now_ms)
            else:
                self.snapshot = job_view(self.queue, db, str(self.thing), now_ms)
        except JobNotFound as error:
            self.snapshot = GoneView(
                what=f"job {self.thing}" if isinstance(self.thing, JobHandle) else self.ident[1], why=str(error)
            )
        return self.snapshot

    def advance(self, now_ms: int) -> None:
        """The same state at a later moment: clocks go on, nothing is read."""
        if isinstance(self.snapshot, QueueView) and isinstance(self._reader, QueueReader):
            self.snapshot = dataclasses.replace(self.snapshot, at_ms=now_ms, ends=self._reader.ends(now_ms))
        elif isinstance(self.snapshot, (JobView, BatchView)) and not self.snapshot.done:
            self.snapshot = dataclasses.replace(self.snapshot, at_ms=now_ms)

    @property
    def ticks(self) -> bool:
        """Whether it shows a clock that runs."""
        view = self.snapshot
        if isinstance(view, JobView):
            return view.row.status == "running" or (view.row.status == "pending" and view.row.run_at is not None)
        return isinstance(view, (BatchView, QueueView)) and bool(
            (view.row if isinstance(view, BatchView) else view).counts.running
        )

    # ------------------------------------------------------------------------------------------------------ showing

    def draw(self, now_s: float) -> int:
        """Bring the live widget up to the snapshot. Returns how many parts changed."""
        self.drawn_s = now_s
        if self.live is None or self.snapshot is None:
            return 0
        outputs = self.snapshot.outputs if isinstance(self.snapshot, JobView) else ()
        return self.live.update(cards.sections(self.snapshot), self.actions(), outputs, final=self.snapshot.done)

    def bundle(self) -> dict[str, str]:
        """The snapshot as plain HTML and plain text."""
        assert self.snapshot is not None
        return bundle(self.snapshot)

    def unsaved(self) -> bool:
        """Whether the saved notebook shows something older, clocks aside."""
        return self.saved is None or self.snapshot is None or _still(self.saved) != _still(self.snapshot)

    def close(self) -> None:
        """No longer shown, or shown by another."""
        self.closed = True
        if self.live is not None:
            self.live.close()

    # ------------------------------------------------------------------------------------------------------ buttons

    def actions(self) -> tuple[Action, ...]:
        """What a person can do with it now."""
        view, thing = self.snapshot, self.thing
        if isinstance(view, JobView) and isinstance(thing, JobHandle):
            if not view.done:
                asked = view.row.cancel_requested
                return (
                    Action(
                        name="cancel",
                        label="Cancelling…" if asked else "Cancel",
                        doing="Cancelling…",
                        run=thing.cancel,
                        enabled=not asked,
                    ),
                )
            if view.row.status != "completed" and view.row.reason != "upstream":
                return (Action(name="retry", label="Retry", doing="Retrying…", run=thing.retry),)
        if isinstance(view, BatchView) and isinstance(thing, Batch):
            counts = view.row.counts
            some = []
            if counts.failed or counts.timeout:
                n = counts.failed + counts.timeout
                some.append(Action(name="retry", label=f"Retry {n:,} failed", doing="Retrying…", run=self._retry_failed))
            elif view.done and counts.cancelled:
                some.append(
                    Action(name="retry", label=f"Retry {counts.cancelled:,} cancelled", doing="Retrying…", run=thing.retry)
                )
            if not view.done:
                some.append(Action(name="cancel", label="Cancel all", doing="Cancelling…", run=thing.cancel, ask_again=True))
            return tuple(some)
        if isinstance(view, QueueView) and isinstance(thing, JobQueue):
            if view.paused_at is None:
                return (Action(name="pause", label="Pause", doing="Pausing…", run=thing.pause),)
            return (Action(name="resume", label="Resume", doing="Resuming…", run=thing.resume),)
        return ()

    def _retry_failed(self) -> int:
        """What failed or timed out; what a person cancelled stays cancelled."""
        assert isinstance(self.thing, Batch)
        rows = self.queue._unsuccessful(self.thing.number, 10**9)
        return self.queue._retry_many([row.id for row in rows if row.status in ("failed", "timeout")])


def bundle(view: Snapshot) -> dict[str, str]:
    """A snapshot as a MIME bundle. The style only tidies what a widget without a kernel leaves behind."""
    return {
        "text/plain": plain.text(view),
        "text/html": f"<style>{stylesheet('snapshot.css').strip()}</style>{cards.saved(view)}",
    }


def _still(view: Any) -> Any:
    if isinstance(view, QueueView):
        return dataclasses.replace(view, at_ms=0, ends=(), workers=())
    return dataclasses.replace(view, at_ms=0) if isinstance(view, (JobView, BatchView)) else view
