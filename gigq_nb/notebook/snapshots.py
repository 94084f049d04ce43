"""What a view shows, frozen: everything that the HTML and the plain text are made from, and the reads that make it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..job import BatchRow, Counts, JobRow, WorkerRow
from ..states import FINAL
from ..store import pausing, reads, views
from . import outputs
from .loglines import last_lines

if TYPE_CHECKING:
    from ..queue import JobQueue
    from ..workflow import Workflow

LOG_LINES = 10
FAILED_READ = 50
RUNNING_LINES = 8
GRAPH_MOST = 5_000
BUCKETS, BUCKET_MS = 60, 2_000
RATE_WINDOW_MS = 20_000

_FINAL = frozenset(status.value for status in FINAL)


@dataclass(frozen=True, slots=True)
class RichOutput:
    """One display of a cell that ran as a job: signed by this user, so it may be shown as it is."""

    data: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job at one moment."""

    at_ms: int
    row: JobRow
    log: tuple[str, ...] = ()
    outputs: tuple[RichOutput, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.row.status in _FINAL

    @property
    def result(self) -> str | None:
        """The result in a few characters; None when there is none to speak of."""
        text = self.row.result_text if self.row.result_text is not None else self.row.result_json
        return None if text in ("", "None", "null") else text

    @property
    def elapsed_s(self) -> float | None:
        """How long the attempt runs or ran."""
        if self.row.started_at is None:
            return None
        return max(0, (self.row.finished_at or self.at_ms) - self.row.started_at) / 1000

    @property
    def share(self) -> float | None:
        """How far it is, 0 to 1, if it said so."""
        row = self.row
        if row.progress_done is None or not row.progress_total or row.progress_total <= 0:
            return None
        return min(1.0, max(0.0, row.progress_done / row.progress_total))

    @property
    def eta_s(self) -> float | None:
        """How long it goes on at the same pace."""
        share, elapsed_s = self.share, self.elapsed_s
        if self.row.status != "running" or not share or elapsed_s is None or elapsed_s < 0.5:
            return None
        return elapsed_s * (1 - share) / share


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """One job of a workflow, or several alike: same name, same parents, same dependents."""

    name: str
    n: int
    counts: Counts
    seconds: float | None = None

    @property
    def status(self) -> str:
        """What decides its colour: the worst that needs attention, then what moves."""
        for one in ("failed", "timeout", "running", "cancelled", "pending"):
            if getattr(self.counts, one):
                return one
        return "completed" if self.counts.completed else "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A workflow as nodes and edges between their positions."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch or a workflow at one moment."""

    at_ms: int
    row: BatchRow
    rate: float | None = None
    failed: tuple[views.Failed, ...] = ()
    waits_for: str | None = None
    paused_at: int | None = None  # while some of its jobs are pending
    graph: Graph | None = None

    @property
    def done(self) -> bool:
        """Whether all its jobs are."""
        return self.row.counts.done == self.row.counts.total

    @property
    def elapsed_s(self) -> float | None:
        """Since the first of them started."""
        if self.row.started_at is None:
            return None
        return max(0, (self.row.finished_at or self.at_ms) - self.row.started_at) / 1000

    @property
    def eta_s(self) -> float | None:
        """How long the rest takes at the present rate; nobody knows while it is paused."""
        left = self.row.counts.total - self.row.counts.done
        return left / self.rate if self.rate and left and self.paused_at is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue at one moment."""

    at_ms: int
    path: str
    counts: Counts
    ends: tuple[int, ...] = ()  # how many jobs ended in each of the last BUCKETS periods of BUCKET_MS
    running: tuple[JobRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    failed: tuple[views.Failed, ...] = ()
    paused_at: int | None = None

    @property
    def done(self) -> bool:
        """Never: work may come at any time."""
        return False

    @property
    def rate(self) -> float:
        """Jobs a second, over the last ten seconds."""
        last = self.ends[-10_000 // BUCKET_MS :]
        return sum(last) * 1000 / (BUCKET_MS * len(last)) if last else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowView:
    """A workflow that was not submitted yet."""

    name: str
    graph: Graph

    @property
    def done(self) -> bool:
        """It only moves once it is submitted."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as it was started or found."""

    name: str
    pid: int
    concurrency: int
    started: bool
    log: str | None
    paused_at: int | None = None

    @property
    def done(self) -> bool:
        """The queue's dashboard follows it; this does not."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneView:
    """What cannot be shown (any more), and why."""

    what: str
    why: str

    @property
    def done(self) -> bool:
        """Nothing more comes."""
        return True


Snapshot = JobView | BatchView | QueueView | WorkflowView | WorkerView | GoneView


# ------------------------------------------------------------------------------------------------------ making them


def job_view(queue: JobQueue, db: reads.Db, job_id: str, now_ms: int) -> JobView:
    """A job, its last log lines, and its rich outputs as far as this user's key signed them.

    Raises:
        JobNotFound: it was pruned.
    """
    row = reads.job(db, job_id)
    log = last_lines(views.log_tail(db, row.seq), LOG_LINES)
    shown = outputs.read(queue, db, job_id) if row.started_at is not None else []
    signed = tuple(RichOutput(one.data, one.metadata) for one in shown if one.verified)
    return JobView(at_ms=now_ms, row=row, log=log, outputs=signed)


@dataclass(slots=True)
class BatchReader:
    """Reads one batch again and again; what never changes is read once, and the rate is learnt."""

    number: int
    span: tuple[int, int] | None = None
    seen: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=400))
    nodes: list[reads.Node] | None = None
    edges: list[tuple[int, int]] = field(default_factory=list)

    def view(self, db: reads.Db, now_ms: int) -> BatchView:
        """The batch now.

        Raises:
            JobNotFound: it was pruned.
        """
        if self.span is None:
            self.span = views.span(db, self.number)
        first, last = self.span
        row = views.batch(db, self.number, first, last)
        counts = row.counts
        failed = views.failed(db, FAILED_READ, first, last, self.number) if counts.failed or counts.timeout else []
        paused_at = pausing.paused_at(db) if counts.pending else None
        stuck = counts.pending and (not counts.running or paused_at is not None)
        waits = views.waits_for(db, last) if stuck else None
        graph = self._graph(db) if row.kind == "workflow" else None
        return BatchView(
            at_ms=now_ms, row=row, rate=self._rate(row, now_ms), failed=tuple(failed), waits_for=waits, paused_at=paused_at,
            graph=graph,
        )  # fmt: skip

    def _graph(self, db: reads.Db) -> Graph | None:
        if self.nodes is None:
            read = views.graph(db, self.number, GRAPH_MOST)
            self.nodes, self.edges = read if read is not None else ([], [])
        if not self.nodes:
            return None
        now = views.graph_statuses(db, self.number)
        nodes = [(node.seq, node.name, *now.get(node.seq, ("cancelled", None, None))[::2]) for node in self.nodes]
        return grouped(nodes, self.edges)

    def _rate(self, row: BatchRow, now_ms: int) -> float | None:
        """Jobs a second over the last 20 s that this reader saw; before that, and after the end, over the whole time."""
        done = row.counts.done
        self.seen.append((now_ms, done))
        while len(self.seen) > 2 and self.seen[0][0] < now_ms - RATE_WINDOW_MS:
            self.seen.popleft()
        (then_ms, before) = self.seen[0]
        if now_ms - then_ms >= 2_000 and done < row.counts.total:
            return max(0, done - before) * 1000 / (now_ms - then_ms)
        if row.started_at is None or not done:
            return None
        return done * 1000 / max(1, (row.finished_at or now_ms) - row.started_at)


@dataclass(slots=True)
class QueueReader:
    """Reads one queue again and again, and remembers how many jobs ended when."""

    path: str
    buckets: dict[int, int] = field(default_factory=dict)
    done: int | None = None

    def view(self, db: reads.Db, now_ms: int) -> QueueView:
        """The queue now: kept counts, and a few rows of what runs and what failed last."""
        counts = views.totals(db)
        newest = now_ms // BUCKET_MS
        if self.done is None:
            for at in views.recent_ends(db, now_ms - BUCKETS * BUCKET_MS):
                self.buckets[at // BUCKET_MS] = self.buckets.get(at // BUCKET_MS, 0) + 1
        elif counts.done > self.done:
            self.buckets[newest] = self.buckets.get(newest, 0) + counts.done - self.done
        self.done = counts.done
        return QueueView(
            at_ms=now_ms,
            path=self.path,
            counts=counts,
            ends=self.ends(now_ms),
            running=tuple(reads.running(db, RUNNING_LINES)) if counts.running else (),
            workers=tuple(reads.workers(db)[:RUNNING_LINES]),
            failed=tuple(views.failed(db, FAILED_READ)) if counts.failed or counts.timeout else (),
            paused_at=pausing.paused_at(db),
        )

    def ends(self, now_ms: int) -> tuple[int, ...]:
        """How many ended in each period, the newest last."""
        newest = now_ms // BUCKET_MS
        for old in [one for one in self.buckets if one <= newest - BUCKETS]:
            del self.buckets[old]
        return tuple(self.buckets.get(one, 0) for one in range(newest - BUCKETS + 1, newest + 1))


def workflow_view(workflow: Workflow) -> WorkflowView:
    """A workflow before its submit."""
    places = {job.id: i for i, job in enumerate(workflow.jobs)}
    edges = [(places[parent], places[job.id]) for job in workflow.jobs for parent in job.dependencies if parent in places]
    return WorkflowView(
        name=workflow.name,
        graph=grouped([(i, job.name, "new", None) for job, i in zip(workflow.jobs, places.values(), strict=True)], edges),
    )


def grouped(nodes: list[tuple[int, str, str, float | None]], edges: list[tuple[int, int]]) -> Graph:
    """Nodes ``(key, name, status, seconds)`` with edges between keys; jobs alike become one node with their number."""
    parents: dict[int, set[int]] = {key: set() for key, *_ in nodes}
    children: dict[int, set[int]] = {key: set() for key, *_ in nodes}
    for parent, child in edges:
        if parent in children and child in parents:
            parents[child].add(parent)
            children[parent].add(child)
    places: dict[tuple[str, frozenset[int], frozenset[int]], int] = {}
    of: dict[int, int] = {}
    members: list[list[tuple[str, str, float | None]]] = []
    for key, name, status, seconds in nodes:
        alike = (name, frozenset(parents[key]), frozenset(children[key]))
        if alike not in places:
            places[alike] = len(members)
            members.append([])
        of[key] = places[alike]
        members[of[key]].append((name, status, seconds))
    made = tuple(
        GraphNode(
            name=some[0][0],
            n=len(some),
            counts=Counts(**{one: sum(status == one for _, status, _ in some) for one in Counts.__slots__}),
            seconds=some[0][2] if len(some) == 1 else None,
        )
        for some in members
    )
    between = sorted({(of[a], of[b]) for a, b in edges if a in of and b in of})
    return Graph(nodes=made, edges=tuple(between))
