"""A worker's row in the file: that it is there, that it stops, that it is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from .. import payload
from ..errors import GigQError, QueueBusy, QueueFull, QueueReplaced
from ..store import transitions, workers
from ..store.db import Database
from ..store.transitions import Ending
from . import processes
from .bell import now_ms

BUSY_S = 0.25
GOODBYE_BUSY_S = 5.0
log = logging.getLogger("gigq_nb.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a worker works; what they mean, and what they may be: :class:`.worker.Worker`."""

    worker_id: str
    concurrency: int
    polling_interval_s: float
    any_environment: bool
    terminal: bool
    stop_grace_s: float
    lease_s: float
    linger_s: float
    log_file: str | None
    alone: bool


class Enrolment:
    """Registers a worker. Its ``number`` is new each time and never used again: whose attempts are whose hangs on it."""

    def __init__(self, database: Database, terms: Terms, key_id: str) -> None:
        self.database = database
        me, now = processes.me(), now_ms()
        with database.write(durable=False) as db:
            name = terms.worker_id
            if db.execute("select 1 from workers where name = ?", (name,)).fetchone():  # a name that was used before
                name = f"{terms.worker_id}-{uuid.uuid4().hex[:6]}"
            self.number = workers.register(
                db, name, me, python=payload.PYTHON, prefix=sys.prefix, concurrency=terms.concurrency, terminal=terms.terminal,
                log=terms.log_file, now=now, key_id=key_id, any_prefix=terms.any_environment,
            )  # fmt: skip
            transitions.promote(db, now)
        with contextlib.suppress(GigQError):  # it makes what follows faster, no more
            database.make_wal_room()
        self.mark = processes.mark_of(me, self.number, database.path)  # by which its processes are found after its death
        log.info(
            "worker %s (%d) started: pid %d, %d children, %s",
            terms.worker_id,
            self.number,
            os.getpid(),
            terms.concurrency,
            database.path,
        )

    def is_declared_dead(self) -> bool:
        """Whether others took it for dead while it was frozen: then its jobs may run elsewhere."""
        with self.database.read() as db:
            return workers.asked(db, self.number) == "gone"

    def say_that_it_stops(self, why: str | None) -> None:
        """No more than a word for those who look: that the file cannot be written now keeps nobody from stopping."""
        try:
            with self.database.write(durable=False, busy_s=BUSY_S) as db:
                workers.set_state(db, self.number, "stopping", now_ms(), why)
        except (QueueBusy, QueueFull, QueueReplaced) as error:
            log.warning("could not say in the file that this worker stops: %s", error)

    def say_goodbye(self, endings: Sequence[Ending], why: str) -> None:
        """Settle what is over, give back what is not, and be gone. What cannot be written, others find out and do."""
        try:
            with self.database.write(busy_s=GOODBYE_BUSY_S) as db:
                transitions.settle(db, self.number, endings)
                left = workers.open_tokens(db, self.number)
                for peer in workers.peers(db):
                    if peer.id == self.number and left:
                        workers.rescue(db, peer, now_ms(), "its worker stopped")
                workers.set_state(db, self.number, "gone", now_ms(), why)
                db.execute("delete from children where worker = ?", (self.number,))
            self.database.checkpoint()
        except GigQError as error:
            log.warning("could not say goodbye in the file: %s", error)
