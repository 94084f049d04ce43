"""Child processes on this machine: started, fed, watched, stopped with all that they started."""

from __future__ import annotations

import contextlib
import logging
import math
import select
import struct
import time
from collections.abc import Sequence

from ..states import Outcome
from ..store.transitions import Claim
from . import messages, processes, wire
from .childprocess import AHEAD_S, MEMORY_CHECK_S, ChildProcess, start_child
from .placement import MOST_AHEAD, Placement, wants_to_be_alone
from .processes import set_subreaper
from .runner import Assignment, Finished, LoadedTask
from .stopping import Doom, death, died

MOST_PAUSE_S = 5.0
log = logging.getLogger("gigq_nb.worker")


class LocalRunner:
    """Runs jobs in ``concurrency`` child processes.

    What is claimed ahead is bounded by time, not by number: about 50 ms of work a child, by how long jobs of a task
    took so far; one at a time until that is known, and nothing behind a job that runs for longer.
    """

    def __init__(self, concurrency: int, worker_name: str, key: bytes, *, alone: bool = False) -> None:
        self.concurrency, self.key = concurrency, key
        self.worker_name = worker_name
        self.alone = alone  # this process is a worker and nothing else: whatever it inherits was started by a job
        self.draining = False  # what has not begun goes back to the file, not to another child
        self.failures = 0
        self.spawn_again_s = 0.0
        self.poll = select.epoll()
        self.children: dict[int, ChildProcess] = {}
        self.by_fd: dict[int, tuple[str, ChildProcess]] = {}
        self.placement = Placement(self.children)
        self.born: list[tuple[int, int]] = []
        self.gone: list[tuple[int, int]] = []
        self.homeless: list[Assignment] = []
        self.done: list[Finished] = []
        self.progress: dict[int, tuple[float | None, float | None, str]] = {}
        self.others: dict[int, int] = {}
        self.rang: set[int] = set()
        self.memory_checked_s = 0.0
        self.closing = False
        self.suspected_kills = 0
        self.was_subreaper = set_subreaper(True)

    # ------------------------------------------------------------------------------------------ children

    def fill(self) -> None:
        """Start children until there are as many as wanted; when that fails, try again a little later."""
        while not self.closing and self._is_short() and time.monotonic() >= self.spawn_again_s:
            try:
                self._begin()
            except OSError as error:
                log.warning("no child can be started (%s); trying again", error)
                self._pause_spawning()

    def _is_short(self) -> bool:
        return sum(not one.retiring for one in self.children.values()) < self.concurrency

    def _pause_spawning(self) -> None:
        """A child that cannot start, or dies before it ran anything, is not worth a busy loop."""
        self.failures += 1
        self.spawn_again_s = time.monotonic() + min(MOST_PAUSE_S, 0.05 * 2**self.failures)

    def _begin(self) -> ChildProcess:
        child = start_child(self.worker_name, self.key)
        self.children[child.pid] = child
        self.born.append((child.pid, child.birth))
        self._watch(child.sock.fileno(), "socket", child)
        self._watch(child.pidfd, "death", child)
        return child

    def _watch(self, fd: int, kind: str, child: ChildProcess) -> None:
        self.by_fd[fd] = (kind, child)
        self.poll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self.by_fd.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self.poll.unregister(fd)

    def recorded(self, pids: Sequence[int]) -> None:
        """These children stand in the file now: they may run things."""
        for pid in pids:
            if pid in self.children:
                self.children[pid].recorded = True

    def listen(self, fd: int) -> None:
        """Wake :meth:`collect` also for this descriptor; :attr:`rang` says which did."""
        self.others[fd] = fd
        self.poll.register(fd, select.EPOLLIN)

    def unlisten(self, fd: int) -> None:
        """Stop watching a descriptor of the worker."""
        if self.others.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self.poll.unregister(fd)

    # ------------------------------------------------------------------------------------------ placing and starting

    def room(self) -> int:
        """How many jobs may be claimed now, if they are like the last ones."""
        return self.placement.room()

    def place(self, claim: Claim, task: LoadedTask) -> bool:
        """Reserve room for a claim."""
        return self.placement.place(claim, task)

    def unreserve(self) -> None:
        """Forget reservations: the claim was not committed."""
        self.placement.unreserve()

    def start(self, assignments: Sequence[Assignment]) -> None:
        """Put what was placed into its child's queue, and send what can be sent."""
        where = {claim.seq: child for child in self.children.values() for claim, _ in child.reserved}
        for reserved in self.children.values():
            reserved.unreserve()
        for one in assignments:
            child = where.get(one.claim.seq)
            if child is None or not (child.is_open or child.lonely):
                self.homeless.append(one)
                continue
            if child.lonely and child.used:  # it wants a process of its own
                self._retire(child)
                try:
                    child = self._begin()
                except OSError as error:
                    log.warning("no child can be started (%s); the job waits", error)
                    self.homeless.append(one)
                    continue
                child.lonely = True
            one.cost_s = self.placement.costs.get(one.task.id)
            child.queue[one.claim.token] = one
        self.dispatch()

    def dispatch(self) -> None:
        """Send what was not sent yet, as far as the sockets have room."""
        for child in self.children.values():
            if child.recorded and child.doom is None:
                for one in child.queue.values():
                    if not one.sent:
                        try:
                            child.send(one)
                        except BlockingIOError:
                            break
                        except OSError:  # the child is dying; its death will be noticed
                            break
                        child.used += 1

    # ------------------------------------------------------------------------------------------ collecting

    def collect(self, timeout_s: float) -> list[Finished]:
        """Wait for results, deaths, rings; enforce timeouts. Returns the attempts that are over."""
        self.rang.clear()
        events = self.poll.poll(max(0.0, min(timeout_s, self.next_look_s())))
        deaths = []
        for fd, _ in events:
            known = self.by_fd.get(fd)
            if known is None:
                if fd in self.others:
                    self.rang.add(fd)
            elif known[0] == "socket":
                self._read(known[1])
            elif known[0] == "log":
                self._listen_to(known[1])
            else:
                deaths.append(known[1])
        for child in deaths:
            self._bury(child)
        self._look_after()
        done, self.done = self.done, []
        return done

    def _read(self, child: ChildProcess) -> bool:
        """All packets that a child sent; its log first, so that it is complete when the job is reported."""
        packets, spoilt = messages.receive(child.sock, 2 * MOST_AHEAD)
        guilty = True
        if not packets and spoilt is None:
            return False
        self._listen_to(child)
        self._look_how_far(child)
        for packet in packets:
            try:
                if self._take(child, *packet):
                    guilty = spoilt is None
            except (struct.error, ValueError) as error:
                spoilt, guilty = error, True
        if spoilt is not None:  # a job wrote to a descriptor that is not its own
            log.warning("child %d sent what is no message (%s); it is ended", child.pid, spoilt)
            self._end_spoilt(child, guilty=guilty)
        return True

    def _end_spoilt(self, child: ChildProcess, *, guilty: bool) -> None:
        """What it says cannot be believed any more. What runs there did it, unless the end of an attempt came after that."""
        token = child.running()[0]
        if child.doom is None and token in child.queue:
            if guilty:
                why = "wrote into a descriptor that it had not opened (the line to its worker); its processes were ended"
                self._doom(child, Doom(token, Outcome.FAILED, why, 0.0, time.monotonic_ns()))
            else:
                self._doom(child, Doom(token, Outcome.RETURNED, "its process was spoilt by another job", 0.0, 0))
        child.kill()

    def _take(self, child: ChildProcess, packet: bytes, body: bytes | memoryview | None) -> bool:
        """What one packet says. Returns whether it was the end of an attempt."""
        said = messages.read(packet, body)
        if said.kind == wire.RESULT or said.kind == wire.ERROR:
            one = child.queue.get(said.token)
            if one is not None:
                over = said.finished_attempt(one)
                child.queue.remove(said.token)
                if said.started:
                    self.placement.learn(one, (said.finished - said.started) / 1e9)
                self._over(child, over)
                return True
        elif said.kind == wire.OUTPUT:
            if said.token in child.queue:
                child.queue[said.token].outputs.put(said.started, *said.output())
        elif said.kind == wire.STALE:
            one = child.queue.remove(said.token)
            if one is not None:
                one.sent = False
                self.homeless.append(one)
            self._retire(child)
        else:
            raise ValueError(f"kind {said.kind!r}")
        return False

    def look_how_far(self) -> None:
        """What running jobs say about their progress, from the pages that they share with us."""
        for child in self.children.values():
            if child.queue:
                self._look_how_far(child)

    def _look_how_far(self, child: ChildProcess) -> None:
        n, token, done, total, size, again = wire.FAR.unpack_from(child.page, wire.FAR_AT)
        if n != child.far_n and n == again and token in child.queue:
            child.far_n = n
            text = child.page[wire.FAR_TEXT_AT : wire.FAR_TEXT_AT + min(size, wire.FAR_TEXT_BYTES)].decode("utf-8", "ignore")
            self.progress[token] = (done, None if math.isnan(total) else total, text.replace("\0", ""))

    def _over(self, child: ChildProcess, over: Finished) -> None:
        doom = child.doom
        if doom is not None and doom.token == over.assignment.claim.token:
            doom.reported(over)
            child.kill()
            return
        self.done.append(over)
        if child.lonely:
            self._retire(child)

    def _listen_to(self, child: ChildProcess) -> None:
        """Read a child's log; while it prints, its pipe wakes us, so that it never has to wait for room."""
        printed = child.drain_log()
        if printed != child.chatty:
            child.chatty = printed
            if printed:
                self._watch(child.log, "log", child)
            else:
                self._unwatch(child.log)

    # ------------------------------------------------------------------------------------------ looking after

    def next_look_s(self) -> float:
        """Seconds until something must be looked at: a timeout, a step of a stop, a job that turned out long."""
        next_s = 60.0
        now_s = time.monotonic()
        if self._is_short():
            next_s = self.spawn_again_s - now_s
        for child in self.children.values():
            next_s = min(next_s, child.next_look_s(now_s))
        return max(0.0, next_s)

    def _look_after(self) -> None:
        if self._is_short():
            self.fill()
        now_ns = time.monotonic_ns()
        for child in list(self.children.values()):
            if child.doom is not None:
                if now_ns / 1e9 >= child.doom.next_s:
                    child.doom.advance(child)
                continue
            if not child.queue:
                continue
            if not child.chatty:
                self._listen_to(child)
            token, since = child.running()
            one = child.queue.get(token)
            if one is None or not since:
                continue
            options = one.task.options
            ran_s = (now_ns - since) / 1e9
            if ran_s > AHEAD_S:
                child.long = token
            if options.timeout_s is not None and ran_s > options.timeout_s:
                why = f"ran longer than its timeout of {options.timeout_s:g} s; its processes were ended"
                self._doom(child, Doom(token, Outcome.TIMEOUT, why, options.grace_s, since + int(options.timeout_s * 1e9)))
            elif options.memory_bytes and now_ns / 1e9 - self.memory_checked_s > MEMORY_CHECK_S:
                if processes.memory_bytes(child.pid) > options.memory_bytes:
                    why = f"over its memory limit of {options.memory_bytes / 1e6:,.0f} MB; its processes were ended"
                    self._doom(child, Doom(token, Outcome.FAILED, why, 0.0, now_ns))
            elif len(child.queue) > 1 and ran_s > AHEAD_S:
                self.homeless += child.take_unread(token)
        if now_ns / 1e9 - self.memory_checked_s > MEMORY_CHECK_S:
            self.memory_checked_s = now_ns / 1e9

    def take_unread(self) -> None:
        """Take back from all children what they have not begun."""
        for child in self.children.values():
            self.homeless += child.take_unread(child.running()[0])

    def take_back(self) -> list[Assignment]:
        """Assignments without a place: first try other children, then return what is left for the file."""
        left = []
        for one in self.homeless:
            one.sent = False
            alone = wants_to_be_alone(one.claim, one.task)
            if not alone and not self.closing and not self.draining and self.placement.place(one.claim, one.task):
                child = next(c for c in self.children.values() if c.reserved)
                child.unreserve()
                child.queue[one.claim.token] = one
            else:
                left.append(one)
        self.homeless = left  # until the file has them
        return list(left)

    def stop(self, token: int, outcome: Outcome, grace_s: float) -> bool:
        """End an attempt (interrupt, TERM, KILL). False: it is not here any more."""
        for child in self.children.values():
            if token in child.queue and (child.doom is None or child.doom.token == token):
                if child.doom is not None:
                    child.doom.hasten(outcome, grace_s)
                    return True
                one = child.queue[token]
                self.homeless += child.take_unread(0)
                if token not in child.queue:  # it had not started
                    self.homeless = [other for other in self.homeless if other is not one]
                    self.done.append(Finished(one, outcome, 0, 0))
                    return True
                why = "cancelled; its processes were ended" if outcome is Outcome.CANCELLED else "handed back: its worker stopped"
                self._doom(child, Doom(token, outcome, why, grace_s, 0))
                return True
        return False

    def _doom(self, child: ChildProcess, doom: Doom) -> None:
        """Begin to stop what a child runs. Nothing else may be in it: the signal is for one attempt."""
        self.homeless += child.take_unread(doom.token)
        now = child.running()[0]
        if now != doom.token and (now or len(child.queue) > 1):
            return  # it has just finished, and the next one begins: look again
        child.doom = doom
        doom.advance(child)

    def _retire(self, child: ChildProcess) -> None:
        """End a child that has nothing to do any more; another takes its place."""
        if child.retiring:
            return
        child.retiring = True
        self.homeless += child.take_unread(0)
        if child.doom is None:
            child.kill()

    def _bury(self, child: ChildProcess) -> None:
        """A child died: settle what it ran, take back what it had not started, end what it left behind."""
        while self._read(child):
            pass
        self._listen_to(child)
        token, since = child.running()
        code = child.popen.wait()
        leftovers = child.end_orphans(self.children, self.alone)
        self.homeless += child.take_unread(token)
        victim = child.queue.remove(token)
        if victim is None and child.doom is not None:  # it was to end before it began
            token, victim = child.doom.token, child.queue.remove(child.doom.token)
        for one in child.queue.values():  # read by the child, but not begun
            self.homeless.append(one)
        child.queue.clear()
        doom = child.doom
        if doom is not None and doom.finished is not None:
            self.done.append(doom.finished)
        elif victim is not None:
            self.done.append(died(doom, token, victim, since, code, closing=self.closing))
            if leftovers:
                victim.log.add(f"\n[gigq_nb ended {leftovers} process(es) that the job had left]\n".encode())
        if child.used or child.retiring:
            self.failures = 0
        elif not self.closing:
            log.warning("child %d ended before it ran anything: %s", child.pid, death(code))
            self._pause_spawning()
        self._forget(child)
        self.fill()

    def _forget(self, child: ChildProcess) -> None:
        for fd in (child.sock.fileno(), child.pidfd, child.log):
            self._unwatch(fd)
        del self.children[child.pid]
        self.gone.append((child.pid, child.birth))
        child.close()

    # ------------------------------------------------------------------------------------------ for the worker

    def active(self) -> list[tuple[ChildProcess, Assignment, int]]:
        """(child, assignment, since when in monotonic ns) of what runs at this moment."""
        found = []
        for child in self.children.values():
            if child.queue:
                token, since = child.running()
                if token in child.queue:
                    found.append((child, child.queue[token], since))
        return found

    def is_busy(self) -> bool:
        """Whether any attempt is here."""
        return bool(self.homeless) or any(child.queue for child in self.children.values())

    def tokens(self) -> set[int]:
        """All attempts that are here, also those whose processes are being ended."""
        dying = {c.doom.token for c in self.children.values() if c.doom is not None and c.doom.finished is not None}
        waiting = {one.claim.token for one in self.homeless}
        return dying | waiting | {token for child in self.children.values() for token in child.queue}

    def drop_all(self) -> None:
        """Somebody else took everything over: end all children, report nothing."""
        for child in list(self.children.values()):
            child.kill()
            child.queue.clear()
            child.doom = None
            child.popen.wait()
            child.end_orphans(self.children, self.alone)
            self._forget(child)
        self.homeless, self.done = [], []
        self.progress.clear()

    def close(self) -> None:
        """End all children."""
        self.closing = True
        self.drop_all()
        self.poll.close()
        set_subreaper(self.was_subreaper)
