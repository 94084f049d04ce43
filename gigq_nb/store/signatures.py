"""What a file holds that is signed, row by row, and putting new signatures in place. Nothing here unpickles or signs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Db = sqlite3.Connection
_PAGE = 2_000


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """A runtime that submitted, with how many of its jobs have each status."""

    id: int
    key_id: str
    python: str
    prefix: str
    jobs: dict[str, int]

    @property
    def total(self) -> int:
        """All jobs of it."""
        return sum(self.jobs.values())


@dataclass(frozen=True, slots=True)
class SignedRow:
    """Something signed: what it belongs to, where its bytes are (``payload`` None: in a file), and by whom it claims to be.

    ``key`` is the primary key in its table; ``about`` is what the signature names besides the bytes.
    """

    key: tuple[int, ...]
    about: str
    job_id: str
    task: int
    runtime: int
    payload: bytes | None
    size: int
    signature: bytes | None


def runtimes(db: Db) -> list[RuntimeRow]:
    """All runtimes of the file."""
    found = [
        RuntimeRow(row[0], row[1], row[2], row[3], {})
        for row in db.execute("select id, key_id, python, prefix from runtimes order by id")
    ]
    by_id = {one.id: one for one in found}
    for runtime, status, n in db.execute("select runtime, status, count(*) from jobs group by 1, 2"):
        by_id[runtime].jobs[status] = n
    return found


def jobs_of_tasks(db: Db) -> dict[tuple[int, int], dict[str, int]]:
    """How many jobs have each status, by (task, runtime)."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for task, runtime, status, n in db.execute("select task, runtime, status, count(*) from jobs group by 1, 2, 3"):
        found.setdefault((task, runtime), {})[status] = n
    return found


def newest(db: Db) -> tuple[int, int]:
    """The highest job and the highest attempt: what comes after them was not there when somebody looked."""
    row = db.execute("select coalesce((select max(seq) from jobs), 0), coalesce((select max(id) from executions), 0)").fetchone()
    return int(row[0]), int(row[1])


#: Per table: how its rows are read (in pages, from a key on), and how one gets a new signature.
_READ = {
    "arguments": (
        "select a.job, j.id, j.id, j.task, j.runtime, a.payload, a.size, a.signature from arguments a"
        " join jobs j on j.seq = a.job where a.job > ? and a.job <= ? order by a.job limit ?"
    ),
    "results": (
        "select r.job, j.id || ' ' || r.execution, j.id, j.task, j.runtime, r.payload, r.size, r.signature from results r"
        " join jobs j on j.seq = r.job where r.job > ? and r.job <= ? order by r.job limit ?"
    ),
    "failures": (
        "select f.execution, j.id || ' ' || f.execution, j.id, j.task, j.runtime, f.payload, length(f.payload), f.signature"
        " from failures f join executions e on e.id = f.execution join jobs j on j.seq = e.job"
        " where f.execution > ? and f.execution <= ? and f.payload is not null order by f.execution limit ?"
    ),
}
_SIGN = {
    "arguments": "update arguments set signature = ? where job = ?",
    "results": "update results set signature = ? where job = ?",
    "failures": "update failures set signature = ? where execution = ?",
    "outputs": "update outputs set signature = ? where execution = ? and n = ?",
}


def rows(db: Db, table: str, last: int) -> Iterator[SignedRow]:
    """The signed rows of ``arguments``, ``results``, ``failures`` or ``outputs``, up to a job or an attempt."""
    if table == "outputs":
        yield from _outputs(db, last)
        return
    after = 0
    while True:
        page = db.execute(_READ[table], (after, last, _PAGE)).fetchall()
        for key, *rest in page:
            yield SignedRow((key,), rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6])
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _outputs(db: Db, last: int) -> Iterator[SignedRow]:
    for (execution,) in db.execute("select distinct execution from outputs where execution <= ?", (last,)).fetchall():
        for n, job_id, task, runtime, bundle, signature in db.execute(
            "select o.n, j.id, j.task, j.runtime, o.bundle, o.signature from outputs o join executions e on e.id = o.execution"
            " join jobs j on j.seq = e.job where o.execution = ? order by o.n",
            (execution,),
        ).fetchall():
            data = bundle.encode()
            yield SignedRow((execution, n), f"{job_id} {execution} {n}", job_id, task, runtime, data, len(data), signature)


def put(db: Db, table: str, signed: Sequence[tuple[bytes, tuple[int, ...]]]) -> None:
    """New signatures for rows of a table, by their keys."""
    db.executemany(_SIGN[table], [(signature, *key) for signature, key in signed])


# A job keeps its status; only who may run it changes. One that runs now is left to the worker that runs it.
def hand_over(db: Db, seqs: Sequence[int], runtime: int) -> None:
    """Give jobs another runtime."""
    db.executemany("update jobs set runtime = ? where seq = ?", [(runtime, seq) for seq in seqs])


def pending(db: Db, runtime: int, most: int) -> list[SignedRow]:
    """The arguments of ready jobs of one runtime, in the order in which they would be claimed."""
    return [
        SignedRow((row[0],), row[1], row[1], row[2], runtime, row[3], row[4], row[5])
        for row in db.execute(
            "select j.seq, j.id, j.task, a.payload, a.size, a.signature from jobs j indexed by jobs_ready"
            " join arguments a on a.job = j.seq where j.runtime = ? and j.status = 'pending' and j.waiting_on = 0 and j.run_at is null and j.held = 0"
            " order by j.priority desc, j.seq limit ?",
            (runtime, most),
        )
    ]
