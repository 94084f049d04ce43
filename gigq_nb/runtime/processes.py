"""Which process is which, whether it lives, and how to end it with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import time

from ..store.workers import Process


@functools.cache
def boot_id() -> str:
    """A name for this boot of the machine (proc(5))."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def pid_namespace() -> int:
    """The namespace in which this process's pids are valid."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def birth_of(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none or it is a zombie (proc(5), fields 3 and 22)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def session_of(pid: int) -> int | None:
    """The session of a process, also of a zombie (proc(5), field 6)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[3])
    except OSError:
        return None


def me() -> Process:
    """This process."""
    return Process(socket.gethostname(), boot_id(), pid_namespace(), os.getpid(), birth_of(os.getpid()) or 0)


def mark_of(worker: Process, number: int, queue: os.PathLike[str]) -> str:
    """What stands in the environment of all that a worker starts: names may be given twice, this is not."""
    return f"{worker.pid}-{worker.birth}-{number}-{os.stat(queue).st_ino}"


def is_alive(who: Process) -> bool | None:
    """True or False for a process of this machine and namespace; None when nobody here can tell.

    A process of an earlier boot of this host is dead whatever its pid says.
    """
    if who.boot_id != boot_id():
        return False if who.host == socket.gethostname() else None
    if who.pid_ns != pid_namespace():
        return None
    return birth_of(who.pid) == who.birth


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(one) for one in file.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    """All processes below ``pid`` (children first)."""
    found: list[int] = []
    frontier = [pid]
    while frontier:
        below = [one for parent in frontier for one in _children_of(parent)]
        found += below
        frontier = below
    return found


def children_of_me() -> list[int]:
    """The direct children of this process."""
    return _children_of(os.getpid())


def marked(variable: str, value: str) -> list[int]:
    """Processes of this user whose environment has ``variable=value``: also those that left their session."""
    wanted = os.fsencode(f"{variable}={value}")
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
    return found


def send_signal(pid: int, number: int, birth: int | None = None) -> bool:
    """Signal one process, never pid 1 or below, never ourselves, never one that is not the one that is meant."""
    if pid <= 1 or pid == os.getpid() or (birth is not None and birth_of(pid) != birth):
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_tree(pid: int, birth: int | None, *, mark: tuple[str, str] | None = None, number: int = signal.SIGKILL) -> int:
    """Send a signal to a process and all that it started, also what left its group or session. Returns how many."""
    if pid <= 1 or pid == os.getpid():
        return 0
    reached = 0
    if birth is None or birth_of(pid) == birth:
        below = descendants(pid)
        for one in [pid, *below]:
            reached += send_signal(one, number)
    if mark is not None:
        for one in marked(*mark):
            reached += send_signal(one, number)
    return reached


def wait_gone(pids: list[tuple[int, int | None]], limit_s: float) -> list[int]:
    """Wait until processes (pid, birth) are gone or zombies. Returns those that are still there."""
    end_s = time.monotonic() + limit_s
    while True:
        left = [pid for pid, birth in pids if (now := birth_of(pid)) is not None and (birth is None or now == birth)]
        if not left or time.monotonic() > end_s:
            return left
        time.sleep(0.005)


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, shared pages counted in each (proc(5), statm)."""
    pages = 0
    for one in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{one}/statm") as file:
            fields = file.read().split()
            pages += int(fields[1]) - int(fields[2])
    return pages * os.sysconf("SC_PAGE_SIZE")


def set_subreaper(on: bool) -> bool:
    """Make this process the one that inherits the orphans of its descendants, or not (prctl(2)). Returns what it was."""
    libc, was = ctypes.CDLL(None, use_errno=True), ctypes.c_int(0)
    libc.prctl(37, ctypes.byref(was), 0, 0, 0)
    libc.prctl(36, int(on), 0, 0, 0)
    return bool(was.value)
