"""The other workers of a queue: noticed at once when they die, after a lease of silence when nobody can tell.

Silence is counted on the observer's own monotonic clock, and only while its own beats are being committed and its
own loop is not interrupted: a lock, a full disk or a suspended laptop silences everybody, and proves nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass

from ..failpoints import failpoint
from ..store import workers
from ..store.db import Database
from . import processes
from .local import LocalRunner

LEASE_S = 30.0
MOST_GAP_S = 5.0
log = logging.getLogger("gigq_nb.worker")


@dataclass(slots=True)
class _Watched:
    peer: workers.Peer
    beat: int
    since_s: float
    pidfd: int | None


class Neighbours:
    """What one worker knows of the others."""

    def __init__(self, runner: LocalRunner, lease_s: float = LEASE_S) -> None:
        self.runner = runner
        self.lease_s = lease_s
        self.most_gap_s = min(MOST_GAP_S, lease_s / 2)
        self.watched: dict[int, _Watched] = {}
        self.stale = True
        self.urgent = False
        self.seen_s = 0.0

    def see(self, peers: list[workers.Peer], *, committed: bool) -> None:
        """Compare with what was seen before. Call after a transaction that carried the observer's own beat."""
        now_s = time.monotonic()
        interrupted = now_s - self.seen_s > self.most_gap_s
        self.seen_s = now_s
        self.stale = False
        known = {peer.id for peer in peers}
        for number in list(self.watched):
            if number not in known:
                self._unwatch(number)
        for peer in peers:
            old = self.watched.get(peer.id)
            if old is None:
                self.watched[peer.id] = _Watched(peer, peer.beat, now_s, self._watch(peer))
            elif old.beat != peer.beat or interrupted or not committed:
                old.peer, old.beat, old.since_s = peer, peer.beat, now_s

    def _watch(self, peer: workers.Peer) -> int | None:
        """Wake when the process of a peer ends (pidfd_open(2))."""
        alive = processes.is_alive(peer.process)
        if alive is not True:
            self.urgent = self.urgent or alive is False  # it died before we came: do not wait for the next beat
            return None
        try:
            fd = os.pidfd_open(peer.process.pid)
        except OSError:
            return None
        self.runner.listen(fd)
        return fd

    def _unwatch(self, number: int) -> None:
        one = self.watched.pop(number)
        if one.pidfd is not None:
            self.runner.unlisten(one.pidfd)
            os.close(one.pidfd)

    def dead(self) -> list[workers.Peer]:
        """Peers that are dead, or silent for longer than the lease."""
        self.urgent = False
        now_s = time.monotonic()
        found = []
        for one in self.watched.values():
            alive = processes.is_alive(one.peer.process)
            if alive is False or (now_s - one.since_s > self.lease_s and now_s - self.seen_s < self.most_gap_s):
                found.append(one.peer)
                if one.pidfd is not None and alive is False:  # it would ring until the file can be written
                    self.runner.unlisten(one.pidfd)
        return found

    def end_children(self, database: Database, peer: workers.Peer) -> bool:
        """Before anything of a dead peer may run again: end what it had started, and wait until it is gone.

        Returns:
            False when a silent one woke up since it was looked at: then nothing is ended, and it is not to be rescued.
        """
        with database.read() as db:
            children = workers.children(db, peer.id)
            beat = workers.beats(db, peer.id)
        if beat != peer.beat and processes.is_alive(peer.process) is not False:
            return False
        if peer.process.boot_id != processes.boot_id() or peer.process.pid_ns != processes.pid_namespace():
            return True
        failpoint("rescue_before_kill")
        for pid, birth in children:
            processes.kill_tree(pid, birth)
        for pid in processes.marked("GIGQ_NB_WORKER", processes.mark_of(peer.process, peer.id, database.path)):
            processes.kill_tree(pid, processes.birth_of(pid))
        failpoint("rescue_after_kill")
        left = processes.wait_gone([(pid, birth) for pid, birth in children], 2.0)
        if left:
            log.warning("processes %s of the dead worker %s do not end", left, peer.name)
        return True

    def leads(self, me: int) -> bool:
        """Whether this worker is the one that moves the WAL into the file: the oldest that lives."""
        return all(number > me for number, one in self.watched.items() if processes.is_alive(one.peer.process) is True)

    def forget_all(self) -> None:
        """Begin anew."""
        for number in list(self.watched):
            self._unwatch(number)
        self.stale = True

    def close(self) -> None:
        """Give the descriptors back."""
        with contextlib.suppress(OSError):
            self.forget_all()
