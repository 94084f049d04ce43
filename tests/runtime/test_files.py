"""Section F of the fault matrix with workers at work: the file is locked, full, deleted, replaced under them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue, task
from tests import invariants
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, note, outcomes, until, worker_rows
from tests.store.disks import can_mount, fill, small_disk

Start = Callable[..., WorkerProcess]


def waits_and_makes(go: Path, ledger: Path, size: int) -> bytes:
    """The same, with a result that no row of its submit was as large as."""
    return waits_for(go, ledger, size * b"*")


def waits_for(go: Path, ledger: Path, result: Any) -> Any:
    """A job that ends when it is told to, and writes down that it did."""
    note(ledger, "begun")
    while not go.exists():
        time.sleep(0.01)
    note(ledger, "ended")
    return result


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The write lock, held by a process that has nothing to do with us."""
    code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('begin immediate'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        yield
        holder.communicate(b"\n")


# ------------------------------------------------------------------------------------------- F1: locked


def test_a_job_that_ends_while_the_file_is_locked_keeps_its_result_and_is_not_run_again(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    """Longer than the lease: a lock silences everybody, and nobody is taken for dead."""
    team = [start(concurrency=1, lease=2) for _ in range(2)]
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    job = queue.submit(waits_for, go, ledger, "kept")
    until(lambda: lines(ledger), "it runs")
    with locked(queue.path):
        go.touch()
        until(lambda: "ended" in lines(ledger), "it ended")
        time.sleep(6)
        assert job.status == "running", "reading goes on"
    assert job.result(LIMIT_S) == "kept"
    assert (lines(ledger), outcomes(queue, job)) == (["begun", "ended"], ["completed"])
    assert [one.process.poll() for one in team] == [None, None]
    assert {row.state for row in worker_rows(queue)} == {"running"}


def test_a_job_that_hangs_is_ended_while_the_file_is_locked(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1)
    ledger = tmp_path / "ledger"

    @task(timeout=1)
    def hangs() -> None:
        note(ledger, f"{os.getpid()}")
        time.sleep(600)

    job = queue.submit(hangs)
    [pid] = until(lambda: lines(ledger), "it runs")
    with locked(queue.path):
        until(lambda: not is_alive(int(pid)), "its process is gone although nothing can be written")
    assert job.wait(LIMIT_S)
    assert (job.status, one.process.poll()) == ("timeout", None)


def test_a_worker_that_is_told_to_stop_while_the_file_is_locked_writes_its_results_first(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    one = start(concurrency=1)
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    job = queue.submit(waits_for, go, ledger, "kept")
    until(lambda: lines(ledger), "it runs")
    with locked(queue.path):
        go.touch()
        until(lambda: "ended" in lines(ledger), "it ended")
        one.send(signal.SIGTERM)
        time.sleep(1)
    assert one.wait() == 0
    assert (job.status, job.result(1)) == ("completed", "kept")


# ------------------------------------------------------------------------------------------- F3: full


@pytest.mark.parametrize("large", [False, True])
def test_a_job_that_ends_on_a_full_disk_keeps_its_result_until_there_is_room(
    tmp_path: Path, need: Any, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    need(can_mount(), "the right to mount a small disk (root)")
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    with small_disk(tmp_path / "disk", "64m") as disk:
        queue = JobQueue(disk / "jobs.db")
        size = 30_000_000 if large else 8_000_000  # large ones go into a file of their own; the log has no room for any
        job = queue.submit(waits_and_makes, go, ledger, size)
        other = queue.submit(pow, 2, 3)
        one = WorkerProcess(queue.path, log_folder=tmp_path, concurrency=1)
        try:
            one.wait_ready()
            until(lambda: lines(ledger), "it runs")
            make_room = fill(disk)
            go.touch()
            until(lambda: "ended" in lines(ledger), "it ended")
            until(lambda: "is kept" in one.log.read_text() or "full" in one.log.read_text(), "the worker says what is wrong")
            time.sleep(3)
            assert one.process.poll() is None
            assert job.status == "running"
            make_room()
            assert len(job.result(LIMIT_S)) == size
            assert (lines(ledger), outcomes(queue, job)) == (["begun", "ended"], ["completed"])
            assert other.result(LIMIT_S) == 8
            one.send(signal.SIGTERM)
            assert one.wait() == 0
            queue.close()
            assert invariants.broken_file(queue.path, at_the_end=True) == []
        finally:
            one.end()


# ------------------------------------------------------------------------------------------- F7, F9: deleted, replaced


def test_a_worker_whose_file_was_deleted_says_so_and_ends_with_all_that_it_ran(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    one = start(concurrency=1)
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    queue.submit(waits_for, go, ledger, None)
    until(lambda: lines(ledger), "it runs")
    children = one.children
    for file in queue.path.parent.glob("jobs.db*"):
        if file.is_file():
            file.unlink()
    assert one.wait() not in (0, -signal.SIGKILL)
    assert "was deleted while it was in use" in one.log.read_text()
    assert not any(is_alive(pid) for pid in children)
    assert not queue.path.exists(), "nobody makes an empty queue where one was deleted"


def test_a_worker_whose_file_was_replaced_ends_what_ran_and_goes_on_with_the_new_one(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    """A restored backup: its jobs are those that count now."""
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    kept = queue.submit(pow, 2, 5)
    backup = queue.backup(tmp_path / "backup.db")
    one = start(concurrency=1)
    assert kept.result(LIMIT_S) == 32
    only_in_the_old = queue.submit(waits_for, go, ledger, None)
    until(lambda: lines(ledger), "it runs")
    [child] = one.children
    os.replace(backup or tmp_path / "backup.db", queue.path)
    for name in ("jobs.db-wal", "jobs.db-shm"):
        queue.path.with_name(name).unlink(missing_ok=True)
    restored = JobQueue(queue.path)
    assert restored.job(kept).result(LIMIT_S) == 32
    assert restored.submit(pow, 2, 6).result(LIMIT_S) == 64
    assert not is_alive(child)
    assert not restored.get_status(only_in_the_old)["exists"]
    assert one.process.poll() is None
    restored.close()


# ------------------------------------------------------------------------------------------- D8, D6: what cannot be run


def test_a_payload_that_was_changed_fails_as_damaged_and_nothing_of_it_is_run(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    job, sound = queue.submit(marker.write_text, "ran"), queue.submit(pow, 2, 3)
    with queue._database.write() as db:
        row = db.execute(
            "select a.rowid, a.payload from arguments a join jobs j on j.seq = a.job where j.id = ?", (str(job),)
        ).fetchone()
        changed = bytearray(row[1])
        changed[len(changed) // 2] ^= 1
        db.execute("update arguments set payload = ? where rowid = ?", (bytes(changed), row[0]))
    start(concurrency=1)
    assert sound.result(LIMIT_S) == 8
    assert job.wait(LIMIT_S)
    assert (job.status, queue.get_status(job)["reason"]) == ("failed", "damaged")
    assert "not what was signed" in (job.error or "")
    assert not marker.exists()


def test_a_module_that_the_worker_does_not_have_is_named(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    start(concurrency=1)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "only_here.py").write_text("def double(x):\n    return 2 * x\n")
    code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import only_here
sys.path.remove({str(folder)!r})
from gigq_nb import JobQueue
print(JobQueue({str(queue.path)!r}).submit(only_here.double, 2))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    job = queue.job(done.stdout.strip())
    assert isinstance(job.exception(LIMIT_S), ModuleNotFoundError)
    assert "only_here" in (job.error or "")
