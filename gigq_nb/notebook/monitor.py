"""One thread per kernel moves all views: it reads when a file changed, sends what changed, and ends when all is done.

Limits, from measurements of a browser (more than about 80 widget messages a second make a page lag): four rounds a
second, in each at most ``MOST_DRAWN`` views drawn, those first that waited longest; clocks alone move slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ..errors import GigQError, QueueReplaced
from ..queue import JobQueue
from ..runtime.bell import Bell, Ear, now_ms
from ..store import views
from ..store.db import Database
from .snapshots import BatchView, JobView, QueueView
from .view import View

log = logging.getLogger("gigq_nb.views")

ROUND_S = 0.25
LEAST_S = 0.2  # between two drawings of a view, however often the thread is woken
GONE = ("gone",)
SHARE = 15  # a round is followed by a pause of so many times what it took, if that is longer
IDLE_S = 1.0
MOST_DRAWN, MOST_CLOCKS = 12, 4
CLOCK_S, SIGN_S = 1.0, 8.0  # a running clock moves; a view that waits says from time to time that it is up to date
SAVE_S, SAVE_CLOCK_S = 5.0, 60.0
MOST_SAVED, MOST_SAVED_DONE = 2, 8
MOST_VIEWS = 300
LAST_CALL_S = 1.0
BUSY_S = 1.0
BUSY = "the kernel is busy in a cell: a click acts when that ends, or interrupt it"


class Monitor:
    """Keeps views up to date. ``save`` replaces a display by its id (None where there are no displays)."""

    def __init__(self, save: Callable[[View], None] | None = None) -> None:
        self.save = save
        self.views: list[View] = []
        self.rounds = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ears: dict[Database, tuple[Bell, Ear]] = {}
        self._marks: dict[Database, Any] = {}
        self._pulse: Pulse | None = None
        self._last_call = False
        self._answered = threading.Event()
        self.cell_runs = True

    # ------------------------------------------------------------------------------------------------------ from cells

    def add(self, view: View) -> None:
        """Follow a view. What the same cell showed when it ran before is closed."""
        with self._lock:
            for old in [one for one in self.views if _replaces(view, one)]:
                self._remove(old)
            self.views.append(view)
            for old in [one for one in self.views if not one.moving][: max(0, len(self.views) - MOST_VIEWS)]:
                self._remove(old)
            with contextlib.suppress(RuntimeError):  # a plain script has no loop
                self._pulse = self._pulse or Pulse(asyncio.get_running_loop())
        self.look()

    def look(self, clicked: View | None = None) -> None:
        """Look at everything again now: after a click, a retry, or when there is a new view."""
        with self._lock:
            for view in self.views:
                view.stale = True
            if clicked is not None:
                clicked.mark = None
            if self._thread is None and self.views:
                self._thread = threading.Thread(target=self._run, name="gigq_nb views", daemon=True)
                self._thread.start()
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")

    def cell_begins(self, *_: object) -> None:
        """Where cells have no names (nbclient, papermill) what is saved between two of them is lost: save it again now."""
        self.cell_runs = True
        lost = [one for one in self.views if one.saved_between]
        for view in lost:
            view.saved, view.saved_between = None, False
        if lost:
            self.look()

    def cell_ends(self, *_: object) -> None:
        """From now on no cell listens. Where cells have no names this may be the last: what it waited for is saved before."""
        with self._lock:
            wanted = self._thread is not None and any(one.cell is None and not one.closed for one in self.views)
            if wanted:
                self._answered.clear()
                self._last_call = True
        if wanted:
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"!")
            self._answered.wait(LAST_CALL_S)
        self.cell_runs = False

    def close(self) -> None:
        """Close all views; the thread ends."""
        with self._lock:
            for view in list(self.views):
                self._remove(view)
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")

    def _remove(self, view: View) -> None:
        self.views.remove(view)
        with contextlib.suppress(Exception):  # its comm may be gone with its page
            view.close()

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    moving = [one for one in self.views if one.moving or self._save_due(one, time.monotonic())]
                    if not moving:
                        self._thread = None
                        return
                    last_call, self._last_call = self._last_call, False
                began_s = time.monotonic()
                if last_call:
                    self.last_round(moving, now_ms(), began_s)
                    self._answered.set()
                self.run_once(moving, now_ms(), began_s)
                self._sleep(moving, max(ROUND_S, SHARE * (time.monotonic() - began_s)))
        except Exception:  # the kernel is going down under this thread: say nothing into its cells
            log.debug("the views stand still", exc_info=True)
            with self._lock:
                self._thread = None
        finally:
            with self._lock:
                if self._thread is None:
                    self._answered.set()
                    self._stop_listening()

    def _sleep(self, moving: list[View], least_s: float) -> None:
        """A quarter of a second at least; longer when nothing runs, until something rings."""
        self._poll([self._wake_read], least_s)
        if not any(one.ticks or one.stale for one in moving):
            self._poll([self._wake_read, *(ear.fileno() for _, ear in self._ears.values())], IDLE_S - ROUND_S)
        for _, ear in self._ears.values():
            if ear.drain():
                self._marks.clear()

    def _poll(self, handles: list[int], timeout_s: float) -> None:
        poll = select.poll()
        for one in handles:
            poll.register(one, select.POLLIN)
        poll.poll(timeout_s * 1000)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 64):
                pass

    def run_once(self, moving: list[View], now: int, now_s: float) -> int:
        """One round. Returns how many views were drawn."""
        self.rounds += 1
        groups: dict[Database, list[View]] = defaultdict(list)
        for view in moving:
            groups[view.queue._database].append(view)
        room = MOST_DRAWN
        for database, some in groups.items():
            self._listen(some[0].queue)
            mark = database.changed_mark()
            waiting = any(one.stale for one in some)
            if mark == self._marks.get(database) and not waiting:
                continue
            changed, behind = self._read(database, some, now, now_s, room)
            if not behind:
                self._marks[database] = mark
            for view in changed:
                self._draw(view, now_s)
            room = max(1, room - len(changed))
        drawn = MOST_DRAWN - room
        self._move_clocks(moving, now, now_s)
        self._say_busy(moving, now_s)
        self._save(moving, now, now_s)
        return drawn

    def _read(self, database: Database, some: list[View], now: int, now_s: float, room: int) -> tuple[list[View], bool]:
        """Read what changed, at most ``room`` views, those first that waited longest. Also whether some are left."""
        changed = []
        try:
            with database.read() as db:
                marks: dict[Any, Any] = {**views.job_marks(db, [one.about for one in some if isinstance(one.about, str)])}
                marks.update(views.batch_marks(db, [one.about for one in some if isinstance(one.about, int)]))
                due = []
                for view in some:
                    if view.mark is None or view.about is None or view.mark != marks.get(view.about) or view.restless:
                        due.append(view)
                    else:
                        view.stale = False
                ready = [one for one in due if one.mark is None or now_s - one.drawn_s >= LEAST_S]
                ready.sort(key=lambda one: one.drawn_s)
                for view in ready[:room]:
                    view.mark = marks.get(view.about, GONE)
                    view.read(db, now)
                    changed.append(view)
                return changed, len(due) > len(changed)
        except QueueReplaced as error:
            for view in some:
                view.stale, view.closed = False, True
                if view.live is not None:
                    view.live.note(str(error))
        except GigQError as error:  # locked, full: they go on with the next round
            for view in some:
                if view.live is not None:
                    view.live.note(str(error))
        return changed, True

    def _move_clocks(self, moving: list[View], now: int, now_s: float) -> None:
        due = [
            one
            for one in moving
            if one.live is not None
            and not one.closed
            and now_s - one.drawn_s >= (CLOCK_S if one.ticks else SIGN_S)
            and one.moving
        ]
        for view in sorted(due, key=lambda one: one.drawn_s)[:MOST_CLOCKS]:
            view.advance(now)
            self._draw(view, now_s)

    def _draw(self, view: View, now_s: float) -> None:
        """One view that cannot be drawn must not stop the others."""
        try:
            view.draw(now_s)
        except Exception:  # its page or its kernel is gone, or we have a bug: it stands still, and its stylesheet says so
            log.debug("a view cannot be drawn", exc_info=True)
            view.closed = True

    def _save_due(self, view: View, now_s: float) -> bool:
        if self.save is None or view.closed or view.snapshot is None:
            return False
        if view.snapshot.done:
            return view.saved is not view.snapshot and view.unsaved()
        age_s = now_s - view.saved_s
        return age_s >= SAVE_S and (view.unsaved() or view.ticks or age_s >= SAVE_CLOCK_S)

    def _save(self, moving: list[View], now: int, now_s: float) -> None:
        """Renew the plain HTML of the notebook: at the end at once, meanwhile now and then."""
        if self.save is None:
            return
        due = sorted((one for one in moving if self._save_due(one, now_s)), key=lambda one: one.saved_s)
        done = [one for one in due if one.snapshot is not None and one.snapshot.done][:MOST_SAVED_DONE]
        for view in (*done, *[one for one in due if one not in done][:MOST_SAVED]):
            view.advance(now)
            self._save_one(view, now_s)

    def _save_one(self, view: View, now_s: float) -> None:
        assert self.save is not None
        between = not self.cell_runs
        self.save(view)
        view.saved, view.saved_s = view.snapshot, now_s
        view.saved_between = view.cell is None and (between or not self.cell_runs)

    def last_round(self, moving: list[View], now: int, now_s: float) -> None:
        """Before a cell ends that has no name: save what changed of all views like it, whosever turn it is."""
        if self.save is None:
            return
        groups: dict[Database, list[View]] = defaultdict(list)
        for view in moving:
            if view.cell is None:
                groups[view.queue._database].append(view)
        for database, some in groups.items():
            for view in self._read(database, some, now, math.inf, len(some))[0]:
                self._draw(view, now_s)
            for view in some:
                if not view.closed and view.unsaved():
                    self._save_one(view, now_s)

    def _say_busy(self, moving: list[View], now_s: float) -> None:
        if self._pulse is None:
            return
        busy = self._pulse.late_s(now_s) >= BUSY_S
        for view in moving:
            if view.live is not None and not view.closed and isinstance(view.snapshot, (JobView, BatchView, QueueView)):
                view.live.busy(BUSY if busy and not view.snapshot.done else "")

    # ------------------------------------------------------------------------------------------------------ rings

    def _listen(self, queue: JobQueue) -> None:
        if queue._database not in self._ears:
            bell = Bell(queue.path)
            self._ears[queue._database] = (bell, bell.listen("k"))

    def _stop_listening(self) -> None:
        for bell, ear in self._ears.values():
            ear.close()
            bell.close()
        self._ears.clear()
        self._marks.clear()


class Pulse:
    """Whether the kernel's main thread answers: a click is handled there, so buttons say when they must wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sent_s = 0.0
        self._open = False

    def late_s(self, now_s: float) -> float:
        """For how long it has not answered; 0 when it does."""
        if self._open:
            return now_s - self._sent_s
        if now_s - self._sent_s >= 0.5:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the kernel ends
                self._open, self._sent_s = True, now_s  # first: the answer may come before this line is left
                self._loop.call_soon_threadsafe(self._answer)
        return 0.0

    def _answer(self) -> None:
        self._open = False


def _replaces(new: View, old: View) -> bool:
    """Whether showing ``new`` makes ``old`` superfluous: the same cell ran again, or the same thing where cells have no names."""
    if new.cell is not None:
        return old.cell == new.cell and old.execution != new.execution
    return old.cell is None and old.ident == new.ident
