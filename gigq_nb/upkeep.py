"""What keeps a queue small and safe: pruning what is over, with its files, and copying all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InvalidArgument
from .store import pruning
from .store.db import Database
from .store.filesystem import Spill
from .store.opening import resolve

YOUNG_MS = 3_600_000  # a file beside the database that is younger may be of a submit that is under way


def prune(database: Database, statuses: Sequence[str], before: int | None, now: int) -> int:
    """Remove jobs of these final statuses that ended before a time, with their files, and files that no row names."""
    spill = Spill(database.path)
    with database.write() as db:
        removed, files = pruning.prune(db, statuses, before)
    for name in files:
        spill.remove(name)
    if spill.names():
        with database.read() as db:
            pruning.sweep(db, spill, now - YOUNG_MS)
    return removed


def backup(database: Database, path: Any) -> Path:
    """A consistent copy of the file and of the files beside it.

    Raises:
        InvalidArgument: something is there already.
    """
    target = resolve(path)
    if target.exists():
        raise InvalidArgument(f"{target} is there already; name a new file for the backup")
    database.backup(target)
    spill = Spill(database.path)
    if spill.names():
        spill.copy_to(target)
    return target
