"""``prune``: remove what ended long ago."""

from __future__ import annotations

import argparse

from ..errors import InvalidArgument
from .command import Answer, Command, Door
from .list import statuses
from .submit import duration


class Prune(Command):
    """Remove jobs that ended longer ago than a time, however they ended, with all that belongs to them."""

    word = "prune"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("older_than", metavar="AGE", help="30d, 12h, or seconds; 0 is all that is done")
        parser.add_argument("--status", action="append", metavar="STATUS", help="only these final statuses; may be repeated")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        age = duration(args.older_than)
        if age is None:
            raise InvalidArgument("prune needs an age, such as 30d")
        removed = door.queue().prune(age, statuses(args.status) or None)
        return Answer(data={"removed": removed}, text=f"{removed:,} job{'' if removed == 1 else 's'} removed")
