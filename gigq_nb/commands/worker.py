"""``worker``: run one in this terminal, or start, stop and look at those of the queue."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from ..policies import duration_s
from ..store import reads
from .command import Answer, Command, Door, Table
from .finding import reading
from .pause import note
from .submit import duration
from .terminal import ago_text, time_text

if TYPE_CHECKING:
    from ..job import WorkerRow
    from ..queue import JobQueue


class WorkerWord(Command):
    """Run a worker in this terminal until Ctrl-C; in a notebook start one, or find the one that runs.

    worker [start]   the same; in a terminal it stays until told to stop
    worker stop      ask all workers of the queue to stop: running jobs get a grace period, then go back unharmed
    worker status    which workers there are, and why they stay
    """

    word = "worker"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", nargs="?", choices=("start", "stop", "status"), default="start", metavar="start|stop|status")
        parser.add_argument("--worker-id", metavar="NAME", help="what to call it")
        parser.add_argument(
            "--polling-interval", metavar="T", help="seconds between looks at the file when nobody rings (default 5)"
        )
        parser.add_argument("--once", action="store_true", help="run one job, then end")
        parser.add_argument(
            "--concurrency", "-c", type=int, metavar="N", help="jobs at a time (default 1; in a notebook: the cores)"
        )
        parser.add_argument("--any-environment", action="store_true", help="also run jobs submitted from another environment")
        parser.add_argument("--now", action="store_true", help="stop: without a grace period")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        if args.what == "status":
            return _status(door.queue(), door)
        if args.what == "stop":
            return _stop(door.queue(), args.now)
        return _start_in_notebook(door, args) if door.notebook else _work(door, args)


def _work(door: Door, args: argparse.Namespace) -> Answer:
    """In the terminal: blocks."""
    from ..runtime.launcher import set_up_logging
    from ..runtime.worker import Worker

    interval = duration_s(duration(args.polling_interval), "--polling-interval", least=0.01) if args.polling_interval else 5.0
    worker = Worker(
        door.path(),
        args.worker_id,
        interval,
        1 if args.concurrency is None else args.concurrency,
        any_environment=args.any_environment,
        alone=True,
    )
    set_up_logging(None)
    if args.once:
        ran = worker.process_one()
        why = "" if ran else note(door.queue(), door)
        return Answer(data={"ran": int(ran)}, text="ran one job" if ran else why or "there was no job to run")
    worker.start()
    return Answer(data={"worker": worker.worker_id}, text=f"worker {worker.worker_id} stopped")


def _start_in_notebook(door: Door, args: argparse.Namespace) -> Answer:
    options: dict[str, Any] = {"any_environment": True} if args.any_environment else {}
    if args.polling_interval:
        options["polling_interval"] = duration_s(duration(args.polling_interval), "--polling-interval", least=0.01)
    handle = door.queue(create=True).start_worker(args.concurrency, **options)
    data = {
        "name": handle.name,
        "pid": handle.pid,
        "started": handle.started,
        "concurrency": handle.concurrency,
        "log": handle.log,
    }
    return Answer(data=data, text=str(handle))


def _stop(queue: JobQueue, now: bool) -> Answer:
    asked = len([row for row in worker_rows(queue) if row.state in ("running", "stopping")])
    stopped = queue.stop_worker(now=now)
    left = max(0, asked - stopped)
    text = f"{stopped} worker{'' if stopped == 1 else 's'} stopped" if asked else "no worker runs"
    if left:
        text += f"; {left} did not within 30 s: 'worker stop --now' gives running jobs no grace"
    return Answer(data={"stopped": stopped, "left": left}, text=text, failed=bool(left))


def _status(queue: JobQueue, door: Door) -> Answer:
    rows = worker_rows(queue)
    table = Table(
        columns=("name", "state", "running", "at a time", "pid", "host", "python", "beat", "why"),
        rows=[
            (one.name, one.state, one.running, one.concurrency, one.pid, one.host, one.python, time_text(one.beat_at), one.why)
            for one in rows
        ],
        empty="no worker runs",
        whole=("name", "state"),
        spare=("python", "host", "beat", "pid", "at a time", "running"),
    )
    from .status import one_worker

    paused = note(queue, door)
    if paused and door.frames:  # there a table stands for the text
        door.say(paused)
    return Answer(data=[one_worker(one) for one in rows], table=table, frame=queue.workers, text=paused)


def worker_rows(queue: JobQueue) -> list[WorkerRow]:
    """The workers that are not gone, the newest first."""
    with reading(queue) as db:
        return reads.workers(db)


def described(row: WorkerRow) -> str:
    """A worker in one line."""
    age = ago_text(time.time() - row.beat_at / 1000)
    load = f"{row.running} running, {row.concurrency} at a time"
    return f"{row.name}: {row.state}, {load}, pid {row.pid}, last sign of life {age} ago" + (f"; {row.why}" if row.why else "")
