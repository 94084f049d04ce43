"""What a caller gives a queue, made sure of: ids, statuses, moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .errors import InvalidArgument, InvalidType, JobNotFound
from .states import JobStatus


def moment_ms(moment: object) -> int:
    """A time or a text like ``2024-05-01`` as UTC milliseconds."""
    try:
        when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        raise InvalidArgument(
            f"before_timestamp={moment!r:.80} is no time: write '2024-05-01' or '2024-05-01T12:00:00Z'"
        ) from None
    if not isinstance(when, datetime):
        raise InvalidType(f"before_timestamp is a datetime or a text like '2024-05-01', not {type(moment).__name__}")
    return int(when.timestamp() * 1000)


def text_id(job_id: object) -> str:
    """An id as plain text."""
    if not isinstance(job_id, str):
        raise InvalidType(f"a job's id is a text, not {type(job_id).__name__}")
    if not job_id.isascii():
        raise unknown(job_id)
    return str.__str__(job_id)


def unknown(job_id: str) -> JobNotFound:
    """The error for an id that no job has."""
    return JobNotFound(f"no job {job_id!r:.80} in this queue; queue.jobs() lists them")


def statuses(status: JobStatus | str | Sequence[str] | None) -> tuple[str, ...]:
    """One status, several or none, as texts."""
    if status is None:
        return ()
    if not isinstance(status, (str, Sequence)):
        raise InvalidType(f"status is one of {', '.join(JobStatus)}, or a list of them, not {type(status).__name__}")
    some = (status,) if isinstance(status, str) else tuple(status)
    for one in some:
        if one not in JobStatus._value2member_map_:
            raise InvalidArgument(f"status {one!r:.40} is none of: {', '.join(JobStatus)}")
    return tuple(str(JobStatus(one)) for one in some)
