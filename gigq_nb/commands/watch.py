"""``watch``: the views of this notebook again; in a terminal, the queue while it works."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from .. import submission
from ..handle import Batch, JobHandle
from ..store import reads
from .command import Answer, Command, Door
from .connect import in_words
from .finding import reading
from .pause import note

if TYPE_CHECKING:
    from ..queue import JobQueue

_MOST_VIEWS = 20
_LOOK_S = 1.0


class Watch(Command):
    """Bring back the views of what this notebook submitted; in a terminal, watch the queue until all is done."""

    word = "watch"

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        if door.notebook:
            views = _views(queue)
            text = note(queue, door) if views else "this notebook has submitted nothing to this queue yet"
            return Answer(shows=views, text=text)
        if args.json:
            return Answer(data=queue.stats())
        return _in_terminal(queue, door)


def _views(queue: JobQueue) -> list[Any]:
    """What each cell submitted last, and all that is still open: the oldest first."""
    notebook = submission.whereabouts()[0]
    found: list[tuple[int, Any]] = []
    seen: set[tuple[str | None, str, str]] = set()
    with reading(queue) as db:
        batches = [reads.batch(db, number, times=False) for number in reads.batches(db, 200, notebook)]
        jobs = [row for row in reads.jobs(db, notebook=notebook, limit=1000) if row.batch is None]
    for batch in batches:
        key = (batch.cell, "batch", batch.name)
        if key not in seen or batch.counts.done < batch.counts.total:
            found.append((batch.created_at, Batch(queue, batch.id)))
        seen.add(key)
    for row in jobs:
        key = (row.cell, "job", row.name)
        if key not in seen or row.status in ("pending", "running"):
            found.append((row.created_at, JobHandle(row.id, queue)))
        seen.add(key)
    found.sort(key=lambda one: one[0])
    return [view for _, view in found[-_MOST_VIEWS:]]


def _in_terminal(queue: JobQueue, door: Door) -> Answer:
    from ..runtime.bell import Bell

    said: tuple[str, ...] = ()
    bell = Bell(queue.path)
    try:
        with bell.listen("k") as ear:
            while True:
                counts = queue.stats()
                news = tuple(filter(None, (in_words(counts) or "no jobs", note(queue, door))))
                if news != said:
                    door.say(f"{time.strftime('%H:%M:%S')}  {'; '.join(news)}")
                    said = news
                if not counts["pending"] and not counts["running"]:
                    return Answer()
                end_s = time.monotonic() + _LOOK_S
                while (left_s := end_s - time.monotonic()) > 0 and not (ear.wait(left_s) and queue.stats()["running"] == 0):
                    pass
    except KeyboardInterrupt:
        return Answer(text="the jobs go on")
    finally:
        bell.close()
