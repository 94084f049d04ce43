"""Finding jobs and batches again: by an id or its beginning, by a name, by the notebook that submitted them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import submission
from .errors import JobNotFound
from .given import text_id
from .handle import Batch, JobHandle
from .policies import clean_name, whole_number
from .store import keys, reads

if TYPE_CHECKING:
    from .queue import JobQueue


def job(queue: JobQueue, job_id: str) -> JobHandle:
    """A job by its id, or by the beginning of its id where that is unambiguous.

    Raises:
        JobNotFound: no such job, or several.
    """
    with queue._database.read() as db:
        return JobHandle(reads.full_id(db, text_id(job_id)), queue)


def held(queue: JobQueue, key: str) -> JobHandle | None:
    """The job that stands under a key."""
    with queue._database.read() as db:
        found = keys.holder(db, clean_name(key, "key"))
    return None if found is None else JobHandle(found, queue)


def last(queue: JobQueue, name: str | None, tag: str | None, key: str | None) -> JobHandle:
    """The newest job of this name, with this tag, under this key.

    Raises:
        JobNotFound: there is none.
    """
    with queue._database.read() as db:
        found = reads.last(db, name, tag=tag, key=key)
    if found is None:
        asked = " and ".join(f"{what} {one!r:.80}" for what, one in (("name", name), ("tag", tag), ("key", key)) if one)
        raise JobNotFound(f"no job{f' with the {asked}' if asked else ''} in this queue; queue.jobs() shows what there is")
    return JobHandle(found, queue)


def mine(queue: JobQueue, limit: int, name: str | None, tag: str | None) -> list[JobHandle]:
    """The newest jobs that this notebook submitted, of this name, with this tag; none outside of notebooks."""
    notebook = submission.whereabouts()[0]
    if not notebook:
        return []
    with queue._database.read() as db:
        return [JobHandle(row.id, queue) for row in reads.jobs(db, name=name, tag=tag, notebook=notebook, limit=limit)]


def batch(queue: JobQueue, which: int | str | None) -> Batch:
    """A batch by its number or its name (the newest of that name); the newest of all for None.

    Raises:
        JobNotFound: there is none.
    """
    with queue._database.read() as db:
        if isinstance(which, str):
            return Batch(queue, reads.batch_named(db, which))
        if which is not None:
            reads.batch(db, whole_number(which, "number", 1, 2**62), times=False)
            return Batch(queue, which)
        newest = reads.batches(db, 1)
    if not newest:
        raise JobNotFound("no batch in this queue yet; queue.map(...) makes one")
    return Batch(queue, newest[0])


def batches(queue: JobQueue, limit: int) -> list[Batch]:
    """The newest batches and workflows."""
    with queue._database.read() as db:
        return [Batch(queue, number) for number in reads.batches(db, limit)]
