"""What running attempts print, show and say of their progress, on its way into the file: a few times a second at most."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..store import workers
from ..store.transitions import Ending
from .local import LocalRunner
from .runner import Finished

FLUSH_S = 0.25
KEEP_LOG_BYTES, HEAD_LOG_BYTES = 1024 * 1024, 256 * 1024


class Reports:
    """Logs, outputs, progress and true start times of the attempts of one worker."""

    def __init__(self, runner: LocalRunner) -> None:
        self.runner = runner
        self.due_s = 0.0
        self._last_words: dict[int, tuple[str, int]] = {}

    def keep_last_words(self, one: Finished) -> None:
        """The rest of the log of an attempt that is over; written with its end."""
        if one.assignment.log:
            self._last_words[one.assignment.claim.token] = one.assignment.log.take()

    def write_last_words(self, db: Any, endings: Sequence[Ending]) -> None:
        """In the transaction that ends the attempts."""
        for one in endings:
            self._store_log(db, one.claim.token, self._last_words.get(one.claim.token))

    def forget(self, endings: Sequence[Ending]) -> None:
        """That transaction was committed."""
        for one in endings:
            self._last_words.pop(one.claim.token, None)

    def has_news(self) -> bool:
        """Whether there is anything to write of what runs."""
        self.runner.look_how_far()
        if self.runner.progress:
            return True
        return any(one.log or one.outputs or not one.marked_started for _, one, _ in self.runner.active())

    def write(self, db: Any, now: int) -> None:
        """Logs, outputs, progress and true start times of what runs, a few times a second at most."""
        self.due_s = time.monotonic() + FLUSH_S
        starts = []
        for _, one, since in self.runner.active():
            if not one.marked_started:
                one.marked_started = True
                starts.append((now - (time.monotonic_ns() - since) // 1_000_000, one.claim.token))
            if one.log:
                self._store_log(db, one.claim.token, one.log.take())
            if one.outputs:
                n, changed = one.outputs.take()
                workers.set_outputs(db, one.claim.token, n, changed)
        if starts:
            workers.mark_started(db, starts)
        if self.runner.progress:
            for token, (done, total, text) in self.runner.progress.items():
                workers.set_progress(db, token, done, total, text, now)
            self.runner.progress.clear()

    def _store_log(self, db: Any, token: int, taken: tuple[str, int] | None) -> None:
        if taken is not None:
            workers.add_log(db, token, taken[0], KEEP_LOG_BYTES, HEAD_LOG_BYTES)
            if taken[1]:
                workers.drop_from_log(db, token, taken[1])
