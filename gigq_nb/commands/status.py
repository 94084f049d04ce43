"""``status``: a job, or the whole queue with its workers."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from . import finding
from .command import Answer, Command, Door
from .connect import in_words
from .pause import note
from .terminal import seconds_text, time_text

if TYPE_CHECKING:
    from ..job import ExecutionRow, JobRow
    from ..queue import JobQueue


_MOST_LINES = 40


class Status(Command):
    """Show how a job stands; without a job: the queue, its workers and why they stay."""

    word = "status"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("job", nargs="?", metavar="JOB")
        parser.add_argument(
            "--show-params", action="store_true", help="its arguments, as its worker noted them down when it began"
        )
        parser.add_argument("--show-result", action="store_true")
        parser.add_argument("--show-executions", action="store_true", help="its attempts")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        if args.job is None:
            return _of_queue(queue, door)
        job = finding.job(queue, args.job)
        data = queue.get_status(str(job))
        if not args.show_params:
            data.pop("params", None)
        return Answer(data=data, text=text_of(job.row(), job.executions(), args, door))


def _of_queue(queue: JobQueue, door: Door) -> Answer:
    from .worker import described, worker_rows

    counts, rows = queue.stats(), worker_rows(queue)
    lines = [f"{queue.path}: {in_words(counts) or 'no jobs yet'}"]
    paused = note(queue, door)
    lines += [paused] if paused else []
    lines += [("" if row.name.startswith("worker") else "worker ") + described(row) for row in rows if row.state != "gone"]
    if not any(row.state != "gone" for row in rows):
        start = "%gigq worker start" if door.notebook else "gigq-nb worker"
        lines.append(f"no worker runs; '{start}' starts one")
    at = queue.paused
    data = {
        "path": str(queue.path),
        "counts": counts,
        "paused_at": at.isoformat() if at else None,
        "workers": [one_worker(row) for row in rows],
    }
    return Answer(data=data, text="\n".join(lines))


def one_worker(row: Any) -> dict[str, Any]:
    """A worker for machines."""
    names = ["name", "host", "pid", "python", "prefix", "concurrency", "state", "running", "why", "log"]
    return {name: getattr(row, name) for name in names}


def text_of(row: JobRow, executions: list[ExecutionRow], args: argparse.Namespace, door: Door) -> str:
    """A job in lines. Arguments and result only when asked for."""
    seconds = row.seconds
    if row.status == "running" and row.started_at is not None:
        seconds = time.time() - row.started_at / 1000
    state = row.status + (f" ({row.reason})" if row.reason and row.reason != row.status else "")
    lines = [
        ("job", f"{row.name} ({row.id})"),
        ("status", state + (", to be cancelled" if row.cancel_requested else "")),
        ("waits", (row.waits_for or "").removeprefix("waits ") or None),
        ("progress", _progress(row)),
        ("created", time_text(row.created_at)),
        ("started", time_text(row.started_at)),
        ("finished", time_text(row.finished_at)),
        ("seconds", None if seconds is None else seconds_text(seconds)),
        ("attempts", f"{row.attempts} of {row.max_attempts}" + (f", {row.losses} lost" if row.losses else "")),
        ("priority", str(row.priority) if row.priority else None),
        ("timeout", None if row.options.timeout_s is None else f"{seconds_text(row.options.timeout_s)} s"),
        ("tags", " ".join(row.options.tags) or None),
        ("key", row.key),
        ("about", row.options.description or None),
        ("notebook", row.notebook),
        ("error", _error(row)),
    ]
    if args.show_params:
        lines.append(("params", row.arguments_text or "not known before it has begun"))
    if args.show_result:
        lines.append(("result", _result(row)))
    text = "\n".join(f"{name + ':':<10}{_indented(value)}" for name, value in lines if value is not None)
    if args.show_executions:
        text += "".join(f"\nattempt {one.n}: {_attempt(one)}" for one in executions)
    if row.status in ("failed", "timeout"):
        text += f"\n'{door.name} logs {args.job}' shows what it printed, '{door.name} retry {args.job}' runs it again"
    if row.paused_at is not None:
        text += f"\n'{door.name} resume' lets the jobs of this queue begin again"
    return text


def _error(row: JobRow) -> str | None:
    """What went wrong last, with the lines of the function where it did; of a long traceback the end."""
    if row.status == "completed" or row.error is None:
        return None
    if row.traceback:
        lines = row.traceback.rstrip().splitlines()
        return "\n".join(lines if len(lines) <= _MOST_LINES else ["…", *lines[-_MOST_LINES:]])
    kind = (row.error_type or "").rpartition(".")[2]
    return f"{kind}: {row.error}" if kind and row.reason == "error" else row.error


def _result(row: JobRow) -> str:
    if row.status != "completed":
        return "none"
    return (row.result_json if row.result_json is not None else row.result_text) or "not shown"


def _indented(value: str) -> str:
    return value.replace("\n", "\n" + " " * 10)


def _progress(row: JobRow) -> str | None:
    if row.progress_done is None or row.status != "running":
        return None
    total = f" of {row.progress_total:g}" if row.progress_total else ""
    return f"{row.progress_done:g}{total} {row.progress_text or ''}".rstrip()


def _attempt(one: ExecutionRow) -> str:
    began = time_text(one.started_at or one.claimed_at)
    if one.finished_at is None:
        return f"running since {began} on {one.worker}"
    took = seconds_text((one.finished_at - (one.started_at or one.claimed_at)) / 1000)
    return f"{one.outcome}, {began}, {took} s, {one.worker}" + (f": {_first_line(one.error)}" if one.error else "")


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0][:200]
