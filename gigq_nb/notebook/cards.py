"""Views as HTML: pure functions of snapshots. A view has sections, so that only what changed is drawn again."""

from __future__ import annotations

import base64
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..store import pausing
from . import graph, html
from .html import esc, line
from .snapshots import BatchView, GoneView, JobView, QueueView, Snapshot, WorkerView, WorkflowView

if TYPE_CHECKING:
    from ..job import JobRow, WorkerRow
    from ..store import views
    from .snapshots import GraphNode, RichOutput

FOLDED_RESULT = 200
SILENT_S = 10.0  # a worker beats every two seconds
MOST_ERRORS = 5
RICH_MOST_BYTES = 500_000
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")

REASONS = {
    "lost": "its processes died too often",
    "timeout": "it ran into its timeout",
    "upstream": "a job it depends on did not complete",
    "unserializable": "its result cannot be stored",
    "damaged": "its payload does not match its signature",
}


def sections(view: Snapshot) -> dict[str, str]:
    """The parts of a live view in their order; an empty one is not shown."""
    if isinstance(view, JobView):
        return {"head": _job_head(view), "log": _job_log(view), "error": _job_error(view), "result": _job_result(view)}
    if isinstance(view, BatchView):
        return {
            "head": _batch_head(view),
            "graph": _drawn(view, saved=False),
            "failed": _failed(view.failed, view.row.counts.failed + view.row.counts.timeout),
        }
    if isinstance(view, QueueView):
        return {
            "head": _queue_head(view),
            "running": _running(view),
            "workers": _workers(view),
            "failed": _failed(view.failed, view.counts.failed + view.counts.timeout),
        }
    return {"head": _still(view)}


def saved(view: Snapshot) -> str:
    """A view as it stands in the saved notebook, stamped with its time."""
    parts = sections(view)
    if isinstance(view, BatchView):
        parts["graph"] = _drawn(view, saved=True)
    if isinstance(view, WorkflowView):
        parts["head"] = html.title(view.name, "new", word="not submitted yet") + _image(view.graph.nodes, view.graph.edges)
    if isinstance(view, JobView):
        parts["outputs"] = rich(view.outputs)
    return html.frame("".join(parts.values()), stamp(view), label(view))


def stamp(view: Snapshot) -> str:
    """When a view was true, and how to see it move again."""
    if not isinstance(view, (JobView, BatchView, QueueView)):
        return ""
    # Not "run this cell again": it may be the one that submits.
    if isinstance(view, JobView):
        plain_name = view.row.name.isascii() and view.row.name.isidentifier()
        what, again = f"job {view.row.id}", f"%gigq show {view.row.name if plain_name else view.row.id}"
    elif isinstance(view, BatchView):
        what, again = f"batch {view.row.id}", f"%gigq show #{view.row.id}"
    else:
        what, again = PurePath(view.path).name, "%gigq show"  # not its folder: notebooks are passed on
    then = f"as of {html.moment(view.at_ms)}"
    return f"{what} · {then}" + ("" if view.done else f" · to see it move: {again}")


def label(view: Snapshot) -> str:
    """What a view is, for those who do not see it."""
    if isinstance(view, JobView):
        return f"job {view.row.name}: {view.row.status}"
    if isinstance(view, BatchView):
        return f"{view.row.kind} {view.row.name}: {view.row.counts.done} of {view.row.counts.total} done"
    if isinstance(view, QueueView):
        return f"queue {PurePath(view.path).name}" + ("" if view.paused_at is None else f", {pausing.words(view.paused_at)}")
    return view.what if isinstance(view, GoneView) else view.name


def late(at_ms: int) -> str:
    """Shown by the stylesheet of a live view when nothing replaced it for a while: since when it stands."""
    return f'<div class="gigq-late" style="display:none;font-size:12px">no news since {esc(html.clock(at_ms))}: the kernel is gone, or very busy</div>'


# ------------------------------------------------------------------------------------------------------------- job


def _job_head(view: JobView) -> str:
    row = view.row
    word = row.status
    if row.status == "running" and row.cancel_requested:
        word = "running, being cancelled"
    text = html.title(row.name, row.status, html.duration(view.elapsed_s), word)
    share = view.share
    if share is not None and not view.done:
        text += html.bar(share, "running", f"{row.name}: {100 * share:.0f} %")
    said = " · ".join(filter(None, [*_job_words(view), _attempt(row)]))
    eta = f"about {html.duration(view.eta_s)} left" if view.eta_s is not None else ""
    about = line(esc(row.options.description.partition("\n")[0], 300))  # of a cell: what it takes along, and how big
    if row.key is not None:
        about += line(f"key {esc(row.key, 200)} · submitted {esc(html.moment(row.created_at))}")
    return text + line(said, eta) + about + ("" if view.done else late(view.at_ms))


