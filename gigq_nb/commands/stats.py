"""``stats``: how many jobs have each status."""

from __future__ import annotations

import argparse

from .command import Answer, Command, Door, Table
from .pause import note


class Stats(Command):
    """Count the jobs by status."""

    word = "stats"

    def run(self, door: Door, args: argparse.Namespace) -> Answer:  # noqa: ARG002 - takes no arguments
        queue = door.queue()
        counts = queue.stats()
        table = Table(columns=("status", "jobs"), rows=list(counts.items()), empty="", whole=("status", "jobs"))
        return Answer(data=counts, table=table, text=note(queue, door))
