"""Views as plain text, for terminals and for whatever shows no HTML: from the same snapshots."""

from __future__ import annotations

from pathlib import PurePath

from ..job import Counts
from ..store import pausing
from . import graph, html
from .cards import SILENT_S
from .html import duration, visible
from .snapshots import BatchView, GoneView, JobView, QueueView, Snapshot, WorkerView, WorkflowView

BAR = 24


def text(view: Snapshot) -> str:
    """A view in a few lines; control characters of names and messages are shown, not obeyed."""
    if isinstance(view, JobView):
        return "\n".join(_job(view))
    if isinstance(view, BatchView):
        return "\n".join(_batch(view))
    if isinstance(view, QueueView):
        return "\n".join(_queue(view))
    if isinstance(view, WorkflowView):
        return "\n".join([f"workflow {visible(view.name)}: not submitted yet", *graph.lines(view.graph.nodes, view.graph.edges)])
    if isinstance(view, WorkerView):
        word = "started" if view.started else "found, running"
        head = f"worker {visible(view.name)} {word}: pid {view.pid}, {view.concurrency} at a time"
        return "\n".join([head, *_paused(view.paused_at)])
    assert isinstance(view, GoneView)
    return f"{visible(view.what)} cannot be shown: {visible(view.why)}"


def _bar(share: float) -> str:
    full = round(BAR * share)
    return "[" + "#" * full + "." * (BAR - full) + "]"


def _job(view: JobView) -> list[str]:
    row = view.row
    head = f"job {visible(row.name)}: {row.status}"
    if view.elapsed_s is not None:
        head += f", {duration(view.elapsed_s)}"
    if row.max_attempts > 1 or row.attempts > 1:
        head += f", attempt {max(1, row.attempts)} of {row.max_attempts}"
    shown = [head]
    if row.options.description:
        shown.append(f"  {visible(row.options.description.partition(chr(10))[0])[:200]}")
    if row.key is not None:
        shown.append(f"  key {visible(row.key)}, submitted {html.moment(row.created_at)}")
    if row.status == "pending" and row.waits_for:
        shown.append(f"  {visible(row.waits_for)}")
    if row.status == "running" and row.progress_done is not None:
        of = f" of {html.number(row.progress_total)}" if row.progress_total else ""
        bar = f"{_bar(view.share)} " if view.share is not None else ""
        eta = f", about {duration(view.eta_s)} left" if view.eta_s is not None else ""
        shown.append(f"  {bar}{html.number(row.progress_done)}{of} {visible(row.progress_text or '')}".rstrip() + eta)
    if row.error and row.status != "completed":
        shown.append(f"  {visible(row.error.splitlines()[0] if row.error.splitlines() else '')[:200]}")
    if row.status == "completed" and view.result is not None:
        shown.append(f"  -> {visible(str(view.result).splitlines()[0])[:200]}")
    shown += [f"  | {visible(one)[:200]}" for one in view.log[-5:]]
    shown.append(f"  {row.id}, as of {html.moment(view.at_ms)}")
    return shown


def _counts(counts: Counts) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.as_dict().items() if n) or "no jobs"


def _batch(view: BatchView) -> list[str]:
    row, counts = view.row, view.row.counts
    shown = [
        f"{'workflow' if row.kind == 'workflow' else 'batch'} {row.id} {visible(row.name)}: {counts.done:,} of {counts.total:,} done"
        + (f", {duration(view.elapsed_s)}" if view.elapsed_s is not None else ""),
        f"  {_bar(counts.done / max(1, counts.total))} {_counts(counts)}",
    ]
    said = [
        html.rate(view.rate),
        f"about {duration(view.eta_s)} left" if view.eta_s is not None else "",
        visible(view.waits_for or ""),
    ]
    if any(said):
        shown.append("  " + ", ".join(filter(None, said)))
    if view.graph is not None:
        shown += graph.lines(view.graph.nodes, view.graph.edges)
    shown += [
        f"  {one.status}: {visible((one.error or one.reason or '').split(chr(10))[0])[:160]} ({one.id})" for one in view.failed
    ]
    shown.append(f"  as of {html.moment(view.at_ms)}")
    return shown


def _paused(at: int | None) -> list[str]:
    return [] if at is None else [f"  {pausing.words(at)}: what runs goes on, nothing else begins until %gigq resume"]


def _queue(view: QueueView) -> list[str]:
    shown = [
        f"queue {visible(PurePath(view.path).name)}",
        f"  {_counts(view.counts)}" + (f", {html.rate(view.rate)}" if view.rate else ""),
        *_paused(view.paused_at),
    ]
    for row in view.running:
        elapsed_s = None if row.started_at is None else max(0, view.at_ms - row.started_at) / 1000
        shown.append(f"  running  {visible(row.name)[:60]}  {duration(elapsed_s)}")
    for one in view.workers:
        age_s = max(0, view.at_ms - one.beat_at) / 1000
        state = "silent" if one.state == "running" and age_s > SILENT_S else one.state
        shown.append(
            f"  worker   {visible(one.name)}  {state}, pid {one.pid}, {one.running} of {one.concurrency} busy, beat {duration(round(age_s))} ago"
        )
    shown += [
        f"  {one.status}   {visible(one.name)[:60]}: {visible((one.error or one.reason or '').split(chr(10))[0])[:120]}"
        for one in view.failed
    ]
    shown.append(f"  as of {html.moment(view.at_ms)}")
    return shown
