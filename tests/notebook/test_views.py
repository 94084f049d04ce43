"""Views without a browser: what is read, what is sent, when the thread ends, and what the saved notebook holds."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from gigq_nb import GigQError, Job, JobQueue, Workflow, payload
from gigq_nb.notebook import display, monitor, widgets
from gigq_nb.notebook.monitor import BUSY, Monitor, Pulse
from gigq_nb.notebook.snapshots import BatchView, JobView, QueueView
from gigq_nb.notebook.view import View
from gigq_nb.runtime.launcher import keeper_of
from gigq_nb.runtime.worker import Worker
from gigq_nb.store import reads, views
from tests.leftovers import dismiss

RunNb = Callable[..., tuple[Any, dict[str, Any]]]
VIEW = widgets.VIEW
NOW = 1_700_000_000_000


def double(x: int) -> int:
    return 2 * x


def talk(x: int) -> int:
    print(f"said {x}")
    return x


def broken(x: int) -> None:
    raise ValueError(f"no {x}")


@pytest.fixture
def queue(queue_path: Path, isolated: Path) -> Iterator[JobQueue]:
    queue = JobQueue(queue_path)
    yield queue
    with contextlib.suppress(GigQError):
        keeper_of(queue).close()
        queue.stop_worker(now=True, timeout=10)
    queue.close()
    dismiss(isolated)


class Desk:
    """A monitor whose rounds and whose clock are the test's."""

    def __init__(self) -> None:
        self.saved: list[tuple[View, Any]] = []
        self.monitor = Monitor(save=lambda view: self.saved.append((view, view.snapshot)))
        self.now_s = 1000.0

    def open(self, thing: Any, **where: Any) -> View:
        view = View(thing, **where)
        view.live = widgets.Live(lambda: None)
        self.monitor.views.append(view)
        return view

    def round(self, later_s: float = 0.25) -> int:
        self.now_s += later_s
        moving = [one for one in self.monitor.views if one.moving or self.monitor._save_due(one, self.now_s)]
        return self.monitor.run_once(moving, NOW + int(self.now_s * 1000), self.now_s)

    def close(self) -> None:
        self.monitor.close()
        self.monitor._stop_listening()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def work(queue: JobQueue, most: int = 1) -> None:
    """Run jobs here, as GigQ's process_one does."""
    worker = Worker(queue.path)
    try:
        for _ in range(most):
            worker.process_one()
    finally:
        worker.close()


def text_of(view: View) -> str:
    """What the live widget shows, without tags."""
    assert view.live is not None
    return re.sub("<[^>]+>", " ", " ".join(part.value for part in view.live._parts.values()))


def button(view: View, place: int = 0) -> Any:
    assert view.live is not None
    return view.live._buttons[place]


# ------------------------------------------------------------------------------------------------------- what moves


def test_a_card_follows_its_job_to_the_end(queue: JobQueue, desk: Desk) -> None:
    view = desk.open(queue.submit(talk, 7))
    desk.round()
    assert "pending" in text_of(view)
    assert "waits for a worker with Python" in text_of(view)
    work(queue)
    desk.round()
    assert isinstance(view.snapshot, JobView)
    assert view.snapshot.log == ("said 7",)
    assert "completed" in text_of(view)
    assert not view.moving


def test_nothing_is_sent_when_nothing_changed(queue: JobQueue, desk: Desk) -> None:
    view = desk.open(queue.map(double, range(3)))
    assert desk.round() == 1
    before = {name: part.value for name, part in view.live._parts.items()}
    assert [desk.round() for _ in range(4)] == [0, 0, 0, 0]
    assert {name: part.value for name, part in view.live._parts.items()} == before
    view.draw(desk.now_s)
    assert view.draw(desk.now_s) == 0


