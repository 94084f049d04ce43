"""``show``: a job's or a batch's view again."""

from __future__ import annotations

import argparse

from ..errors import JobNotFound
from . import finding
from .batch import data_of, text_of
from .command import Answer, Command, Door
from .status import Status


class Show(Command):
    """Show the view of a job or a batch again; of the whole queue without one."""

    word = "show"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", nargs="?", metavar="JOB|BATCH", help="a job, or a batch by its name or number (#3)")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        if args.what is None:
            of_queue = Status().run(door, argparse.Namespace(job=None))
            return Answer(data=of_queue.data, text=of_queue.text, value=queue)
        try:
            job = None if args.what.startswith("#") else finding.job(queue, args.what)
        except JobNotFound as no_job:
            try:
                batch = finding.batch(queue, args.what)
            except JobNotFound:
                raise no_job from None
            return Answer(data=data_of(batch), text=text_of(batch), value=batch)
        if job is None:
            batch = finding.batch(queue, args.what)
            return Answer(data=data_of(batch), text=text_of(batch), value=batch)
        asked = argparse.Namespace(job=args.what, show_params=False, show_result=True, show_executions=True)
        of_job = Status().run(door, asked)
        return Answer(data=of_job.data, text=of_job.text, value=job)
