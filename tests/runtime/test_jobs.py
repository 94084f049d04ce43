"""What becomes of a job when nothing goes wrong: real processes, through the public API."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import Job, JobQueue, Retry, Worker, Workflow, current_job, progress, task
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess, lines, outcomes, statuses, until

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------------- running


def test_a_function_runs_in_another_process_and_its_result_comes_back(queue: JobQueue, worker: WorkerHandle) -> None:
    mine = os.getpid()

    def where(x: int, *, y: int) -> tuple[int, int, int]:
        return x + y, os.getpid(), os.getppid()

    total, child, parent = queue.submit(where, 1, y=2).result(LIMIT_S)
    assert (total, parent) == (3, worker.pid)
    assert child != mine


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -5,
        2**100,
        1.5,
        float("inf"),
        "text \N{SNOWMAN} \0",
        b"\x00\xff",
        (1, [2, {"three": {4}}]),
        {1: "int key", (2, 3): None},
        frozenset({1, 2}),
        datetime(2024, 1, 2),
        range(5),
        complex(1, -1),
        Ellipsis,
        ValueError("as a value"),
    ],
    ids=repr,
)
def test_process_one_brings_values_back_equal_and_of_the_same_type(queue: JobQueue, value: object) -> None:
    job = queue.submit(lambda x: x, value)
    assert Worker(queue.path).process_one() is True
    back = job.result(LIMIT_S)
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_process_one_says_when_there_is_nothing_to_do(queue: JobQueue) -> None:
    worker = Worker(queue.path, "mine")
    assert worker.process_one() is False
    jobs = [queue.submit(pow, 2, n) for n in (3, 4)]
    assert [worker.process_one(), statuses(queue)] == [True, {"completed": 1, "pending": 1}]
    assert [worker.process_one(), worker.process_one()] == [True, False]
    assert [job.result(1) for job in jobs] == [8, 16]
    worker.close()


def test_process_one_waits_for_the_end_of_a_job_that_is_stopped(queue: JobQueue) -> None:
    @task(timeout=0.3)
    def sleeps() -> None:
        time.sleep(60)

    job = queue.submit(sleeps)
    assert Worker(queue.path).process_one() is True
    assert (job.status, outcomes(queue, job)) == ("timeout", ["timeout"])


def test_process_one_writes_nothing_while_its_job_runs(queue: JobQueue) -> None:
    """Also when it has room for the next job, which it must not take."""

    class Counting(Worker):
        writes = 0

        def _write(self, dead: Any) -> None:
            self.writes += 1
            super()._write(dead)

    queue.map(time.sleep, [2, 2])
    worker = Counting(queue.path, concurrency=2)
    assert worker.process_one() is True
    assert worker.writes < 50, "hundreds, when it looks for what it must not take"
    assert statuses(queue) == {"completed": 1, "pending": 1}


def test_process_one_leaves_other_children_of_this_process_alone(queue: JobQueue) -> None:
    with subprocess.Popen(["sleep", "60"]) as other, subprocess.Popen(["sleep", "60"], start_new_session=True) as apart:
        queue.submit(os._exit, 3)
        assert Worker(queue.path).process_one() is True
        assert [other.poll(), apart.poll()] == [None, None]
        other.kill()
        apart.kill()


def test_a_worker_can_be_started_again_after_it_was_stopped(queue: JobQueue) -> None:
    worker = Worker(queue.path, "again")
    for n in (1, 2):
        job = queue.submit(lambda n: n, n)
        stopper = job.future()
        stopper.add_done_callback(lambda _: worker.stop())
        worker.start()
        assert job.result(LIMIT_S) == n


def test_many_jobs_each_run_once(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def note(n: int) -> int:
        with open(ledger, "a") as file:
            file.write(f"{n}\n")
        return n * n

    batch = queue.map(note, range(500))
    assert batch.results(LIMIT_S) == [n * n for n in range(500)]
    assert sorted(map(int, lines(ledger))) == list(range(500))


def test_urgent_jobs_run_first(queue: JobQueue, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    def note(n: int) -> None:
        with open(ledger, "a") as file:
            file.write(f"{n}\n")

    for n in (1, 3, 2):
        queue.submit(Job(str(n), note, {"n": n}, priority=n))
    worker = Worker(queue.path)
    while worker.process_one():
        pass
    assert lines(ledger) == ["3", "2", "1"]


def test_an_async_function_is_awaited(queue: JobQueue, worker: WorkerHandle) -> None:
    async def add(x: int) -> int:
        await asyncio.sleep(0.01)
        return x + 1

    assert queue.submit(add, 1).result(LIMIT_S) == 2


def test_a_job_knows_which_job_it_is(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(name="known")
    def ask() -> tuple[str, str, int]:
        me = current_job()
        assert me is not None
        return me.id, me.name, me.attempt

    job = queue.submit(ask)
    assert job.result(LIMIT_S) == (str(job), "known", 1)


def test_progress_is_seen_while_it_runs_and_its_last_word_afterwards(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path
) -> None:
    go = tmp_path / "go"

    def steps() -> None:
        progress(1, 4, "first \ud800 \0")
        while not go.exists():
            time.sleep(0.01)
        for n in range(2, 5):
            progress(n, 4, "later")

    job = queue.submit(steps)
    until(lambda: job.progress[0] == 1, "progress is seen")
    go.touch()
    job.result(LIMIT_S)
    until(lambda: job.progress == (4, 4, "later"), "the last word is kept")


# ------------------------------------------------------------------------------------------------- retries


def test_a_failure_is_tried_again_after_its_backoff(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    start(polling_interval=600)  # the worker itself must know when the retry is due
    ledger = tmp_path / "ledger"

    @task(max_attempts=3, retry=Retry(delay_s=0.3, factor=2, jitter=0))
    def flaky() -> int:
        with open(ledger, "a") as file:
            file.write(f"{time.monotonic()}\n")
        if len(ledger.read_text().split()) < 3:
            raise ValueError("not yet")
        return 7

    job = queue.submit(flaky)
    assert job.result(LIMIT_S) == 7
    first, second, third = map(float, lines(ledger))
    assert second - first >= 0.29
    assert third - second >= 0.59
    assert outcomes(queue, job) == ["failed", "failed", "completed"]


def test_a_failure_that_is_not_among_retry_on_is_final(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(max_attempts=5, retry_on=OSError)
    def wrong() -> None:
        raise KeyError("never again")

    job = queue.submit(wrong)
    with pytest.raises(KeyError, match="never again"):
        job.result(LIMIT_S)
    assert outcomes(queue, job) == ["failed"]


def test_a_delayed_job_runs_when_it_is_due(queue: JobQueue, worker: WorkerHandle) -> None:
    began = time.time()
    job = queue.submit(Job("later", time.time, delay=0.5))
    assert job.result(LIMIT_S) >= began + 0.5


# ------------------------------------------------------------------------------------------------- parents


def test_handles_among_the_arguments_arrive_as_results(queue: JobQueue, worker: WorkerHandle) -> None:
    two, three = queue.submit(pow, 2, 1), queue.submit(pow, 3, 1)
    assert queue.submit(lambda x, *, more: (x, more), two, more=[three, {"k": two}]).result(LIMIT_S) == (2, [3, {"k": 2}])


def test_parent_results_are_injected_as_in_gigq(queue: JobQueue, worker: WorkerHandle) -> None:
    def collect(parent_results: dict[str, int]) -> list[int]:
        return sorted(parent_results.values())

    flow = Workflow("numbers")
    parents = [flow.add_job(Job(f"p{n}", pow, args=(n, 2))) for n in (1, 2, 3)]
    flow.add_job(Job("sum", collect), depends_on=parents)
    *_, last = flow.submit_all(queue)
    assert last.result(LIMIT_S) == [1, 4, 9]
