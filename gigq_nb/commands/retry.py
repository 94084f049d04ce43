"""``retry``: run again what ended badly."""

from __future__ import annotations

import argparse
from typing import Any

from . import finding
from .command import Answer, Command, Door


class RetryWord(Command):
    """Run jobs again that failed, timed out or were cancelled; what depends on them comes back, too."""

    word = "retry"
    also = ("requeue",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("jobs", nargs="+", metavar="JOB", help="#3 is all jobs of batch 3 that ended badly")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        data: list[dict[str, Any]] = []
        lines = []
        for text in args.jobs:
            if text.startswith("#"):
                batch = finding.batch(queue, text)
                back = batch.retry()
                data.append({"batch": batch.number, "retried": back})
                lines.append(f"{back} jobs of {batch.name} run again")
                continue
            job = finding.job(queue, text)
            done = queue.requeue_job(str(job))
            data.append({"id": str(job), "name": job.name, "retried": done})
            lines.append(f"{job.name} ({job}) {'runs again' if done else f'cannot be run again: it is {job.status}'}")
        door.look_again()
        return Answer(data=data, text="\n".join(lines), failed=not all(one["retried"] for one in data))
