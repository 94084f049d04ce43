"""Child processes on this machine: started, fed, watched, stopped with all that they started."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import mmap
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..policies import LONELY_AFTER_LOSSES
from ..states import Outcome
from ..store.transitions import Claim
from . import processes, wire
from .runner import Assignment, Finished, LoadedTask

AHEAD_S = 0.05
UNKNOWN_S = 1e6
MOST_AHEAD = 256
COST_FLOOR_S = 0.00002
MEMORY_CHECK_S = 0.2
MOST_KNOWN_BYTES = 256 * 2**20
_ENTRY = "import sys; sys.path.append({path!r}); from gigq_nb.runtime.child import main; main(sys.argv[1:])"
_LOG_PIPE_BYTES = 1024 * 1024
MARK_VARIABLE = "GIGQ_NB_CHILD"
MOST_PAUSE_S = 5.0
log = logging.getLogger("gigq_nb.worker")


@dataclass(slots=True)
class _Doom:
    """An attempt that is being stopped: interrupt, then TERM, then KILL of the whole tree."""

    token: int
    outcome: Outcome
    why: str
    grace_s: float
    deadline_ns: int
    stage: int = 0
    next_s: float = 0.0
    finished: Finished | None = None


class _Queue(dict[int, Assignment]):
    """The attempts that a child was given, by token; keeps the sum of their costs, which is asked for at each claim."""

    load_s = 0.0

    def __setitem__(self, token: int, one: Assignment) -> None:
        super().__setitem__(token, one)
        self.load_s += UNKNOWN_S if one.cost_s is None else one.cost_s

    def remove(self, token: int) -> Assignment | None:
        """Take an attempt out; None if it is not here."""
        one = super().pop(token, None)
        if one is not None:
            self.load_s = self.load_s - (UNKNOWN_S if one.cost_s is None else one.cost_s) if self else 0.0
        return one

    def clear(self) -> None:
        super().clear()
        self.load_s = 0.0


@dataclass(slots=True, eq=False)
class _Process:
    """One child process, as its worker sees it."""

    popen: subprocess.Popen[bytes]
    birth: int
    pidfd: int
    sock: socket.socket
    far: socket.socket
    log: int
    page: mmap.mmap
    nonce: bytes
    recorded: bool = False
    queue: _Queue = field(default_factory=lambda: _Queue())
    reserved: list[tuple[Claim, float | None]] = field(default_factory=list)
    reserved_s: float = 0.0
    functions: dict[int, int] = field(default_factory=dict)
    tasks: set[int] = field(default_factory=set)
    doom: _Doom | None = None
    lonely: bool = False
    used: int = 0
    retiring: bool = False
    chatty: bool = False
    rest: bytes = b""
    logged: int = 0
    waiting_ns: int = 0
    far_n: int = 0

    @property
    def pid(self) -> int:
        return self.popen.pid

    def running(self) -> tuple[int, int]:
        """(token, since when) of what runs now; (0, 0) between two jobs."""
        while True:
            token, since = wire.NOW.unpack_from(self.page)
            if wire.NOW.unpack_from(self.page)[0] == token:
                return token, since

    def reserve(self, claim: Claim, cost_s: float | None) -> None:
        """Room for a claim that is not committed yet."""
        self.reserved.append((claim, cost_s))
        self.reserved_s += UNKNOWN_S if cost_s is None else cost_s

    def unreserve(self) -> None:
        """The reservations became jobs, or came to nothing."""
        self.reserved.clear()
        self.reserved_s = 0.0

    def load_s(self) -> float:
        """Seconds of work before it; endless where a job of unknown length stands."""
        return self.queue.load_s + self.reserved_s

    @property
    def is_open(self) -> bool:
        return self.doom is None and not self.lonely and not self.retiring


class LocalRunner:
    """Runs jobs in ``concurrency`` child processes.

    What is claimed ahead is bounded by time, not by number: about 50 ms of work a child, by how long jobs of a task
    took so far; one at a time until that is known, and nothing behind a job that runs for longer.
    """

    def __init__(self, concurrency: int, worker_name: str, *, alone: bool = False) -> None:
        self.concurrency = concurrency
        self.worker_name = worker_name
        self.alone = alone  # this process is a worker and nothing else: whatever it inherits was started by a job
        self.draining = False
        self.failures = 0
        self.spawn_again_s = 0.0
        self.poll = select.epoll()
        self.children: dict[int, _Process] = {}
        self.by_fd: dict[int, tuple[str, _Process]] = {}
        self.costs: dict[int, float] = {}
        self.usual_s: float | None = None
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
                self._spawn()
            except OSError as error:
                log.warning("no child can be started (%s); trying again", error)
                self._pause_spawning()

    def _is_short(self) -> bool:
        return sum(not one.retiring for one in self.children.values()) < self.concurrency

    def _pause_spawning(self) -> None:
        """A child that cannot start, or dies before it ran anything, is not worth a busy loop."""
        self.failures += 1
        self.spawn_again_s = time.monotonic() + min(MOST_PAUSE_S, 0.05 * 2**self.failures)

    def _spawn(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log_out, log_in = os.pipe2(os.O_CLOEXEC)
        page_fd = os.memfd_create("gigq_nb page", os.MFD_CLOEXEC)
        nonce = secrets.token_bytes(16)
        try:
            os.ftruncate(page_fd, mmap.PAGESIZE)
            with contextlib.suppress(OSError):
                import fcntl

                fcntl.fcntl(log_out, fcntl.F_SETPIPE_SZ, _LOG_PIPE_BYTES)
            package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            environment = {**os.environ, "GIGQ_NB_WORKER": self.worker_name, MARK_VARIABLE: nonce.hex(), "MPLBACKEND": "Agg"}
            handles = (far.fileno(), log_in, page_fd)
            popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _ENTRY.format(path=package), *map(str, handles), str(os.getpid()), nonce.hex()],
                pass_fds=handles,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log_in,
                stderr=log_in,
                env=environment,
            )
            page = mmap.mmap(page_fd, mmap.PAGESIZE)
        except BaseException:
            near.close()
            far.close()
            os.close(log_out)
            raise
        finally:
            os.close(log_in)
            os.close(page_fd)
        near.setblocking(False)
        os.set_blocking(log_out, False)
        birth = processes.birth_of(popen.pid) or 0
        child = _Process(popen, birth, os.pidfd_open(popen.pid), near, far, log_out, page, nonce)
        self.children[popen.pid] = child
        self.born.append((popen.pid, birth))
        self._watch(near.fileno(), "socket", child)
        self._watch(child.pidfd, "death", child)

    def _watch(self, fd: int, kind: str, child: _Process) -> None:
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
        total = 0
        ahead = 1 if self.usual_s is None else max(1, min(MOST_AHEAD, int(AHEAD_S / self.usual_s)))
        for child in self.children.values():
            if not child.is_open:
                continue
            waiting = len(child.queue) + len(child.reserved)
            if child.load_s() < AHEAD_S:
                total += max(0, ahead - waiting)
        return total

    def place(self, claim: Claim, task: LoadedTask) -> bool:
        """Reserve room for a claim: at the child with the least work, never behind something long or unknown."""
        cost_s = self.costs.get(task.id)
        alone = task.options.fresh or claim.losses >= LONELY_AFTER_LOSSES
        best: _Process | None = None
        best_s = AHEAD_S
        for child in self.children.values():
            if not child.is_open:
                continue
            waiting = len(child.queue) + len(child.reserved)
            if not waiting:
                best = child
                break
            if cost_s is None or alone or waiting >= MOST_AHEAD:
                continue
            load_s = child.load_s() + cost_s
            if load_s < best_s:
                best, best_s = child, load_s
        if best is None:
            return False
        best.reserve(claim, cost_s)
        if alone:
            best.lonely = True
        return True

    def start(self, assignments: Sequence[Assignment]) -> None:
        """Put what was placed into its child's queue, and send what can be sent."""
        where = {claim.seq: child for child in self.children.values() for claim, _ in child.reserved}
        for child in self.children.values():
            child.unreserve()
        for one in assignments:
            child = where.get(one.claim.seq)
            if child is None or not (child.is_open or child.lonely):
                self.homeless.append(one)
                continue
            if child.lonely and child.used:  # it wants a process of its own
                self._retire(child)
                try:
                    self._spawn()
                except OSError as error:
                    log.warning("no child can be started (%s); the job waits", error)
                    self.homeless.append(one)
                    continue
                child = self.children[self.born[-1][0]]
                child.lonely = True
            one.cost_s = self.costs.get(one.task.id)
            child.queue[one.claim.token] = one
        self.dispatch()

    def unreserve(self) -> None:
        """Forget reservations: the claim was not committed."""
        for child in self.children.values():
            if child.reserved:
                child.unreserve()
                child.lonely = bool(child.queue) and child.lonely

    def dispatch(self) -> None:
        """Send what was not sent yet, as far as the sockets have room."""
        for child in self.children.values():
            if child.recorded and child.doom is None:
                for one in child.queue.values():
                    if not one.sent:
                        try:
                            self._send(child, one)
                        except BlockingIOError:
                            break
                        except OSError:  # the child is dying; its death will be noticed
                            break
                        child.used += 1

    def _send(self, child: _Process, one: Assignment) -> None:
        task = one.task
        if task.id not in child.tasks:
            if task.function not in child.functions:
                if sum(child.functions.values()) > MOST_KNOWN_BYTES:
                    wire.send(child.sock, wire.TO_CHILD.pack(wire.FORGET, 0, 0, 0))
                    child.functions.clear()
                    child.tasks.clear()
                body = task.cells + task.payload
                wire.send(child.sock, wire.TO_CHILD.pack(wire.FUNCTION, task.function, len(task.cells), len(body)), body)
                child.functions[task.function] = len(body)
            wire.send(child.sock, wire.TO_CHILD.pack(wire.TASK, task.id, task.function, len(task.settings)), task.settings)
            child.tasks.add(task.id)
        head = wire.JOB_HEAD.pack(len(one.arguments), one.claim.n, one.claim.id.encode())
        body = b"".join((head, one.arguments, one.parents))
        wire.send(child.sock, wire.TO_CHILD.pack(wire.JOB, one.claim.token, task.id, len(body)), body)
        one.sent = True

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
                self._drain_log(known[1])
            else:
                deaths.append(known[1])
        for child in deaths:
            self._bury(child)
        self._look_after()
        done, self.done = self.done, []
        return done

    def _read(self, child: _Process) -> bool:
        """All packets that a child sent; its log first, so that it is complete when the job is reported."""
        packets = []
        while True:
            try:
                packet, body = wire.receive(child.sock)
            except (BlockingIOError, ConnectionResetError):
                break
            if not packet:
                break
            packets.append((packet, body))
            if len(packets) >= 2 * MOST_AHEAD:
                break
        if not packets:
            return False
        self._drain_log(child)
        self._look_how_far(child)
        try:
            self._take(child, packets)
        except (struct.error, ValueError) as error:  # a job wrote to a descriptor that is not its own
            log.warning("child %d sent what is no message (%s); it is ended", child.pid, error)
            self._kill(child)
        return True

    def _take(self, child: _Process, packets: list[tuple[bytes, bytes | memoryview | None]]) -> None:
        for packet, body in packets:
            kind, token, started, finished, a, b, c, d = wire.TO_WORKER.unpack_from(packet)
            content = memoryview(packet)[wire.TO_WORKER.size :] if body is None else body
            if kind == wire.RESULT or kind == wire.ERROR:
                one = child.queue.remove(token)
                if one is not None:
                    self._learn(one, (finished - started) / 1e9)
                    if kind == wire.RESULT:
                        over = Finished(
                            one,
                            Outcome.COMPLETED,
                            started,
                            finished,
                            bytes(content[:a]) if body is None else content[:a],
                            str(content[a : a + b], "utf-8") if b else "",
                            str(content[a + b : a + b + c], "utf-8") if c else "",
                            str(content[a + b + c : a + b + c + d], "utf-8") if d else "",
                        )
                    else:
                        over = Finished(
                            one,
                            Outcome.FAILED,
                            started,
                            finished,
                            error=json.loads(bytes(content[:a])),
                            exception=bytes(content[a : a + b]),
                            arguments=str(content[a + b : a + b + c], "utf-8"),
                        )
                    self._over(child, over)
            elif kind == wire.OUTPUT:
                if token in child.queue:
                    child.queue[token].outputs.put(started, bytes(content[:a]))
            elif kind == wire.STALE:
                one = child.queue.remove(token)
                if one is not None:
                    one.sent = False
                    self.homeless.append(one)
                self._retire(child)

    def look_how_far(self) -> None:
        """What running jobs say about their progress, from the pages that they share with us."""
        for child in self.children.values():
            if child.queue:
                self._look_how_far(child)

    def _look_how_far(self, child: _Process) -> None:
        n, token, done, total, size, again = wire.FAR.unpack_from(child.page, wire.FAR_AT)
        if n != child.far_n and n == again and token in child.queue:
            child.far_n = n
            text = child.page[wire.FAR_TEXT_AT : wire.FAR_TEXT_AT + min(size, wire.FAR_TEXT_BYTES)].decode("utf-8", "ignore")
            self.progress[token] = (done, None if math.isnan(total) else total, text.replace("\0", ""))

    def _learn(self, one: Assignment, took_s: float) -> None:
        """How long jobs of this task take: an exponentially weighted mean that believes a slow one at once."""
        before = self.costs.get(one.task.id)
        took_s = max(took_s, COST_FLOOR_S)
        self.costs[one.task.id] = took_s if before is None or took_s > 4 * before else 0.8 * before + 0.2 * took_s
        self.usual_s = self.costs[one.task.id]
        if len(self.costs) > 10_000:
            self.costs.clear()

    def _over(self, child: _Process, over: Finished) -> None:
        doom = child.doom
        if doom is not None and doom.token == over.assignment.claim.token:
            # It completed before its time was up, or although its worker was asked to stop: that is not run again.
            on_time = over.outcome is Outcome.COMPLETED and (
                over.finished_ns <= doom.deadline_ns if doom.outcome is Outcome.TIMEOUT else doom.outcome is Outcome.RETURNED
            )
            if not on_time:
                over.outcome, over.error = (
                    doom.outcome,
                    {"type": "", "message": doom.why, "traceback": "", "types": [], "reason": ""},
                )
                over.payload = b""
            doom.finished = over
            self._kill(child)
            return
        self.done.append(over)
        if child.lonely:
            self._retire(child)

    def _drain_log(self, child: _Process) -> None:
        """Read what was printed, and give each part to the attempt that printed it: marks in the pipe part them."""
        printed = False
        budget = 2 * _LOG_PIPE_BYTES  # all that was in the pipe when we were called; who prints on must not keep us here
        while budget > 0:
            try:
                data = os.read(child.log, _LOG_PIPE_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                break
            budget -= len(data)
            data = child.rest + data
            child.rest = b""
            if len(data) == data.count(child.nonce) * wire.MARK.size:
                child.logged = wire.MARK.unpack_from(data, len(data) - wire.MARK.size)[1]
                if len(data) < _LOG_PIPE_BYTES:
                    break
                continue
            printed = True
            while (at := data.find(child.nonce)) >= 0 and len(data) >= at + wire.MARK.size:
                token = child.logged = wire.MARK.unpack_from(data, at)[1]
                if at and token in child.queue:
                    child.queue[token].log.add(data[:at])
                data = data[at + wire.MARK.size :]
            keep = len(data) - at if at >= 0 else next((n for n in range(15, 0, -1) if data.endswith(child.nonce[:n])), 0)
            if keep:
                data, child.rest = data[:-keep], data[-keep:]
            if data:
                target = self._printing(child)
                if target is not None:
                    target.log.add(data)
        if printed != child.chatty:
            child.chatty = printed
            if printed:
                self._watch(child.log, "log", child)
            else:
                self._unwatch(child.log)

    def _printing(self, child: _Process) -> Assignment | None:
        """Whose output follows the last mark: what runs now may be further than what was read from the pipe."""
        waiting = iter(child.queue)
        if child.logged in child.queue:
            for token in waiting:
                if token == child.logged:
                    break
        following = next(waiting, None)
        return None if following is None else child.queue[following]

    # ------------------------------------------------------------------------------------------ looking after

    def next_look_s(self) -> float:
        """Seconds until something must be looked at: a timeout, a step of a stop, a job that turned out long."""
        next_s = 60.0
        now_s = time.monotonic()
        if self._is_short():
            next_s = self.spawn_again_s - now_s
        for child in self.children.values():
            if child.doom is not None:
                next_s = min(next_s, child.doom.next_s - now_s)
            elif child.queue:
                first = next(iter(child.queue.values()))
                options = first.task.options
                since = child.running()[1]
                if options.timeout_s is not None:
                    left_s = options.timeout_s - (now_s - since / 1e9) if since else options.timeout_s
                    next_s = min(next_s, left_s)
                if options.memory_bytes:
                    next_s = min(next_s, MEMORY_CHECK_S)
                next_s = min(next_s, AHEAD_S if len(child.queue) > 1 or not child.chatty else 1.0)
        return max(0.0, next_s)

    def _look_after(self) -> None:
        if self._is_short():
            self.fill()
        now_ns = time.monotonic_ns()
        for child in list(self.children.values()):
            if child.doom is not None:
                if now_ns / 1e9 >= child.doom.next_s:
                    self._next_stage(child)
                continue
            if not child.queue:
                continue
            if not child.chatty:
                self._drain_log(child)
            token, since = child.running()
            one = child.queue.get(token)
            if one is None or not since:
                continue
            options = one.task.options
            ran_s = (now_ns - since) / 1e9
            if options.timeout_s is not None and ran_s > options.timeout_s:
                why = f"ran longer than its timeout of {options.timeout_s:g} s; its processes were ended"
                self._doom(child, _Doom(token, Outcome.TIMEOUT, why, options.grace_s, since + int(options.timeout_s * 1e9)))
            elif options.memory_bytes and now_ns / 1e9 - self.memory_checked_s > MEMORY_CHECK_S:
                if processes.memory_bytes(child.pid) > options.memory_bytes:
                    why = f"over its memory limit of {options.memory_bytes / 1e6:,.0f} MB; its processes were ended"
                    self._doom(child, _Doom(token, Outcome.FAILED, why, 0.0, now_ns))
            elif len(child.queue) > 1 and ran_s > AHEAD_S:
                self._reclaim(child, token)
        if now_ns / 1e9 - self.memory_checked_s > MEMORY_CHECK_S:
            self.memory_checked_s = now_ns / 1e9

    def _reclaim(self, child: _Process, keep: int) -> None:
        """Take back all that a child has not started: what it has not read is read here instead."""
        while True:
            try:
                packet, _ = _receive_now(child.far)
            except BlockingIOError:
                break
            if not packet:
                break
            kind, a, _b, _ = wire.TO_CHILD.unpack_from(packet)
            if kind == wire.JOB and a in child.queue:
                child.queue[a].sent = False
            elif kind == wire.FUNCTION:
                child.functions.pop(a, None)
            elif kind == wire.TASK:
                child.tasks.discard(a)
        for token, one in list(child.queue.items()):
            if token != keep and not one.sent:
                child.queue.remove(token)
                self.homeless.append(one)

    def take_back(self) -> list[Assignment]:
        """Assignments without a place: first try other children, then return what is left for the file."""
        left = []
        for one in self.homeless:
            one.sent = False
            alone = one.task.options.fresh or one.claim.losses >= LONELY_AFTER_LOSSES
            if not alone and not self.closing and not self.draining and self.place(one.claim, one.task):
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
                    if outcome is Outcome.CANCELLED:  # a worker that stops must not make a timeout undone
                        child.doom.outcome = outcome
                    if not grace_s:
                        child.doom.grace_s, child.doom.next_s = 0.0, 0.0
                    return True
                one = child.queue[token]
                self._reclaim(child, 0)
                if token not in child.queue:  # it had not started
                    self.homeless = [other for other in self.homeless if other is not one]
                    self.done.append(Finished(one, outcome, 0, 0))
                    return True
                why = "cancelled; its processes were ended" if outcome is Outcome.CANCELLED else "handed back: its worker stopped"
                self._doom(child, _Doom(token, outcome, why, grace_s, 0))
                return True
        return False

    def _doom(self, child: _Process, doom: _Doom) -> None:
        """Begin to stop what a child runs. Nothing else may be in it: the signal is for one attempt."""
        self._reclaim(child, doom.token)
        now = child.running()[0]
        if now != doom.token and (now or len(child.queue) > 1):
            return  # it has just finished, and the next one begins: look again
        child.doom = doom
        self._next_stage(child)

    def _next_stage(self, child: _Process) -> None:
        doom = child.doom
        if doom is None:
            return
        now_s = time.monotonic()
        doom.stage += 1
        if doom.stage == 1 and doom.grace_s > 0:
            processes.send_signal(child.pid, signal.SIGCONT, child.birth)
            processes.send_signal(child.pid, signal.SIGINT, child.birth)
            doom.next_s = now_s + doom.grace_s * 0.6
        elif doom.stage == 2 and doom.grace_s > 0:
            processes.kill_tree(child.pid, child.birth, number=signal.SIGTERM)
            doom.next_s = now_s + doom.grace_s * 0.4
        else:
            self._kill(child)
            doom.next_s = now_s + 0.5

    def _kill(self, child: _Process) -> None:
        processes.kill_tree(child.pid, child.birth, mark=(MARK_VARIABLE, child.nonce.hex()))

    def _retire(self, child: _Process) -> None:
        """End a child that has nothing to do any more; another takes its place."""
        if child.retiring:
            return
        child.retiring = True
        self._reclaim(child, 0)
        if child.doom is None:
            self._kill(child)

    def _bury(self, child: _Process) -> None:
        """A child died: settle what it ran, take back what it had not started, end what it left behind."""
        while self._read(child):
            pass
        self._drain_log(child)
        token, since = child.running()
        code = child.popen.wait()
        leftovers = self._end_orphans(child)
        self._reclaim(child, token)
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
            now_ns = time.monotonic_ns()
            if doom is not None and doom.token == token:
                error = {"type": "", "message": doom.why, "traceback": "", "types": [], "reason": ""}
                self.done.append(Finished(victim, doom.outcome, since, now_ns, error=error))
            elif self.closing:
                self.done.append(Finished(victim, Outcome.RETURNED, since, now_ns))
            else:
                about = {
                    "type": "gigq_nb.errors.JobFailed",
                    "message": _death(code),
                    "traceback": "",
                    "types": [],
                    "reason": "error",
                }
                self.done.append(Finished(victim, Outcome.FAILED, since, now_ns, error=about))
            if leftovers:
                victim.log.add(f"\n[gigq_nb ended {leftovers} process(es) that the job had left]\n".encode())
        elif doom is not None:
            pass  # it was taken back before it began, or reported already
        if child.used or child.retiring:
            self.failures = 0
        elif not self.closing:
            log.warning("child %d ended before it ran anything: %s", child.pid, _death(code))
            self._pause_spawning()
        self._forget(child)
        self.fill()

    def _end_orphans(self, child: _Process) -> int:
        """What a dead child had started belongs to us now, as its sub-reaper: end it and wait for it."""
        ended: set[int] = set()
        end_s = time.monotonic() + 2.0
        while time.monotonic() < end_s:
            # A process that is more than a worker has children of its own, which are none of our business.
            mine = [
                pid
                for pid in processes.children_of_me()
                if pid not in self.children and (self.alone or pid in ended or processes.session_of(pid) == child.pid)
            ]
            marked = [pid for pid in processes.marked(MARK_VARIABLE, child.nonce.hex()) if processes.birth_of(pid) is not None]
            left = [pid for pid in {*mine, *marked} if processes.birth_of(pid) is not None]
            for pid in left:
                ended.add(pid)
                processes.kill_tree(pid, None)
            for pid in mine:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if not left:
                break
            time.sleep(0.002)
        return len(ended)

    def _forget(self, child: _Process) -> None:
        for fd in (child.sock.fileno(), child.pidfd, child.log):
            self._unwatch(fd)
        del self.children[child.pid]
        self.gone.append((child.pid, child.birth))
        child.sock.close()
        child.far.close()
        os.close(child.pidfd)
        os.close(child.log)
        child.page.close()

    # ------------------------------------------------------------------------------------------ for the worker

    def active(self) -> list[tuple[_Process, Assignment, int]]:
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
            self._kill(child)
            child.queue.clear()
            child.doom = None
            child.popen.wait()
            self._end_orphans(child)
            self._forget(child)
        self.homeless, self.done = [], []
        self.progress.clear()

    def close(self) -> None:
        """End all children."""
        self.closing = True
        self.drop_all()
        self.poll.close()
        set_subreaper(self.was_subreaper)


def _receive_now(sock: socket.socket) -> tuple[bytes, object]:
    """Read from a socket whose descriptor flags are shared with a child that blocks on it."""
    packet, ancillary, _, _ = sock.recvmsg(wire.PACKET_BYTES, 64, socket.MSG_DONTWAIT)
    for _level, _kind, data in ancillary:
        for i in range(0, len(data) - 3, 4):
            os.close(int.from_bytes(data[i : i + 4], sys.byteorder))
    return packet, None


def _death(code: int) -> str:
    """What the end of a process says, in words."""
    if code >= 0:
        return f"its process exited with code {code} before the function returned"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    text = f"its process was killed by signal {-code} ({name})"
    if -code == signal.SIGKILL:
        text += ", as the system does when memory runs out"
    elif -code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
        text += ": a crash in native code; its log shows where, if anything does"
    return text


def set_subreaper(on: bool) -> bool:
    """Make this process the one that inherits the orphans of its descendants, or not (prctl(2)). Returns what it was."""
    import ctypes

    libc, was = ctypes.CDLL(None, use_errno=True), ctypes.c_int(0)
    libc.prctl(37, ctypes.byref(was), 0, 0, 0)
    libc.prctl(36, int(on), 0, 0, 0)
    return bool(was.value)
