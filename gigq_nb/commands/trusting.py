"""Reading what somebody else's file holds, and signing it: nothing is unpickled on the way.

A signature tells two cases apart: made with this user's key, or not. Whether bytes that somebody else signed were changed
since, nobody can tell without that key. A job that claims to be of *this* key and does not match it was changed, and is
never signed; nor is one whose function is not what its own digest says.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import signing
from ..errors import PayloadDamaged, PayloadRefused
from ..store import health, reads, schema, signatures, submissions
from ..store.filesystem import Spill
from .opcodes import names_in

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from ..queue import JobQueue

TABLES = {
    "arguments": ("jobs", signing.SLOT_JOB),
    "results": ("results", signing.SLOT_RESULT),
    "failures": ("errors", signing.SLOT_ERROR),
    "outputs": ("outputs", signing.SLOT_OUTPUT),
}
_MOST_READ, _MOST_BYTES = 1_000, 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTask:
    """A function in the file, with a name and a place to start in. ``damaged``: why it will not be signed."""

    number: int
    digest: bytes
    name: str
    function: str
    source: str
    size_bytes: int
    folder: str
    notebook: str | None
    python: str
    jobs: dict[str, int]
    refers_to: list[str]
    damaged: str | None


@dataclass(slots=True)
class Contents:
    """What a file holds.

    Attributes:
        signed: By table, how many rows are ``ours``, ``foreign``, ``changed`` or ``missing``.
        seen: Marks of the foreign rows, each of its place and its bytes: only what has one of them is signed.
        last: The highest job and the highest attempt.
    """

    path: Path
    key_id: str
    runtimes: list[signatures.RuntimeRow]
    tasks: list[HeldTask] = field(default_factory=list)
    signed: dict[str, Counter[str]] = field(default_factory=dict)
    arguments_refer_to: set[str] = field(default_factory=set)
    seen: set[bytes] = field(default_factory=set)
    last: tuple[int, int] = (0, 0)

    @property
    def foreign(self) -> int:
        """How many rows could be signed."""
        return sum(one["foreign"] for one in self.signed.values())


class Reader:
    """Judges signed rows of one file."""

    def __init__(self, db: sqlite3.Connection, spill: Spill, key: bytes) -> None:
        self.db, self.spill, self.key = db, spill, key
        self.runtimes = {one.id: one for one in signatures.runtimes(db)}
        self.mine = {one.id for one in self.runtimes.values() if one.key_id == signing.key_id(key)}
        self.digests: dict[int, bytes] = {}
        self.damaged: dict[int, str] = {}

    def task(self, number: int, python: str) -> reads.TaskRow:
        """A task; whether it is what its digest says stands in ``damaged`` afterwards."""
        row = reads.task(self.db, number)
        self.digests[number] = row.digest
        try:
            payload = self.function(row)
        except PayloadDamaged as error:
            self.damaged[number] = str(error)
            return row
        wanted = signing.task_digest(
            row.function_digest, row.name, row.folder, row.sys_path, row.options, row.notebook, row.cell, python=python
        )
        if signing.digest_of(payload) != row.function_digest or wanted != row.digest:
            self.damaged[number] = "it is not what its digest says: its code, place or options were changed in the file"
        return row

    def function(self, row: reads.TaskRow) -> bytes:
        """The bytes of a function."""
        return row.payload if row.payload is not None else self.spill.read(f"function-{row.function_digest.hex()}", row.size)

    def parts(self, table: str, row: signatures.SignedRow) -> list[bytes]:
        """What the signature of a row covers.

        Raises:
            PayloadDamaged: a value's file is missing.
        """
        data = row.payload
        if data is None:
            data = self.spill.read(f"{'arguments' if table == 'arguments' else 'result'}-{row.job_id}", row.size)
        return [self.digests[row.task], data] if table == "arguments" else [data]

    def judge(self, table: str, row: signatures.SignedRow) -> tuple[str, list[bytes]]:
        """``ours``, ``foreign``, ``changed`` or ``missing``, and the signed bytes."""
        if table == "arguments" and row.task in self.damaged:
            return "changed", []
        try:
            parts = self.parts(table, row)
        except PayloadDamaged:
            return "missing", []
        if signing.verify(self.key, row.signature, TABLES[table][1], row.about, *parts):
            return ("ours" if row.runtime in self.mine else "foreign"), parts
        return ("changed" if row.runtime in self.mine else "foreign"), parts


def look(queue: JobQueue) -> Contents:
    """What the file of a queue holds, without unpickling anything.

    Raises:
        PayloadRefused: it has triggers, views or tables that gigq_nb did not make, or is damaged.
    """
    key = signing.load_key()
    with queue._database.read() as db:
        if strange := schema.additions(db):
            raise PayloadRefused(
                f"{queue.path} is not as gigq_nb makes its files ({', '.join(strange[:3])}); do not use it, ask where it is from"
            )
        if damage := health.quick_check(db):
            raise PayloadRefused(f"{queue.path} is damaged ({damage[0]}); ask for another copy, made with queue.backup()")
        reader = Reader(db, Spill(queue.path), key)
        contents = Contents(queue.path, signing.key_id(key), list(reader.runtimes.values()), last=signatures.newest(db))
        for (number, runtime), jobs in signatures.jobs_of_tasks(db).items():
            contents.tasks.append(_held(reader, number, reader.runtimes[runtime].python, jobs))
        for table in TABLES:
            counter = contents.signed[table] = Counter()
            for n, row in enumerate(signatures.rows(db, table, _last(contents, table))):
                verdict, parts = reader.judge(table, row)
                counter[verdict] += 1
                if verdict == "foreign":
                    contents.seen.add(_mark(table, row, parts))
                if n < _MOST_READ and verdict == "foreign" and table != "outputs" and len(parts[-1]) <= _MOST_BYTES:
                    contents.arguments_refer_to.update(names_in(parts[-1]))
    return contents


def _mark(table: str, row: signatures.SignedRow, parts: list[bytes]) -> bytes:
    return signing.digest(f"{table} {row.key} {row.about}".encode(), *parts)[:16]


def _last(contents: Contents, table: str) -> int:
    return contents.last[0] if table in ("arguments", "results") else contents.last[1]


def _held(reader: Reader, number: int, python: str, jobs: dict[str, int]) -> HeldTask:
    row = reader.task(number, python)
    refers_to = []
    if number not in reader.damaged:
        refers_to = names_in(reader.function(row))
    return HeldTask(
        number=number,
        digest=row.digest,
        name=row.name,
        function=row.function_name,
        source=row.source,
        size_bytes=row.size,
        folder=row.folder,
        notebook=row.notebook,
        python=python,
        jobs=jobs,
        refers_to=refers_to,
        damaged=reader.damaged.get(number),
    )


def sign(queue: JobQueue, contents: Contents) -> dict[str, int]:
    """Sign with this user's key what :func:`look` showed, and nothing that came or changed after it. All of it or nothing.

    Returns:
        How many jobs, results, errors and outputs were signed.
    """
    key = signing.load_key()
    known = {one.number: one for one in contents.tasks if one.damaged is None}
    done: dict[str, int] = {}
    with queue._database.write() as db:
        reader = Reader(db, Spill(queue.path), key)
        for one in known.values():
            if reader.task(one.number, one.python).digest != one.digest:
                reader.damaged[one.number] = "it changed since it was shown"
        handed: dict[int, list[int]] = {}
        for table, (noun, slot) in TABLES.items():
            new = []
            for row in signatures.rows(db, table, _last(contents, table)):
                if row.task not in known:
                    continue
                verdict, parts = reader.judge(table, row)
                if verdict != "foreign" or _mark(table, row, parts) not in contents.seen:
                    continue
                new.append((signing.sign(key, slot, row.about, *parts), row.key))
                if table == "arguments":
                    handed.setdefault(row.runtime, []).append(row.key[0])
            signatures.put(db, table, new)
            done[noun] = len(new)
        for old, seqs in handed.items():
            signatures.hand_over(db, seqs, _own_runtime(db, key, reader.runtimes[old]))
    queue._bell.ring("w")
    queue._bell.ring("k")
    return done


def _own_runtime(db: sqlite3.Connection, key: bytes, old: signatures.RuntimeRow) -> int:
    """This user's key and environment; the Python stays the one that pickled, since no other can load its functions."""
    prefix = sys.prefix if old.python == signing.PYTHON else old.prefix
    return submissions.runtime_id(db, signing.key_id(key), old.python, prefix)
