"""Sections A1 to A6 of the fault matrix: workers and children die, and no job is lost, charged wrongly or run twice at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobLost, JobQueue, task
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, kill, lines, note_pid, outcomes, until, worker_rows

Start = Callable[..., WorkerProcess]


def armed(point: str) -> dict[str, str]:
    """The environment in which a worker meets its end at a point."""
    return {"GIGQ_NB_TESTING": "1", "GIGQ_NB_FAILPOINT": point}


# ------------------------------------------------------------------------------------------- A1 to A5: SIGKILL of a worker


@pytest.mark.parametrize(
    ("point", "first", "runs"),
    [
        ("after_claim", "lost", 1),  # A1
        ("settle_before_update", "lost", 2),  # A3
        ("settle_after_update", "lost", 2),
        ("before_commit", "lost", 2),  # A4
        ("after_commit", "completed", 1),  # A5
    ],
)
def test_a_worker_killed_at_this_point_loses_no_job_and_charges_none(
    queue: JobQueue, start: Start, tmp_path: Path, point: str, first: str, runs: int
) -> None:
    doomed, other = start(armed(f"{point}:kill"), concurrency=1), start(concurrency=1, ready=False)
    ledger = tmp_path / "ledger"

    @task(max_attempts=1)
    def work() -> int:
        note_pid(ledger, "ran")
        return 5

    other.wait_ready()
    other.send(signal.SIGSTOP)
    job = queue.submit(work)
    assert doomed.wait() == -signal.SIGKILL
    other.send(signal.SIGCONT)
    assert job.result(LIMIT_S) == 5
    assert outcomes(queue, job)[0] == first
    assert len(lines(ledger)) == runs
    assert queue.get_status(job)["attempts"] == 1


@pytest.mark.parametrize("point", ["rescue_before_kill", "rescue_after_kill"])
def test_a_rescuer_that_is_killed_leaves_the_rescue_to_the_next(
    queue: JobQueue, start: Start, tmp_path: Path, point: str
) -> None:
    first = start(concurrency=1)
    ledger = tmp_path / "ledger"

    def work() -> str:
        note_pid(ledger, "ran")
        if len(lines(ledger)) == 1:
            time.sleep(60)
        return "done"

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    second = start(armed(f"{point}:kill"), concurrency=1)
    first.kill()
    assert second.wait() == -signal.SIGKILL
    start(concurrency=1, ready=False)
    assert job.result(LIMIT_S) == "done"
    assert outcomes(queue, job) == ["lost", "completed"]


def test_a_commit_is_wholly_there_or_wholly_not_wherever_its_worker_is_killed(queue: JobQueue, need: Any) -> None:
    """SQLite's own loop: kill at the Nth fsync, one further each time, until the worker gets through."""
    import shutil

    need(shutil.which("strace") is not None, "strace")
    code = f"from gigq_nb import Worker; w = Worker({str(queue.path)!r}); w.process_one()"
    for n in range(1, 40):
        job = queue.submit(pow, 2, n)
        done = subprocess.run(
            ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:signal=KILL:when={n}",
             sys.executable, "-c", code],
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        from tests import invariants

        assert invariants.broken_file(queue.path) == []
        if done.returncode == 0:
            break
        subprocess.run([sys.executable, "-c", f"from gigq_nb import Worker; w = Worker({str(queue.path)!r})\nwhile w.process_one(): pass"],
                       timeout=LIMIT_S, check=True)  # fmt: skip
        assert job.result(1) == 2**n
    else:
        raise AssertionError("a worker needs 40 fsyncs for one job")
    assert n > 1, "at least one worker was killed"


