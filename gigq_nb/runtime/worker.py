"""The worker: claims jobs, has them run in children, settles what came back. The only writer for its jobs.

One turn waits for news, settles and claims in one transaction, and sends the claimed on. A settle is fsynced before
anybody hears of it; a claim needs no fsync of its own. When the file cannot be written (locked, disk full), results
are kept and written later: a job that finished is never run again for that.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import payload
from ..errors import GigQError, QueueBusy, QueueFull, QueueReplaced
from ..failpoints import failpoint
from ..job import Options
from ..policies import duration_s, whole_number
from ..states import Outcome
from ..store import pausing, transitions, workers
from ..store.db import Database
from ..store.filesystem import Spill
from ..store.transitions import Claim, Ending
from ..store.wal import ROOM_BYTES
from . import processes
from .bell import PEERS, WORK, Bell, now_ms
from .claiming import Claims
from .local import LocalRunner
from .peers import LEASE_S, Neighbours
from .presence import NOBODY, Presence
from .reports import FLUSH_S, Reports
from .runner import Assignment, Finished
from .settling import Settlements
from .signals import StopSignals

BEAT_S = 2.0
LINGER_S = 5.0
STOP_GRACE_S = 10.0
BUSY_S = 0.25
LEAST_GROUP_S, MOST_GROUP_S, GROUP_SHARE = 0.0015, 0.01, 6
CHECKPOINT_BYTES, SHRINK_BYTES, WRITES_PER_LOOK = 2**20, 64 * 2**20, 50
log = logging.getLogger("gigq_nb.worker")


@dataclass(slots=True)
class _Round:
    """What one transaction of the worker is about."""

    endings: list[Ending]
    homeless: list[Assignment]
    dead: list[workers.Peer]
    born: list[tuple[int, int]]
    gone: list[tuple[int, int]]
    beat: bool
    late: list[Ending] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    stops: set[int] = field(default_factory=set)
    said: str | None = None
    paused: bool | None = None  # None: not looked at


class Worker:
    """Runs the jobs of a queue until it is told to stop.

    Args:
        path: The queue's file (GigQ's name for it, ``db_path``, is the first parameter there, too).
        worker_id: What to call it; new at each start if not given.
        polling_interval: Seconds between looks at the file when nobody rings; a safety net, not the way jobs start.
        concurrency: How many children run jobs at the same time.
        any_environment: Also run jobs that were submitted from another environment (same Python version).
        terminal: Stay until told to stop; False: leave when no kernel is alive and nothing is open.
        stop_grace: Seconds that running jobs get when the worker is asked to stop.
        lease: Seconds of silence after which another worker whose process cannot be seen, or is frozen, loses its jobs;
            the same for all workers of a queue.
        linger: Seconds to wait for a new kernel before leaving.

    Raises:
        InvalidArgument, InvalidType: naming the argument.
        NotAQueue, QueueReadOnly, …: the file cannot be worked with; it was left untouched.
    """

    def __init__(
        self,
        path: Any,
        worker_id: str | None = None,
        polling_interval: float = 5,
        concurrency: int = 1,
        *,
        any_environment: bool = False,
        terminal: bool = True,
        stop_grace: Any = STOP_GRACE_S,
        lease: Any = LEASE_S,
        linger: Any = LINGER_S,
        log_file: str | None = None,
    ) -> None:
        self.concurrency = whole_number(concurrency, "concurrency", 1, 1000)
        self.polling_interval = duration_s(polling_interval, "polling_interval", least=0.01, most=3600)
        self.stop_grace_s = duration_s(stop_grace, "stop_grace", least=0.0, most=86_400)
        self.lease_s = duration_s(lease, "lease", least=1.0, most=86_400)
        self.linger_s = duration_s(linger, "linger", least=0.0, most=86_400)
        self.alone = False  # True in a process that is a worker and nothing else: what it inherits was started by a job
        self.database = Database(path, keep=True)
        self.path: Path = self.database.path
        self.worker_id = worker_id or f"worker-{uuid.uuid4().hex[:12]}"
        self.any_environment = any_environment
        self.terminal = terminal
        self.log_file = log_file
        self.key = payload.load_key()
        self.key_id = payload.key_id(self.key)
        self.spill = Spill(self.path)
        self.claims = Claims(self.spill)
        self.settlements = Settlements(self.spill)
        self.number = 0
        self.runner: LocalRunner | None = None
        self.neighbours: Neighbours | None = None
        self._presence: Presence | None = None
        self._bell: Bell | None = None
        self._endings: list[Ending] = []
        self._unspilled: list[Finished] = []
        self._spill_again_s = 0.0
        self._runtimes: list[int] = []
        self._look = True
        self._next_due_ms: int | None = None
        self._beat_s = 0.0
        self._looked_s = 0.0
        self._wrote_s = 0.0
        self._group_s = LEAST_GROUP_S
        self._writes = 0
        self._rung = False
        self._retry_write_s = 0.0
        self._why: str | None = None
        self._stopping: str | None = None
        self._stop_end_s = 0.0
        self._ready: Callable[[], None] | None = None
        self._limit: int | None = None
        self._claimed = 0
        self._check_requests = True
        self._clock_offset_s = 0.0

    # ------------------------------------------------------------------------------------------ life

    def start(self) -> None:
        """Work until stopped (Ctrl-C, SIGTERM, :meth:`stop`, ``%gigq worker stop``). Blocks."""
        if self.alone:  # its objects are many, and none of them stands in a circle
            gc.freeze()
            gc.set_threshold(20_000)
        with StopSignals(self):
            self._open()
            try:
                while not self._turn():
                    pass
            except Exception as error:
                self._why = f"ended by an error: {error}"
                raise
            finally:
                self._close()

    def stop(self) -> None:
        """Ask the worker to stop: from a signal handler or another thread. The second time: at once."""
        self._stopping = "now" if self._stopping else "gently"
        if self._bell is not None:
            self._bell.ring("w")

    def process_one(self) -> bool:
        """Run at most one job to its end, in a child. Returns whether there was one."""
        self._limit, self._claimed = 1, 0
        self._open()
        try:
            while True:
                if self._turn():
                    return self._claimed > 0
                idle = self.runner is None or not (self.runner.tokens() or self._endings or self._unspilled)
                if idle and (self._claimed or not self._look):
                    return self._claimed > 0
        finally:
            self._close()
            self._limit = None

    def close(self) -> None:
        """Give the file back."""
        self.database.close()

    def _open(self) -> None:
        self._bell = Bell(self.path)
        self.ear = self._bell.listen("w")
        self.runner = LocalRunner(self.concurrency, self.worker_id, self.key, alone=self.alone)
        self.runner.listen(self.ear.fileno())
        self.neighbours = Neighbours(self.runner, self.lease_s)
        self._reports = Reports(self.runner)
        self._register()
        self.runner.fill()
        self._look = True
        self._beat_s = 0.0

    def _register(self) -> None:
        assert self.runner is not None
        now = now_ms()
        with self.database.write(durable=False) as db:
            name = self.worker_id
            if db.execute("select 1 from workers where name = ?", (name,)).fetchone():  # a name that was used before
                name = f"{self.worker_id}-{uuid.uuid4().hex[:6]}"
            self.number = workers.register(
                db, name, processes.me(), python=payload.PYTHON, prefix=sys.prefix, concurrency=self.concurrency,
                terminal=self.terminal, log=self.log_file, now=now, key_id=self.key_id, any_prefix=self.any_environment,
            )  # fmt: skip
            transitions.promote(db, now)
        self.database.make_wal_room()
        if self._presence is not None:
            self._presence.close()
        self._presence = Presence(self.database, self.runner, self.number, self.linger_s)
        self.runner.worker_name = processes.mark_of(processes.me(), self.number, self.path)
        log.info(
            "worker %s (%d) started: pid %d, %d children, %s",
            self.worker_id,
            self.number,
            os.getpid(),
            self.concurrency,
            self.path,
        )
        if self._bell is not None:
            self._bell.ring("w", PEERS)
            self._bell.ring("k", PEERS)

    def _close(self) -> None:
        if self._presence is not None:
            self._presence.close()
            self._presence = None
        runner = self.runner
        if runner is not None:
            runner.close()
        try:
            with self.database.write(busy_s=5.0) as db:
                transitions.settle(db, self.number, self._endings)
                self._endings = []
                left = workers.open_tokens(db, self.number)
                for peer in workers.peers(db):
                    if peer.id == self.number and left:
                        workers.rescue(db, peer, now_ms(), "its worker stopped")
                workers.set_state(db, self.number, "gone", now_ms(), self._why or "stopped")
                db.execute("delete from children where worker = ?", (self.number,))
            with self.database.write(durable=False, busy_s=1.0):
                pass
            self.database.checkpoint()
        except GigQError as error:
            log.warning("could not say goodbye in the file: %s", error)
        if self._bell is not None:
            self._bell.ring("w", PEERS)
            self._bell.ring("k", PEERS)
            self.ear.close()
            self._bell.close()
            self._bell = None
        self.runner = None
        self.database.close()
        log.info("worker %s ended: %s", self.worker_id, self._why or "stopped")
        # It may be started again, as GigQ's can.
        self._stopping, self._stop_end_s, self._why = None, 0.0, None

    # ------------------------------------------------------------------------------------------ one turn

    def _turn(self) -> bool:
        """Wait for news, write, send. Returns True when the worker is done."""
        assert self.runner is not None and self._bell is not None and self.neighbours is not None
        if (group_s := self._group_left_s(time.monotonic())) > 0:
            time.sleep(group_s)  # deaf: to be woken by each of their rings would cost more than what they ring for
        finished = self.runner.collect(self._patience_s())
        self._hear()
        self._take_in(finished)
        if self._stopping and self._wind_down():
            return True
        dead = self.neighbours.dead()
        if not self._must_write(dead):
            return False
        try:
            self._write(dead)
        except (QueueBusy, QueueFull) as error:
            self.runner.unreserve()
            self._look, self._retry_write_s = True, time.monotonic() + 0.2
            log.warning("%s", error)
        except QueueReplaced as error:
            self._moved_away(error)
        return self._stopping == "done"

    def _take_in(self, finished: list[Finished]) -> None:
        """Make endings of what is over. A large result that finds no room on the disk is kept, and tried again."""
        again = time.monotonic() >= self._spill_again_s
        waiting, self._unspilled = ([*self._unspilled, *finished], []) if again else (finished, self._unspilled)
        for one in waiting:
            try:
                self._endings.append(self.settlements.ending(one))
                self._reports.keep_last_words(one)
            except (OSError, QueueFull) as error:
                log.warning("the result of %s is kept until it can be stored: %s", one.assignment.claim.id, error)
                self._unspilled.append(one)
                self._spill_again_s = time.monotonic() + 1.0

    def _patience_s(self) -> float:
        now_s = time.monotonic()
        if self.neighbours is not None and self.neighbours.urgent:
            return 0.0
        if self._look and not self._stopping and self.runner is not None and self.runner.room():
            return max(0.0, self._retry_write_s - now_s, self._group_left_s(now_s))
        waits = [self._beat_s - now_s]
        if not self._look:  # else it is known that there is something to claim, and a child with room is waited for
            waits.append(self._looked_s + self.polling_interval - now_s)
            if self._next_due_ms is not None:
                waits.append((self._next_due_ms - now_ms()) / 1000)
        if self._endings:
            waits.append(max(self._retry_write_s - now_s, self._group_left_s(now_s)))
        if self.runner is not None and self.runner.children and any(c.queue for c in self.runner.children.values()):
            waits.append(FLUSH_S)
        if self._stopping:
            waits.append(self._stop_end_s - now_s)
        if self._unspilled:
            waits.append(self._spill_again_s - now_s)
        return max(0.0, self._retry_write_s - now_s, min(waits))

    def _group_left_s(self, now_s: float) -> float:
        """While others submit and jobs are under way (or wait for a resume), seconds until the next write: it takes the lock from them.

        A single job on an idle queue never waits here: nothing is under way when it comes, nobody rings when it ends.
        """
        assert self.runner is not None
        if self._rung and (self._endings or self.runner.is_busy() or self.runner.draining):
            return self._wrote_s + self._group_s - now_s
        return 0.0

    def _hear(self) -> None:
        assert self.runner is not None and self.neighbours is not None
        if self.ear.fileno() in self.runner.rang:
            said = self.ear.drain()
            if WORK in said:
                self._look = self._rung = True
                self._check_requests = True
            if PEERS in said:
                self.neighbours.stale = True
        if self._presence is not None and self._presence.was_left():
            self._look_who_is_here()

    def _must_write(self, dead: list[workers.Peer]) -> bool:
        assert self.runner is not None and self.neighbours is not None
        now_s = time.monotonic()
        if now_s < self._retry_write_s or self._group_left_s(now_s) > 0:
            return False
        due = self._next_due_ms is not None and now_ms() >= self._next_due_ms
        if due or now_s - self._looked_s >= self.polling_interval:
            self._look = True
        return bool(
            self._endings
            or dead
            or self.runner.born
            or self.runner.homeless
            or now_s >= self._beat_s
            or self._check_requests
            or self.neighbours.stale
            or (self._look and self.runner.room() and not self._stopping)
            or (now_s >= self._reports.due_s and self._reports.has_news())
        )

    def _write(self, dead: list[workers.Peer]) -> None:
        """One transaction: settle, hand back, beat, rescue, claim. Then tell whom it concerns, and send what was claimed."""
        assert self.runner is not None and self.neighbours is not None
        began_s = time.monotonic()
        this = _Round(
            endings=self._endings,
            homeless=self.runner.take_back(),
            dead=[peer for peer in dead if self.neighbours.end_children(self.database, peer)],
            born=list(self.runner.born),
            gone=list(self.runner.gone),
            beat=began_s >= self._beat_s,
        )
        with self.database.write(durable=bool(this.endings or this.dead), busy_s=BUSY_S) as db:
            locked_s = time.monotonic()
            now = now_ms()  # after the wait for the lock: what one worker ends, another begins later
            this.said = workers.asked(db, self.number)  # each time: who was taken for dead must neither claim nor enter children
            self._write_ends(db, this, now)
            self._write_presence(db, this, now)
            if began_s >= self._reports.due_s or (this.endings and self.runner.progress):
                self._reports.write(db, now)
            if not self._stopping and this.said is None:
                this.claims = self._claim(db, now, this.beat)
            if this.endings:
                failpoint("before_commit")
        if this.endings:
            failpoint("after_commit")
        self._committed(this, locked_s)
        if this.beat:
            self._beat_s = began_s + min(BEAT_S, self.lease_s / 5)
        if this.claims:
            failpoint("after_claim")
        if this.said == "gone" or (time.monotonic() - began_s > self.lease_s / 3 and self._was_taken_for_dead()):
            self._tell(this)
            self._start_over()
            return
        if this.said is not None:
            self._stopping = "now" if this.said == "now" else self._stopping or "gently"
        self._send_on(this.claims)
        self._tell(this)
        if this.paused is not None and this.paused != self.runner.draining and not self._stopping:
            self._hold(this.paused)
        for token in this.stops:
            options = self._options_of(token)
            self.runner.stop(token, Outcome.CANCELLED, options.grace_s if options else 2.0)
        if this.beat:
            self._housekeeping()
        elif self._writes >= WRITES_PER_LOOK:
            self._mind_the_wal(ROOM_BYTES // 2)

    def _hold(self, paused: bool) -> None:
        """The queue was paused: what has not begun goes back (the claim itself takes nothing meanwhile). Or it goes on."""
        assert self.runner is not None
        log.info("the queue is paused: what runs goes on, nothing else begins" if paused else "the queue goes on")
        self.runner.draining = paused
        if paused:
            self.runner.take_unread()

    def _write_ends(self, db: Any, this: _Round, now: int) -> None:
        """What is over, what was not begun after all, and which children came and went."""
        this.late = transitions.settle(db, self.number, this.endings)
        self._reports.write_last_words(db, this.endings)
        if this.homeless:
            transitions.hand_back(db, self.number, [one.claim for one in this.homeless], now)
        for pid, birth in this.born if this.said != "gone" else ():
            workers.add_child(db, self.number, pid, birth)
        for pid, birth in this.gone:
            workers.remove_child(db, self.number, pid, birth)
        self._look = self._look or any(one.retry_in_ms for one in this.endings)

    def _write_presence(self, db: Any, this: _Round, now: int) -> None:
        """The beat, what was asked of this worker, and what dead neighbours left."""
        assert self.neighbours is not None
        if this.beat:
            workers.beat(db, self.number, now)
        if self._check_requests or this.beat:
            this.stops = workers.cancelling_tokens(db, self.number)
            this.paused = pausing.paused_at(db) is not None
        for peer in this.dead:
            if this.said != "gone":
                saved = workers.rescue(db, peer, now, "its worker died")
                log.warning("worker %s is dead; %d running job(s) go back to the queue", peer.name, saved)
                self._look = True
        if this.beat or self.neighbours.stale or this.dead:
            self.neighbours.see(workers.peers(db, self.number), committed=True)
            self._read_runtimes(db)

    def _committed(self, this: _Round, locked_s: float) -> None:
        """It is in the file: forget what was written."""
        assert self.runner is not None
        self._reports.forget(this.endings)
        self._endings = []
        self._wrote_s, self._rung, self._check_requests = time.monotonic(), False, False
        self._group_s = min(MOST_GROUP_S, max(LEAST_GROUP_S, GROUP_SHARE * (self._wrote_s - locked_s)))
        self._writes += 1
        for one in this.late:
            log.warning("attempt %d of job %s was ended by somebody else; its result is dropped", one.claim.n, one.claim.id)
        self.runner.recorded([pid for pid, _ in this.born])
        del self.runner.homeless[: len(this.homeless)]
        del self.runner.born[: len(this.born)]
        del self.runner.gone[: len(this.gone)]
        ready, self._ready = self._ready, None
        if ready is not None:
            ready()

    def _tell(self, this: _Round) -> None:
        """Whom it concerns. After what was claimed is on its way: who is woken takes a processor."""
        assert self._bell is not None
        if this.endings or this.homeless or this.dead:
            self._bell.ring("k")
        if this.dead or this.homeless:
            self._bell.ring("w")

    def _was_taken_for_dead(self) -> bool:
        """Frozen since the claim, for long enough that its jobs may run elsewhere: look again before they are started."""
        with self.database.read() as db:
            return workers.asked(db, self.number) == "gone"

    def _options_of(self, token: int) -> Options | None:
        assert self.runner is not None
        return next((c.queue[token].task.options for c in self.runner.children.values() if token in c.queue), None)

    def _read_runtimes(self, db: Any) -> None:
        prefix = None if self.any_environment else sys.prefix
        self._runtimes = workers.runnable_runtimes(db, self.key_id, payload.PYTHON, prefix)

    # ------------------------------------------------------------------------------------------ claiming

    def _claim(self, db: Any, now: int, beat: bool) -> list[Claim]:
        assert self.runner is not None
        stepped = self._clock_stepped()
        if self._look or beat or stepped or (self._next_due_ms is not None and now >= self._next_due_ms):
            self._next_due_ms = transitions.promote(db, now, stepped=stepped)
        room = self.runner.room()
        if self._limit is not None:
            room = min(room, self._limit - self._claimed)
            self._look = self._look and self._claimed < self._limit
        if room <= 0:
            return []
        if self._look or not self._runtimes:
            self._read_runtimes(db)
        self._looked_s = time.monotonic()
        runner = self.runner
        claims = transitions.claim(db, self.number, self._runtimes, now, room, lambda one: self.claims.place(db, one, runner))
        self._look = len(claims) >= room
        self.claims.read_parents(db, claims)
        return claims

    def _send_on(self, claims: list[Claim]) -> None:
        """Hand what was claimed to the runner."""
        assert self.runner is not None
        self._claimed += len(claims)
        assignments, damaged = self.claims.assignments(claims)
        self._endings += damaged
        self.runner.start(assignments)

    def _clock_stepped(self) -> bool:
        """Whether the wall clock was set since the last look: then waits that were written before mean something else."""
        offset_s = time.time() - time.monotonic()
        stepped, self._clock_offset_s = abs(offset_s - self._clock_offset_s) > 0.5, offset_s
        return stepped

    # ------------------------------------------------------------------------------------------ while jobs run

    def _housekeeping(self) -> None:
        """After a beat: the WAL, silent neighbours, and whether anybody still needs this worker."""
        self._mind_the_wal(CHECKPOINT_BYTES)
        if not self.database.is_in_place():
            self._moved_away(QueueReplaced(f"{self.path} was deleted or replaced"))
            return
        self._look_who_is_here()

    def _mind_the_wal(self, most_bytes: int) -> None:
        """Move what was written into the file, so that the log begins anew instead of growing: to grow is slow, too."""
        assert self.neighbours is not None
        self._writes = 0
        if self.neighbours.leads(self.number) and self.database.wal_used_bytes() > most_bytes:
            try:
                self.database.checkpoint(shrink=self.database.wal_bytes() > SHRINK_BYTES)
            except GigQError as error:
                log.info("checkpoint put off: %s", error)

    def _look_who_is_here(self) -> None:
        """A worker that was started for notebooks ends some time after the last of them."""
        if self._presence is None or self.terminal or self._stopping:
            return
        try:
            if self._presence.is_unneeded(self._runtimes):
                self._why, self._stopping = NOBODY, "gently"
        except (QueueBusy, QueueFull) as error:
            log.info("not looked whether anybody needs this worker: %s", error)

    # ------------------------------------------------------------------------------------------ endings of its own

    def _wind_down(self) -> bool:
        """After a request to stop: hand back what has not begun, give what runs its grace, then end it."""
        assert self.runner is not None
        now_s = time.monotonic()
        if not self._stop_end_s:
            self._stop_end_s = now_s + (0.0 if self._stopping == "now" else self.stop_grace_s)
            self.runner.draining = True
            log.info("asked to stop (%s)", self._stopping)
            if self._why != NOBODY:
                self._why = "asked to stop"
            try:
                with self.database.write(durable=False, busy_s=BUSY_S) as db:
                    workers.set_state(db, self.number, "stopping", now_ms(), self._why)
            except (QueueBusy, QueueFull, QueueReplaced) as error:
                log.warning("could not say in the file that this worker stops: %s", error)
            self.runner.take_unread()
        if self._stopping == "now":
            self._stop_end_s = min(self._stop_end_s, now_s)
        if now_s >= self._stop_end_s:
            for token in self.runner.tokens():
                self.runner.stop(token, Outcome.RETURNED, 0.0 if self._stopping == "now" else 1.0)
            self._stop_end_s = now_s + 0.2
        if not self.runner.tokens() and (self._stopping == "now" or not (self._endings or self._unspilled)):
            self._stopping = "done"
            return True
        return False

    def _start_over(self) -> None:
        """Declared dead while it was frozen: end what it ran, forget what it knew, and go on as a new worker."""
        assert self.runner is not None and self.neighbours is not None
        log.warning("this worker was taken for dead; its jobs went to others. It starts over")
        self.runner.drop_all()
        self._endings, self._unspilled = [], []
        self.claims.forget()
        self._reports = Reports(self.runner)
        self.neighbours.forget_all()
        self._register()
        self.runner.born.clear()
        self.runner.gone.clear()
        self.runner.fill()
        self._look, self._beat_s = True, 0.0

    def _moved_away(self, error: QueueReplaced) -> None:
        """The file was replaced under us: what runs belongs to the old one. Go on with the new one, or say why not."""
        assert self.runner is not None
        log.error("%s", error)
        self.runner.drop_all()
        self._endings, self._unspilled = [], []
        self.claims.forget()
        self.database.close()
        self.database = Database(self.path, create=False, keep=True)
        self._close_bell()
        self._bell = Bell(self.path)
        self.ear = self._bell.listen("w")
        self.runner.listen(self.ear.fileno())
        self._start_over()

    def _close_bell(self) -> None:
        if self._bell is not None and self.runner is not None:
            self.runner.unlisten(self.ear.fileno())
            self.ear.close()
            self._bell.close()
