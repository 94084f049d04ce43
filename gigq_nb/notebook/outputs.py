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
    queue = job.queue
    with queue._database.read() as db:
        rows = reads.outputs(db, str(job))
    if not rows:
        return []
    key = queue._submit.key
    found: list[Output] = []
    for execution, n, text, signature in rows:
        verified = payload.verify(key, signature, payload.SLOT_OUTPUT, f"{job} {execution} {n}", text.encode())
        found += _output(text, verified=verified)
    return found


def _output(text: str, *, verified: bool) -> Iterator[Output]:
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        bundle = json.loads(text)
        data, metadata = dict(bundle["data"]), dict(bundle.get("metadata") or {})
        kind = "execute_result" if bundle.get("kind") == "execute_result" else "display_data"
        if not verified:
            plain = data.get("text/plain")
            data, metadata = {"text/plain": plain if isinstance(plain, str) else f"<{', '.join(map(str, data))}>"}, {}
        yield Output(kind=kind, data=data, metadata=metadata, verified=verified)


def show(job: JobHandle) -> int:
    """Display what a job showed, here. Returns how many outputs there were."""
    from IPython.display import display

    some = outputs_of(job)
    for one in some:
        display(one.data, raw=True, metadata=one.metadata)  # type: ignore[no-untyped-call]
    return len(some)
