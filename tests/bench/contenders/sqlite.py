"""The limit: the statements that a durable queue cannot do without, on plain sqlite3, in one process.

One table, one partial index, synchronous=FULL. Nobody is woken, no function travels, nothing is signed or logged; the
"worker" is a loop in `results`, which ends a group of jobs and claims the next in one transaction.
"""

import pickle
import sqlite3
from collections.abc import Sequence
from typing import Any

from tests.bench.contenders.base import Contender

GROUP = 64
PENDING, RUNNING, DONE = 0, 1, 2

SCHEMA = """
create table job (
    id integer primary key, state integer not null default 0, priority integer not null default 0,
    waiting_on integer not null default 0, run_at integer, parent integer, function text not null, x blob, result blob
) strict;
create index ready on job (priority desc, id) where state = 0 and waiting_on = 0 and run_at is null;
create index delayed on job (run_at) where state = 0 and run_at is not null;
create index dependents on job (parent) where parent is not null;
"""
INSERT = "insert into job (function, x, priority, waiting_on, parent) values (?, ?, ?, ?, ?)"
CLAIM = """
update job set state = 1 where id in (
    select id from job where state = 0 and waiting_on = 0 and run_at is null order by priority desc, id limit ?
) returning id, function, x
"""
RELEASE = "update job set waiting_on = waiting_on - 1 where parent = ?"


class PlainSqlite(Contender):
    def open(self) -> None:
        self.db = sqlite3.connect(self.folder / "plain.db", isolation_level=None, timeout=30)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = full")
        self.db.execute("pragma temp_store = memory")
        if not self.db.execute("select 1 from sqlite_master where name = 'job'").fetchone():
            self.db.executescript(SCHEMA)

    def launch(self) -> None:
        """Nothing to start."""

    def submit(self, function: str, x: Any) -> int:
        return self.db.execute(INSERT, (function, pickle.dumps(x), 0, 0, None)).lastrowid

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None, priority: int = 0) -> range:
        self.db.execute("begin immediate")
        before = self.db.execute("select coalesce(max(id), 0) from job").fetchone()[0]
        self.db.executemany(INSERT, ((function, pickle.dumps(x), priority, 0, None) for x in xs))
        self.db.execute("commit")
        return range(before + 1, before + 1 + len(xs))

    def result(self, handle: int) -> Any:
        self._work(1, count=1)
        return self._read(handle)

    def results(self, handles: Sequence[int]) -> list[Any]:
        self._work(GROUP, count=len(handles))
        return [self._read(handle) for handle in handles]

    def _read(self, handle: int) -> Any:
        return pickle.loads(self.db.execute("select result from job where id = ?", (handle,)).fetchone()[0])

    def _call(self, function: str, x: bytes) -> bytes:
        return pickle.dumps(getattr(self.functions, function)(pickle.loads(x)))

    def _work(self, group: int, count: int) -> None:
        """Claim and end `count` jobs in groups; a group's end and the next one's claim are one transaction."""
        ended: list[tuple[bytes, int]] = []
        while True:
            self.db.execute("begin immediate")
            self.db.executemany("update job set state = 2, result = ? where id = ?", ended)
            self.db.executemany(RELEASE, [(job,) for _, job in ended])
            claimed = self.db.execute(CLAIM, (min(group, count),)).fetchall() if count else []
            self.db.execute("commit")
            if not claimed:
                return
            count -= len(claimed)
            ended = [(self._call(name, x), job) for job, name, x in claimed]

    def chain(self, length: int) -> None:
        first = self._next_id()
        self.db.execute("begin immediate")
        for i in range(length):
            self.db.execute(INSERT, ("noop", pickle.dumps(1), 0, int(i > 0), first + i - 1 if i else None))
        self.db.execute("commit")
        self._work(1, count=length)

    def fan(self, width: int) -> None:
        """The last job's many parents are not in this table: it is released by hand, at the cost of one update."""
        first = self._next_id()
        self.db.execute("begin immediate")
        self.db.execute(INSERT, ("noop", pickle.dumps(1), 0, 0, None))
        self.db.executemany(INSERT, [("noop", pickle.dumps(1), 0, 1, first)] * width)
        last = self.db.execute(INSERT, ("noop", pickle.dumps(1), 0, 1, None)).lastrowid
        self.db.execute("commit")
        self._work(GROUP, count=width + 1)
        self.db.execute("update job set waiting_on = 0 where id = ?", (last,))
        self.result(last)

    def _next_id(self) -> int:
        return self.db.execute("select coalesce(max(id), 0) + 1 from job").fetchone()[0]

    def fill(self, kind: str, count: int) -> None:
        state = DONE if kind == "finished" else PENDING
        row = (state, -1, int(kind == "blocked"), 10**15 if kind == "delayed" else None, "noop", pickle.dumps(0))
        insert = "insert into job (state, priority, waiting_on, run_at, function, x) values (?, ?, ?, ?, ?, ?)"
        self.db.execute("begin immediate")
        self.db.executemany(insert, (row for _ in range(count)))
        self.db.execute("commit")
        self.db.execute("pragma wal_checkpoint(truncate)")
