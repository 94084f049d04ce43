"""A paused queue with real workers: what runs goes on, nothing else begins, and a resume from anywhere wakes them at once."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gigq_nb import Job, JobQueue, Worker, as_completed
from gigq_nb.runtime import launcher
from gigq_nb.runtime.launcher import keeper_of
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, note, outcomes, statuses, until, worker_rows
from tests.scripts import run

Start = Callable[..., WorkerProcess]

RESUME = "import sys; from gigq_nb import JobQueue; print(JobQueue(sys.argv[1]).resume())"
PAUSE = "import sys; from gigq_nb import JobQueue; print(JobQueue(sys.argv[1]).pause())"


def work(ledger: Path, go: Path, name: str) -> str:
    note(ledger, name)
    while not go.exists():
        time.sleep(0.01)
    return name


def beats(queue: JobQueue) -> int:
    return int(worker_rows(queue)[0].beats)


def test_what_runs_ends_what_is_pending_stays_and_a_resume_from_elsewhere_lets_all_of_it_run(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    start(concurrency=3)
    batch = queue.map(work, [ledger] * 13, [go] * 13, [f"job{n}" for n in range(13)])
    until(lambda: len(lines(ledger)) == 3 and statuses(queue) == {"running": 3, "pending": 10}, "three run")
    run(PAUSE, queue.path)
    go.touch()
    until(lambda: statuses(queue) == {"completed": 3, "pending": 10}, "those that ran are done")
    before = beats(queue)
    until(lambda: beats(queue) >= before + 2, "the worker has looked twice since")
    assert statuses(queue) == {"completed": 3, "pending": 10}
    assert len(lines(ledger)) == 3
    later = queue.submit(work, ledger, go, "later")
    assert not later.wait(0.2)
    assert run(RESUME, queue.path).stdout == "True\n"
    assert sorted(batch.results(LIMIT_S)) == sorted(f"job{n}" for n in range(13))
    assert later.result(LIMIT_S) == "later"
    assert {tuple(outcomes(queue, job)) for job in (*batch, later)} == {("completed",)}


def gated(ledger: Path, gate: Path, name: str) -> None:
    note(ledger, name)
    while not gate.exists():
        time.sleep(0.01)


def test_what_was_claimed_ahead_and_had_not_begun_goes_back_uncharged(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    """Jobs of a task that was quick so far are claimed by the dozen: one that is not begun must not say that it runs."""
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    gate.touch()
    queue.map(gated, [ledger] * 50, [gate] * 50, ["quick"] * 50)
    start(concurrency=1)
    until(lambda: statuses(queue) == {"completed": 50}, "what such a job takes is known")
    gate.unlink()
    batch = queue.map(gated, [ledger] * 40, [gate] * 40, ["slow"] * 40)
    until(lambda: "slow" in lines(ledger), "one runs")
    queue.pause()
    until(lambda: statuses(queue) == {"completed": 50, "running": 1, "pending": 39}, "the others went back")
    gate.touch()
    until(lambda: statuses(queue) == {"completed": 51, "pending": 39}, "it ends")
    pending = [job for job in batch if job.status == "pending"]
    assert {(job.attempts, len(job.executions())) for job in pending} == {(0, 0)}
    queue.resume()
    batch.results(LIMIT_S)
    assert {tuple(outcomes(queue, job)) for job in batch} == {("completed",)}


def fail_once(ledger: Path) -> str:
    note(ledger, "tried")
    if len(lines(ledger)) == 1:
        raise ValueError("no")
    return "done"


def test_a_retry_and_a_delay_that_come_due_wait_for_the_resume(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    again = queue.submit(Job("again", fail_once, {"ledger": ledger}, max_attempts=2, retry_delay=0.2))
    worker = Worker(queue.path)
    assert worker.process_one()
    worker.close()
    delayed = queue.submit(Job("delayed", note, {"ledger": ledger, "word": "delayed"}, delay=0.1))
    queue.pause()
    start(concurrency=2)
    until(lambda: again.row().run_at is None and delayed.row().run_at is None, "their waits are over")
    before = beats(queue)
    until(lambda: beats(queue) > before, "the worker has looked since")
    assert statuses(queue) == {"pending": 2}
    assert lines(ledger) == ["tried"]
    queue.resume()
    assert (again.result(LIMIT_S), delayed.result(LIMIT_S)) == ("done", None)


def test_a_worker_that_starts_on_a_paused_queue_takes_nothing_and_says_so(queue: JobQueue, start: Start) -> None:
    job = queue.submit(len, "abc")
    queue.pause()
    process = start()
    until(lambda: "the queue is paused" in process.log.read_text() or beats(queue) > 2, "it has looked")
    assert job.status == "pending"
    run(RESUME, queue.path)
    assert job.result(LIMIT_S) == 3


def test_one_job_by_hand_is_none_on_a_paused_queue(queue: JobQueue) -> None:
    job = queue.submit(len, "abc")
    queue.pause()
    worker = Worker(queue.path)
    assert not worker.process_one()
    queue.resume()
    assert worker.process_one()
    worker.close()
    assert job.result(LIMIT_S) == 3


def test_a_worker_that_waits_for_a_resume_does_not_spin(queue: JobQueue, start: Start) -> None:
    queue.map(len, ["abc"] * 100)
    queue.pause()
    process = start(concurrency=1)
    until(lambda: beats(queue) > 1, "it looks from time to time")
    of = psutil.Process(process.pid)
    switches = of.num_ctx_switches().voluntary
    before = beats(queue)
    until(lambda: beats(queue) >= before + 2, "two beats later")
    assert of.num_ctx_switches().voluntary - switches < 500  # some 30 of them; a loop makes thousands
    assert statuses(queue) == {"pending": 100}


def test_a_worker_without_kernels_stays_while_paused_work_is_open(queue: JobQueue, start: Start) -> None:
    job = queue.submit(len, "abc")
    queue.pause()
    process = start(terminal=False, linger=0.1)
    until(lambda: "jobs are open" in str(worker_rows(queue)[0].why), "it says why it stays")
    before = beats(queue)
    until(lambda: beats(queue) >= before + 2, "it stays")
    run(RESUME, queue.path)
    assert job.result(LIMIT_S) == 3
    assert process.wait() == 0  # nothing is open any more


def test_a_killed_worker_is_not_replaced_while_paused_and_is_when_resumed(queue: JobQueue) -> None:
    queue.pause()
    job = queue.submit(len, "abc")
    first = queue.start_worker(1)
    assert first.paused_at is not None
    assert "paused since" in str(first)
    keeper = keeper_of(queue)
    until(lambda: keeper._watched == first.name, "its keeper watches it")
    keeper.close()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not is_alive(first.pid), "it is dead")
    keeper._start_again()  # what its thread does next
    assert launcher.find_worker(queue) is None
    keeper.watch(1, {})
    run(RESUME, queue.path)
    assert job.result(LIMIT_S) == 3


def test_a_worker_that_dies_in_a_pause_is_replaced_to_rescue_what_ran(queue: JobQueue, tmp_path: Path) -> None:
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    first = queue.start_worker(1)
    job = queue.submit(work, ledger, go, "one")
    until(lambda: lines(ledger), "it runs")
    queue.pause()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: job.status == "pending", "it was rescued, and waits")
    assert outcomes(queue, job) == ["lost"]
    go.touch()
    queue.resume()
    assert job.result(LIMIT_S) == "one"


def test_waiting_with_a_timeout_says_that_it_is_paused(queue: JobQueue) -> None:
    job = queue.submit(len, "abc")
    batch = queue.map(len, ["abc"])
    queue.pause()
    said = r"the queue is paused since [\d-]+ [\d:]+ UTC.*queue\.resume\(\)"
    for ask in (lambda: job.result(0.05), lambda: job.exception(0.05), lambda: batch.results(0.05)):
        with pytest.raises(TimeoutError, match=said):
            ask()
    with pytest.raises(TimeoutError, match=said):
        next(iter(as_completed([job], 0.05)))
    queue.resume()
    with pytest.raises(TimeoutError, match=r"it goes on$"):
        job.result(0.05)


def test_an_executor_waits_out_a_pause(queue: JobQueue, start: Start) -> None:
    queue.pause()
    start()
    with queue.executor() as executor:
        future = executor.submit(len, "abc")
        assert not future.done()
        queue.resume()
        assert future.result(LIMIT_S) == 3
