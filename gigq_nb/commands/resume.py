"""``resume``: let jobs begin again."""

from __future__ import annotations

import argparse
import time

from ..runtime import processes
from ..store import workers
from .command import Answer, Command, Door, short
from .finding import reading
from .terminal import ago_text


class Resume(Command):
    """Let jobs begin again after a 'pause'; workers are woken at once."""

    word = "resume"

    def run(self, door: Door, args: argparse.Namespace) -> Answer:  # noqa: ARG002 - takes no arguments
        queue = door.queue()
        before = queue.paused
        resumed = queue.resume()
        counts = queue.stats()
        door.look_again()
        data = {
            "path": str(queue.path),
            "resumed": resumed,
            "was_paused_at": before.isoformat() if before else None,
            "counts": counts,
        }
        if not resumed or before is None:
            return Answer(data=data, text=f"{short(queue.path)} was not paused")
        text = f"{short(queue.path)} goes on after {ago_text(time.time() - before.timestamp())}"
        pending = counts["pending"]
        if pending:
            text += f": {pending:,} pending job{'' if pending == 1 else 's'} may begin"
            with reading(queue) as db:
                peers = workers.peers(db)
            if not any(processes.is_alive(one.process) is not False for one in peers if one.state == "running"):
                text += f"; no worker runs, '{'%gigq worker start' if door.notebook else 'gigq-nb worker'}' starts one"
        return Answer(data=data, text=text)
