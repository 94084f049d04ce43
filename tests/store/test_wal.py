"""The write-ahead log: how much of it is in use, and the room that it is given ahead."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from gigq_nb.store.db import Database
from gigq_nb.store.wal import ROOM_BYTES, Wal


@pytest.fixture
def database(queue_path: Path) -> Database:
    return Database(queue_path, keep=True)


def write(database: Database, first: int, count: int) -> None:
    for n in range(first, first + count):
        with database.write(durable=False) as db:
            db.execute("insert into settings (name, value) values (?, ?)", (f"key {n:05}", "x" * 200))


def known_to_sqlite(database: Database) -> int:
    """Bytes of the frames that SQLite itself counts, header included."""
    with database.exclusive() as db:
        _, frames, _ = db.execute("pragma wal_checkpoint(passive)").fetchone()
        page_bytes = db.execute("pragma page_size").fetchone()[0]
    return 32 + frames * (24 + page_bytes)


@pytest.mark.parametrize("room", [False, True])
def test_its_used_part_is_what_sqlite_counts_whatever_stands_behind(database: Database, room: bool) -> None:
    if room:
        database.make_wal_room()
    for first in (0, 100):
        write(database, first, 30)
        assert database.wal_used_bytes() == known_to_sqlite(database)
    database.checkpoint(shrink=False)
    write(database, 200, 3)  # over the beginning: the frames of the turn before stand behind
    assert database.wal_used_bytes() == known_to_sqlite(database) < database.wal_bytes() // 4
    database.checkpoint()
    assert (database.wal_bytes(), database.wal_used_bytes()) == (0, 0)


def test_room_is_overwritten_and_whoever_finds_the_log_later_reads_all_of_it(database: Database, tmp_path: Path) -> None:
    database.make_wal_room()
    assert database.wal_bytes() == ROOM_BYTES
    write(database, 0, 300)
    assert database.wal_bytes() == ROOM_BYTES
    database.make_wal_room()  # there is nothing to lengthen, and nothing may be overwritten
    for end in ("", "-wal"):  # as after the death of all processes: no index of the log, SQLite reads it from its beginning
        shutil.copy(f"{database.path}{end}", tmp_path / f"found{end}")
    found = sqlite3.connect(tmp_path / "found")
    assert found.execute("select count(*) from settings where name like 'key %'").fetchone() == (300,)
    assert found.execute("pragma integrity_check").fetchone() == ("ok",)
    found.close()


def test_a_log_without_a_header_gets_no_room(database: Database) -> None:
    database.checkpoint()
    Wal(database.path).make_room()
    assert database.wal_bytes() == 0


@pytest.mark.parametrize("system", ["statx", "stat"])
def test_it_is_told_from_another_one_by_its_inode(tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if system == "stat":
        monkeypatch.setattr("gigq_nb.store.wal._statx", None)
    wal, name = Wal(tmp_path / "a.db"), tmp_path / "a.db-wal"
    assert wal.is_ours(), "there is none, and none is used"
    name.touch()
    assert wal.is_ours(), "the first one that is seen"
    os.replace(name, tmp_path / "elsewhere")
    assert not wal.is_ours()
    name.touch()
    assert not wal.is_ours()
    os.replace(tmp_path / "elsewhere", name)
    assert wal.is_ours()
