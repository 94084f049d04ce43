"""``logs``: what a job printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import finding
from .command import Answer, Command, Door
from .terminal import settled

if TYPE_CHECKING:
    from ..handle import JobHandle

_FOLLOW_S = 0.25


class Logs(Command):
    """Show what a job printed, so far or to its end."""

    word = "logs"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("job", metavar="JOB")
        parser.add_argument(
            "-f", "--follow", action="store_true", help="go on until it ends; an interrupt ends the looking, not the job"
        )
        parser.add_argument("--attempt", type=int, metavar="N", help="of this attempt; else the newest")
        parser.add_argument("--tail", type=int, metavar="N", help="only the last lines")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        job = finding.job(door.queue(), args.job)
        if args.follow and not args.json:
            return _follow(door, job, args.attempt)
        text = job.logs(args.attempt)
        if args.tail is not None:
            text = "\n".join(text.splitlines()[-args.tail :] if args.tail > 0 else [])
        return Answer(data={"id": str(job), "log": text}, text=settled(text).rstrip("\n"))


def _follow(door: Door, job: JobHandle, attempt: int | None) -> Answer:
    seen = ""
    try:
        while True:
            ended = job.done()  # asked before the log is read, so that nothing is missed
            text = job.logs(attempt)
            whole = text if ended else text[: text.rfind("\n") + 1]
            if new := unseen(seen, whole):
                door.say(settled(new).removesuffix("\n"))
                seen = whole
            if ended:
                return Answer()
            job.wait(_FOLLOW_S)
    except KeyboardInterrupt:
        return Answer(text=f"{job.name} goes on; '{door.name} cancel {job}' ends it")


def unseen(seen: str, text: str) -> str:
    """What came to a log since it was read last; its middle may have been left out meanwhile."""
    if text.startswith(seen):
        return text[len(seen) :]
    at = text.rfind(seen[-200:])
    return text[at + min(200, len(seen)) :] if at >= 0 else f"… a part was left out …\n{text}"
