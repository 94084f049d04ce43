"""Doctor: each thing that can be wrong is found, is called by its level, and comes with what to do."""

import json
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from gigq_nb import JobQueue, signing
from gigq_nb.commands import checks
from gigq_nb.commands.checks import BROKEN, FINE, NOTE, WARNING
from gigq_nb.store import filesystem, health
from gigq_nb.store.filesystem import Spill
from tests.commands.spoken import as_another_user, speak, wait_until

ORPHAN = "result-" + "0" * 8 + "-0000-7000-8000-" + "0" * 12


def findings(path: Path, *options: str) -> list[dict[str, str]]:
    """What doctor says about a file, as data."""
    return speak("--db", path, "doctor", *options).data


def about(path: Path, what: str) -> list[tuple[str, str]]:
    """(level, text with what to do) of the findings about one thing."""
    return [(one["level"], f"{one['says']} -> {one['todo']}") for one in findings(path) if one["about"] == what]


def old(path: Path) -> None:
    """Make a file two hours old."""
    os.utime(path, (time.time() - 7200, time.time() - 7200))


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_the_wal_reset_bug_is_known_by_version(version: tuple[int, int, int], affected: bool) -> None:
    assert health.has_wal_reset_bug(version) is affected


def test_a_healthy_queue_has_nothing_broken_and_nothing_to_look_at(queue_path: Path) -> None:
    signing.load_key()
    JobQueue(queue_path).close()
    answer = speak("--db", queue_path, "doctor")
    assert not answer.failed
    assert answer.text.endswith("Nothing is wrong.")
    assert {one["level"] for one in answer.data} <= {FINE, NOTE}
    assert {"versions", "key", "runtime folder", "disk", "file", "WAL", "workers", "logs"} <= {
        one["about"] for one in answer.data
    }
    json.dumps(answer.data)


@pytest.mark.filterwarnings("ignore:anybody can replace files")  # the folder is open on purpose: doctor is to say so
def test_every_finding_that_is_not_fine_says_what_to_do(queue_path: Path) -> None:
    JobQueue(queue_path).submit(len, "abc")
    os.chmod(queue_path.parent, 0o777)
    Path(f"{queue_path}-wal").touch()
    os.chmod(f"{queue_path}-wal", 0o644)
    bad = [one for one in findings(queue_path) if one["level"] in (WARNING, BROKEN)]
    assert len(bad) >= 3
    assert [one for one in bad if not one["todo"]] == []


