"""What ``queue.jobs()`` and its sisters return. pandas is loaded when the first frame is asked for, not before.

Columns have fixed types, with a million rows as with none: statuses and reasons are categories that have all their
words, times are UTC, durations are there as ``seconds`` (float) and as ``took`` (timedelta). Frames of jobs, attempts
and workers hold texts and numbers only; nothing is unpickled for them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidType
from ..policies import whole_number
from ..store import columns, public, reads

if TYPE_CHECKING:
    import pandas as pd

    from ..handle import Batch
    from ..queue import JobQueue

_MOST = 2**62


def jobs_frame(
    queue: JobQueue,
    *,
    status: Sequence[str] = (),
    name: str | None = None,
    batch: int | None = None,
    tag: str | None = None,
    notebook: str | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """The jobs, the newest first. ``result`` and ``error`` are texts, cut at 2,000 characters.

    Args:
        queue: The file.
        status: Only these statuses.
        name: Only jobs of this name.
        batch: Only jobs of this batch.
        tag: Only jobs with this tag.
        notebook: Only jobs that this notebook submitted.
        limit: At most so many; None: all.

    Raises:
        InvalidArgument, InvalidType: naming the filter and what it allows.
    """
    import pandas as pd

    from .typed import REASON, STATUS, Columns, seconds

    chosen: dict[str, Any] = {
        "status": status,
        "name": _word(name, "name"),
        "tag": _word(tag, "tag"),
        "notebook": notebook,
        "batch": None if batch is None else whole_number(batch, "batch", 0, _MOST),
        "limit": None if limit is None else whole_number(limit, "limit", 0, _MOST),
    }
    with queue._database.read() as db:
        rows = Columns(columns.jobs(db, **chosen), "seq", newest_first=True)
        tasks = columns.tasks(db, rows.distinct("task"))
    took = rows.took("started_at", "finished_at")
    error_type, error = rows.errors()
    return pd.DataFrame(
        {
            "id": rows.id(),
            "name": rows.named("task", {one.id: one.name for one in tasks.values()}),
            "status": rows.category("status", STATUS),
            "reason": rows.category("reason", REASON),
            "created_at": rows.time("created_at"),
            "started_at": rows.time("started_at"),
            "finished_at": rows.time("finished_at"),
            "seconds": seconds(took),
            "took": took,
            "attempts": rows.number("attempts"),
            "max_attempts": rows.number("max_attempts"),
            "losses": rows.number("losses"),
            "priority": rows.number("priority"),
            "waiting_on": rows.number("waiting_on"),
            "run_at": rows.time("run_at"),
            "batch": rows.nullable("batch"),
            "function": rows.named("task", {one.id: one.function for one in tasks.values()}),
            "notebook": rows.named("task", {one.id: one.notebook for one in tasks.values()}),
            "result": rows.text("result"),
            "error_type": error_type,
            "error": error,
        },
        copy=False,  # each column stays the array it is: pandas would copy all of them into blocks
    )


def executions_frame(queue: JobQueue, job_id: str | None = None) -> pd.DataFrame:
    """The attempts of all jobs or of one, the oldest first. ``outcome`` is missing while one is open.

    Args:
        queue: The file.
        job_id: Only attempts of this job.

    Raises:
        JobNotFound: there is no such job.
    """
    import pandas as pd

    from .typed import OUTCOME, REASON, Columns, seconds

    with queue._database.read() as db:
        only = None if job_id is None else reads.full_id(db, _word(job_id, "job_id") or "")
        rows = Columns(columns.executions(db, only), "id", newest_first=False)
        tasks = columns.tasks(db, rows.distinct("task"))
        workers = columns.worker_names(db)
    took = rows.took("started_at", "finished_at")
    error_type, error = rows.errors()
    return pd.DataFrame(
        {
            "job_id": rows.id(),
            "name": rows.named("task", {one.id: one.name for one in tasks.values()}),
            "attempt": rows.number("attempt"),
            "worker": rows.named("worker", workers),
            "outcome": rows.category("outcome", OUTCOME),
            "reason": rows.category("reason", REASON),
            "charged": rows.flag("charged"),
            "claimed_at": rows.time("claimed_at"),
            "started_at": rows.time("started_at"),
            "finished_at": rows.time("finished_at"),
            "seconds": seconds(took),
            "took": took,
            "error_type": error_type,
            "error": error,
        },
        copy=False,
    )


def workers_frame(queue: JobQueue, *, gone: bool = False) -> pd.DataFrame:
    """The worker processes, the newest first. ``silent``: it has not been heard of for longer than its lease.

    Args:
        queue: The file.
        gone: Also those that ended.
    """
    import numpy as np
    import pandas as pd

    from ..runtime.peers import LEASE_S
    from .typed import MISSING, fixed, texts, times

    with queue._database.read() as db:
        rows = reads.workers(db, gone=gone)
    oldest = time.time_ns() // 1_000_000 - int(LEASE_S * 1000)
    states = ["silent" if one.state == "running" and one.beat_at < oldest else one.state for one in rows]

    def moments(values: list[int | None]) -> Any:
        return times(np.array([MISSING if one is None else one for one in values], np.int64))

    return pd.DataFrame(
        {
            "name": texts([one.name for one in rows]),
            "host": texts([one.host for one in rows]),
            "pid": np.array([one.pid for one in rows], np.int64),
            "state": pd.Categorical(states, dtype=fixed(["running", "stopping", "silent", "gone"])),
            "running": np.array([one.running for one in rows], np.int64),
            "concurrency": np.array([one.concurrency for one in rows], np.int64),
            "python": texts([one.python for one in rows]),
            "prefix": texts([one.prefix for one in rows]),
            "started_at": moments([one.started_at for one in rows]),
            "beat_at": moments([one.beat_at for one in rows]),
            "stopped_at": moments([one.stopped_at for one in rows]),
            "why": texts([one.why for one in rows]),
            "log": texts([one.log for one in rows]),
        },
        copy=False,
    )


def sql_frame(queue: JobQueue, query: str, values: Any = ()) -> pd.DataFrame:
    """The rows of a SELECT. Columns whose names end in ``_at`` are UTC times, where they hold nothing else.

    Args:
        queue: The file.
        query: One SELECT over the public views.
        values: What is bound to its parameters.

    Raises:
        InvalidArgument: not a SELECT, or SQLite's message about it.
    """
    import pandas as pd

    from .typed import inferred, moments

    with queue._database.read() as db:
        names, rows = public.query(db, query, values)
    found: list[Any] = list(zip(*rows, strict=True)) or [()] * len(names)
    del rows
    for place, name in enumerate(names):
        some = found[place]
        column = moments(some) if name.endswith("_at") else None
        found[place] = inferred(some) if column is None else column
    frame = pd.DataFrame(dict(enumerate(found)), copy=False)
    frame.columns = pd.Index(names, dtype=object if not names else None)  # names may occur twice
    return frame


def batch_frame(batch: Batch) -> pd.DataFrame:
    """The jobs of a batch in the order of their submit, with arguments and results as columns.

    See :mod:`gigq_nb.notebook.batchframe`.
    """
    from .batchframe import frame_of

    return frame_of(batch)


def _word(value: object, what: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidType(f"{what} is a text, not {type(value).__name__}")
    return None if value is None else str.__str__(value)
