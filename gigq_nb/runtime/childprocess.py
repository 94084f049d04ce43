"""One child process, as its worker sees it: started, fed, listened to, taken back from, ended with all that it started."""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Container
from dataclasses import dataclass, field

from ..store.transitions import Claim
from . import processes, wire
from .runner import Assignment
from .stopping import Doom

UNKNOWN_S = 1e6
AHEAD_S = 0.05
MEMORY_CHECK_S = 0.2
MOST_KNOWN_BYTES = 256 * 2**20
MARK_VARIABLE = "GIGQ_NB_CHILD"
_ENTRY = "import sys; sys.path.append({path!r}); from gigq_nb.runtime.child import main; main(sys.argv[1:])"
_LOG_PIPE_BYTES = 1024 * 1024


class Given(dict[int, Assignment]):
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
class ChildProcess:
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
    queue: Given = field(default_factory=Given)
    reserved: list[tuple[Claim, float | None]] = field(default_factory=list)
    reserved_s: float = 0.0
    functions: dict[int, int] = field(default_factory=dict)
    tasks: set[int] = field(default_factory=set)
    doom: Doom | None = None
    lonely: bool = False
    used: int = 0
    retiring: bool = False
    chatty: bool = False
    rest: bytes = b""  # of its log: what may be the beginning of a mark
    unsure: bytes = b""  # of its log: printed by the job of the next mark, if that comes at once
    logged: int = 0
    far_n: int = 0
    long: int = 0

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
        """Seconds of work before it; endless where a job of unknown length stands, or one that turned out long."""
        if self.long:
            if self.running()[0] == self.long:
                return UNKNOWN_S
            self.long = 0
        return self.queue.load_s + self.reserved_s

    def next_look_s(self, now_s: float) -> float:
        """Seconds until something must be looked at here: a timeout, a step of a stop, a job that turned out long."""
        if self.doom is not None:
            return self.doom.next_s - now_s
        if not self.queue:
            return math.inf
        options = next(iter(self.queue.values())).task.options
        since_ns = self.running()[1]
        next_s = AHEAD_S if len(self.queue) > 1 or not self.chatty else 1.0
        if options.timeout_s is not None:
            next_s = min(next_s, options.timeout_s - (now_s - since_ns / 1e9) if since_ns else options.timeout_s)
        if options.memory_bytes:
            next_s = min(next_s, MEMORY_CHECK_S)
        return next_s

    @property
    def is_open(self) -> bool:
        return self.doom is None and not self.lonely and not self.retiring

    def send(self, one: Assignment) -> None:
        """Send a job, and its task and function when the child does not know them.

        Raises:
            BlockingIOError: its socket has no room now.
            OSError: it is dying.
        """
        task = one.task
        if task.id not in self.tasks:
            if task.function not in self.functions:
                if sum(self.functions.values()) > MOST_KNOWN_BYTES:
                    wire.send(self.sock, wire.TO_CHILD.pack(wire.FORGET, 0, 0, 0))
                    self.functions.clear()
                    self.tasks.clear()
                body = task.cells + task.payload
                wire.send(self.sock, wire.TO_CHILD.pack(wire.FUNCTION, task.function, len(task.cells), len(body)), body)
                self.functions[task.function] = len(body)
            body = task.digest + task.settings
            wire.send(self.sock, wire.TO_CHILD.pack(wire.TASK, task.id, task.function, len(body)), body)
            self.tasks.add(task.id)
        head = wire.JOB_HEAD.pack(len(one.arguments), one.claim.n, one.claim.id.encode(), one.claim.signature)
        body = b"".join((head, one.arguments, one.parents))
        wire.send(self.sock, wire.TO_CHILD.pack(wire.JOB, one.claim.token, task.id, len(body)), body)
        one.sent = True

    def drain_log(self) -> bool:
        """Read what was printed, and give each part to the attempt that printed it: marks in the pipe part them.

        Returns whether anything was printed.
        """
        printed = False
        budget = 2 * _LOG_PIPE_BYTES  # all that was in the pipe when we were called; who prints on must not keep us here
        while budget > 0:
            before = self.running()[0]
            try:
                data = os.read(self.log, _LOG_PIPE_BYTES)
            except BlockingIOError:
                self.unsure = b""
                break
            except OSError:
                data = b""
            if not data:
                break
            budget -= len(data)
            data = self.rest + data
            self.rest = b""
            last = len(data) - wire.MARK.size
            if not self.unsure and data.startswith(self.nonce, last) and len(data) == data.count(self.nonce) * wire.MARK.size:
                self.logged = wire.MARK.unpack_from(data, last)[1]  # nothing but marks: the jobs printed nothing
                if len(data) < _LOG_PIPE_BYTES:
                    break
                continue
            printed = True
            while (at := data.find(self.nonce)) >= 0 and len(data) >= at + wire.MARK.size:
                token = self.logged = wire.MARK.unpack_from(data, at)[1]
                if (said := self.unsure + data[:at]) and token in self.queue:
                    self.queue[token].log.add(said)
                self.unsure = b""
                data = data[at + wire.MARK.size :]
            keep = len(data) - at if at >= 0 else next((n for n in range(15, 0, -1) if data.endswith(self.nonce[:n])), 0)
            if keep:
                data, self.rest = data[:-keep], data[-keep:]
            self.unsure = b""  # no mark came: it was of what an earlier job had left running
            if data and (target := self._printing()) is not None:
                if target.claim.token in (before, self.running()[0]):
                    target.log.add(data)
                else:  # it is over already, and its mark is in the pipe; or it has not begun, and this is not its output
                    self.unsure = data
        return printed

    def _printing(self) -> Assignment | None:
        """Whose output follows the last mark: what runs now may be further than what was read from the pipe."""
        waiting = iter(self.queue)
        if self.logged in self.queue:
            for token in waiting:
                if token == self.logged:
                    break
        following = next(waiting, None)
        return None if following is None else self.queue[following]

    def take_unread(self, keep: int) -> list[Assignment]:
        """Take back all that the child has not started, but ``keep``: what it has not read is read here instead."""
        while True:
            try:
                packet, _ = _receive_now(self.far)
            except BlockingIOError:
                break
            if not packet:
                break
            kind, a, _b, _ = wire.TO_CHILD.unpack_from(packet)
            if kind == wire.JOB and a in self.queue:
                self.queue[a].sent = False
            elif kind == wire.FUNCTION:
                self.functions.pop(a, None)
            elif kind == wire.TASK:
                self.tasks.discard(a)
        taken = [one for token, one in self.queue.items() if token != keep and not one.sent]
        for one in taken:
            self.queue.remove(one.claim.token)
        return taken

    def kill(self) -> None:
        """End it with all that it started."""
        processes.kill_tree(self.pid, self.birth, mark=(MARK_VARIABLE, self.nonce.hex()))

    def end_orphans(self, siblings: Container[int], alone: bool) -> int:
        """What the dead child had started belongs to us now, as its sub-reaper: end it and wait for it. Returns how many.

        Args:
            siblings: Pids of the other children.
            alone: This process is a worker and nothing else: whatever it inherits was started by a job.
        """
        ended: set[int] = set()
        end_s = time.monotonic() + 2.0
        while time.monotonic() < end_s:
            # A process that is more than a worker has children of its own, which are none of our business.
            mine = [
                pid
                for pid in processes.children_of_me()
                if pid not in siblings and pid != self.pid and (alone or pid in ended or processes.session_of(pid) == self.pid)
            ]
            marked = [pid for pid in processes.marked(MARK_VARIABLE, self.nonce.hex()) if processes.birth_of(pid) is not None]
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

    def close(self) -> None:
        """Give the descriptors back."""
        self.sock.close()
        self.far.close()
        os.close(self.pidfd)
        os.close(self.log)
        self.page.close()


