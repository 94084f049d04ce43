"""A machine that exists only in a test: two clocks, processes with pids that come back, workers on one real file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gigq_nb.runtime.peers import Neighbours
from gigq_nb.states import Outcome
from gigq_nb.store import workers
from gigq_nb.store.db import Database
from gigq_nb.store.workers import Process

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from gigq_nb.store.attempts import Claim, Ending

_FIRST_PID = 2**22 + 1  # above what Linux hands out: no real process can be meant


class Crash(BaseException):
    """The process ended at this statement."""


class Clock:
    """``time`` as runtime/peers.py uses it. Wall clock and monotonic clock move apart."""

    def __init__(self, wall_ms: int) -> None:
        self.wall_ms, self.mono_s = wall_ms, 1_000.0

    def monotonic(self) -> float:
        return self.mono_s

    def pass_s(self, mono_s: float, wall_s: float | None = None) -> None:
        self.mono_s += mono_s
        self.wall_ms += int(1000 * (mono_s if wall_s is None else wall_s))


@dataclass
class FakeProcesses:
    """``runtime.processes`` for a table of processes in memory."""

    boot: int = 0
    births: int = 0
    alive: dict[int, int] = field(default_factory=dict)  # pid -> birth

    def spawn(self) -> tuple[int, int]:
        pid = next(one for one in range(_FIRST_PID, _FIRST_PID + 1000) if one not in self.alive)
        self.births += 1
        self.alive[pid] = self.births
        return pid, self.births

    def reboot(self) -> None:
        self.boot += 1
        self.alive.clear()

    def me(self) -> Process:
        pid, birth = self.spawn()
        return Process("here", self.boot_id(), 1, pid, birth)

    # what runtime.peers asks for

    def boot_id(self) -> str:
        return f"boot {self.boot}"

    def pid_namespace(self) -> int:
        return 1

    def is_alive(self, who: Process) -> bool:
        return who.boot_id == self.boot_id() and self.alive.get(who.pid) == who.birth

    def birth_of(self, pid: int) -> int | None:
        return self.alive.get(pid)

    def kill_tree(self, pid: int, birth: int | None) -> int:
        if birth is not None and self.alive.get(pid) != birth:
            return 0
        return int(self.alive.pop(pid, None) is not None)

    def marked(self, _variable: str, _value: str) -> list[int]:
        return []

    def mark_of(self, *_: Any) -> str:
        return ""

    def wait_gone(self, pids: list[tuple[int, int]], _limit_s: float) -> list[int]:
        return [pid for pid, birth in pids if self.alive.get(pid) == birth]


class _NoRunner:
    """Neighbours tell their runner which descriptors to listen to; no fake process has one."""

    def listen(self, fd: int) -> None: ...
    def unlisten(self, fd: int) -> None: ...


class Fuse:
    """A connection that ends its process at the n-th statement from now: before it is done, or just after."""

    def __init__(self, db: sqlite3.Connection, at: int, after: bool) -> None:
        self._db, self._left, self._after = db, at, after
        self.burnt = self.committed = False

    def _count(self, sql: str, run: Any) -> Any:
        if self.burnt:  # what the dead process's cleanup says does not happen; SQLite's recovery does the same
            return self._db.execute("rollback" if sql == "rollback" else "select 1")
        self._left -= 1
        if self._left < 0 and not self._after:
            self.burnt = True
            raise Crash
        done = run()
        self.committed |= sql == "commit"
        if self._left < 0:
            self.burnt = True
            raise Crash
        return done

    def execute(self, sql: str, *values: Any) -> Any:
        return self._count(sql, lambda: self._db.execute(sql, *values))

    def executemany(self, sql: str, values: Any) -> Any:
        return self._count(sql, lambda: self._db.executemany(sql, values))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


class FakeWorker:
    """What a worker process knows. Its children are processes in the table; what one runs is in ``running``."""

    def __init__(self, path: Path, clock: Clock, processes: FakeProcesses, concurrency: int = 2) -> None:
        self.clock, self.processes, self.concurrency = clock, processes, concurrency
        self.database = Database(path, keep=True, durable=False)
        self.dead = self.frozen = False
        self.register()

    def register(self) -> None:
        """A new row, and children that stand in it before they run anything."""
        self.who = self.processes.me()
        self.running: dict[int, tuple[Claim, tuple[int, int]]] = {}
        self.endings: list[Ending] = []
        self.neighbours = Neighbours(_NoRunner())  # type: ignore[arg-type]
        self.children = [self.processes.spawn() for _ in range(self.concurrency)]
        with self.database.write(durable=False) as db:
            count = db.execute("select count(*) from workers").fetchone()[0]
            self.number = workers.register(
                db, f"w{count}", self.who, python="3.11", prefix="/env", concurrency=self.concurrency, terminal=True, log=None,
                now=self.clock.wall_ms, key_id="key",
            )  # fmt: skip
            for pid, birth in self.children:
                workers.add_child(db, self.number, pid, birth)
        self.beat_s = self.clock.mono_s

    def lives(self, child: tuple[int, int]) -> bool:
        return self.processes.alive.get(child[0]) == child[1]

    def idle_children(self) -> list[tuple[int, int]]:
        busy = {child for _, child in self.running.values()}
        return [one for one in self.children if one not in busy and self.lives(one)]

    def start(self, claims: list[Claim]) -> None:
        for claim, child in zip(claims, self.idle_children(), strict=False):
            self.running[claim.token] = (claim, child)

    def bury(self) -> None:
        """See which children died: their jobs failed by that, and others take their places."""
        for token, (claim, child) in list(self.running.items()):
            if not self.lives(child):
                del self.running[token]
                self.endings.append(_ended(claim, Outcome.FAILED, self.clock.wall_ms))
        gone = [one for one in self.children if not self.lives(one)]
        self.children = [one for one in self.children if one not in gone]
        self.gone_children = gone
        self.born = [self.processes.spawn() for _ in gone]
        self.children += self.born

    def start_over(self) -> None:
        """Taken for dead while it was frozen."""
        self.kill_children()
        self.processes.alive.pop(self.who.pid, None)
        self.register()

    def kill_children(self) -> None:
        for child in self.children:
            self.processes.kill_tree(*child)

    def die(self, *, orphans: bool) -> None:
        """The process ends; its children end with it, or a moment later (``orphans``)."""
        self.dead = True
        if self.lives((self.who.pid, self.who.birth)):
            del self.processes.alive[self.who.pid]
        if not orphans:
            self.kill_children()
        self.database.close()


def _ended(claim: Claim, outcome: Outcome, now: int) -> Ending:
    from tests.store.rig import ending

    return ending(claim, outcome, now)
