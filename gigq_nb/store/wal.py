"""The write-ahead log beside the file: which one it is, how large, and its fsync outside of a transaction."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import Unsynced

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no other


class Wal:
    """The WAL of one file, as a connection sees it. SQLite locks nothing on it: it may be opened and closed."""

    def __init__(self, path: Path) -> None:
        self.name = f"{path}-wal"
        self._inode: int | None = None
        self._handle: int | None = None

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
            if self._handle is not None and os.fstat(self._handle).st_ino != self._inode:
                self.close()
            if self._handle is None:
                self._handle = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
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

    def close(self) -> None:
        """Give the descriptor back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