def start_child(worker_name: str, key: bytes) -> ChildProcess:
    """Start a child in a session of its own: a fresh process, never a fork of this one.

    ``key`` goes by the shared page, which nobody else can read; the child takes it away from there.

    Raises:
        OSError: no process, memory or descriptor is to be had.
    """
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log_out, log_in = os.pipe2(os.O_CLOEXEC)
    page_fd = os.memfd_create("gigq_nb page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    nonce = secrets.token_bytes(16)
    try:
        os.ftruncate(page_fd, mmap.PAGESIZE)
        fcntl.fcntl(page_fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)  # cut short, it would be our SIGBUS
        page = mmap.mmap(page_fd, mmap.PAGESIZE)
        page[wire.KEY_AT : wire.KEY_AT + wire.KEY_BYTES] = key
        with contextlib.suppress(OSError):
            fcntl.fcntl(log_out, fcntl.F_SETPIPE_SZ, _LOG_PIPE_BYTES)
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = {**os.environ, "GIGQ_NB_WORKER": worker_name, MARK_VARIABLE: nonce.hex(), "MPLBACKEND": "Agg"}
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
    return ChildProcess(popen, birth, os.pidfd_open(popen.pid), near, far, log_out, page, nonce)


def _receive_now(sock: socket.socket) -> tuple[bytes, object]:
    """Read from a socket whose descriptor flags are shared with a child that blocks on it."""
    packet, ancillary, _, _ = sock.recvmsg(wire.PACKET_BYTES, 64, socket.MSG_DONTWAIT)
    for _level, _kind, data in ancillary:
        for i in range(0, len(data) - 3, 4):
            os.close(int.from_bytes(data[i : i + 4], sys.byteorder))
    return packet, None
