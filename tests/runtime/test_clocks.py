"""Section B of the fault matrix: workers that stand still, and clocks that jump."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue, task
from tests.runtime.rig import LIMIT_S, WorkerProcess, lines, note, outcomes, until, worker_rows

Start = Callable[..., WorkerProcess]
HOUR_S = 3600


def alone_in(lock: Path, ledger: Path) -> int:
    """From a job: tell when another process runs the same job now. The lock falls with the process that holds it."""
    handle = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        note(ledger, "two-at-once")
    return handle


# ------------------------------------------------------------------------------------------- B1, B2: frozen


@pytest.mark.parametrize("whole_tree", [True, False])
def test_a_worker_frozen_past_the_lease_loses_its_job_once_and_goes_on_when_it_wakes(
    queue: JobQueue, start: Start, tmp_path: Path, whole_tree: bool
) -> None:
    """With only the worker frozen its child completes, and the late result waits in the pipe for the worker to wake."""
    frozen = start(concurrency=1)
    ledger, go = tmp_path / "ledger", tmp_path / "go"

    @task(max_attempts=1)
    def work() -> int:
        held = alone_in(tmp_path / "lock", ledger)
        note(ledger, "begun")
        runs = lines(ledger).count("begun")
        while not go.exists():
            time.sleep(0.01)
        note(ledger, "ended")
        os.close(held)
        return runs

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    (frozen.send_tree if whole_tree else frozen.send)(signal.SIGSTOP)
    if not whole_tree:
        go.touch()
        until(lambda: "ended" in lines(ledger), "the child is done, and nobody hears it")
    other = start(concurrency=1, lease=2)
    until(lambda: lines(ledger).count("begun") == 2, "another worker took it over")
    frozen.send_tree(signal.SIGCONT)
    go.touch()
    assert job.result(LIMIT_S) == 2
    assert outcomes(queue, job) == ["lost", "completed"]
    assert queue.get_status(job)["attempts"] == 1
    assert "two-at-once" not in lines(ledger)
    other.kill()
    assert queue.submit(pow, 2, 5).result(LIMIT_S) == 32, "it works again, under a new number"
    mine = [row for row in worker_rows(queue) if row.pid == frozen.pid]
    assert sorted(row.state for row in mine) == ["gone", "running"]


def test_all_workers_frozen_and_woken_in_any_order_run_nothing_twice_at_once(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    """A laptop that sleeps. Everybody is silent, which proves nothing about anybody."""
    team = [start(concurrency=1, lease=2) for _ in range(3)]
    ledger = tmp_path / "ledger"

    def work(n: int) -> int:
        held = alone_in(tmp_path / f"lock-{n}", ledger)
        note(ledger, f"begun-{n}")
        time.sleep(0.4)
        os.close(held)
        return n

    jobs = queue.map(work, range(12))
    until(lambda: len(lines(ledger)) >= 3, "all three are at work")
    for one in team:
        one.send_tree(signal.SIGSTOP)
    time.sleep(6)  # longer than the lease, and than a loop may stand still and still trust its own count
    chance = random.Random(5)
    for one in chance.sample(team, 3):
        one.send_tree(signal.SIGCONT)
        time.sleep(chance.uniform(0, 0.3))
    assert jobs.results(LIMIT_S) == list(range(12))
    assert "two-at-once" not in lines(ledger)
    assert all(one.process.poll() is None for one in team)
    assert queue.map(pow, range(6), [2] * 6).results(LIMIT_S) == [0, 1, 4, 9, 16, 25]


# ------------------------------------------------------------------------------------------- B3, B4: steps


class Clock:
    """A wall clock for some processes."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        self.library = folder / "stepped.so"
        source = Path(__file__).with_name("stepped.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source)], check=True)
        self.env = {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.file)}
        self.step(0)

    def step(self, seconds: float) -> None:
        """Set it: this much ahead of the true time."""
        new = self.file.with_suffix(".new")
        new.write_text(str(int(seconds)))
        new.replace(self.file)


