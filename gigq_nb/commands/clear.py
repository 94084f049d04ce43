"""``clear``: GigQ's way to remove what is done well."""

from __future__ import annotations

import argparse
import math
from datetime import UTC, datetime, timedelta

from ..errors import InvalidArgument
from .command import Answer, Command, Door


class Clear(Command):
    """Remove completed and cancelled jobs, with all that belongs to them."""

    word = "clear"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--before", type=float, metavar="DAYS", help="only those that ended longer ago than so many days")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        before = None
        if args.before is not None:
            if not (math.isfinite(args.before) and 0 <= args.before <= 36_500):
                raise InvalidArgument(f"--before {args.before:g} is out of range: from 0 to 36500 days")
            before = datetime.now(UTC) - timedelta(days=args.before)
        removed = door.queue().clear_completed(before)
        return Answer(data={"removed": removed}, text=f"{removed:,} job{'' if removed == 1 else 's'} removed")
