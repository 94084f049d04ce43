"""A disk that loses power: what a recorded session wrote, and every state in which a power cut could leave it.

POSIX promises little: what is written is on the disk after fsync() of the file, its name after fsync() of its folder.
Until then any part of it may be there or not, torn at the boundary of a sector. Names change in their order.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "pwrite64,write,ftruncate,fdatasync,fsync,unlink,unlinkat,rename,renameat,renameat2,openat"
_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(.*)")
_FD = re.compile(r"(\d+)<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')


@dataclass
class Call:
    """One system call that succeeded."""

    name: str
    text: str
    result: int

    def strings(self) -> list[bytes]:
        return [_bytes(one) for one in _TEXT.findall(self.text)]

    def fd(self) -> tuple[int, str]:
        match = _FD.search(self.text)
        assert match, self.text
        return int(match[1]), _bytes(match[2]).decode()

    def last_number(self) -> int:
        return int(self.text.rpartition(",")[2].rstrip(") "))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()


def calls(trace: Path) -> Iterator[Call]:
    """The calls of `strace -f -y -xx`, each when it had returned."""
    begun: dict[str, str] = {}
    with open(trace) as file:
        for line in file:
            match = _LINE.match(line.rstrip("\n"))
            if not match:
                continue
            pid, name, rest = match.groups()
            if rest.endswith("<unfinished ...>"):
                begun[pid] = rest.removesuffix("<unfinished ...>")
                continue
            if rest.startswith(" resumed>"):
                rest = begun.pop(pid, "") + rest.removeprefix(" resumed>")
            head, _, tail = rest.rpartition(" = ")
            result = re.match(r"-?\d+", tail)
            if head and result and int(result[0]) >= 0:
                yield Call(name, head, int(result[0]))


@dataclass
class File:
    """Bytes as a reader sees them, and what of that is surely on the disk."""

    now: bytearray = field(default_factory=bytearray)
    sure: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, bytes); (size, None): cut off

    def write(self, offset: int, data: bytes | None) -> None:
        _apply(self.now, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self.sure, self.pending = bytes(self.now), []

    def after_a_cut(self, rng: random.Random, share: float) -> bytes:
        """What may be left: each pending write wholly, partly or not at all."""
        left = bytearray(self.sure)
        for offset, data in self.pending:
            if rng.random() >= share:
                continue
            if data is not None and len(data) > SECTOR and rng.random() < 0.3 * (share < 1):
                data = data[: SECTOR * rng.randrange(1, 1 + len(data) // SECTOR)]
            _apply(left, offset, data)
        return bytes(left)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


class Disk:
    """The folders of a session, call by call."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)
        self.names: dict[str, File] = {}
        self.sure_names: dict[str, File] = {}
        self.pending_names: list[tuple[str, str, File]] = []  # ("put" or "take", name, file)
        self.open: dict[int, File] = {}
        self.said: list[str] = []

    def feel(self, call: Call) -> bool:
        """Let a call happen. Returns whether it changed the disk, or said something."""
        if call.name == "openat":
            return self._open(call)
        if call.name in ("pwrite64", "write", "ftruncate", "fdatasync", "fsync"):
            return self._use(call)
        paths = [one.decode() for one in call.strings()]
        if not paths or not paths[0].startswith(self.top):
            return False
        if call.name.startswith("unlink"):
            self._take(paths[0])
        else:
            file = self.names[paths[0]]
            self._take(paths[0])
            self._put(paths[1], file)
        return True

    def _open(self, call: Call) -> bool:
        path = call.strings()[0].decode()
        self.open.pop(call.result, None)
        if not path.startswith(self.top) or "O_DIRECTORY" in call.text:
            return False
        created = path not in self.names and "O_CREAT" in call.text
        if created:
            self._put(path, File())
        if path in self.names:
            self.open[call.result] = self.names[path]
        return created

    def _use(self, call: Call) -> bool:
        fd, path = call.fd()
        if call.name == "write" and fd == 1:
            self.said += call.strings()[0].decode().splitlines()
            return True
        if fd not in self.open:
            if call.name.endswith("sync") and path.startswith(self.top):  # a folder
                self.sure_names, self.pending_names = dict(self.names), []
                return True
            return False
        file = self.open[fd]
        if call.name.endswith("sync"):
            file.sync()
        elif call.name == "ftruncate":
            file.write(call.last_number(), None)
        else:
            data = call.strings()[0][: call.result] if call.strings() else b""
            file.write(call.last_number() if call.name == "pwrite64" else len(file.now), data)
        return True

    def _put(self, path: str, file: File) -> None:
        self.names[path] = file
        self.pending_names.append(("put", path, file))

    def _take(self, path: str) -> None:
        self.pending_names.append(("take", path, self.names.pop(path)))

    def after_a_cut(self, rng: random.Random) -> dict[str, bytes]:
        """One state in which the power may have left it: content by name. Shared memory is gone."""
        share = rng.choice([0.0, 0.0, 0.3, 0.6, 0.9, 1.0, 1.0])
        names = dict(self.sure_names)
        kept = rng.choice([0, len(self.pending_names), rng.randint(0, len(self.pending_names))])
        for what, name, file in self.pending_names[:kept]:
            if what == "put":
                names[name] = file
            else:
                names.pop(name, None)
        return {name: file.after_a_cut(rng, share) for name, file in names.items() if not name.endswith("-shm")}
