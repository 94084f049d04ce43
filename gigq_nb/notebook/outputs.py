"""What a job showed, read back from the file: as it was where this user's key signed it, as plain text where not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import payload
from ..store import reads

if TYPE_CHECKING:
    from ..handle import JobHandle
    from ..queue import JobQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One rich output of a job.

    Attributes:
        kind: ``display_data``, or ``execute_result`` for the value of a cell's last line.
        data: A MIME bundle; where ``verified`` is False, nothing but its plain text.
        metadata: The metadata of the types.
        verified: Whether this user's key signed it, for this job and this place.
    """

    kind: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    verified: bool


def outputs_of(job: JobHandle) -> list[Output]:
    """The rich outputs of a job's newest attempt that has any, also while it runs. Nothing is unpickled."""
    with job.queue._database.read() as db:
        return read(job.queue, db, str(job))


def read(queue: JobQueue, db: reads.Db, job_id: str) -> list[Output]:
    """:func:`outputs_of` within a reading transaction."""
    rows = reads.outputs(db, job_id)
    if not rows:
        return []
    key = queue._submit.key
    found: list[Output] = []
    for execution, n, text, signature in rows:
        verified = payload.verify(key, signature, payload.SLOT_OUTPUT, f"{job_id} {execution} {n}", text.encode())
        found += _output(text, verified=verified)
    return found


def _output(text: str, *, verified: bool) -> Iterator[Output]:
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        bundle = _sendable(json.loads(text))
        data, metadata = dict(bundle["data"]), dict(bundle.get("metadata") or {})
        kind = "execute_result" if bundle.get("kind") == "execute_result" else "display_data"
        if not verified:
            plain = data.get("text/plain")
            data, metadata = {"text/plain": plain if isinstance(plain, str) else f"<{', '.join(map(str, data))}>"}, {}
        yield Output(kind=kind, data=data, metadata=metadata, verified=verified)


def _sendable(bundle: Any) -> Any:
    """JSON may spell lone surrogates, which no message can carry."""
    try:
        json.dumps(bundle, ensure_ascii=False).encode()
        return bundle
    except UnicodeEncodeError:
        return json.loads(json.dumps(bundle, ensure_ascii=False).encode("utf-8", "replace"))


def show(job: JobHandle) -> int:
    """Display what a job showed, here. Returns how many outputs there were."""
    from IPython.display import display

    some = outputs_of(job)
    for one in some:
        display(one.data, raw=True, metadata=one.metadata)  # type: ignore[no-untyped-call]
    return len(some)
