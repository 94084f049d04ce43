"""Which job or batch is meant by what somebody writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidArgument
from ..finding import held as held
from ..handle import Batch, JobHandle
from ..store import reads

if TYPE_CHECKING:
    import sqlite3
    from contextlib import AbstractContextManager

    from ..queue import JobQueue


def reading(queue: JobQueue) -> AbstractContextManager[sqlite3.Connection]:
    """A moment of the queue to read from: what the words show is read in the same way as what its verbs return."""
    return queue._database.read()


def writing(queue: JobQueue, busy_s: float = 15.0) -> AbstractContextManager[sqlite3.Connection]:
    """A transaction that need not survive a power cut: who is here, not what is to be done."""
    return queue._database.write(durable=False, busy_s=busy_s)


def job(queue: JobQueue, text: str) -> JobHandle:
    """A job by its id, by its name (the newest of that name), by its key, or by the beginning of its id.

    Raises:
        JobNotFound: nothing of the kind; the message says how to list what there is.
    """
    with reading(queue) as db:
        known = bool(reads.statuses(db, [text])) if len(text) == 36 else False
        named = None if known else reads.last(db, text) or reads.last(db, key=text)
    return JobHandle(named, queue) if named else queue.job(text)


def batch(queue: JobQueue, text: str | None) -> Batch:
    """A batch by its number or its name (the newest of that name); the newest of all without one.

    Raises:
        JobNotFound: nothing of the kind.
    """
    if text is None:
        return queue.batch()
    number = text.removeprefix("#")
    return queue.batch(int(number) if number.isdecimal() and number.isascii() and len(number) < 19 else text)


def jobs(queue: JobQueue, texts: list[str]) -> list[JobHandle]:
    """Jobs by what is written for each; ``#3`` is all jobs of batch 3."""
    found: list[JobHandle] = []
    for text in texts:
        found += batch(queue, text) if text.startswith("#") else [job(queue, text)]
    return list(dict.fromkeys(found))


def of_this_notebook() -> str:
    """The notebook in which this is said.

    Raises:
        InvalidArgument: nobody knows it.
    """
    from .. import submission

    notebook = submission.whereabouts()[0]
    if notebook is None:
        raise InvalidArgument("which notebook this is, is not known here, so --mine finds nothing; leave it out")
    return notebook
