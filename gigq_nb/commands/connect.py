"""``connect``: open or create the queue, and in a notebook start or find its worker."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..store.opening import resolve
from . import finding
from .command import Answer, Command, Door, short
from .pause import note
from .terminal import ago_text

if TYPE_CHECKING:
    from ..queue import JobQueue
    from ..store.workers import Visit


class Connect(Command):
    """Open or create a queue; in a notebook also start or find its worker, and say what happened meanwhile.

    In a notebook this queue becomes the one that submits and words mean. A worker that is started stays until no
    notebook is connected and nothing is open. In a notebook, ``queue = %gigq connect FILE`` also gives the queue.
    """

    word = "connect"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("path", nargs="?", metavar="FILE", help="the queue's file; made when it is not there")
        parser.add_argument(
            "--concurrency", "-c", type=int, metavar="N", help="how many jobs at a time, where a worker is started"
        )
        parser.add_argument("--no-worker", action="store_true", help="start none (another one may run)")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        if args.path is not None:
            door.db = args.path
        new = not os.path.lexists(resolve(door.path()))
        queue = door.connect()
        name = short(queue.path)
        counts = queue.stats()
        data = {"path": str(queue.path), "new": new, "worker": None, "counts": counts}
        if not door.notebook:
            held = f"{name} {'is new' if new else 'is a queue'}: {in_words(counts) or 'no jobs'}"
            return Answer(data=data, text="; ".join(filter(None, (held, note(queue, door)))))
        before = _visit(queue)
        worker = "no worker was started"
        if not args.no_worker:
            handle = queue.start_worker(args.concurrency)
            data["worker"] = {
                "name": handle.name,
                "pid": handle.pid,
                "started": handle.started,
                "concurrency": handle.concurrency,
            }
            worker = f"worker {'started' if handle.started else 'found'}, {handle.concurrency} at a time"
        text = f"{name}{' is new' if new else ''}: {worker}. {_meanwhile(before, counts, new)}".strip()
        if paused := note(queue, door):
            text += f"\n{paused}"
        return Answer(data=data, text=text, kept=queue)


def _visit(queue: JobQueue) -> Visit:
    """Register this kernel; what its notebook's jobs did since the notebook was here last."""
    from .. import submission
    from ..runtime import processes
    from ..store import workers

    notebook, now = submission.whereabouts()[0], time.time_ns() // 1_000_000
    with finding.writing(queue) as db:
        before = workers.visit(db, notebook, now)
        workers.see_kernel(db, processes.me(), notebook, now)
    if queue.path not in _visited:
        _visited.add(queue.path)
        atexit.register(_leave, queue, os.getpid())
    return before


_visited: set[Path] = set()


def _leave(queue: JobQueue, pid: int) -> None:
    """The kernel ends: note when, so that the next one can tell what happened since. A killed one is noted by its worker."""
    from ..errors import GigQError
    from ..runtime import processes
    from ..store import workers

    if os.getpid() == pid and queue.path.exists():
        with contextlib.suppress(GigQError, OSError), finding.writing(queue, busy_s=0.2) as db:
            workers.see_kernel(db, processes.me(), None, time.time_ns() // 1_000_000)


def _meanwhile(before: Visit, counts: dict[str, int], new: bool) -> str:
    """One sentence on what was done while nobody looked."""
    if new:
        return ""
    if before.away_ms is None:
        words = in_words(counts)
        return f"It holds {words}." if words else "No jobs yet."
    since = f"Since this notebook was here ({ago_text(before.away_ms / 1000)} ago)"
    done = in_words(before.ended, finished="finished") or "nothing ended"
    still = in_words(before.open)
    more = " %gigq watch shows them again." if before.ended or before.open else ""
    return f"{since}: {done}{'; ' + still if still else ''}.{more}"


def in_words(counts: dict[str, int], finished: str = "completed") -> str:
    """``3 running, 2 failed``: what there is of each status."""
    order = ("running", "pending", "completed", "failed", "timeout", "cancelled")
    names = {"completed": finished, "timeout": "timed out"}
    return ", ".join(f"{counts[one]:,} {names.get(one, one)}" for one in order if counts.get(one))