def test_a_view_is_drawn_at_most_four_times_a_second_however_often_it_is_woken(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(double, range(100))
    desk.open(batch)
    drawn = desk.round()
    for i in range(40):  # two seconds in steps of 50 ms, and each time something changed
        batch[i].cancel()
        drawn += desk.round(0.05)
    assert 2 <= drawn <= 11


def test_a_thousand_views_are_drawn_a_dozen_a_round_and_none_is_forgotten(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(double, range(1000))
    for job in batch:
        desk.monitor.views.append(View(job))
    drawn = [desk.round() for _ in range(1000 // monitor.MOST_DRAWN + 20)]
    assert max(drawn) <= monitor.MOST_DRAWN
    assert all(one.snapshot is not None for one in desk.monitor.views)


def test_clocks_of_running_jobs_move_without_a_look_into_the_file(queue: JobQueue, desk: Desk, isolated: Path) -> None:
    view = desk.open(queue.submit(double, 1))
    desk.round()
    assert isinstance(view.snapshot, JobView)
    queue._database.close()
    view.snapshot = JobView(at_ms=NOW, row=_running(view.snapshot.row, NOW))
    desk.monitor._marks[queue._database] = queue._database.changed_mark()
    view.drawn_s = desk.now_s
    desk.round(1.1)
    assert queue._database._connection is None
    assert view.snapshot.elapsed_s == pytest.approx(desk.now_s, abs=0.01)


def _running(row: Any, since: int) -> Any:
    import dataclasses

    return dataclasses.replace(row, status="running", started_at=since)


# ---------------------------------------------------------------------------------------------------------- buttons


def test_the_cancel_button_cancels_and_then_offers_a_retry(queue: JobQueue, desk: Desk) -> None:
    job = queue.submit(double, 1)
    view = desk.open(job)
    desk.round()
    assert button(view).description == "Cancel"
    button(view).click()
    assert (button(view).description, button(view).disabled) == ("Cancelling…", True)
    assert job.status == "cancelled"
    desk.round()
    assert (button(view).description, button(view).disabled) == ("Retry", False)
    button(view).click()
    assert job.status == "pending"


def test_cancel_all_asks_again_before_it_ends_a_whole_batch(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(double, range(5))
    view = desk.open(batch)
    desk.round()
    button(view).click()
    assert batch.counts.pending == 5
    assert button(view).description == "Cancel all: sure?"
    button(view).click()
    assert batch.counts.cancelled == 5


def test_retry_failed_brings_back_what_failed_and_leaves_what_a_person_cancelled(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(broken, range(3))
    view = desk.open(batch)
    batch[2].cancel()
    work(queue, 2)
    desk.round()
    assert "ValueError: no" in text_of(view)
    assert button(view).description == "Retry 2 failed"
    button(view).click()
    assert (batch.counts.pending, batch.counts.cancelled) == (2, 1)


def test_the_dashboard_has_one_button_that_pauses_and_then_resumes(queue: JobQueue, desk: Desk) -> None:
    queue.submit(double, 1)
    view = desk.open(queue)
    desk.round()
    assert (button(view).description, "aused" in text_of(view)) == ("Pause", False)
    button(view).click()
    assert (button(view).description, button(view).disabled) == ("Pausing…", True)
    assert queue.paused is not None
    desk.round()
    assert (button(view).description, button(view).disabled) == ("Resume", False)
    assert f"paused since {queue.paused:%Y-%m-%d %H:%M:%S} UTC" in text_of(view)
    assert "1 job, paused" in text_of(view)
    button(view).click()
    assert queue.paused is None
    desk.round()
    assert (button(view).description, "aused" in text_of(view)) == ("Pause", False)


def test_a_pause_from_elsewhere_reaches_every_view_that_waits_and_the_saved_notebook(queue: JobQueue, desk: Desk) -> None:
    """Another process may pause: only the file says so here."""
    other = JobQueue(queue.path)
    job = desk.open(queue.submit(double, 1))
    delayed = desk.open(queue.submit(Job("later", double, {"x": 1}, delay=3600)))
    batch, board = desk.open(queue.map(double, range(3))), desk.open(queue)
    desk.round()
    desk.saved.clear()
    since = f"paused since {other.pause():%Y-%m-%d %H:%M:%S} UTC"
    desk.round(6)
    for view in (job, delayed, batch, board):
        assert since in text_of(view), view.ident
        assert all(since in part for part in view.bundle().values())
    assert "waits for queue.resume()" in text_of(job)
    desk.round(6)
    assert any(isinstance(saved, QueueView) and saved.paused_at for _, saved in desk.saved)
    other.resume()
    desk.round()
    desk.round()
    for view in (job, delayed, batch, board):
        assert since not in text_of(view), view.ident
    other.close()


def test_a_worker_that_was_started_on_a_paused_queue_says_so(queue: JobQueue) -> None:
    since = f"paused since {queue.pause():%Y-%m-%d %H:%M:%S} UTC"
    handle = queue.start_worker(1)
    assert all(since in part for part in display.mimebundle(handle).values())
    queue.resume()
    assert "paused" not in display.text(queue.start_worker(1))


def test_a_refused_click_says_why_beside_the_button(queue: JobQueue, desk: Desk) -> None:
    job = queue.submit(double, 1)
    view = desk.open(job)
    desk.round()
    job.cancel()
    desk.round()
    queue.path.rename(queue.path.with_suffix(".away"))
    button(view).click()
    assert "was deleted" in view.live._note_.value
    queue.path.with_suffix(".away").rename(queue.path)


def test_buttons_say_so_while_the_kernel_does_not_answer(queue: JobQueue, desk: Desk) -> None:
    class Loop:
        """A main thread that answers when the test lets it."""

        def __init__(self) -> None:
            self.calls: list[Callable[[], None]] = []

        def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
            self.calls.append(call)

    loop = Loop()
    desk.monitor._pulse = Pulse(loop)  # type: ignore[arg-type]
    view = desk.open(queue.submit(double, 1))
    desk.round()
    desk.round(1.5)
    assert BUSY in view.live._note_.value
    loop.calls.pop()()
    desk.round()
    assert view.live._note_.value == ""


# ------------------------------------------------------------------------------------------------- one thread, its end


def test_one_thread_serves_all_views_and_ends_when_all_is_done(queue: JobQueue) -> None:
    watcher = Monitor(save=None)
    jobs = [queue.submit(double, i) for i in range(3)]
    for job in jobs:
        view = View(job)
        view.live = widgets.Live(lambda: None)
        watcher.add(view)
    assert [one.name for one in threading.enumerate()].count("gigq_nb views") == 1
    for job in jobs:
        job.cancel()
    _until(lambda: not watcher.running)
    assert "gigq_nb views" not in [one.name for one in threading.enumerate() if one.is_alive()]
    assert watcher._ears == {}
    jobs[0].retry()
    watcher.look()
    _until(lambda: watcher.views[0].snapshot.row.status == "pending")  # type: ignore[union-attr]
    jobs[0].cancel()
    _until(lambda: not watcher.running)


def test_a_cell_that_runs_again_closes_what_it_showed_before(queue: JobQueue, desk: Desk) -> None:
    job, other = queue.submit(double, 1), queue.submit(double, 2)
    first, beside, elsewhere = View(job, "cell 1", "run 1"), View(other, "cell 1", "run 1"), View(job, "cell 2", "run 1")
    for one in (first, beside, elsewhere):
        one.live = widgets.Live(lambda: None)
        desk.monitor.add(one)
    assert desk.monitor.views == [first, beside, elsewhere]
    again = View(job, "cell 1", "run 2")
    desk.monitor.add(again)
    assert desk.monitor.views == [elsewhere, again]
    assert first.live.closed and beside.live.closed and not elsewhere.live.closed


def test_closing_a_view_closes_every_comm_that_it_made(queue: JobQueue, desk: Desk) -> None:
    widgets._shared()
    before = set(_all_widgets())
    view = desk.open(queue.submit(broken, 1))
    desk.round()
    work(queue)
    desk.round()
    made = set(_all_widgets()) - before
    view.close()
    assert made
    assert {one for one in _all_widgets() if one in made} == set()


def _all_widgets() -> dict[str, Any]:
    from ipywidgets.widgets.widget import _instances

    return _instances


def test_a_file_that_is_gone_ends_its_views_with_a_word(queue: JobQueue, desk: Desk) -> None:
    view = desk.open(queue.submit(double, 1))
    desk.round()
    queue.close()
    queue.path.unlink()
    desk.round()
    assert "was deleted" in view.live._note_.value
    assert not view.moving


def test_a_view_that_cannot_be_drawn_does_not_stop_the_others(queue: JobQueue, desk: Desk) -> None:
    bad, good = desk.open(queue.submit(double, 1)), desk.open(queue.submit(double, 2))
    bad.live.box.close()
    bad.live.update = None  # type: ignore[assignment]
    desk.round()
    assert bad.closed
    assert "pending" in text_of(good)


# ------------------------------------------------------------------------------------------------------ what is saved


def test_the_snapshot_is_renewed_now_and_then_and_once_at_the_end(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(double, range(100))
    desk.open(batch)
    for i in range(80):  # twenty seconds in which it changes all the time
        batch[i].cancel()
        desk.round()
    assert 3 <= len(desk.saved) <= 5
    batch.cancel()
    desk.round()
    last = desk.saved[-1][1]
    assert last.done
    count = len(desk.saved)
    for _ in range(8):
        desk.round(10)
    assert len(desk.saved) == count


def test_a_view_that_stands_still_makes_the_notebook_no_longer_unsaved(queue: JobQueue, desk: Desk) -> None:
    desk.open(queue.submit(double, 1))
    desk.round()
    desk.saved.clear()
    for _ in range(50):
        desk.round(1)
    assert desk.saved == []


# ------------------------------------------------------------------------------------------------- whom it belongs to


def test_only_outputs_that_this_user_signed_are_shown(queue: JobQueue, desk: Desk) -> None:
    job = queue.submit(double, 1)
    work(queue)
    with queue._database.write() as db:
        (execution,) = db.execute("select max(id) from executions").fetchone()
        texts = [json.dumps({"data": {"text/html": f"<b>{i}</b>"}, "metadata": {}, "kind": "display_data"}) for i in range(3)]
        key = payload.load_key()
        signed = payload.sign(key, payload.SLOT_OUTPUT, f"{job} {execution} 0", texts[0].encode())
        rows = [
            (execution, 0, texts[0], signed),
            (execution, 1, texts[1], signed),  # the signature of another place
            (execution, 2, texts[2], b"x" * 32),
        ]
        db.executemany("insert into outputs (execution, n, bundle, signature) values (?, ?, ?, ?)", rows)
    view = desk.open(job)
    desk.round()
    assert [one.data for one in view.snapshot.outputs] == [{"text/html": "<b>0</b>"}]  # type: ignore[union-attr]
    html = view.bundle()["text/html"]
    assert "<b>0</b>" in html
    assert "<b>1</b>" not in html
    assert [one["data"] for one in view.live._output.outputs] == [{"text/html": "<b>0</b>"}]


# --------------------------------------------------------------------------------------------- costs that do not grow


def test_no_read_of_a_view_scans_a_table_that_grows(queue: JobQueue) -> None:
    """By SQLite's own plans: of jobs, executions, logs, results and failures only what an index or a key finds."""
    batch = queue.map(broken, range(3))
    flow = Workflow("flow")
    flow.add_task(double, {"x": 1})
    flow.submit(queue)
    work(queue, 2)
    asked: list[str] = []
    with queue._database.read() as db:
        db.set_trace_callback(asked.append)
        first, last = views.span(db, batch.number)
        views.batch(db, batch.number, first, last)
        views.failed(db, 50, first, last, batch.number)
        views.failed(db, 50)
        views.job_marks(db, list(batch))
        views.batch_marks(db, [batch.number])
        views.waits_for(db, last)
        views.recent_ends(db, 0)
        views.totals(db)
        views.log_tail(db, first)
        views.graph(db, batch.number + 1, 10)
        views.graph_statuses(db, batch.number + 1)
        reads.running(db, 8)
        reads.job(db, str(batch[0]))
        db.set_trace_callback(None)
        plans = [(sql, row[3]) for sql in asked for row in db.execute("explain query plan " + sql)]
    scans = [(sql, plan) for sql, plan in plans if re.match(r"SCAN (j|jobs|e|executions|logs|l|results|r|failures|f|x)\b", plan)]
    assert [one for one in scans if "executions_open" not in one[1]] == []
    assert len(asked) > 15


def test_of_a_long_log_only_the_end_is_read(queue: JobQueue) -> None:
    queue.submit(talk, 1)
    work(queue)
    with queue._database.write() as db:
        (execution,) = db.execute("select max(id) from executions").fetchone()
        db.executemany("insert into logs values (?, ?, ?)", [(execution, 100 + i, f"line {i}\n" * 50) for i in range(2000)])
    with queue._database.read() as db:
        tail = views.log_tail(db, 1)
    assert len(tail) <= views.TAIL_CHARS
    assert tail.endswith("line 1999\n")


def test_a_batch_tells_rate_time_left_and_its_errors_once(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(broken, [1, 1, 1, 2, 3])
    view = desk.open(batch)
    work(queue, 4)
    desk.round()
    assert isinstance(view.snapshot, BatchView)
    assert view.snapshot.row.counts.failed == 4
    assert view.snapshot.rate is not None and view.snapshot.eta_s is not None
    text = " ".join(text_of(view).split())
    assert "ValueError: no 1 × 3" in text
    assert "4 of 5 done" in text


def test_a_batch_that_is_paused_does_not_promise_an_end(queue: JobQueue, desk: Desk) -> None:
    view = desk.open(queue.map(double, range(5)))
    work(queue, 2)
    queue.pause()
    desk.round()
    assert isinstance(view.snapshot, BatchView)
    assert view.snapshot.rate is not None
    assert (view.snapshot.eta_s, "left" in text_of(view), "left" in view.bundle()["text/plain"]) == (None, False, False)


def test_a_dashboard_counts_what_ended_when(queue: JobQueue, desk: Desk) -> None:
    batch = queue.map(double, range(30))
    view = desk.open(queue)
    desk.round()
    for i in range(30):
        batch[i].cancel()
    desk.round(2)
    assert isinstance(view.snapshot, QueueView)
    assert sum(view.snapshot.ends) == 30
    assert view.snapshot.counts.cancelled == 30
    assert "30 ended in the last 2 min" in text_of(view)


def test_a_workflow_is_drawn_and_coloured_as_it_moves(queue: JobQueue, desk: Desk) -> None:
    flow = Workflow("flow")
    load = flow.add_task(double, {"x": 1}, name="load")
    fit = flow.add_task(broken, {"x": 1}, depends_on=[load], name="fit")
    flow.add_task(double, {"x": 1}, depends_on=[fit], name="plot")
    assert "not submitted" in display.text(flow)
    view = desk.open(flow.submit(queue))
    colours = []
    for _ in range(3):
        desk.round()
        colours.append(re.findall(r'class="gigq-node gigq-(\w+)"', view.live._parts["graph"].value))
        work(queue)
    assert colours == [["pending"] * 3, ["completed", "pending", "pending"], ["completed", "failed", "cancelled"]]


# --------------------------------------------------------------------------------------------------- in real kernels

WAIT = """
import threading, time
b.wait(60), job.wait(60)
end = time.monotonic() + 60
while any(t.name == 'gigq_nb views' for t in threading.enumerate()) and time.monotonic() < end:
    time.sleep(.05)
"""
CELLS = [
    "from gigq_nb import JobQueue\nq = JobQueue('jobs.db')\nworker = q.start_worker(1)",
    "job = q.submit(lambda: 6 * 7)\njob",
    "b = q.map(lambda x: x, range(20))\nb",
    WAIT,
]


def test_an_executed_notebook_holds_the_last_state_of_each_view(run_nb: RunNb) -> None:
    nb, models = run_nb(CELLS)
    first, second = nb.cells[1].outputs
    assert set(second.data) == {VIEW, "text/html"}
    assert "completed" in first.data["text/html"]
    assert "-> 42" in first.data["text/plain"]
    assert "20 of 20 done" in nb.cells[2].outputs[0].data["text/plain"]
    assert second.data[VIEW]["model_id"] in models
    nbformat.validate(nb)


def test_what_a_last_cell_waited_for_is_saved_before_it_ends(run_nb: RunNb) -> None:
    # As `jupyter execute` and papermill run it: nobody listens any more when the last cell ended.
    gate = "\nimport os, time\ndef held(x):\n    while not os.path.exists('go'): time.sleep(.01)\n    return x"
    nb, _ = run_nb(
        [
            CELLS[0] + gate,
            "job = q.submit(held, 42)\njob",
            "b = q.map(held, range(20))\nb",
            "q",
            "open('go', 'w').close(); job.wait(60), b.wait(60)",
        ]
    )
    assert "-> 42" in nb.cells[1].outputs[0].data["text/plain"]
    assert "20 of 20 done" in nb.cells[2].outputs[0].data["text/plain"]
    assert "21 completed" in nb.cells[3].outputs[0].data["text/plain"]


def test_a_kernel_shows_a_pause_that_another_process_made_and_its_end(run_nb: RunNb, tmp_path: Path) -> None:
    script = "import sys; from gigq_nb import JobQueue; getattr(JobQueue('jobs.db'), sys.argv[1])()"
    elsewhere = f"""
import subprocess, sys, time
from gigq_nb.notebook import display
def elsewhere(word):
    subprocess.run([sys.executable, '-c', {script!r}, word], check=True)
def until(condition):
    end = time.monotonic() + 60
    while not condition(): assert time.monotonic() < end; time.sleep(.02)
def board():
    return display.monitor().views[-1]
"""
    nb, _ = run_nb(
        [
            "%load_ext gigq_nb\n%gigq connect jobs.db --concurrency 1" + elsewhere,
            "q = %gigq connect jobs.db",
            "q",
            "%gigq pause",
            "%gigq status",
            "%gigq resume",
            "elsewhere('pause')\nuntil(lambda: board().snapshot.paused_at)\nuntil(lambda: board().saved and board().saved.paused_at)",
            "job = q.submit(lambda: 6 * 7)\nprint(job.wait(0.1), job.status)",
            "%gigq list",
            "elsewhere('resume')\nuntil(lambda: not board().snapshot.paused_at)\nprint(job.result(60))",
        ]
    )
    said = ["".join(one.text for one in cell.outputs if one.output_type == "stream") for cell in nb.cells]
    assert said[3] == "jobs.db is paused: what runs goes on, nothing else begins until '%gigq resume'\n"
    assert re.search(r"the queue is paused since .* UTC: '%gigq resume' lets jobs begin again", said[4])
    assert said[5].startswith("jobs.db goes on after")
    assert said[7] == "False pending\n"
    assert "the queue is paused since" in said[8]
    assert said[9] == "42\n"
    assert JobQueue(tmp_path / "jobs.db").paused is None


def test_the_same_job_shown_again_and_again_leaves_no_comms_behind(run_nb: RunNb) -> None:
    count = "from ipywidgets.widgets.widget import _instances\nn = len(_instances)"
    nb, _ = run_nb(
        [
            CELLS[0] + "\njob = q.submit(lambda: 1); job.wait(60)",
            "display(job)",
            count,
            *["display(job)"] * 5,
            "print(len(_instances) - n)",
        ]
    )
    assert nb.cells[-1].outputs[0].text.strip() == "0"


def test_without_ipywidgets_the_snapshot_alone_is_shown_and_renewed(run_nb: RunNb) -> None:
    nb, models = run_nb(["import sys; sys.modules['ipywidgets'] = None", *CELLS])
    assert models == {}
    [only] = nb.cells[2].outputs
    assert "completed" in only.data["text/html"]
    [only] = nb.cells[3].outputs
    assert "20 of 20 done" in only.data["text/plain"]


def test_views_say_nothing_into_cells_when_the_kernel_ends(run_nb: RunNb) -> None:
    nb, _ = run_nb([CELLS[0], "import time\nfor i in range(5): display(q.submit(time.sleep, 30))", "n = q.stop_worker(now=True)"])
    assert [one for cell in nb.cells for one in cell.outputs if one.output_type == "stream"] == []


def test_ipython_in_a_terminal_prints_plain_text(queue: JobQueue) -> None:
    job = queue.submit(double, 21)
    work(queue)
    code = f"from gigq_nb import JobQueue\nq = JobQueue({str(queue.path)!r})\nq.job({str(job)!r})"
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", "--no-banner", "--quick"],
        input=code + "\nexit\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "job double: completed" in done.stdout
    assert "-> 42" in done.stdout
    assert "<div" not in done.stdout


def test_outside_ipython_a_handle_is_its_repr_and_a_bundle_can_be_had(queue: JobQueue) -> None:
    job = queue.submit(double, 21)
    assert set(display.mimebundle(job)) == {"text/plain", "text/html"}
    with pytest.raises(TypeError, match="no view of int"):
        display.mimebundle(3)


def _until(condition: Callable[[], Any], limit_s: float = 60.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "not within a minute"
        time.sleep(0.01)
