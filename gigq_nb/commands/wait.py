"""``wait``: until jobs are done."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .. import submission
from ..errors import WaitTimeout
from ..handle import JobHandle
from ..policies import duration_s
from ..store import reads
from ..waiting import wait
from . import finding
from .command import Answer, Command, Door, Interrupted
from .connect import in_words
from .pause import note
from .submit import duration
from .terminal import seconds_text

if TYPE_CHECKING:
    from ..queue import JobQueue


class Wait(Command):
    """Wait until jobs are done; without one: for all that is open (of this notebook). Fails when one ended badly."""

    word = "wait"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("jobs", nargs="*", metavar="JOB", help="#3 is all jobs of batch 3")
        parser.add_argument("--timeout", metavar="T", help="give up after so long (30, 10m); the jobs go on")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        limit_s = None if args.timeout is None else duration_s(duration(args.timeout), "--timeout", least=0.0)
        jobs = finding.jobs(queue, args.jobs) if args.jobs else _open(queue)
        named = " ".join(args.jobs) or "JOB"
        if jobs and not args.json and (paused := note(queue, door)):
            door.say(paused)
        try:
            left = wait(jobs, limit_s).not_done
        except KeyboardInterrupt:
            raise Interrupted(f"the waiting was interrupted, the work goes on; '{door.name} cancel {named}' ends it") from None
        if left:
            after = f"{len(left)} of {len(jobs)} jobs are not done after {seconds_text(limit_s or 0)} s; they go on"
            raise WaitTimeout("; ".join(filter(None, (after, note(queue, door)))))
        return _ends(queue, jobs, door)


def _open(queue: JobQueue) -> list[JobHandle]:
    notebook = submission.whereabouts()[0]
    with finding.reading(queue) as db:
        return [JobHandle(one, queue) for one in reads.ids(db, status=("pending", "running"), notebook=notebook)]


def _ends(queue: JobQueue, jobs: list[JobHandle], door: Door) -> Answer:
    with finding.reading(queue) as db:
        ends = reads.statuses(db, [str(one) for one in jobs])
    counts: dict[str, int] = {}
    for status in ends.values():
        counts[status] = counts.get(status, 0) + 1
    bad = [one for one in jobs if ends.get(str(one)) not in ("completed", None)]
    text = f"{in_words(counts)}" if jobs else "nothing is open"
    if len(jobs) == 1:
        row = jobs[0].row()
        text = f"{row.name} {row.status}" + ("" if row.seconds is None else f" after {seconds_text(row.seconds)} s")
    if bad:
        row = bad[0].row()
        why = (row.error or row.reason or "").split("\n", 1)[0][:200]
        text += f"; {row.name}: {why} ('{door.name} logs {row.id}' shows what it printed)"
    return Answer(data=[{"id": str(one), "status": ends.get(str(one))} for one in jobs], text=text, failed=bool(bad))
