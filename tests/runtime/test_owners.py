"""Sections A11 to A14 of the fault matrix: whose a job is after a reboot, behind a wall, and among many."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigq_nb import JobQueue
from gigq_nb.runtime import processes
from gigq_nb.store import workers
from tests.runtime.rig import (
    LIMIT_S,
    WorkerProcess,
    children_of,
    lines,
    note_pid,
    outcomes,
    statuses,
    tree_of,
    until,
    worker_rows,
)

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- A11, A12: owners of old


def foreign_worker(queue: JobQueue, **other: Any) -> int:
    """A worker's row whose process is another one than it says, holding one claimed job."""
    me = processes.me()
    who = {"host": me.host, "boot_id": me.boot_id, "pid_ns": me.pid_ns, "pid": me.pid, "birth": me.birth, **other}
    with queue._database.write() as db:
        return workers.register(
            db, f"of-old-{time.monotonic_ns()}", workers.Process(**who), python="3", prefix="/", concurrency=1, terminal=True,
            log=None, now=int(time.time() * 1000),
        )  # fmt: skip


def claim_for(queue: JobQueue, number: int) -> None:
    """Let a worker that does not exist hold the pending jobs."""
    from gigq_nb.store import transitions

    with queue._database.write() as db:
        runtimes = [row[0] for row in db.execute("select id from runtimes")]
        assert transitions.claim(db, number, runtimes, int(time.time() * 1000), 100)


def test_after_a_reboot_what_ran_is_an_orphan_at_once(queue: JobQueue, start: Start) -> None:
    job = queue.submit(pow, 2, 2)
    claim_for(queue, foreign_worker(queue, boot_id="another boot"))
    start(lease=3600)
    assert job.result(LIMIT_S) == 4
    assert outcomes(queue, job) == ["lost", "completed"]


def test_a_stranger_with_the_pid_of_a_dead_worker_is_never_signalled(queue: JobQueue, start: Start) -> None:
    """A12: pid and birth belong together."""
    with subprocess.Popen(["sleep", "600"]) as stranger, subprocess.Popen(["sleep", "600"]) as other:
        job = queue.submit(pow, 2, 2)
        number = foreign_worker(queue, pid=stranger.pid, birth=1)
        with queue._database.write() as db:
            workers.add_child(db, number, other.pid, 1)
        claim_for(queue, number)
        start(lease=3600)
        assert job.result(LIMIT_S) == 4
        assert [stranger.poll(), other.poll()] == [None, None]
        stranger.kill()
        other.kill()


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_nobody_is_signalled_by_a_pid_that_means_many(queue: JobQueue, pid: int) -> None:
    assert processes.send_signal(pid, 0) is False
    assert processes.kill_tree(pid, None) == 0
    assert processes.kill_tree(os.getpid(), None) == 0


def test_a_worker_in_another_pid_namespace_is_left_its_lease(queue: JobQueue, start: Start) -> None:
    """Nobody here can see whether it lives: silence for the lease decides."""
    job = queue.submit(pow, 2, 2)
    claim_for(queue, foreign_worker(queue, pid_ns=42))
    start(lease=3)
    beats = until(lambda: worker_rows(queue)[0].beats, "a first beat")
    assert job.status == "running"
    assert job.result(LIMIT_S) == 4
    assert outcomes(queue, job) == ["lost", "completed"]
    assert worker_rows(queue)[0].beats > beats


def test_a_worker_whose_whole_pid_namespace_ends_is_dead(queue: JobQueue, start: Start, need: Any) -> None:
    """A container that stops: its first process, the worker, is killed, and all in it. Seen from outside by the lease."""
    may = subprocess.run(["unshare", "--pid", "--mount-proc", "--fork", "true"], capture_output=True, check=False)
    need(may.returncode == 0, "unshare --pid (root)")
    code = f"from gigq_nb import Worker; Worker({str(queue.path)!r}).start()"
    begun = queue.path.with_name("begun")

    def work() -> str:
        if not begun.exists():
            begun.touch()
            time.sleep(600)
        return "again"

    with subprocess.Popen(
        ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", sys.executable, "-c", code]
    ) as container:
        try:
            job = queue.submit(work)
            until(begun.exists, "it runs in the container")
            assert worker_rows(queue)[0].pid == 1
            start(lease=4)
        finally:
            container.kill()
    assert job.result(LIMIT_S) == "again"
    assert outcomes(queue, job) == ["lost", "completed"]


# ------------------------------------------------------------------------------------------- A13, A14: many


@pytest.mark.slow
def test_fifty_workers_run_a_thousand_jobs_once_each(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def work(n: int) -> int:
        note_pid(ledger, str(n))
        return n

    many = [start(concurrency=1, ready=False) for _ in range(50)]
    batch = queue.map(work, range(1000))
    assert batch.results(4 * LIMIT_S) == list(range(1000))
    ran = [line.split(":")[0] for line in lines(ledger)]
    assert sorted(map(int, ran)) == list(range(1000))
    until(lambda: len([row for row in worker_rows(queue) if row.state == "running"]) == 50, "all fifty work", 4 * LIMIT_S)
    assert all(one.process.poll() is None for one in many)
    for one in many:
        one.send(signal.SIGTERM)
    assert [one.wait(4 * LIMIT_S) for one in many] == [0] * 50
    assert not [one for one in many if "locked" in one.log.read_text() or "Traceback" in one.log.read_text()]


def test_the_children_of_a_worker_are_its_own_and_of_nobody_else(queue: JobQueue, start: Start) -> None:
    """S21: what a job inherits."""
    one = start(concurrency=1)

    def look() -> tuple[list[str], list[int], int, int]:
        handles = sorted(int(n) for n in os.listdir("/proc/self/fd"))
        targets = [os.readlink(f"/proc/self/fd/{n}") for n in handles if os.path.exists(f"/proc/self/fd/{n}")]
        return targets, handles, os.getsid(0), os.getpid()

    targets, _, session, pid = queue.submit(look).result(LIMIT_S)
    assert session == pid
    assert not [name for name in targets if "jobs.db" in name]
    assert int(Path(f"/proc/{children_of(one.pid)[0]}/oom_score_adj").read_text()) == 500
    assert statuses(queue) == {"completed": 1}
    assert len(tree_of(one.pid)) == 2
    assert psutil.Process(pid).ppid() == one.pid
