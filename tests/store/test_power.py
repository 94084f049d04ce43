"""What was acknowledged survives a power cut at any system call of a session, with any part of what was not yet fsynced."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import invariants
from tests.scripts import environment
from tests.store.powercut import CALLS, Disk, calls

SESSION = """
import os, sys
from gigq_nb import JobQueue, submission
from gigq_nb.states import Outcome
from gigq_nb.store import transitions, workers
from gigq_nb.store.db import Database
from tests.store.rig import ending

path, durability = sys.argv[1:3]
submission.SPILL_BYTES = 3_000
def said(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

queue = JobQueue(path, durability=durability)
for i in range(15):
    said("submitted", queue.submit(len, "x" * 100 * i))
said("submitted", *queue.map(len, ["abc"] * 20).ids)
said("submitted", queue.submit(len, "x" * 9_000))
queue.close()  # the last one: the WAL goes into the file, and is removed
worker = Database(path, keep=True, durable=durability == "power")
with worker.write() as db:
    runtime = db.execute("select id from runtimes").fetchone()[0]
    number = workers.register(db, "w", workers.Process("h", "b", 1, 4242, 1), python="", prefix="", concurrency=1, terminal=True, log=None, now=1)
for turn in range(12):
    with worker.write(durable=False) as db:
        claims = transitions.claim(db, number, [runtime], 10 + turn, 2)
    outcome = Outcome.FAILED if turn % 4 == 3 else Outcome.COMPLETED
    with worker.write() as db:
        transitions.settle(db, number, [ending(one, outcome, 20 + turn) for one in claims])
    said(outcome.value, *(one.id for one in claims))
    if turn % 3 == 1:
        worker.checkpoint(shrink=turn == 4)
    job = queue.submit(len, "x" * (5_000 if turn == 5 else 50))
    said("submitted", job)
    if turn % 2:
        queue.cancel(job)
        said("cancelled", job)
queue.backup(path + ".copy")
said("copied")
queue.prune(0, status="failed")
said("pruned")
worker.close()
queue.close()
said("end")
"""


@pytest.fixture(scope="module")
def strace(need: Callable[[bool, str], None]) -> None:
    need(shutil.which("strace") is not None, "strace")


@pytest.fixture
def ram() -> Iterator[Path]:
    """A folder in memory, where there is one: a thousand images are written."""
    folder = Path(tempfile.mkdtemp(prefix="gq-power-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def recorded(folder: Path, durability: str) -> Path:
    """The trace of a session in a folder of its own."""
    trace = folder / "trace"
    (folder / "disk").mkdir()
    done = subprocess.run(
        ["strace", "-f", "-y", "-xx", "-s", "65536", "-e", f"trace={CALLS}", "-o", str(trace),
         sys.executable, "-c", SESSION, str(folder / "disk" / "jobs.db"), durability],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "end"
    return trace


def losses(image: dict[str, bytes], said: list[str], folder: Path) -> list[str]:
    """What is wrong with a disk after a power cut, given what was acknowledged before it."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in image.items():
        path = folder / Path(name).name if ".files/" not in name else folder / "jobs.db.files" / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    promises: dict[str, str] = {}
    for line in said:
        what, *jobs = line.split()
        promises.update(dict.fromkeys(jobs, what))
    path = folder / "jobs.db"
    if not path.exists() or not path.stat().st_size:
        return ["the file is gone"] if promises else []
    db = sqlite3.connect(path)
    try:
        if db.execute("pragma integrity_check(2)").fetchall() != [("ok",)]:
            return ["damaged"]
        if not db.execute("select 1 from sqlite_schema where name = 'jobs'").fetchone():
            return ["no tables"] if promises else []
        wrong = invariants.broken(db, whole_file=False)
        there = dict(db.execute("select id, status from jobs"))
        pruned = {"failed"}
        for job, what in promises.items():
            if job not in there and not (what in pruned and said[-1].startswith(("copied", "pruned", "end"))):
                wrong.append(f"{what} {job} is lost")
            elif what in ("completed", "failed", "cancelled") and there.get(job, what) != what:
                wrong.append(f"{job} was {what} and is {there[job]}")
        for job, size in db.execute("select j.id, a.size from arguments a join jobs j on j.seq = a.job where a.payload is null"):
            file = folder / "jobs.db.files" / f"arguments-{job}"
            if not file.exists() or file.stat().st_size != size:
                wrong.append(f"the arguments of {job} are lost")
        return wrong
    except sqlite3.DatabaseError as error:
        return [str(error)]
    finally:
        db.close()


def cut(trace: Path, folder: Path, seed: int, share: float = 1.0) -> tuple[int, list[str]]:
    """Cut the power at (a share of) the calls of a session. Returns how often, and what was wrong after that."""
    rng = random.Random(seed)
    disk, wrong, made = Disk(trace.parent / "disk"), [], 0
    for n, call in enumerate(calls(trace)):
        if disk.feel(call) and (rng.random() < share or call.name.endswith("sync")):
            made += 1
            found = losses(disk.after_a_cut(rng), disk.said, folder)
            if found:
                wrong.append(f"power cut at call {n} ({call.name}), after {disk.said[-1:]}: {found[:3]}")
    assert disk.said[-1] == "end"
    return made, wrong


@pytest.mark.linux
@pytest.mark.slow
def test_what_was_acknowledged_survives_a_power_cut_at_any_call(strace: None, ram: Path) -> None:
    trace = recorded(ram, "power")
    for seed in range(4):
        made, wrong = cut(trace, ram / "image", seed)
        assert wrong == []
        assert made > 1_000


@pytest.mark.linux
def test_the_replay_finds_what_a_session_without_fsync_loses(strace: None, ram: Path) -> None:
    """The option durability="process" does not promise it, and a test that could not see that would be worth nothing."""
    trace = recorded(ram, "process")
    made, wrong = cut(trace, ram / "image", seed=5, share=0.1)
    assert any("lost" in one for one in wrong), made
    assert not any("damaged" in one for one in wrong), "lost, but never damaged"


@pytest.mark.linux
def test_between_the_last_write_and_an_acknowledgement_there_is_an_fsync(strace: None, ram: Path) -> None:
    trace = recorded(ram, "power")
    disk, unsynced, acknowledged = Disk(ram / "disk"), [], 0
    for call in calls(trace):
        before = len(disk.said)
        disk.feel(call)
        if len(disk.said) > before and disk.said[-1].split()[0] in ("submitted", "completed", "failed", "cancelled"):
            acknowledged += 1
            late = [name for name, file in disk.names.items() if file.pending and name.endswith("-wal")]
            if late or disk.pending_names:
                unsynced.append((disk.said[-1][:60], late, [(what, name) for what, name, _ in disk.pending_names]))
    assert acknowledged > 40
    assert unsynced == []
