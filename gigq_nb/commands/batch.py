"""``batch``: the jobs of one map or one workflow, with what depends on what."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..store import reads
from . import finding
from .command import Answer, Command, Door, Table
from .connect import in_words
from .list import iso
from .terminal import seconds_text, time_text

if TYPE_CHECKING:
    from ..handle import Batch
    from ..job import BatchRow
    from ..queue import JobQueue

_MOST_LINES = 200


class BatchWord(Command):
    """Show a batch or a workflow, job by job; without one: list the newest."""

    word = "batch"
    also = ("workflow",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("batch", nargs="?", metavar="BATCH", help="its number or its name")
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="list so many (default 20)")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        queue = door.queue()
        if args.batch is None:
            return _list(queue, max(1, args.limit))
        batch = finding.batch(queue, args.batch)
        return Answer(data=data_of(batch), text=text_of(batch), value=batch)


def _list(queue: JobQueue, limit: int) -> Answer:
    rows = [one.row() for one in queue.batches(limit)]
    table = Table(
        columns=("number", "name", "kind", "done", "of", "failed", "created"),
        rows=[
            (one.id, one.name, one.kind, one.counts.done, one.counts.total, one.counts.unsuccessful, time_text(one.created_at))
            for one in rows
        ],
        empty="no batches yet; queue.map(...) and Workflow make them",
        whole=("number",),
        spare=("created", "kind"),
    )
    return Answer(data=[_head(one) for one in rows], table=table)


def _head(row: BatchRow) -> dict[str, Any]:
    return {
        "number": row.id,
        "name": row.name,
        "kind": row.kind,
        "counts": row.counts.as_dict(),
        "total": row.counts.total,
        "created_at": iso(row.created_at),
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
    }


def data_of(batch: Batch) -> dict[str, Any]:
    """A batch for machines, with its jobs and the ids of their parents within it."""
    nodes, edges = _graph(batch)
    ids = {node.seq: node.id for node in nodes}
    parents: dict[int, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(ids[parent])
    jobs = [
        {
            "id": node.id,
            "name": node.name,
            "status": node.status,
            "reason": node.reason,
            "seconds": node.seconds,
            "after": parents.get(node.seq, []),
        }
        for node in nodes
    ]
    return {**_head(batch.row()), "jobs": jobs}


def text_of(batch: Batch) -> str:
    """A batch in lines: each job below those that it waits for."""
    row = batch.row()
    nodes, edges = _graph(batch)
    names = {node.seq: node.name for node in nodes}
    parents: dict[int, list[int]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)
    lines = [f"{row.kind} {row.id} {row.name}: {row.counts.done} of {row.counts.total} done ({in_words(row.counts.as_dict())})"]
    shown = _in_order(nodes, parents)[:_MOST_LINES]
    wide = max((min(40, len(node.name)) for node in shown), default=0)
    for node in shown:
        state = node.status + (f" ({node.reason})" if node.reason and node.reason != node.status else "")
        took = "" if node.seconds is None else f"{seconds_text(node.seconds)} s"
        before = [names[one] for one in parents.get(node.seq, ())]
        after = f"after {', '.join(before[:4])}{f' and {len(before) - 4} more' if len(before) > 4 else ''}" if before else ""
        lines.append(f"  {node.name[:40]:<{wide}}  {state:<20}  {took:>8}  {after}".rstrip())
    if len(nodes) > len(shown):
        lines.append(f"  and {len(nodes) - len(shown)} more; 'list --batch {row.id}' lists them")
    return "\n".join(lines)


def _graph(batch: Batch) -> tuple[list[reads.Node], list[tuple[int, int]]]:
    with finding.reading(batch.queue) as db:
        return reads.graph(db, batch.number)


def _in_order(nodes: list[reads.Node], parents: dict[int, list[int]]) -> list[reads.Node]:
    """Parents first; otherwise as they were submitted."""
    depth: dict[int, int] = {}
    waiting = list(nodes)
    while waiting:
        later = []
        for node in waiting:
            above = parents.get(node.seq, ())
            if all(one in depth for one in above):
                depth[node.seq] = 1 + max((depth[one] for one in above), default=-1)
            else:
                later.append(node)
        if len(later) == len(waiting):  # a circle cannot be submitted; a damaged file must not hang the view
            break
        waiting = later
    return sorted(nodes, key=lambda node: (depth.get(node.seq, 1 << 30), node.seq))
