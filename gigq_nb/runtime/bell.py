"""Wake, do not poll: datagram sockets in the user's own 0700 folder tell workers of new jobs and kernels of settled ones.

A ring is a hint and may be lost; whoever sleeps also looks by itself from time to time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import select
import socket
import stat
import time
from pathlib import Path

from ..errors import GigQError
from ..signing import data_dir

#: What a ring can say: there is work or a request; a worker came or went.
WORK, PEERS = b"!", b"P"
#: File systems keep times in steps of a few milliseconds: two changes within one step look like one.
_SETTLED_NS = 100_000_000


def runtime_dir() -> Path:
    """The user's folder for sockets, 0700: below XDG_RUNTIME_DIR or JUPYTER_RUNTIME_DIR, else below the data folder.

    Raises:
        GigQError: somebody else owns the folder.
    """
    base = os.environ.get("JUPYTER_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "gigq_nb" if base and os.path.isdir(base) else data_dir() / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise GigQError(f"{folder} is not a folder of your own; remove it, or set JUPYTER_RUNTIME_DIR")
    if about.st_mode & 0o077:
        os.chmod(folder, 0o700)
    return folder


def room_of(path: Path) -> Path:
    """The folder for the sockets of one queue."""
    about = os.stat(path)
    name = hashlib.sha256(os.fsencode(f"{path}\0{about.st_dev}\0{about.st_ino}")).hexdigest()[:16]
    folder = runtime_dir() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class Bell:
    """Rings sockets of a queue by their role: ``w`` for workers, ``k`` for those who wait for jobs to end."""

    def __init__(self, path: Path) -> None:
        self.room = room_of(path)
        self._room_name = str(self.room)
        # A path of a socket has at most 107 bytes; through the folder's descriptor every folder is near.
        self._folder = os.open(self.room, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._known: tuple[int, list[str]] = (0, [])
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def _at(self, name: str) -> str:
        return f"/proc/self/fd/{self._folder}/{name}"

    def ring(self, role: str, what: bytes = WORK) -> int:
        """Wake everybody of a role, saying what happened in one byte. Returns how many sockets took it."""
        woken = 0
        for name in self._names():
            if name[0] == role:
                try:
                    self._out.sendto(what, self._at(name))
                    woken += 1
                except ConnectionRefusedError:  # its process is gone
                    with contextlib.suppress(OSError):
                        os.unlink(self.room / name)
                except OSError:  # its queue is full: it is awake anyway
                    woken += 1
        return woken

    def _names(self) -> list[str]:
        """Who listens. The list is kept while the folder's time says so, and that time is old enough to be trusted."""
        try:
            changed = os.stat(self._room_name).st_mtime_ns
            if changed != self._known[0] or time.time_ns() - changed < _SETTLED_NS:
                self._known = (changed, os.listdir(self.room))
        except FileNotFoundError:
            return []
        return self._known[1]

    def listen(self, role: str) -> Ear:
        """A socket that hears rings for a role; close it."""
        name = f"{role}{os.getpid()}-{secrets.token_hex(4)}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.bind(self._at(name))
        except BaseException:
            sock.close()
            raise
        return Ear(sock, self.room / name)

    def close(self) -> None:
        """Give the descriptors back."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self._out.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


class Ear:
    """The hearing side of a :class:`Bell`."""

    def __init__(self, sock: socket.socket, path: Path) -> None:
        self.sock, self.path = sock, path

    def fileno(self) -> int:
        """For select and asyncio."""
        return self.sock.fileno()

    def drain(self) -> bytes:
        """Take all rings that came. Returns what they said, each byte once; nothing: no ring."""
        said = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                said.add(self.sock.recv(1))
        return b"".join(said)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)
        return bool(self.drain())

    def close(self) -> None:
        """Stop hearing."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.sock.close()

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def now_ms() -> int:
    """UTC milliseconds: the clock at the edge."""
    return time.time_ns() // 1_000_000