def _job_words(view: JobView) -> list[str]:
    """What there is to say beyond the status, escaped."""
    row = view.row
    words = []
    if row.status == "pending":
        if row.run_at is not None and not row.waiting_on:
            again = "runs again" if row.attempts else "runs"
            words.append(f"{again} in {html.duration(max(0, row.run_at - view.at_ms) / 1000)}")
            words += [] if row.paused_at is None else [f"the queue is {pausing.words(row.paused_at)}"]
        else:
            words.append(esc(row.waits_for or "waits for its turn"))
    elif row.status == "running" and row.progress_done is not None:
        of = f" of {html.number(row.progress_total)}" if row.progress_total else ""
        words.append(f"{html.number(row.progress_done)}{of}")
        if view.share is not None:
            words.append(f"{100 * view.share:.0f} %")
        if row.progress_text:
            words.append(esc(row.progress_text, 200))
    elif row.reason in REASONS:
        words.append(REASONS[row.reason])
    if row.losses and row.status in ("pending", "running"):
        words.append(f"lost {row.losses} time{'s' if row.losses > 1 else ''} with its worker, not charged")
    return words


def _attempt(row: JobRow) -> str:
    if row.max_attempts <= 1 and row.attempts <= 1:
        return ""
    return f"attempt {max(1, row.attempts)} of {row.max_attempts}"


def _job_log(view: JobView) -> str:
    if not view.log:
        return ""
    lines = html.pre(view.log, "last lines of the log")
    return html.fold("last lines of the log", lines) if view.done else lines


def _job_error(view: JobView) -> str:
    row = view.row
    if not row.error or row.status == "completed" or (row.status == "cancelled" and row.reason == "upstream"):
        return ""
    kind = (row.error_type or "").rpartition(".")[2]
    first = row.error.split("\n", 1)[0]
    said = f"{kind}: {first}" if kind and kind not in ("JobFailed", "JobTimeout", "JobLost") else first
    before = "" if view.done else "the attempt before: "
    colour = html.COLOURS["failed"] if view.done else None
    if not row.traceback and row.error == first:
        return f'<div class="gigq-error" style="margin-top:6px;overflow-wrap:anywhere{f";color:{colour}" if colour else ""}">{before}{esc(said, 300)}</div>'
    text = row.traceback or row.error
    lines = text[-20_000:].rstrip().split("\n")
    return html.fold(before + esc(said, 300), html.pre(lines, "traceback"), colour)


def _job_result(view: JobView) -> str:
    row = view.row
    if row.status != "completed" or view.result is None:
        return ""
    whole = (
        f'<div class="gigq-result" style="margin-top:6px;{html.MONO};white-space:pre-wrap;overflow-wrap:anywhere;max-height:160px;overflow:auto">'
        f'<span style="{html.MUTED}">→ </span>{esc(view.result, 1_000)}</div>'
    )
    # Where a cell displayed something, that is what one looks for, not a page of numbers above it.
    return html.fold(f"→ {esc(view.result, 80)}", whole) if view.outputs and len(view.result) > FOLDED_RESULT else whole


def rich(outputs: tuple[RichOutput, ...]) -> str:
    """Displays of the user's own cell in a saved notebook: images and HTML as they are, the rest as its text."""
    shown, room = [], RICH_MOST_BYTES
    for one in outputs:
        text = _rich_one(one.data)
        if len(text) > room:
            shown.append(f'<div style="{html.MUTED}">more was displayed than is kept here: %gigq show has it</div>')
            break
        room -= len(text)
        shown.append(f'<div class="gigq-output" style="margin-top:8px;overflow:auto">{text}</div>')
    return "".join(shown)


def _rich_one(data: Any) -> str:
    for kind in _IMAGES:
        if isinstance(data.get(kind), str):
            packed = "".join(data[kind].split())
            with_letters = packed if packed.isascii() and packed.replace("+", "").replace("/", "").rstrip("=").isalnum() else ""
            return f'<img alt="output of the job" style="max-width:100%;height:auto" src="data:{kind};base64,{with_letters}">'
    if isinstance(data.get("image/svg+xml"), str):
        packed = base64.b64encode(data["image/svg+xml"].encode("utf-8", "replace")).decode()
        return f'<img alt="output of the job" style="max-width:100%;height:auto" src="data:image/svg+xml;base64,{packed}">'
    if isinstance(data.get("text/html"), str):
        return str(data["text/html"]).encode("utf-8", "replace").decode()
    return html.pre(str(data.get("text/plain", "")).split("\n"), "output of the job", 10_000)


