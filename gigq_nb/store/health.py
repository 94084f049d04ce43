"""What can be wrong with a file, for ``doctor`` and ``trust``: read only, and nothing is repaired here."""

from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

from . import filesystem
from .filesystem import Spill, file_system_of
from .schema import migrations

Db = sqlite3.Connection

#: sqlite.org/wal.html#walresetbug: 3.7.0 to 3.51.2, but for two branches that got the repair.
_BUG_FROM, _BUG_UNTIL = (3, 7, 0), (3, 51, 3)
_REPAIRED = ((3, 44, 6), (3, 50, 7))


@dataclass(frozen=True, slots=True)
class Mode:
    """Who owns a path and who may use it."""

    path: Path
    uid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A runtime with jobs that are not done."""

    key_id: str
    python: str
    prefix: str
    pending: int
    running: int


def sqlite_version() -> tuple[int, int, int]:
    """The SQLite that Python is linked with."""
    return sqlite3.sqlite_version_info


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can, very rarely, lose commits when a checkpoint meets a commit that resets the WAL."""
    if not _BUG_FROM <= version < _BUG_UNTIL:
        return False
    return not any(version[:2] == good[:2] and version >= good for good in _REPAIRED)


def file_system(path: Path, mountinfo_file: str = "") -> str:
    """The type of the file system that holds a path; empty when nobody can tell."""
    try:
        with open(mountinfo_file or filesystem.MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            return file_system_of(path, file.read())
    except OSError:
        return ""


def modes(path: Path) -> list[Mode]:
    """The file, what SQLite and the queue keep beside it, and its folder (last); without opening any of them."""
    found = []
    for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), Spill(path).folder, path.parent):
        try:
            about = os.lstat(one)
        except OSError:
            continue
        found.append(Mode(one, about.st_uid, stat.S_IMODE(about.st_mode)))
    return found


def pragmas(db: Db) -> dict[str, int | str]:
    """What the file says of itself."""
    names = ("application_id", "user_version", "journal_mode", "page_size", "page_count", "freelist_count")
    return {name: db.execute(f"pragma {name}").fetchone()[0] for name in names}


def newest_schema() -> int:
    """The version that this gigq_nb writes."""
    return migrations()[-1][0]


def quick_check(db: Db, most: int = 5) -> list[str]:
    """What SQLite finds damaged; nothing when the file is sound."""
    said = [str(row[0]) for row in db.execute(f"pragma quick_check({most:d})")]
    return [] if said == ["ok"] else said


def waiting(db: Db) -> list[Waiting]:
    """Runtimes with open jobs, by the partial indexes where there are such."""
    return [
        Waiting(*row)
        for row in db.execute(
            "select r.key_id, r.python, r.prefix, sum(j.status = 'pending'), sum(j.status = 'running') from jobs j"
            " join runtimes r on r.id = j.runtime where j.status in ('pending', 'running') group by r.id order by r.id"
        )
    ]


def children_of_the_gone(db: Db) -> list[tuple[str, int, int]]:
    """(worker, pid, birth) of recorded children whose worker is known to be gone."""
    return db.execute(
        "select w.name, c.pid, c.birth from children c join workers w on w.id = c.worker where w.state = 'gone' order by c.pid"
    ).fetchall()


def missing_files(db: Db, spill: Spill, most: int = 100) -> list[str]:
    """Values that a row says are in a file of their own, and are not."""
    there = set(spill.names())
    named = [
        f"arguments-{job_id}"
        for (job_id,) in db.execute("select j.id from arguments a join jobs j on j.seq = a.job where a.payload is null")
    ]
    named += [
        f"result-{job_id}"
        for (job_id,) in db.execute("select j.id from results r join jobs j on j.seq = r.job where r.payload is null")
    ]
    named += [f"function-{digest.hex()}" for (digest,) in db.execute("select digest from functions where payload is null")]
    return [name for name in named if name not in there][:most]
