"""``result``: what a job returned."""

from __future__ import annotations

import argparse
import json

from ..errors import JobFailed, WaitTimeout
from . import finding
from .command import Answer, Command, Door


class Result(Command):
    """Show what a job returned; in a notebook: x = %gigq result JOB.

    In a terminal nothing is unpickled: a result that is JSON is printed as JSON, another one as the text that was stored
    beside it. Does not wait; 'wait' does.
    """

    word = "result"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("job", metavar="JOB")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        job = finding.job(queue, args.job)
        row = job.row()
        if row.status in ("pending", "running"):
            raise WaitTimeout(f"{row.name} is {row.status}, it has no result yet; '{door.name} wait {args.job}' waits for it")
        if row.status != "completed":
            kind = (row.error_type or "").rpartition(".")[2]
            why = ": ".join(one for one in (kind, row.error) if one) or row.reason
            raise JobFailed(
                f"{row.name} has no result, it ended as {row.status}: {why} ('{door.name} logs {args.job}' shows what it printed)"
            )
        if door.notebook:
            return Answer(value=job.result(0))
        data = queue.get_status(str(job))["result"]
        text = (
            json.dumps(data, ensure_ascii=False, indent=2)
            if row.result_json is not None and not isinstance(data, str)
            else str(data)
        )
        return Answer(data=data, text=text)