# ----------------------------------------------------------------------------------------------------------- batch


def _batch_head(view: BatchView) -> str:
    row, counts = view.row, view.row.counts
    status = (
        "completed"
        if view.done and not counts.unsuccessful
        else "failed"
        if view.done
        else "running"
        if counts.running
        else "pending"
    )
    if view.done:
        word = "all completed" if not counts.unsuccessful else f"done, {counts.unsuccessful:,} without a result"
        status = status if counts.failed or counts.timeout or not counts.unsuccessful else "cancelled"
    else:
        word = f"{counts.done:,} of {counts.total:,} done"
    said = [esc(view.waits_for)] if view.waits_for else []
    if view.rate:
        said.append(html.rate(view.rate))
    eta = f"about {html.duration(view.eta_s)} left" if view.eta_s is not None else ""
    return (
        html.title(row.name, status, html.duration(view.elapsed_s), word)
        + html.stacked(counts, f"{row.name}: {counts.done} of {counts.total} done, {counts.unsuccessful} without a result")
        + html.legend(counts, ("completed",) if view.done else html.MOVING)
        + line(" · ".join(said), eta)
        + ("" if view.done else late(view.at_ms))
    )


def _drawn(view: BatchView, *, saved: bool) -> str:
    if view.graph is None:
        return ""
    if saved:
        return _image(view.graph.nodes, view.graph.edges)
    return f'<div class="gigq-graph" tabindex="0" style="overflow:auto;margin-top:8px">{graph.svg(view.graph.nodes, view.graph.edges)}</div>'


def _image(nodes: tuple[GraphNode, ...], edges: tuple[tuple[int, int], ...]) -> str:
    """The graph as an image: what survives where SVG in a page does not."""
    drawing = graph.svg(nodes, edges)
    if not drawing:
        return ""
    packed = base64.b64encode(drawing.encode()).decode()
    width = graph.width(nodes, edges)
    words = ", ".join(f"{one.name}: {one.status}" for one in nodes[:40])
    return (
        f'<div style="overflow:auto;margin-top:8px"><img style="max-width:100%;min-width:{graph.SMALLEST * width:.0f}px;height:auto" alt="{esc(words)}" '
        f'src="data:image/svg+xml;base64,{packed}"></div>'
    )


def _failed(some: tuple[views.Failed, ...], total: int) -> str:
    """What went wrong, each error once, with the newest job that has it."""
    groups: dict[tuple[str, str], list[views.Failed]] = {}
    for one in some:
        kind = (one.error_type or "").rpartition(".")[2]
        first = (one.error or REASONS.get(one.reason or "", one.status)).split("\n", 1)[0]
        groups.setdefault((one.status, f"{kind}: {first}" if kind and not kind.startswith("Job") else first), []).append(one)
    shown = list(groups.items())[:MOST_ERRORS]
    rows = []
    for (status, said), those in shown:
        n = f' <span style="{html.MUTED};{html.NUMBERS};white-space:nowrap">× {len(those)}</span>' if len(those) > 1 else ""
        which = f"{esc(those[0].name, 100)} {esc(those[0].id)}"
        rows.append(
            f'<div style="margin-top:4px">{html.dot(status)}<span style="overflow-wrap:anywhere">{esc(said, 160)}</span>{n}'
            f'<div style="{html.MUTED};{html.MONO};font-size:11px;margin-left:14px;overflow-wrap:anywhere">{which}</div></div>'
        )
    left = total - sum(len(those) for _, those in shown)
    more = f'<div style="{html.MUTED};font-size:12px;margin:4px 0 0 14px">and {left:,} more</div>' if left > 0 else ""
    return f'<div class="gigq-failed" style="margin-top:8px">{"".join(rows)}{more}</div>' if rows else ""


# ----------------------------------------------------------------------------------------------------------- queue


def _queue_head(view: QueueView) -> str:
    counts = view.counts
    busy = counts.running or counts.pending
    state = "paused" if view.paused_at is not None else "" if busy else "nothing to do"
    word = ", ".join(filter(None, (f"{counts.total:,} job{'' if counts.total == 1 else 's'}", state)))
    status = "running" if counts.running else "pending" if counts.pending else "completed"
    return (
        html.title(PurePath(view.path).name, status if view.paused_at is None else "paused", html.rate(view.rate), word)
        + paused(view.paused_at)
        + html.stacked(counts, f"{counts.done} of {counts.total} done")
        + html.legend(counts)
        + _sparkline(view)
        + late(view.at_ms)
    )


