"""What GigQ's users know: its dicts with its keys, and two functions that have little to do here."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .errors import JobNotFound
from .given import text_id
from .job import ExecutionRow, JobRow
from .store import reads

if TYPE_CHECKING:
    from .queue import JobQueue


def close_connections() -> None:
    """GigQ keeps a connection per thread; here none is kept beyond a burst of operations, so nothing is left to close."""


def setup_logging(level: int = logging.INFO) -> None:
    """Show the worker's log lines on standard error."""
    logger = logging.getLogger("gigq_nb")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)


def iso(ms: int | None) -> str | None:
    """UTC milliseconds as ISO 8601 with its zone."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def job_dict(row: JobRow) -> dict[str, Any]:
    """GigQ's keys. ``result`` is the value where it is JSON, else its preview; ``error`` has the traceback."""
    result = json.loads(row.result_json) if row.result_json is not None else row.result_text
    return {
        "id": row.id,
        "name": row.name,
        "function_name": row.function_name,
        "params": row.arguments_text,
        "priority": row.priority,
        "max_attempts": row.max_attempts,
        "timeout": row.options.timeout_s,
        "description": row.options.description,
        "status": row.status,
        "reason": row.reason,
        "waits_for": row.waits_for,
        "attempts": row.attempts,
        "losses": row.losses,
        "result": result,
        "error": (row.traceback or row.error) if row.status != "completed" else None,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.finished_at or row.started_at or row.created_at),
        "started_at": iso(row.started_at),
        "completed_at": iso(row.finished_at),
        "progress": None if row.progress_done is None else [row.progress_done, row.progress_total, row.progress_text],
        "tags": list(row.options.tags),
    }


def status_dict(queue: JobQueue, job_id: str) -> dict[str, Any]:
    """What ``get_status`` answers: all about a job; an unknown one does not exist."""
    try:
        with queue._database.read() as db:
            row = reads.job(db, text_id(job_id))
            attempts = reads.executions(db, row.id)
            parents = reads.parents(db, row.id)
    except JobNotFound:
        return {"exists": False}
    executions = [execution_dict(one) for one in attempts]
    return {**job_dict(row), "dependencies": parents, "executions": executions, "exists": True}


def execution_dict(row: ExecutionRow) -> dict[str, Any]:
    """An attempt with GigQ's keys."""
    return {
        "id": row.id,
        "job_id": row.job_id,
        "attempt": row.n,
        "worker_id": row.worker,
        "status": row.outcome or "running",
        "reason": row.reason,
        "charged": row.charged,
        "started_at": iso(row.started_at or row.claimed_at),
        "completed_at": iso(row.finished_at),
        "error": row.error,
    }
