"""A worker's shift: from its registration to its farewell. Claims jobs, has them run in children, settles what came back.

One turn waits for news, settles and claims in one transaction, and sends the claimed on. A settle is fsynced before
anybody hears of it; a claim needs no fsync of its own. When the file cannot be written (locked, disk full), results
are kept and written later: a job that finished is never run again for that.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import payload
from ..errors import GigQError, QueueBusy, QueueFull, QueueReplaced
from ..failpoints import failpoint
from ..job import Options
from ..states import Outcome
from ..store import pausing, transitions, workers
from ..store.db import Database
from ..store.filesystem import Spill
from ..store.transitions import Claim, Ending
from ..store.wal import ROOM_BYTES
from .bell import PEERS, WORK, Bell, now_ms
from .claiming import Claims
from .enrolment import BUSY_S, Enrolment, Terms
from .local import LocalRunner
from .pace import Pace
from .peers import Neighbours
from .presence import NOBODY, Presence
from .reports import FLUSH_S, Reports
from .runner import Assignment
from .settling import Settlements
from .signals import StopRequest

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


class Shift:
    """The only writer for the jobs that it claims.

    Args:
        database: The queue's file; its connection is kept.
        terms: On which the worker works.
        key: Whose jobs it can run.
        request: Whether it is to stop.
        limit: Claim at most so many jobs, and end when they are done or none is there.
        ready: Called once, when the worker stands in the file with its children.

    Attributes:
        ready: None after it was called.
        claimed: How many jobs were.
        abandoned: Others have its jobs, or its file is gone: only a new shift, of a new worker, may go on.
    """

    def __init__(
        self,
        database: Database,
        terms: Terms,
        key: bytes,
        request: StopRequest,
        limit: int | None,
        ready: Callable[[], None] | None,
    ) -> None:
        self.database, self.terms, self.request, self.limit, self.ready = database, terms, request, limit, ready
        self.claimed = 0
        self.abandoned = False
        self._writes = 0
        self._stop_end_s = 0.0
        self._check_requests = True
        key_id = payload.key_id(key)
        with contextlib.ExitStack() as undo:
            undo.callback(database.close)
            self.bell = Bell(database.path)
            undo.callback(self.bell.close)
            self.ear = self.bell.listen("w")
            undo.callback(self.ear.close)
            self.enrolment = Enrolment(database, terms, key_id)
            undo.callback(lambda: self.enrolment.say_goodbye([], "could not begin"))
            self.ring(PEERS)
            self.runner = LocalRunner(terms.concurrency, self.enrolment.mark, key, alone=terms.alone)
            undo.callback(self.runner.close)
            self.runner.listen(self.ear.fileno())
            spill = Spill(database.path)
            self.claims = Claims(spill, key_id, None if terms.any_environment else sys.prefix)
            self.settlements = Settlements(spill)
            self.neighbours = Neighbours(self.runner, terms.lease_s)
            self.reports = Reports(self.runner)
            self.presence = Presence(database, self.runner, self.enrolment.number, terms.linger_s)
            self.pace = Pace(terms.polling_interval_s, terms.lease_s)
            self.runner.fill()
            undo.pop_all()

    def ring(self, what: bytes = WORK) -> None:
        """Wake this worker, the others, and (with ``PEERS``) whoever looks at them."""
        self.bell.ring("w", what)
        if what == PEERS:
            self.bell.ring("k", what)

    def work(self) -> None:
        """Turn after turn: until a request to stop, until the limit, or until it is abandoned."""
        while not self._turn():
            idle = not (self.runner.tokens() or self.settlements)
            if self.limit is not None and idle and (self.claimed or not self.pace.look):
                return

    def close(self) -> None:
        """End all children; settle what is over, and say goodbye in the file."""
        self.presence.close()
        self.neighbours.close()
        self.runner.close()
        if not self.abandoned:
            self.enrolment.say_goodbye(self.settlements.endings, self.request.why or "stopped")
        self.ring(PEERS)
        self.ear.close()
        self.bell.close()
        self.database.close()
        if not self.abandoned:
            log.info("worker %s ended: %s", self.terms.worker_id, self.request.why or "stopped")

    # ------------------------------------------------------------------------------------------ one turn

    def _turn(self) -> bool:
        """Wait for news, write, send. Returns True when the shift is over."""
        if (group_s := self.pace.group_s(time.monotonic(), under_way=self._is_under_way())) > 0:
            time.sleep(group_s)  # deaf: to be woken by each of their rings would cost more than what they ring for
        finished = self.runner.collect(self._patience_s())
        self._hear()
        self.settlements.take_in(finished, self.reports)
        if self.request.how and self._wind_down():
            return True
        dead = self.neighbours.dead()
        if not self._must_write(dead):
            return False
        try:
            self._write(dead)
        except (QueueBusy, QueueFull) as error:
            self.runner.unreserve()
            self.pace.failed()
            log.warning("%s", error)
        except QueueReplaced as error:  # what runs belongs to the old one
            log.error("%s", error)
            self.abandoned = True
        return self.abandoned or self.request.how == "done"

    def _patience_s(self) -> float:
        if self.neighbours.urgent:
            return 0.0
        now_s = time.monotonic()
        others = []
        if any(child.queue for child in self.runner.children.values()):
            others.append(FLUSH_S)
        if self.request.how:
            others.append(self._stop_end_s - now_s)
        if self.settlements.kept:
            others.append(self.settlements.again_s - now_s)
        return self.pace.patience_s(
            now_s,
            hungry=not self.request.how and self.runner.room() > 0,
            endings=bool(self.settlements.endings),
            under_way=self._is_under_way(),
            others=others,
        )

    def _is_under_way(self) -> bool:
        """Whether jobs are, or wait for a resume: then what others ring for can wait for the next group."""
        return bool(self.settlements.endings) or self.runner.is_busy() or self.runner.draining

    def _hear(self) -> None:
        if self.ear.fileno() in self.runner.rang:
            said = self.ear.drain()
            if WORK in said:
                self.pace.look = self.pace.rung = True
                self._check_requests = True
            if PEERS in said:
                self.neighbours.stale = True
        if self.presence.was_left():
            self._look_who_is_here()

    def _must_write(self, dead: list[workers.Peer]) -> bool:
        now_s = time.monotonic()
        if self.pace.wait_s(now_s, under_way=self._is_under_way()) > 0:
            return False
        self.pace.look_if_due(now_s)
        return bool(
            self.settlements.endings
            or dead
            or self.runner.born
            or self.runner.homeless
            or self.pace.is_beat_due(now_s)
            or self._check_requests
            or self.neighbours.stale
            or (self.pace.look and self.runner.room() and not self.request.how)
            or (now_s >= self.reports.due_s and self.reports.has_news())
        )

    def _write(self, dead: list[workers.Peer]) -> None:
        """One transaction: settle, hand back, beat, rescue, claim. Then tell whom it concerns, and send what was claimed."""
        began_s = time.monotonic()
        this = _Round(
            endings=self.settlements.endings,
            homeless=self.runner.take_back(),
            dead=[peer for peer in dead if self.neighbours.end_children(self.database, peer)],
            born=list(self.runner.born),
            gone=list(self.runner.gone),
            beat=self.pace.is_beat_due(began_s),
        )
        with self.database.write(durable=bool(this.endings or this.dead), busy_s=BUSY_S) as db:
            locked_s = time.monotonic()
            now = now_ms()  # after the wait for the lock: what one worker ends, another begins later
            # Each time: who was taken for dead must neither claim nor enter children.
            this.said = workers.asked(db, self.enrolment.number)
            self._write_ends(db, this, now)
            self._write_presence(db, this, now)
            if began_s >= self.reports.due_s or (this.endings and self.runner.progress):
                self.reports.write(db, now)
            if not self.request.how and this.said is None:
                this.claims = self._claim(db, now, this.beat)
            if this.endings:
                failpoint("before_commit")
        if this.endings:
            failpoint("after_commit")
        self._committed(this, locked_s)
        if this.beat:
            self.pace.beaten(began_s)
        if this.claims:
            failpoint("after_claim")
        if this.said == "gone" or (time.monotonic() - began_s > self.terms.lease_s / 3 and self.enrolment.is_declared_dead()):
            log.warning("this worker was taken for dead; its jobs went to others. It starts over")
            self.abandoned = True
            self._tell(this)
            return
        if this.said is not None:
            self.request.how = "now" if this.said == "now" else self.request.how or "gently"
        self._send_on(this.claims)
        self._tell(this)
        if this.paused is not None and this.paused != self.runner.draining and not self.request.how:
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
        log.info("the queue is paused: what runs goes on, nothing else begins" if paused else "the queue goes on")
        self.runner.draining = paused
        if paused:
            self.runner.take_unread()

    def _write_ends(self, db: Any, this: _Round, now: int) -> None:
        """What is over, what was not begun after all, and which children came and went."""
        this.late = transitions.settle(db, self.enrolment.number, this.endings)
        self.reports.write_last_words(db, this.endings)
        if this.homeless:
            transitions.hand_back(db, self.enrolment.number, [one.claim for one in this.homeless], now)
        for pid, birth in this.born if this.said != "gone" else ():
            workers.add_child(db, self.enrolment.number, pid, birth)
        for pid, birth in this.gone:
            workers.remove_child(db, self.enrolment.number, pid, birth)
        self.pace.look = self.pace.look or any(one.retry_in_ms for one in this.endings)

    def _write_presence(self, db: Any, this: _Round, now: int) -> None:
        """The beat, what was asked of this worker, and what dead neighbours left."""
        if this.beat:
            workers.beat(db, self.enrolment.number, now)
        if self._check_requests or this.beat:
            this.stops = workers.cancelling_tokens(db, self.enrolment.number)
            this.paused = pausing.paused_at(db) is not None
        for peer in this.dead:
            if this.said != "gone":
                saved = workers.rescue(db, peer, now, "its worker died")
                log.warning("worker %s is dead; %d running job(s) go back to the queue", peer.name, saved)
                self.pace.look = True
        if this.beat or self.neighbours.stale or this.dead:
            self.neighbours.see(workers.peers(db, self.enrolment.number), committed=True)
            self.claims.read_runtimes(db)

    def _committed(self, this: _Round, locked_s: float) -> None:
        """It is in the file: forget what was written."""
        self.reports.forget(this.endings)
        self.settlements.endings = []
        self.pace.wrote(locked_s)
        self._check_requests = False
        self._writes += 1
        for one in this.late:
            log.warning("attempt %d of job %s was ended by somebody else; its result is dropped", one.claim.n, one.claim.id)
        self.runner.recorded([pid for pid, _ in this.born])
        del self.runner.homeless[: len(this.homeless)]
        del self.runner.born[: len(this.born)]
        del self.runner.gone[: len(this.gone)]
        ready, self.ready = self.ready, None
        if ready is not None:
            ready()

    def _tell(self, this: _Round) -> None:
        """Whom it concerns. After what was claimed is on its way: who is woken takes a processor."""
        if this.endings or this.homeless or this.dead:
            self.bell.ring("k")
        if this.dead or this.homeless:
            self.bell.ring("w")

    def _options_of(self, token: int) -> Options | None:
        return next((c.queue[token].task.options for c in self.runner.children.values() if token in c.queue), None)

    # ------------------------------------------------------------------------------------------ claiming

    def _claim(self, db: Any, now: int, beat: bool) -> list[Claim]:
        pace, stepped = self.pace, self.pace.clock_stepped()
        if pace.look or beat or stepped or pace.is_job_due(now):
            pace.next_due_ms = transitions.promote(db, now, stepped=stepped)
        room = self.runner.room()
        if self.limit is not None:
            room = min(room, self.limit - self.claimed)
            pace.look = pace.look and self.claimed < self.limit
        if room <= 0:
            return []
        if pace.look:
            self.claims.read_runtimes(db)
        pace.looked()
        claims = self.claims.take(db, self.enrolment.number, self.runner, now, room)
        pace.look = len(claims) >= room
        return claims

    def _send_on(self, claims: list[Claim]) -> None:
        """Hand what was claimed to the runner."""
        self.claimed += len(claims)
        assignments, damaged = self.claims.assignments(claims)
        self.settlements.endings += damaged
        self.runner.start(assignments)

    # ------------------------------------------------------------------------------------------ while jobs run

    def _housekeeping(self) -> None:
        """After a beat: the WAL, silent neighbours, and whether anybody still needs this worker."""
        self._mind_the_wal(CHECKPOINT_BYTES)
        if not self.database.is_in_place():
            raise QueueReplaced(f"{self.database.path} was deleted or replaced")
        self._look_who_is_here()

    def _mind_the_wal(self, most_bytes: int) -> None:
        """Move what was written into the file, so that the log begins anew instead of growing: to grow is slow, too."""
        self._writes = 0
        if self.neighbours.leads(self.enrolment.number) and self.database.wal_used_bytes() > most_bytes:
            try:
                self.database.checkpoint(shrink=self.database.wal_bytes() > SHRINK_BYTES)
            except GigQError as error:
                log.info("checkpoint put off: %s", error)

    def _look_who_is_here(self) -> None:
        """A worker that was started for notebooks ends some time after the last of them."""
        if self.terms.terminal or self.request.how:
            return
        try:
            if self.presence.is_unneeded(self.claims.runtimes):
                self.request.why, self.request.how = NOBODY, "gently"
        except (QueueBusy, QueueFull) as error:
            log.info("not looked whether anybody needs this worker: %s", error)

    # ------------------------------------------------------------------------------------------ its end

    def _wind_down(self) -> bool:
        """After a request to stop: hand back what has not begun, give what runs its grace, then end it."""
        now_s = time.monotonic()
        if not self._stop_end_s:
            self._stop_end_s = now_s + (0.0 if self.request.how == "now" else self.terms.stop_grace_s)
            self.runner.draining = True
            self.presence.close()  # nobody asks any more whether it is needed
            log.info("asked to stop (%s)", self.request.how)
            if self.request.why != NOBODY:
                self.request.why = "asked to stop"
            self.enrolment.say_that_it_stops(self.request.why)
            self.runner.take_unread()
        if self.request.how == "now":
            self._stop_end_s = min(self._stop_end_s, now_s)
        if now_s >= self._stop_end_s:
            for token in self.runner.tokens():
                self.runner.stop(token, Outcome.RETURNED, 0.0 if self.request.how == "now" else 1.0)
            self._stop_end_s = now_s + 0.2
        if not self.runner.tokens() and (self.request.how == "now" or not self.settlements):
            self.request.how = "done"
            return True
        return False