def paused(at: int | None) -> str:
    """Since when the queue is paused, and what that means; nothing where it is not."""
    if at is None:
        return ""
    return (
        f'<div class="gigq-paused" role="status" style="margin-top:2px;font-size:12px;overflow-wrap:anywhere">'
        f'<span style="font-weight:600">{esc(pausing.words(at))}</span>'
        f'<span style="{html.MUTED}">: what runs goes on, nothing else begins until %gigq resume</span></div>'
    )


def _sparkline(view: QueueView) -> str:
    """How many jobs ended in each two seconds of the last two minutes."""
    most = max(view.ends, default=0)
    if not most:
        return ""
    bars = "".join(
        f'<div style="flex:1;height:{max(1.0, 28 * n / most) if n else 1:.0f}px;background:{html.COLOURS["completed"] if n else "rgba(128,128,128,.3)"}"></div>'
        for n in view.ends
    )
    total = sum(view.ends)
    return (
        f'<div class="gigq-spark" role="img" aria-label="{total:,} jobs ended in the last two minutes" style="display:flex;gap:1px;'
        f'align-items:flex-end;height:28px;margin-top:8px">{bars}</div>' + line(f"{total:,} ended in the last 2 min", "now")
    )


def _grid(columns: str, cells: list[str], heading: str) -> str:
    return (
        f'<div style="margin-top:8px"><div style="font-size:11px;{html.MUTED}">{esc(heading)}</div>'
        f'<div style="display:grid;grid-template-columns:{columns};gap:2px 14px;{html.NUMBERS}">{"".join(cells)}</div></div>'
    )


def _running(view: QueueView) -> str:
    if not view.running:
        return ""
    cells = []
    for row in view.running:
        share = JobView(at_ms=view.at_ms, row=row).share
        elapsed_s = None if row.started_at is None else max(0, view.at_ms - row.started_at) / 1000
        cells.append(
            f'<span style="overflow-wrap:anywhere;min-width:0">{html.dot("running")}{esc(row.name, 100)}</span>'
            f'<span style="{html.MUTED};text-align:right">{"" if share is None else f"{100 * share:.0f} %"}</span>'
            f'<span style="{html.MUTED};text-align:right">{html.duration(elapsed_s)}</span>'
        )
    left = view.counts.running - len(view.running)
    more = f", and {left:,} more" if left > 0 else ""
    return _grid("minmax(0,1fr) auto auto", cells, f"running now{more}")


def _workers(view: QueueView) -> str:
    if not view.workers:
        waits = "no worker: %gigq worker start" if view.counts.pending else "no worker"
        return f'<div style="margin-top:8px;font-size:12px;{html.MUTED}">{waits}</div>'
    return _grid("minmax(0,1fr) auto auto", [_worker(one, view.at_ms) for one in view.workers], "workers")


def _worker(one: WorkerRow, at_ms: int) -> str:
    age_s = max(0, at_ms - one.beat_at) / 1000
    state = "silent" if one.state == "running" and age_s > SILENT_S else one.state
    shown = "completed" if state == "running" else state
    return (
        f'<span style="overflow-wrap:anywhere;min-width:0">{html.dot(shown)}{esc(one.name, 100)} <span style="{html.MUTED}">'
        f"{esc(state)}, pid {one.pid}</span></span>"
        f'<span style="{html.MUTED};text-align:right">{one.running} of {one.concurrency} busy</span>'
        f'<span style="{html.MUTED};text-align:right">beat {html.duration(round(age_s))} ago</span>'
    )


# ----------------------------------------------------------------------------------------------------- what stands


def _still(view: Snapshot) -> str:
    if isinstance(view, WorkflowView):
        drawing = graph.svg(view.graph.nodes, view.graph.edges)
        return (
            html.title(view.name, "new", word="not submitted yet") + f'<div style="overflow:auto;margin-top:8px">{drawing}</div>'
        )
    if isinstance(view, WorkerView):
        word = "started" if view.started else "running already"
        at_once = f"pid {view.pid}, {view.concurrency} at a time"
        head = html.title(f"worker {view.name}", "completed", at_once, word) + paused(view.paused_at)
        return head + line(f"its log: {esc(view.log)}" if view.log else "")
    assert isinstance(view, GoneView)
    return html.title(view.what, "cancelled", word="cannot be shown") + line(esc(view.why))
