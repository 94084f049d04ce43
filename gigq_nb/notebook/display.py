"""How a job, a batch, a queue, a workflow and a worker show themselves: ``show`` in a notebook, ``mimebundle`` anywhere.

Two outputs (the first from the first moment on): a snapshot as plain HTML and text, which the saved notebook keeps,
and beside it the live widget, whose stylesheet hides the snapshot as long as the widget is drawn.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from ..errors import GigQError
from ..handle import Batch, JobHandle
from ..queue import JobQueue
from ..runtime.bell import now_ms
from ..runtime.launcher import WorkerHandle
from ..workflow import Workflow
from . import widgets
from .monitor import SAVE_S, Monitor
from .snapshots import GoneView, Snapshot, WorkerView, workflow_view
from .view import View, bundle

FIRST_SAVE_S = 1.5  # the first renewal comes sooner: much happens in the first seconds

_monitor: Monitor | None = None


def monitor() -> Monitor:
    """The one of this kernel."""
    global _monitor
    if _monitor is None:
        from IPython import get_ipython

        _monitor = Monitor(save=_save)
        if (shell := get_ipython()) is not None:
            shell.events.register("pre_run_cell", _monitor.cell_begins)
            shell.events.register("post_run_cell", _monitor.cell_ends)
    return _monitor


def look_again() -> None:
    """Bring all views up to date now, also those that had come to an end (after a retry, say)."""
    if _monitor is not None:
        _monitor.look()


def snapshot(thing: Any) -> Snapshot:
    """A frozen picture of a thing, for whoever wants HTML or text of it.

    Raises:
        TypeError: it is none of ours.
    """
    if isinstance(thing, Workflow):
        if thing.batch is None:
            return workflow_view(thing)
        thing = thing.batch
    if isinstance(thing, WorkerHandle):
        return WorkerView(
            name=thing.name, pid=thing.pid, concurrency=thing.concurrency, started=thing.started, log=thing.log,
            paused_at=thing.paused_at,
        )  # fmt: skip
    if not isinstance(thing, (JobHandle, Batch, JobQueue)):
        raise TypeError(f"there is no view of {type(thing).__name__}")
    return _read(View(thing))


def _read(view: View) -> Snapshot:
    try:
        with view.queue._database.read() as db:
            return view.read(db, now_ms())
    except GigQError as error:
        view.snapshot, view.stale = GoneView(what=view.ident[1] or view.ident[0], why=str(error)), False
        return view.snapshot


def mimebundle(thing: Any) -> dict[str, str]:
    """A thing as plain text and plain HTML, as it is now."""
    return bundle(snapshot(thing))


def text(thing: Any) -> str:
    """A thing as plain text, as it is now."""
    return mimebundle(thing)["text/plain"]


def show(thing: Any) -> None:
    """Show a thing here: live in a notebook, once elsewhere."""
    from IPython import get_ipython
    from IPython.display import display

    kernel = getattr(get_ipython(), "kernel", None)
    if isinstance(thing, Workflow) and thing.batch is not None:
        thing = thing.batch
    if kernel is None or not isinstance(thing, (JobHandle, Batch, JobQueue)):
        display(mimebundle(thing), raw=True)  # type: ignore[no-untyped-call]
        return
    view = View(thing, *_where(kernel))
    _read(view)
    assert view.snapshot is not None
    display(view.bundle(), raw=True, display_id=view.display_id)  # type: ignore[no-untyped-call]
    view.saved, view.saved_s = view.snapshot, time.monotonic() - SAVE_S + FIRST_SAVE_S
    if isinstance(view.snapshot, GoneView):
        return
    watcher = monitor()
    if widgets.available():
        view.live = widgets.Live(functools.partial(watcher.look, view))
        view.draw(0.0)
        display(view.live.bundle(), raw=True)  # type: ignore[no-untyped-call]
    watcher.add(view)


def _where(kernel: Any) -> tuple[str | None, str | None]:
    """(cell, execution) of the request that runs: JupyterLab and VS Code name their cells, nbclient does not."""
    try:
        parent = kernel.get_parent("shell")
        return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
    except (AttributeError, TypeError):
        return None, None


def _save(view: View) -> None:
    from IPython.display import update_display

    update_display(view.bundle(), raw=True, display_id=view.display_id)  # type: ignore[no-untyped-call]