def test_looking_changes_nothing(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    queue.submit(len, "abc")
    Spill(queue_path).write(ORPHAN, b"x")
    old(Spill(queue_path).folder / ORPHAN)
    queue.close()
    before = {one: one.read_bytes() for one in queue_path.parent.rglob("*") if one.is_file() and "-shm" not in one.name}
    findings(queue_path)
    assert {one: one.read_bytes() for one in before} == before


def test_a_file_that_is_not_there_is_not_made(queue_path: Path) -> None:
    assert about(queue_path, "file")[0][0] == NOTE
    assert not queue_path.exists()
    assert not signing.key_path().exists()


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\1" * 2000])
def test_what_is_no_queue_is_broken_and_left_alone(queue_path: Path, content: bytes) -> None:
    queue_path.write_bytes(content)
    answer = speak("--db", queue_path, "doctor")
    assert answer.failed
    assert [one["level"] for one in answer.data if one["about"] == "file"] == [BROKEN]
    assert queue_path.read_bytes() == content


def test_a_network_file_system_is_broken(queue_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    JobQueue(queue_path)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {queue_path.parent} rw - nfs4 host:/x rw\n")
    monkeypatch.setattr(filesystem, "MOUNTINFO", str(mounts))
    [(level, text)] = about(queue_path, "disk")
    assert level == BROKEN
    assert "nfs4" in text


def test_loose_permissions_are_found_and_fixed(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    Spill(queue_path).folder.mkdir(mode=0o755)
    os.chmod(Spill(queue_path).folder, 0o755)
    queue.close()
    [(level, text)] = about(queue_path, "permissions")
    assert (level, "chmod 700" in text) == (WARNING, True)
    findings(queue_path, "--fix")
    assert stat.S_IMODE(Spill(queue_path).folder.stat().st_mode) == 0o700
    assert about(queue_path, "permissions") == []


def test_a_key_that_others_could_read_is_found(queue_path: Path) -> None:
    signing.load_key()
    os.chmod(signing.key_path(), 0o644)
    assert WARNING in {level for level, _ in about(queue_path, "key")}


def test_a_damaged_key_is_broken(queue_path: Path) -> None:
    signing.load_key()
    signing.key_path().write_bytes(b"short")
    [(level, text)] = about(queue_path, "key")
    assert level == BROKEN
    assert "key import" in text


def test_open_jobs_without_a_worker_are_found(queue_path: Path) -> None:
    JobQueue(queue_path).submit(len, "abc")
    [(level, text)] = about(queue_path, "workers")
    assert level == WARNING
    assert "1 open job" in text
    assert "start_worker" in text


def test_a_living_worker_is_fine_and_its_log_is_named(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    worker = queue.start_worker(1)
    [(level, text)] = about(queue_path, "workers")
    [(_, log)] = about(queue_path, "logs")
    queue.stop_worker(timeout=60)
    assert (level, worker.name in text) == (FINE, True)
    assert worker.log in log
    assert Path(worker.log).exists()


def test_a_dead_worker_is_found_with_what_it_holds(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    worker = queue.start_worker(1, keep_alive=False)
    job = queue.submit(time.sleep, 600)
    wait_until(job.running)
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: about(queue_path, "workers")[0][0] == WARNING)
    text = about(queue_path, "workers")[0][1]
    assert f"{worker.name} (pid {worker.pid}" in text
    assert "is dead and holds 1 running job" in text
    job.cancel()


def test_a_silent_worker_is_found(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    worker = queue.start_worker(1)
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        with sqlite3.connect(queue_path) as db:
            db.execute("update workers set beat_at = beat_at - 120000")
        [(level, text)] = about(queue_path, "workers")
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    queue.stop_worker(timeout=60)
    assert level == WARNING
    assert "is silent for 2 minutes" in text
    assert f"kill -CONT {worker.pid}" in text


def test_jobs_of_another_key_python_or_environment_are_found(queue_path: Path, own_folder: Path) -> None:
    code = """
    import sys
    from gigq_nb import JobQueue
    queue = JobQueue(sys.argv[1])
    for n in range(3):
        queue.submit(len, "abc")
    """
    as_another_user(own_folder / "a", code, queue_path)
    queue = JobQueue(queue_path)
    queue.submit(len, "abc")
    [(level, text)] = about(queue_path, "jobs")
    assert level == WARNING
    assert "3 pending jobs signed with another key" in text
    assert "gigq-nb trust" in text
    with sqlite3.connect(queue_path) as db:
        db.execute("update runtimes set python = '3.99' where key_id = ?", (signing.key_id(signing.load_key()),))
    assert "1 pending job for Python 3.99" in about(queue_path, "jobs")[1][1]
    with sqlite3.connect(queue_path) as db:
        db.execute("update runtimes set python = ?, prefix = '/elsewhere'", (signing.PYTHON,))
        db.execute("update runtimes set key_id = ? where id = 2", (signing.key_id(signing.load_key()),))
    assert "--any-environment" in about(queue_path, "jobs")[1][1]


def test_a_payload_that_was_changed_is_broken(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    good, bad = queue.submit(len, "abc"), queue.submit(len, "abcd")
    with sqlite3.connect(queue_path) as db:
        db.execute("update arguments set payload = cast(payload || x'00' as blob) where job = 2")
    answer = speak("--db", queue_path, "doctor")
    [one] = [one for one in answer.data if one["about"] == "payloads"]
    assert answer.failed
    assert one["level"] == BROKEN
    assert bad in one["says"]
    assert good not in one["says"]


def test_a_changed_function_is_broken(queue_path: Path) -> None:
    JobQueue(queue_path).submit(len, "abc")
    with sqlite3.connect(queue_path) as db:
        db.execute("update functions set payload = cast(payload || x'00' as blob)")
    assert about(queue_path, "payloads")[0][0] == BROKEN


def test_orphaned_files_are_found_and_swept_but_young_and_strange_ones_stay(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    spill = Spill(queue_path)
    kept = queue.submit(len, b"x" * 17_000_000)
    spill.write(ORPHAN, b"x")
    old(spill.folder / ORPHAN)
    (spill.folder / ".0123456789abcdef.draft").touch()
    old(spill.folder / ".0123456789abcdef.draft")
    young = ORPHAN.replace("result", "arguments")
    spill.write(young, b"x")
    (spill.folder / "function-notes.txt").touch()
    old(spill.folder / "function-notes.txt")
    old(spill.folder / f"arguments-{kept}")
    [(level, text)] = about(queue_path, "large values")
    assert level == WARNING
    assert "2 files" in text
    answer = speak("--db", queue_path, "doctor", "--fix")
    assert [one for one in answer.data if one["about"] == "large values"] == []
    assert spill.names() == sorted([f"arguments-{kept}", young, "function-notes.txt"])


def test_a_missing_value_is_broken(queue_path: Path) -> None:
    job = JobQueue(queue_path).submit(len, b"x" * 17_000_000)
    (Spill(queue_path).folder / f"arguments-{job}").unlink()
    [(level, text)] = about(queue_path, "large values")
    assert level == BROKEN
    assert f"arguments-{job}" in text


def test_a_schema_that_gigq_nb_did_not_make_is_broken(queue_path: Path) -> None:
    JobQueue(queue_path).close()
    with sqlite3.connect(queue_path) as db:
        db.execute("create trigger sly after update on jobs begin delete from results; end")
    [(level, text)] = about(queue_path, "file")
    assert (level, "trigger 'sly'" in text) == (BROKEN, True)


def test_a_table_that_somebody_added_is_told_and_does_no_harm(queue_path: Path) -> None:
    JobQueue(queue_path).close()
    with sqlite3.connect(queue_path) as db:
        db.execute("create table notes (text)")
    assert about(queue_path, "schema") == [(NOTE, "somebody added table notes, which gigq_nb leaves alone -> ")]


def test_a_large_write_ahead_log_is_found(queue_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = JobQueue(queue_path)
    queue.submit(len, "abc")
    monkeypatch.setattr(checks, "LARGE_WAL_BYTES", 1_000)
    assert about(queue_path, "WAL")[0][0] == WARNING


def test_an_error_in_a_workers_log_is_found(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    worker = queue.start_worker(1)
    queue.stop_worker(timeout=60)
    with open(worker.log, "a") as log:
        log.write("2026-01-01 00:00:00,000 ERROR it went wrong \x1b[2J\n")
    level, text = about(queue_path, "logs")[1]
    assert level == WARNING
    assert "it went wrong \\x1b[2J" in text
