"""Large values beside the database travel with a backup."""

import os
import stat
from pathlib import Path

import pytest

from gigq_nb import JobQueue
from gigq_nb.errors import InvalidArgument
from gigq_nb.store.filesystem import SPILL_BYTES, Spill

NAME = "result-" + "0" * 8 + "-0000-7000-8000-" + "0" * 12


def test_a_backup_holds_the_large_values_too(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs.db")
    large = os.urandom(SPILL_BYTES + 1)
    job = queue.submit(len, large)
    copy = JobQueue(queue.backup(tmp_path / "copy.db"))
    assert copy._loader.arguments([job])[job] == ((large,), {})


def test_a_backup_that_is_opened_as_a_queue_has_a_write_ahead_log_again(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs.db")
    queue.submit(len, "abc")
    copy = queue.backup(tmp_path / "copy.db")
    assert not Path(f"{copy}-wal").exists()
    with JobQueue(copy)._database.read() as db:
        assert db.execute("pragma journal_mode").fetchone()[0] == "wal"


def test_copied_values_are_private_and_equal_byte_by_byte(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "a.db")
    value = os.urandom(40_000_000)  # more than one piece
    spill.write(NAME, value)
    assert spill.copy_to(tmp_path / "b.db") == 1
    copy = Spill(tmp_path / "b.db")
    assert copy.read(NAME, len(value)) == value
    assert stat.S_IMODE((copy.folder / NAME).stat().st_mode) == 0o600
    assert copy.names() == [NAME]


def test_links_and_strange_names_beside_the_database_are_not_copied(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "a.db")
    spill.folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (spill.folder / NAME).symlink_to(tmp_path / "secret")
    (spill.folder / "notes.txt").write_text("not ours")
    assert spill.copy_to(tmp_path / "b.db") == 0
    assert Spill(tmp_path / "b.db").names() == []


def test_a_backup_does_not_replace_what_is_there(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "jobs.db")
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(InvalidArgument, match="is there already"):
        queue.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"