@pytest.fixture
def clock(tmp_path: Path, need: Any) -> Clock:
    """A clock that a test can set."""
    need(shutil.which("cc") is not None, "a C compiler")
    clock = Clock(tmp_path)
    for seconds in (HOUR_S, 0):
        clock.step(seconds)
        said = subprocess.run(
            [sys.executable, "-c", "import time; print(time.time())"],
            env={**os.environ, **clock.env}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert abs(float(said.stdout) - time.time() - seconds) < 120, "the clock must be the one that Python reads"
    return clock


def beats_go_on(queue: JobQueue, *team: WorkerProcess) -> None:
    """Until each of these workers has given two more signs of life."""

    def beats() -> dict[int, int]:
        return {row.pid: row.beats for row in worker_rows(queue) if row.state == "running"}

    before = beats()
    until(lambda: all(beats().get(one.pid, 0) >= before[one.pid] + 2 for one in team), "beats go on")


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_a_step_of_the_clock_steals_nothing_and_ends_nothing(
    queue: JobQueue, start: Start, clock: Clock, tmp_path: Path, step_s: int
) -> None:
    team = [start(clock.env, concurrency=1, lease=3) for _ in range(2)]
    begun, go = tmp_path / "begun", tmp_path / "go"

    @task(timeout=600, max_attempts=1)
    def work() -> str:
        note(begun, "begun")
        while not go.exists():
            time.sleep(0.01)
        return "done"

    job = queue.submit(work)
    until(lambda: lines(begun), "it runs")
    clock.step(step_s)
    beats_go_on(queue, *team)
    assert (job.status, lines(begun)) == ("running", ["begun"])
    go.touch()
    assert job.result(LIMIT_S) == "done"
    [attempt] = job.executions()
    assert attempt.finished_at >= attempt.started_at, "no attempt ends before it began"


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_what_hung_before_a_step_of_the_clock_still_times_out(
    queue: JobQueue, start: Start, clock: Clock, tmp_path: Path, step_s: int
) -> None:
    start(clock.env, concurrency=1)
    begun = tmp_path / "begun"

    @task(timeout=2, max_attempts=1)
    def hangs() -> None:
        note(begun, "begun")
        time.sleep(600)

    job = queue.submit(hangs)
    until(lambda: lines(begun), "it hangs")
    clock.step(step_s)
    assert job.wait(LIMIT_S)
    assert job.status == "timeout"


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_a_retry_is_not_put_off_by_a_step_of_the_clock(
    queue: JobQueue, start: Start, clock: Clock, tmp_path: Path, step_s: int
) -> None:
    """Back by an hour, a retry that was due in two seconds must not wait for an hour and two seconds."""
    start(clock.env, concurrency=1)
    ledger = tmp_path / "ledger"

    @task(max_attempts=2, retry_delay=2)
    def once_more() -> int:
        note(ledger, "ran")
        if len(lines(ledger)) == 1:
            raise ValueError("not yet")
        return len(lines(ledger))

    job = queue.submit(once_more)
    until(lambda: outcomes(queue, job) == ["failed"], "the first attempt is over")
    clock.step(step_s)
    assert job.result(LIMIT_S) == 2


# ------------------------------------------------------------------------------------------- B5, B6: zones

_IN_A_ZONE = """
import json, sys, time
from gigq_nb import JobQueue, Worker
queue = JobQueue(sys.argv[1])
jobs = [queue.submit(time.sleep, 0.5) for _ in range(4)]
worker = Worker(sys.argv[1])
while worker.process_one():
    pass
print(json.dumps([{k: queue.get_status(j)[k] for k in ("created_at", "started_at", "completed_at")} for j in jobs], default=str))
"""


def instants(row: dict[str, str]) -> list[datetime]:
    """When it was made, started, done."""
    found = [datetime.fromisoformat(row[key]) for key in ("created_at", "started_at", "completed_at")]
    assert all(one.tzinfo is not None for one in found), "a time without a zone is a guess"
    return found


def test_an_hour_that_comes_twice_is_told_apart(queue_path: Path, clock: Clock) -> None:
    """Summer time ends in Berlin while jobs run: 02:59:59 is followed by 02:00:00, and UTC goes on."""
    end_of_summer = datetime(2024, 10, 27, 1, 0, tzinfo=UTC)
    clock.step(end_of_summer.timestamp() - time.time() - 2)
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_ZONE, str(queue_path)],
        env={**os.environ, **clock.env, "TZ": "Europe/Berlin"}, capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    times = [one for row in rows for one in instants(row)[1:]]
    assert times == sorted(times)
    assert all(abs((one - end_of_summer).total_seconds()) < LIMIT_S for one in times)


def test_kernel_and_worker_in_different_zones_mean_the_same_instants(
    queue: JobQueue, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start({"TZ": "America/New_York"}, concurrency=1)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        before = datetime.now(UTC)
        job = queue.submit(pow, 2, 3)
        job.result(LIMIT_S)
        after = datetime.now(UTC)
        made, started, ended = instants({k: str(v) for k, v in queue.get_status(job).items()})
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert made <= ended
    assert started <= ended
    for one in (made, started, ended):
        assert (before - one).total_seconds() < 1
        assert (one - after).total_seconds() < 1
