"""The key goes from machine to machine, and is never lost on the way."""

import os
import stat
from pathlib import Path

import pytest

from gigq_nb import JobQueue, Worker, signing
from gigq_nb.errors import GigQError
from tests.commands.spoken import as_another_user, speak


def test_an_exported_key_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        speak("key", "export", tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_bytes() == signing.load_key()
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_export_does_not_write_over_a_file_unless_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("something of mine")
    with pytest.raises(GigQError, match="is there already"):
        speak("key", "export", tmp_path / "key")
    assert (tmp_path / "key").read_text() == "something of mine"
    speak("key", "export", tmp_path / "key", "--replace")
    assert (tmp_path / "key").read_bytes() == signing.load_key()


def test_export_does_not_follow_a_link_to_another_place(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("not to be touched")
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GigQError, match="is there already"):
        speak("key", "export", tmp_path / "key")
    speak("key", "export", tmp_path / "key", "--replace")
    assert (tmp_path / "elsewhere").read_text() == "not to be touched"
    assert not (tmp_path / "key").is_symlink()


def test_jobs_of_another_machine_run_once_its_key_is_imported(tmp_path: Path, own_folder: Path) -> None:
    as_another_user(
        own_folder / "a",
        """
        import sys
        from gigq_nb import JobQueue
        JobQueue(sys.argv[1] + "/jobs.db").submit(len, "abcd")
        """,
        tmp_path,
    )
    queue = JobQueue(tmp_path / "jobs.db")
    assert not Worker(queue.path).process_one()
    speak("key", "import", own_folder / "a" / "jupyter_data_dir" / "gigq_nb" / "key", "--replace")
    assert Worker(queue.path).process_one()
    [job] = JobQueue(queue.path).list_jobs()
    assert JobQueue(queue.path).job(job["id"]).result() == 4


def test_import_does_not_replace_a_key_unless_told_and_then_keeps_the_old_one(tmp_path: Path) -> None:
    old = signing.load_key()
    (tmp_path / "new").write_bytes(bytes(range(32)))
    with pytest.raises(GigQError, match="add --replace"):
        speak("key", "import", tmp_path / "new")
    assert signing.load_key() == old
    kept = Path(speak("key", "import", tmp_path / "new", "--replace").data["kept"])
    assert signing.load_key() == bytes(range(32))
    assert kept.read_bytes() == old
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(signing.key_path().stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_key_is_not_imported(tmp_path: Path, content: bytes) -> None:
    old = signing.load_key()
    (tmp_path / "new").write_bytes(content)
    with pytest.raises(GigQError, match="is no signing key"):
        speak("key", "import", tmp_path / "new", "--replace")
    assert signing.load_key() == old


def test_the_key_itself_is_never_shown(tmp_path: Path) -> None:
    key = signing.load_key()
    for answer in (speak("key"), speak("key", "export", tmp_path / "key")):
        said = answer.text + repr(answer.data)
        assert key.hex() not in said
        assert repr(key) not in said
        assert signing.key_id(key)[:8] in said


def test_showing_the_key_makes_none() -> None:
    assert "No key yet" in speak("key").text
    assert not signing.key_path().exists()


def test_a_file_is_asked_for() -> None:
    with pytest.raises(GigQError, match="a file is missing"):
        speak("key", "export")
