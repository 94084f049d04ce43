"""``pause``: let no more jobs begin."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import TYPE_CHECKING

from ..store import pausing
from .command import Answer, Command, Door, short
from .finding import reading

if TYPE_CHECKING:
    from ..queue import JobQueue


class Pause(Command):
    """Let no more jobs begin until 'resume', also after a restart; what runs goes on, and submits go on.

    It holds for every worker and notebook of the queue. What a worker had taken and not begun goes back, uncharged.
    """

    word = "pause"

    def run(self, door: Door, args: argparse.Namespace) -> Answer:  # noqa: ARG002 - takes no arguments
        queue = door.queue()
        before = queue.paused
        at, counts = queue.pause(), queue.stats()
        door.look_again()
        already = f" ({_since(before)})" if before is not None else ""
        text = f"{short(queue.path)} is paused{already}: what runs goes on, nothing else begins until '{door.name} resume'"
        if counts["pending"]:
            text += f" ({counts['pending']:,} pending)"
        return Answer(data={"path": str(queue.path), "paused_at": at.isoformat(), "counts": counts}, text=text)


def _since(at: datetime) -> str:
    return "already, " + pausing.words(round(at.timestamp() * 1000)).removeprefix("paused ")


def note(queue: JobQueue, door: Door) -> str:
    """What every look at a paused queue says: since when, and how to go on. Nothing where it is not paused."""
    with reading(queue) as db:
        at = pausing.paused_at(db)
    return "" if at is None else f"the queue is {pausing.words(at)}: '{door.name} resume' lets jobs begin again"
