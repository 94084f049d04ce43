"""``list``: the jobs of the queue, the newest first."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument
from ..policies import whole_number
from ..states import JobStatus
from ..store import reads
from . import finding
from .command import Answer, Command, Door, Table
from .pause import note
from .terminal import time_text

if TYPE_CHECKING:
    from ..job import JobRow

#: What a notebook shows of each job; queue.jobs() has all the columns there are.
FRAME = ("id", "name", "status", "reason", "created_at", "seconds", "attempts", "result", "error")


class ListWord(Command):
    """List jobs, the newest first."""

    word = "list"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--status", action="append", metavar="STATUS", help=f"only {', '.join(JobStatus)}; may be repeated")
        parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default 100)")
        parser.add_argument("--name", help="only jobs of this name")
        parser.add_argument("--tag", help="only jobs with this tag")
        parser.add_argument("--batch", metavar="BATCH", help="only jobs of this batch, by number or name")
        parser.add_argument("--mine", action="store_true", help="only jobs that this notebook submitted")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        chosen = statuses(args.status)
        limit = whole_number(args.limit, "--limit", 1, 10**12)
        queue = door.queue()
        notebook = finding.of_this_notebook() if args.mine else None
        batch = finding.batch(queue, args.batch).number if args.batch else None
        only: dict[str, Any] = {"name": args.name, "batch": batch, "tag": args.tag, "notebook": notebook, "limit": limit}
        paused = "" if args.json else note(queue, door)
        if door.frames and not args.json:
            if paused:
                door.say(paused)
            return Answer(frame=lambda: queue.jobs(chosen or None, **only)[list(FRAME)])
        with finding.reading(queue) as db:
            rows = reads.jobs(db, status=chosen, **only)
        return Answer(data=[record(row) for row in rows], table=table(rows), text=paused)


def statuses(given: list[str] | None) -> tuple[str, ...]:
    """Statuses as they are written: repeated, or with commas between them.

    Raises:
        InvalidArgument: there is no such status; the message lists them.
    """
    some = [one.strip() for text in given or () for one in text.split(",") if one.strip()]
    for one in some:
        if one not in JobStatus._value2member_map_:
            raise InvalidArgument(f"--status {one!r:.40} is none of: {', '.join(JobStatus)}")
    return tuple(dict.fromkeys(some))


def table(rows: list[JobRow], empty: str = "no jobs found") -> Table:
    """Jobs for a terminal: no arguments, and ids whole, since people copy them."""
    return Table(
        columns=("id", "name", "status", "reason", "created", "seconds", "attempts"),
        rows=[
            (
                one.id,
                one.name,
                one.status,
                one.waits_for or (one.reason if one.reason != one.status else None),
                time_text(one.created_at),
                one.seconds,
                one.attempts,
            )
            for one in rows
        ],
        empty=empty,
        whole=("id", "status", "created"),
        spare=("attempts", "reason", "created", "seconds"),
    )


def record(row: JobRow) -> dict[str, Any]:
    """A job for machines, with the column names of the DataFrame."""
    names = ["id", "name", "status", "reason", "priority", "attempts", "max_attempts", "losses", "waits_for", "batch"]
    found: dict[str, Any] = {name: getattr(row, name) for name in names}
    for name in ("created_at", "started_at", "finished_at"):
        found[name] = iso(getattr(row, name))
    return {
        **found,
        "seconds": row.seconds,
        "function": row.function_name,
        "tags": list(row.options.tags),
        "notebook": row.notebook,
    }


def iso(ms: int | None) -> str | None:
    """A time for machines, in UTC."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()
