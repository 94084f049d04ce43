"""The lifecycle of a job: six statuses, why one ended, and the moves between them.

::

                        submit
                          |
                          v      hand back / retry after an error (attempts left) / lost
        +------------> PENDING <-------------------------------+
        |                 |  claim                             |
        |                 +-------------------------------> RUNNING
        |                 |                                    |
        |                 | cancel, upstream       +-----------+-----------+------------+
        |                 v                        v           v           v            v
        |             CANCELLED                COMPLETED     FAILED     TIMEOUT     CANCELLED
        |                 |                                    |           |            |
        +-----------------+-------- retry (by a person) -------+-----------+------------+

A PENDING job may wait for parents (``waiting_on``), for a time (``run_at``) or for a worker that can run it.
COMPLETED is the only end that is never left.
"""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The status of a job, stored and shown by its lower-case name; equal to that string."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True for the four statuses in which nothing more happens by itself."""
        return self in FINAL


FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.TIMEOUT, JobStatus.CANCELLED})
UNSUCCESSFUL = FINAL - {JobStatus.COMPLETED}
OPEN = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


class Reason(StrEnum):
    """Why a job or an attempt is not a success."""

    ERROR = "error"  # the function raised, or its process died
    LOST = "lost"  # the worker or the machine died under it
    TIMEOUT = "timeout"  # it ran longer than its timeout
    UPSTREAM = "upstream"  # a parent ended badly
    USER = "user"  # a person cancelled it
    UNSERIALIZABLE = "unserializable"  # it returned what cannot be stored
    DAMAGED = "damaged"  # its payload does not match its signature


class Outcome(StrEnum):
    """How one attempt ended (column ``outcome`` of ``executions``; NULL while it is open)."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"  # not charged
    RETURNED = "returned"  # handed back by a worker that stopped; not charged


_P, _R, _C, _F, _T, _X = JobStatus

#: Every legal change of status. The schema refuses all others by a trigger; a test holds the two together.
MOVES: dict[str, tuple[frozenset[JobStatus], frozenset[JobStatus]]] = {
    "claim": (frozenset({_P}), frozenset({_R})),
    "complete": (frozenset({_R}), frozenset({_C})),
    "fail": (frozenset({_R}), frozenset({_P, _F})),
    "time_out": (frozenset({_R}), frozenset({_P, _T})),
    "lose": (frozenset({_R}), frozenset({_P, _F})),
    "hand_back": (frozenset({_R}), frozenset({_P})),
    "cancel": (frozenset({_P, _R}), frozenset({_X})),
    "upstream": (frozenset({_P}), frozenset({_X})),
    "retry": (frozenset({_F, _T, _X}), frozenset({_P})),
}


def is_legal(before: JobStatus, after: JobStatus) -> bool:
    """Whether some move leads from ``before`` to ``after``."""
    return any(before in sources and after in targets for sources, targets in MOVES.values())
