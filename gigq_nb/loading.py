"""From the end of a job in the file to a value or an exception here. Nothing is unpickled that is not signed by this user."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import payload
from .errors import JobCancelled, JobFailed, JobLost, JobTimeout, PayloadDamaged, PayloadRefused, RemoteError, ResultLoadError
from .store import reads
from .store.filesystem import Spill
from .store.reads import Final

if TYPE_CHECKING:
    from .queue import JobQueue


class Loader:
    """Loads the results, errors and arguments of one queue's jobs, for the user who signed them."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def value(self, final: Final) -> Any:
        """What ``result()`` returns or raises for a job that is done: see :func:`value_of`."""
        __tracebackhide__ = True
        return value_of(final, self._queue._submit.key, self._queue._submit.spill)

    def load(self, job_id: str) -> Any:
        """The same, by id."""
        __tracebackhide__ = True
        return self.value(self._queue._waiting.now(job_id))

    def load_batch(self, number: int, *, raising: bool) -> list[Any]:
        """The same for all jobs of a batch, in the order of the submit; without ``raising``, exceptions in their places."""
        with self._queue._database.read() as db:
            finals = reads.finals(db, batch=number)
        values = []
        for final in finals:
            try:
                values.append(self.value(final))
            except BaseException as error:
                if raising or isinstance(error, KeyboardInterrupt):
                    raise
                values.append(error)
        return values

    def arguments(self, ids: Sequence[str]) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]] | None]:
        """Arguments by id, for their owner: verified first; None for what is not ours or does not load."""
        key, spill = self._queue._submit.key, self._queue._submit.spill
        with self._queue._database.read() as db:
            rows = reads.arguments(db, ids)
        found: dict[str, tuple[tuple[Any, ...], dict[str, Any]] | None] = {}
        for job_id, (digest, packed, size, signature) in rows.items():
            found[job_id] = None
            with contextlib.suppress(Exception):
                data = packed if packed is not None else spill.read(f"arguments-{job_id}", size)
                if payload.verify(key, signature, payload.SLOT_JOB, job_id, digest, data):
                    found[job_id] = payload.unpack_here(data)
        return found


def value_of(final: Final, key: bytes, spill: Spill) -> Any:
    """What ``result()`` returns or raises for a job that is done.

    Raises:
        JobCancelled, JobTimeout, JobLost, JobFailed, or the function's own exception.
        PayloadRefused, PayloadDamaged: signed by nobody we know, or changed since.
        ResultLoadError: it cannot be loaded here.
    """
    __tracebackhide__ = True
    if final.status != "completed":
        raise exception_of(final, key)
    packed = final.payload if final.payload is not None else spill.read(f"result-{final.id}", final.size)
    if not payload.verify(key, final.signature, payload.SLOT_RESULT, f"{final.id} {final.execution}", packed):
        raise PayloadRefused(
            f"the result of {final.id} is not signed by your key, or was changed; it was not loaded. 'gigq-nb trust' shows and signs a file"
        )
    try:
        return payload.unpack_here(packed)
    except Exception as error:
        raise ResultLoadError(
            f"the result of {final.id} is stored, but cannot be loaded here: {type(error).__name__}: {error}"
        ) from error


def exception_of(final: Final, key: bytes) -> BaseException:
    """The exception of a job that ended badly, its cause the traceback of the process where it ran."""
    text = final.error or {"upstream": "a job it depends on did not complete", "user": "it was cancelled"}.get(
        final.reason or "", "no reason given"
    )
    said = f"job {final.id}: {text}"
    if final.status == "cancelled":
        return JobCancelled(said)
    error: BaseException
    if final.status == "timeout":
        error = JobTimeout(said)
    elif final.reason == "lost":
        error = JobLost(said)
    elif final.reason == "damaged":
        error = PayloadDamaged(said)
    else:
        error = _own(final, key) or JobFailed(f"job {final.id}: {_kind(final)}{text}")
    if final.traceback:
        error.__cause__ = RemoteError("\n" + final.traceback.rstrip())
    return error


def _kind(final: Final) -> str:
    name = (final.error_type or "").rpartition(".")[2]
    return "" if name in ("", "JobFailed") else f"{name}: "


def _own(final: Final, key: bytes) -> BaseException | None:
    """The exception object itself, where it travelled, is ours and loads."""
    if not final.error_payload:
        return None
    if not payload.verify(key, final.error_signature, payload.SLOT_ERROR, f"{final.id} {final.execution}", final.error_payload):
        return None
    try:
        error = payload.unpack_here(final.error_payload)
    except Exception:
        return None
    # What would end or confuse the caller's own process is told about, not raised.
    if isinstance(error, BaseException) and not isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit)):
        return error
    return None
