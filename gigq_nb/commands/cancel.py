"""``cancel``: end jobs, also running ones."""

from __future__ import annotations

import argparse

from . import finding
from .command import Answer, Command, Door


class Cancel(Command):
    """Cancel jobs; a running one is stopped with all its processes."""

    word = "cancel"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("jobs", nargs="+", metavar="JOB", help="#3 is all jobs of batch 3")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        jobs = finding.jobs(queue, args.jobs)
        data, lines = [], []
        for job in jobs:
            row, done = job.row(), job.cancel()
            data.append({"id": str(job), "name": row.name, "cancelled": done})
            state = "is cancelled" if row.status != "running" else "is being stopped"
            lines.append(f"{row.name} ({job}) {state if done else f'cannot be cancelled: it is {row.status}'}")
        bad = [one for one in data if not one["cancelled"]]
        if len(lines) > 10:
            lines = [f"{len(data) - len(bad)} jobs cancelled", *([f"{len(bad)} were done already"] if bad else [])]
            return Answer(data=data, text="\n".join(lines), failed=len(bad) == len(data))
        return Answer(data=data, text="\n".join(lines), failed=bool(bad))
