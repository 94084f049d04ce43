"""Section A10 of the fault matrix: a worker is asked to stop, once and twice."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gigq_nb import JobQueue, task
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, note_pid, outcomes, until, worker_rows

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- A10: asked to stop


def test_a_stopped_worker_lets_jobs_finish_within_the_grace_period(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=60)
    begun, go = tmp_path / "begun", tmp_path / "go"

    def work() -> str:
        begun.touch()
        while not go.exists():
            time.sleep(0.01)
        return "finished"

    job, other = queue.submit(work), queue.submit(pow, 2, 2)
    until(begun.exists, "it runs")
    one.send(signal.SIGTERM)
    until(lambda: worker_rows(queue)[0].state == "stopping", "it says so")
    go.touch()
    assert one.wait() == 0
    assert (job.result(1), other.status) == ("finished", "pending")


@pytest.mark.parametrize("ignores", [False, True])
def test_what_is_not_done_in_the_grace_period_goes_back_uncharged(
    queue: JobQueue, start: Start, tmp_path: Path, ignores: bool
) -> None:
    one = start(concurrency=1, stop_grace=0.2)
    begun = tmp_path / "begun"

    @task(max_attempts=1)
    def work() -> str:
        if begun.exists():
            return "again"
        if ignores:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
        begun.write_text(str(os.getpid()))
        time.sleep(600)
        return "never"

    job = queue.submit(work)
    until(lambda: lines(begun), "it runs")
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    row = queue.get_status(job)
    assert (row["status"], row["attempts"], row["losses"], outcomes(queue, job)) == ("pending", 0, 0, ["returned"])
    assert not is_alive(int(begun.read_text()))
    start(concurrency=1)
    assert job.result(LIMIT_S) == "again"


def test_a_second_signal_ends_a_worker_at_once(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=3600)
    begun = tmp_path / "begun"

    @task(max_attempts=1, grace=3600)
    def work() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        begun.touch()
        time.sleep(600)

    job = queue.submit(work)
    until(begun.exists, "it runs")
    one.send(signal.SIGTERM)
    until(lambda: worker_rows(queue)[0].state == "stopping", "it is stopping")
    assert one.process.poll() is None
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    assert (job.status, outcomes(queue, job)) == ("pending", ["returned"])


def test_a_result_that_came_while_the_worker_was_ending_the_job_is_kept(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=0)
    ledger = tmp_path / "ledger"

    def work() -> str:
        note_pid(ledger, "ran")
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(0.1)
        return "saved what it had"

    job = queue.submit(work)
    until(lambda: lines(ledger), "it runs")
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    assert (job.result(1), len(lines(ledger))) == ("saved what it had", 1)


def test_a_timeout_is_a_timeout_also_while_the_worker_stops(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=0.4)
    begun = tmp_path / "begun"

    @task(timeout=0.2, grace=3)
    def work() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        begun.touch()
        time.sleep(600)

    job = queue.submit(work)
    until(begun.exists, "it runs")
    one.send(signal.SIGTERM)
    assert one.wait() == 0
    assert (job.status, outcomes(queue, job)) == ("timeout", ["timeout"])


def test_what_was_claimed_ahead_goes_back_when_a_worker_stops(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1, stop_grace=3600)
    begun, go = tmp_path / "begun", tmp_path / "go"

    def work(n: int) -> int:
        if n == 1000:
            begun.touch()
            while not go.exists():
                time.sleep(0.005)
        return n

    queue.map(work, range(100)).results(LIMIT_S)
    batch = queue.map(work, [1000, *range(50)])
    until(begun.exists, "the long one runs")
    one.send(signal.SIGTERM)
    until(lambda: batch.counts.pending == 50, "the others are given back")
    go.touch()
    assert one.wait() == 0
    assert batch.counts.as_dict() == {"pending": 50, "running": 0, "completed": 1, "failed": 0, "timeout": 0, "cancelled": 0}
    assert all(outcomes(queue, job) == [] for job in list(batch)[1:])
