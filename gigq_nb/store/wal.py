"""The write-ahead log beside the file: which one it is, how much of it is in use, its room, and its fsync.

What an fsync costs is decided here. Where a file grew, or its times changed, its inode is written with it, which is a
second write to the disk. So the log is given room ahead, once, and looked at in a way that leaves its times alone:
Linux (6.13) keeps fine times for files that somebody asked for them, and a plain ``stat`` asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from ..errors import Unsynced

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no other
_AT_FDCWD, _STATX_INO, _INO_AT, _STATX_BYTES = -100, 0x100, 32, 256  # linux/fcntl.h, linux/stat.h
_INO = struct.Struct("=Q")
#: Of the log's header the page size and the salts, and of a frame's the salts (sqlite.org/fileformat2.html#walformat).
_HEADER, _HEADER_BYTES = struct.Struct(">8xI4x8s8x"), 32
_FRAME_BYTES, _SALTS_AT, _SALTS_BYTES = 24, 8, 8
ROOM_BYTES = 4 * 2**20


class Wal:
    """The WAL of one file, as a connection sees it. SQLite locks nothing on it: it may be opened and closed."""

    def __init__(self, path: Path) -> None:
        self.name = f"{path}-wal"
        self._encoded = os.fsencode(self.name)
        self._about = ctypes.create_string_buffer(_STATX_BYTES)
        self._inode: int | None = None
        self._handle: int | None = None
        self._handle_inode: int | None = None

    def remember(self) -> None:
        """A connection was opened: it uses the one that is here now."""
        self._inode = self._found()

    def is_ours(self) -> bool:
        """Whether the WAL beside the file is the one that the connection uses."""
        found = self._found()
        if self._inode is None:
            self._inode = found
        return found == self._inode

    def _found(self) -> int | None:
        if _statx is not None and _statx(_AT_FDCWD, self._encoded, 0, _STATX_INO, self._about) == 0:
            return int(_INO.unpack_from(self._about, _INO_AT)[0])
        try:
            return os.stat(self.name).st_ino
        except FileNotFoundError:
            return None

    def fsync(self) -> None:
        """What a commit with synchronous=NORMAL leaves out.

        Raises:
            Unsynced: the disk refused.
        """
        try:
            if self._handle is not None and self._handle_inode != self._inode:
                self.close()
            if self._handle is None:
                self._handle = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
                self._handle_inode = os.fstat(self._handle).st_ino
            _fdatasync(self._handle)
        except FileNotFoundError:
            return  # whoever removed it moved its content into the file before, or is_ours() tells
        except OSError as error:
            raise Unsynced(
                f"{self.name}: what was just stored may be gone after a power failure ({error}). Look at the disk, and"
                " whether it is there, before you try again"
            ) from error

    def bytes(self) -> int:
        """Its size."""
        try:
            return os.stat(self.name).st_size
        except OSError:
            return 0

    def used_bytes(self) -> int:
        """So much of it is frames of its present turn: they stand first, and only they have the salts of its header."""
        with contextlib.suppress(OSError, struct.error), open(self.name, "rb", buffering=0) as file:
            page_bytes, salts = _HEADER.unpack(os.pread(file.fileno(), _HEADER_BYTES, 0))
            frame_bytes = _FRAME_BYTES + page_bytes
            used, end = 0, (os.fstat(file.fileno()).st_size - _HEADER_BYTES) // frame_bytes
            while used < end:
                middle = (used + end) // 2
                if os.pread(file.fileno(), _SALTS_BYTES, _HEADER_BYTES + middle * frame_bytes + _SALTS_AT) == salts:
                    used = middle + 1
                else:
                    end = middle
            return _HEADER_BYTES + used * int(frame_bytes)
        return 0

    def make_room(self) -> None:
        """Lengthen it with zeros, which end the log for whoever reads it. Only for who holds the write lock.

        A disk without that much room will say so when the room is needed.
        """
        with contextlib.suppress(OSError), open(self.name, "r+b", buffering=0) as file:
            about = os.fstat(file.fileno())
            if 0 < about.st_size < ROOM_BYTES and about.st_ino == self._inode:  # an empty one has no header yet
                os.pwrite(file.fileno(), bytes(ROOM_BYTES - about.st_size), about.st_size)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _find_statx() -> Callable[..., int] | None:
    try:
        found = ctypes.CDLL(None).statx  # glibc 2.28
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    return found


_statx = _find_statx()
