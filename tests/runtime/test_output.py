"""Sections C13 to C16 of the fault matrix: what a job prints, and what it does to its descriptors."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigq_nb import JobQueue, JobTimeout, task
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess, until

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- C13, C14: output


def test_a_gigabyte_of_output_is_bounded_everywhere(queue: JobQueue, start: Start) -> None:
    one = start(concurrency=1)

    def floods() -> None:
        block = (b"\x1b[31m" + bytes(range(256)) + b"x" * 760 + b"\n") * 1024
        os.write(1, b"THE HEAD\n")
        for _ in range(1024):
            view = memoryview(block)
            while view:
                view = view[os.write(1, view) :]
        os.write(1, b"THE TAIL\n")

    job = queue.submit(floods)
    most = 0
    while not job.wait(0.05):
        most = max(most, psutil.Process(one.pid).memory_info().rss)
    job.result(1)
    log = job.logs()
    assert log.startswith("THE HEAD\n")
    assert log.endswith("THE TAIL\n")
    assert "bytes left out" in log
    assert len(log) < 6_000_000, "a byte that is no text is shown as \\xNN"
    assert most < 300e6
    size = sum(os.stat(one).st_size for one in queue.path.parent.glob("jobs.db*"))
    assert size < 20e6


def test_a_job_that_never_stops_printing_is_ended_at_its_timeout(queue: JobQueue, worker: WorkerHandle) -> None:
    @task(timeout=1)
    def floods() -> None:
        while True:
            os.write(1, b"x" * 65536)

    job = queue.submit(floods)
    others = queue.map(pow, range(50), [2] * 50)
    with pytest.raises(JobTimeout):
        job.result(LIMIT_S)
    assert others.results(LIMIT_S) == [n**2 for n in range(50)]


def test_a_job_that_prints_while_its_worker_is_stopped_waits_and_goes_on(queue: JobQueue, start: Start, tmp_path: Path) -> None:
    one = start(concurrency=1)
    begun = tmp_path / "begun"

    def speaks() -> str:
        begun.touch()
        for n in range(100_000):
            print(f"{n} " + "x" * 90)
        return "done"

    job = queue.submit(speaks)
    until(begun.exists, "it runs")
    one.send(signal.SIGSTOP)
    time.sleep(1)
    one.send(signal.SIGCONT)
    assert job.result(LIMIT_S) == "done"
    assert job.logs().endswith(f"99999 {'x' * 90}\n")


# ------------------------------------------------------------------------------------------- C15, C16: descriptors


@pytest.mark.parametrize("lowest", [0, 3])
def test_a_job_that_closes_all_descriptors_harms_nobody_else(queue: JobQueue, start: Start, lowest: int) -> None:
    one = start(concurrency=1)

    def closes(lowest: int) -> str:
        os.closerange(lowest, 1024)
        return "done"

    job = queue.submit(closes, lowest)
    assert job.wait(LIMIT_S)
    assert "before the function returned" in (job.error or "")
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
    assert one.process.poll() is None


def test_the_engine_never_writes_into_a_file_that_took_the_number_of_its_descriptor(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    start(concurrency=1)
    files = [tmp_path / f"mine-{n}" for n in range(40)]

    def takes_their_numbers() -> str:
        os.closerange(3, 1024)
        for file in files:
            os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        return "done"

    queue.submit(takes_their_numbers).wait(LIMIT_S)
    assert [file.read_bytes() for file in files] == [b""] * 40


def test_a_job_that_writes_into_every_descriptor_fails_alone(queue: JobQueue, start: Start) -> None:
    one = start(concurrency=1)

    def scribbles() -> str:
        for n in range(3, 30):
            for harm in (lambda n: os.write(n, b"scribble" * 20), lambda n: os.ftruncate(n, 0)):
                try:
                    harm(n)
                except OSError:
                    pass
        time.sleep(600)
        return "never"

    job = queue.submit(scribbles)
    assert "wrote into a descriptor that it had not opened" in str(job.exception(LIMIT_S))
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
    assert one.process.poll() is None


def test_a_job_that_writes_into_every_descriptor_and_returns_is_not_run_again(
    queue: JobQueue, start: Start, tmp_path: Path
) -> None:
    one = start(concurrency=1)
    runs = tmp_path / "runs"

    def scribbles() -> str:
        with runs.open("a") as file:
            file.write("x")
        for n in range(3, 30):
            try:
                os.write(n, b"scribble" * 20)
            except OSError:
                pass
        return "done"

    jobs = [queue.submit(scribbles), *(queue.submit(pow, 2, n) for n in range(5))]
    assert [job.wait(LIMIT_S) for job in jobs] == [True] * 6
    assert [job.result() for job in jobs[1:]] == [1, 2, 4, 8, 16], "an innocent job took the blame"
    assert runs.read_text() == "x"
    assert one.process.poll() is None


@pytest.mark.parametrize(
    "spoils",
    [
        lambda: os.close(1),
        lambda: os.close(0),
        lambda: [os.close(n) for n in (0, 1, 2)],
        lambda: setattr(sys, "stdout", None),
        lambda: sys.stdout.close(),
        lambda: sys.stderr.detach(),
        lambda: setattr(sys, "stdout", open(os.devnull, "w")),  # noqa: SIM115
    ],
)
def test_a_job_may_close_or_replace_its_streams(queue: JobQueue, start: Start, spoils: Callable[[], Any]) -> None:
    start(concurrency=1)

    def run() -> str:
        spoils()
        return "done"

    def speaks() -> str:
        print("heard")
        sys.stderr.write("again\n")
        try:
            return input()
        except EOFError:
            return "no input"

    assert queue.submit(run).result(LIMIT_S) == "done"
    job = queue.submit(speaks)
    assert (job.result(LIMIT_S), job.logs()) == ("no input", "heard\nagain\n")
