"""A lock on the file that outlives a ``shutil.copy``: SQLite's own are dropped when any descriptor of the file is closed.

POSIX locks belong to a process, not to a descriptor (sqlite.org/howtocorrupt.html, 2.2): after a copy in the kernel the
next visitor takes itself for the last one, and removes the WAL that the kernel still writes. So a connection also has
an open file description lock (fcntl(2), Linux 3.15) on the bytes on which SQLite's readers hold theirs. It goes with
its own descriptor only, and keeps everybody else from the exclusive lock that removing the WAL needs.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from dataclasses import dataclass

#: SQLite's SHARED_FIRST and SHARED_SIZE (os.h): the bytes that readers lock.
_FIRST, _SIZE = 0x40000002, 510
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of Linux on 64 bits: type, whence, start, length, pid (0 for these locks)
_SET = getattr(fcntl, "F_OFD_SETLK", None)
_MOST_UNUSED = 8


@dataclass(slots=True)
class _Held:
    handle: int
    users: int = 0


class Holding:
    """The locks of this process, by (device, inode). A descriptor is kept when it is let go: closing it drops SQLite's locks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[int, int], _Held] = {}

    def take(self, path: str, inode: tuple[int, int]) -> bool:
        """Hold the file. False where the system has no such locks, or somebody has it exclusively: then there is none."""
        if _SET is None:
            return False
        with self._lock:
            held = self._held.pop(inode, None)
            if held is None:
                held = _Held(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            self._held[inode] = held  # the last one used stands last
            if not held.users and not _set(held.handle, fcntl.F_RDLCK):
                return False
            held.users += 1
            self._forget_unused()
            return True

    def release(self, inode: tuple[int, int]) -> None:
        """Let go what :meth:`take` took."""
        with self._lock:
            held = self._held.get(inode)
            if held is not None and held.users:
                held.users -= 1
                if not held.users:
                    _set(held.handle, fcntl.F_UNLCK)

    def _forget_unused(self) -> None:
        unused = [inode for inode, held in self._held.items() if not held.users]
        for inode in unused[:-_MOST_UNUSED]:
            os.close(self._held.pop(inode).handle)

    def forget_in_fork(self) -> None:
        """In the child of a fork, which has the parent's descriptions: to close is not to unlock them."""
        self._lock = threading.Lock()
        for held in self._held.values():
            os.close(held.handle)
        self._held.clear()


def _set(handle: int, kind: int) -> bool:
    try:
        fcntl.fcntl(handle, _SET or 0, _FLOCK.pack(kind, os.SEEK_SET, _FIRST, _SIZE, 0))
    except OSError:
        return False
    return True


holding = Holding()
