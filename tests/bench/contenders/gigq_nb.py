"""gigq_nb as shipped: a queue, and one detached worker with two children."""

import sqlite3
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gigq_nb import Job, JobQueue, Workflow
from tests.bench.contenders.base import PATIENCE_S, WORKERS, Contender

if TYPE_CHECKING:
    import pandas as pd

FILL_AT_ONCE = 50_000
A_YEAR = timedelta(days=365)


class GigqNb(Contender):
    heals_itself = True
    options: dict[str, Any] = {}

    def open(self) -> None:
        self.path = str(self.folder / "gigq_nb.db")
        self.queue = JobQueue(self.path, **self.options)

    def launch(self) -> None:
        self.queue.start_worker(concurrency=WORKERS)

    def submit(self, function: str, x: Any) -> Any:
        return self.queue.submit(getattr(self.functions, function), x)

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> Any:
        return self.queue.map(getattr(self.functions, function), xs)

    def result(self, handle: Any) -> Any:
        return handle.result(timeout=PATIENCE_S)

    def results(self, handles: Any) -> list[Any]:
        return super().results(handles) if isinstance(handles, list) else handles.results()

    def _job(self, function: str, x: Any, **options: Any) -> Job:
        return Job(name=function, function=getattr(self.functions, function), params={"x": x}, **options)

    def chain(self, length: int) -> None:
        workflow = Workflow("chain")
        job = workflow.add_job(self._job("noop", 1))
        for _ in range(length - 1):
            job = workflow.add_job(self._job("noop", 1), depends_on=[job])
        self.result(workflow.submit_all(self.queue)[-1])

    def fan(self, width: int) -> None:
        workflow = Workflow("fan")
        first = workflow.add_job(self._job("noop", 1))
        middle = [workflow.add_job(self._job("noop", 1), depends_on=[first]) for _ in range(width)]
        workflow.add_job(self._job("noop", 1), depends_on=middle)
        self.result(workflow.submit_all(self.queue)[-1])

    def submit_probes(self, count: int) -> Any:
        return self.queue.submit_many([self._job("stamp", i, priority=1) for i in range(count)])

    def fill(self, kind: str, count: int) -> None:
        """By its own verbs: it is quick enough, and no table is written behind its back."""
        options: dict[str, Any] = {"priority": -1}
        if kind == "delayed":
            options["delay"] = A_YEAR
        if kind == "blocked":
            options["dependencies"] = [self.queue.submit(self._job("noop", 0, delay=A_YEAR))]
        for begin in range(0, count, FILL_AT_ONCE):
            size = min(FILL_AT_ONCE, count - begin)
            if kind == "finished":
                self._finish(size)
            else:
                self.queue.submit_many([self._job("noop", 0, **options) for _ in range(size)])
        if kind == "finished":
            self.queue.stop_worker()

    def refresh_view(self, jobs: int) -> dict[str, float]:
        """One round of the kernel's poller for the dashboard of a queue with so many jobs, in ms of this process."""
        from gigq_nb.notebook.monitor import Monitor
        from gigq_nb.notebook.view import View
        from gigq_nb.notebook.widgets import Live

        self.fill("pending", jobs)
        self.queue.batch()  # the file is open and its pages are warm, as in a kernel that looks
        view, monitor = View(self.queue), Monitor()
        view.live = Live(lambda: None)
        took = []
        for turn in range(40):
            self.queue.submit(self.functions.noop, turn)  # something changed
            view.stale, view.mark = True, None
            begin = time.process_time_ns()
            monitor.run_once([view], time.time_ns() // 1_000_000, time.monotonic())
            took.append((time.process_time_ns() - begin) / 1e6)
        return {"refresh": statistics.median(took[5:]), "worst": max(took[5:])}

    def _finish(self, count: int) -> None:
        self.queue.start_worker(concurrency=WORKERS)
        self.queue.map(self.functions.noop, range(count)).wait()


class GigqNbProcess(GigqNb):
    """No fsync: survives the kill of every process, not a power cut. Never the default; an extra column."""

    options = {"durability": "process"}


# ----------------------------------------------------------------------------- reading all jobs (measures/frame.py)

# What `queue.jobs()` shows, and where it stands in the file: for those who read the same without gigq_nb.
FRAME = {
    "id": "j.id",
    "name": "t.name",
    "status": "j.status",
    "reason": "j.reason",
    "created_at": "j.created_at",
    "started_at": "j.started_at",
    "finished_at": "j.finished_at",
    "seconds": "(j.finished_at - j.started_at) / 1000.0",
    "took": "j.finished_at - j.started_at",
    "attempts": "j.attempts",
    "max_attempts": "j.max_attempts",
    "losses": "j.losses",
    "priority": "j.priority",
    "waiting_on": "j.waiting_on",
    "run_at": "j.run_at",
    "batch": "j.batch",
    "function": "f.name",
    "notebook": "t.notebook",
    "result": "coalesce(r.preview, r.json)",
    "error_type": "x.type",
    "error": "x.message",
}
FRAME_SQL = (
    f"select {', '.join(f'{source} as {name}' for name, source in FRAME.items())}"
    " from jobs j join tasks t on t.id = j.task join functions f on f.id = t.function left join results r on r.job = j.seq"
    " left join executions e on j.status <> 'completed' and e.job = j.seq and e.n = j.runs"
    " left join failures x on x.execution = e.id order by j.seq desc"
)


def read_frame(path: str) -> "pd.DataFrame":
    frame = JobQueue(path, initialize=False).jobs()
    if set(frame.columns) != set(FRAME):
        raise AssertionError(f"queue.jobs() has other columns than FRAME: {set(frame.columns) ^ set(FRAME)}")
    return frame


def read_frame_by_pandas(path: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_sql_query(FRAME_SQL, sqlite3.connect(path))


def fetch_rows(path: str) -> list[tuple]:
    return sqlite3.connect(path).execute(FRAME_SQL).fetchall()