def test_a_killed_worker_takes_its_children_along_and_its_job_runs_again(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """A2, also with a grandchild in a session of its own."""
    doomed, _ = start(concurrency=1), start(concurrency=1)
    ledger, go = tmp_path / "ledger", tmp_path / "go"

    @task(max_attempts=1)
    def work() -> str:
        first = not ledger.exists()
        sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
        note_pid(ledger, f"{os.getppid()}:{sleeper.pid}")
        while first or not go.exists():
            time.sleep(0.01)
        sleeper.kill()
        return "again"

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    worker, sleeper, child = map(int, lines(ledger)[0].split(":"))
    victim = doomed if worker == doomed.pid else None
    if victim is None:  # the other one was quicker
        kill(worker)
    else:
        victim.kill()
    until(lambda: len(lines(ledger)) == 2, "it runs again")
    assert not is_alive(child)
    assert not is_alive(sleeper)
    go.touch()
    assert job.result(LIMIT_S) == "again"
    assert outcomes(queue, job) == ["lost", "completed"]
    assert queue.get_status(job)["attempts"] == 1


def test_a_connected_kernel_starts_another_worker_when_its_own_is_killed(queue: JobQueue, tmp_path: Path) -> None:
    handle = queue.start_worker(1, env={"MINE": "kept"})
    ledger = tmp_path / "ledger"

    @task(max_attempts=1)
    def work() -> str | None:
        note_pid(ledger, "ran")
        if len(lines(ledger)) == 1:
            time.sleep(60)
        return os.environ.get("MINE")

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    kill(handle.pid)
    assert job.result(LIMIT_S) == "kept"
    assert outcomes(queue, job) == ["lost", "completed"]


def test_a_worker_that_somebody_stopped_is_not_started_again(queue: JobQueue, tmp_path: Path) -> None:
    from gigq_nb.runtime.launcher import keeper_of

    handle = queue.start_worker(1)
    begun = tmp_path / "begun"

    def work() -> None:
        begun.touch()
        time.sleep(60)

    job = queue.submit(work)
    until(begun.exists, "it runs")
    code = f"from gigq_nb import JobQueue; print(JobQueue({str(queue.path)!r}).stop_worker(now=True))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
    assert not is_alive(handle.pid)
    until(lambda: keeper_of(queue).why_not, "the keeper says why it does nothing")
    assert "asked to stop" in (keeper_of(queue).why_not or "")
    assert (job.status, len(worker_rows(queue))) == ("pending", 1)


def test_workers_that_die_at_once_are_not_started_without_end(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A15: five starts a minute, then it says why."""
    from gigq_nb.runtime.launcher import keeper_of

    monkeypatch.setenv("GIGQ_NB_TESTING", "1")
    monkeypatch.setenv("GIGQ_NB_FAILPOINT", "after_claim:kill")
    queue.start_worker(1)
    job = queue.submit(pow, 2, 2)
    until(lambda: "5 workers died within a minute" in (keeper_of(queue).why_not or ""), "the keeper gives up")
    assert len(worker_rows(queue)) == 6
    assert job.status in ("running", "pending")
    keeper_of(queue).close()
    monkeypatch.delenv("GIGQ_NB_FAILPOINT")
    queue.start_worker(1, linger=0)
    assert job.result(LIMIT_S) == 4


def test_a_job_that_kills_its_worker_each_time_ends_as_lost_and_takes_nobody_along(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    def kills_its_worker() -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    batch = queue.map(pow, range(20), [2] * 20)
    poison = queue.submit(kills_its_worker)
    after = queue.map(pow, range(20), [3] * 20)
    for _ in range(10):
        one = start(concurrency=1, ready=False)
        assert one.wait() == -signal.SIGKILL
    start(concurrency=1)
    assert batch.results(LIMIT_S) == [n**2 for n in range(20)]
    assert after.results(LIMIT_S) == [n**3 for n in range(20)]
    with pytest.raises(JobLost):
        poison.result(LIMIT_S)
    row = queue.get_status(poison)
    assert (row["status"], row["reason"], row["losses"]) == ("failed", "lost", 10)


# ------------------------------------------------------------------------------------------- A6: SIGKILL of a child


def test_a_killed_child_is_a_charged_attempt_of_that_job_alone(queue: JobQueue, start: Start) -> None:
    one = start(concurrency=1)

    @task(max_attempts=2, retry_delay=0)
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    jobs = [queue.submit(pow, 2, 3), queue.submit(dies), queue.submit(pow, 2, 4)]
    assert [jobs[0].result(LIMIT_S), jobs[2].result(LIMIT_S)] == [8, 16]
    assert "signal 9 (SIGKILL), as the system does when memory runs out" in str(jobs[1].exception(LIMIT_S))
    assert outcomes(queue, jobs[1]) == ["failed", "failed"]
    assert one.process.poll() is None


def test_children_killed_at_random_lose_no_job(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    import random

    chance, one, ledger = random.Random(7), start(concurrency=2), tmp_path / "ledger"

    @task(max_attempts=50, retry_delay=0)
    def work(n: int) -> int:
        time.sleep(0.002)
        note_pid(ledger, str(n))
        return n

    batch = queue.map(work, range(300))
    for _ in range(15):
        time.sleep(chance.uniform(0.01, 0.05))
        if pids := one.children:
            kill(chance.choice(pids))
    assert batch.results(LIMIT_S) == list(range(300))
    assert one.process.poll() is None
