"""``backup``: a consistent copy of the queue."""

from __future__ import annotations

import argparse

from .command import Answer, Command, Door


class Backup(Command):
    """Copy the queue to a new file, consistently, while it works."""

    word = "backup"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("path", metavar="FILE", help="a file that is not there yet")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        copy = door.queue().backup(args.path)
        size = copy.stat().st_size
        return Answer(data={"path": str(copy), "bytes": size}, text=f"copied to {copy} ({size:,} bytes)")
