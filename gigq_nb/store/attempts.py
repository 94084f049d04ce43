"""What a worker knows of an attempt: how it was claimed, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..states import Outcome, Reason


@dataclass(slots=True)
class Claim:
    """A job that was claimed: what a worker needs to run it and to end it."""

    seq: int
    id: str
    task: int
    batch: int | None
    n: int
    attempts: int
    max_attempts: int
    losses: int
    payload: bytes | None
    size: int
    signature: bytes
    has_parents: bool
    token: int = 0


@dataclass(slots=True)
class Failure:
    """Why an attempt has no result."""

    type: str
    message: str
    traceback: str = ""
    payload: bytes | None = None
    signature: bytes | None = None


@dataclass(slots=True)
class Stored:
    """A result as it goes into the file; ``payload`` is None when the value stands in a file of its own."""

    payload: bytes | None
    size: int
    signature: bytes
    preview: str | None
    json: str | None


@dataclass(slots=True)
class Ending:
    """How one attempt ended, as the worker saw it.

    ``retry_in_ms``: None for "no further attempt"; else the wait before the next one (``backoff_ms`` is the longest
    it may be, against clock steps).
    """

    claim: Claim
    outcome: Outcome
    reason: Reason | None = None
    started_at: int | None = None
    finished_at: int = 0
    arguments: str | None = None
    result: Stored | None = None
    failure: Failure | None = None
    retry_in_ms: int | None = None
    backoff_ms: int | None = None
    outputs: list[tuple[int, str, bytes]] = field(default_factory=list)
