"""``gigq-nb worker`` in a terminal: a real process, with real signals."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigq_nb import Job, JobQueue
from gigq_nb.runtime.bell import Bell
from gigq_nb.store import reads
from tests.commands.conftest import Said

Gigq = Callable[..., Said]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(workshop: Path) -> Iterator[Start]:
    """start("--concurrency", "2"): a worker in a session of its own, running when this returns."""
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> "subprocess.Popen[str]":
        queue = JobQueue("gigq.db")
        with Bell(queue.path).listen("k") as ear:
            process = subprocess.Popen(
                [sys.executable, "-m", "gigq_nb", "worker", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            started.append(process)
            while not any(row.pid == process.pid for row in worker_rows(queue)):
                assert process.poll() is None, process.communicate()[1]
                ear.wait(0.5)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def worker_rows(queue: JobQueue) -> list[reads.WorkerRow]:
    with queue._database.read() as db:
        return reads.workers(db)


def test_a_worker_in_a_terminal_outlives_an_empty_queue_and_ctrl_c_ends_it_cleanly(start: Start, queue: JobQueue) -> None:
    process = start()
    assert queue.submit(abs, -3).result(60) == 3
    assert queue.submit(abs, -4).result(60) == 4
    os.killpg(process.pid, signal.SIGINT)  # what a terminal sends at Ctrl-C: to the whole foreground group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.fullmatch(r"worker \S+ stopped\n", out)
    assert "Traceback" not in err
    assert worker_rows(queue) == []


def test_ctrl_c_gives_a_running_job_its_grace_and_a_second_one_gives_it_back_at_once(
    start: Start, queue: JobQueue, workshop: Path
) -> None:
    process = start()
    job = queue.submit(Job("long", wait_for, {"path": str(workshop / "flag"), "never": str(workshop / "never")}))
    with Bell(queue.path).listen("k") as ear:
        while not (workshop / "flag").exists():
            ear.wait(0.1)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    row = job.row()
    assert (process.returncode, row.status, row.attempts) == (0, "pending", 0)


def wait_for(path: str, never: str) -> None:
    import pathlib
    import time

    pathlib.Path(path).touch()
    while not pathlib.Path(never).exists():
        time.sleep(0.05)


def test_the_name_and_number_at_a_time_are_the_ones_that_were_asked_for(start: Start, queue: JobQueue, gigq: Gigq) -> None:
    start("--worker-id", "bob", "--concurrency", "3", "--polling-interval", "0.5")
    [row] = gigq("worker", "status", "--json").json
    assert (row["name"], row["concurrency"], row["state"]) == ("bob", 3, "running")
    assert "bob" in gigq("worker", "status").out
    assert "worker bob: running" in gigq("status").out


def test_stop_ends_every_worker_and_says_how_many(start: Start, queue: JobQueue, gigq: Gigq) -> None:
    workers = [start(), start()]
    assert gigq("worker", "stop").out == "2 workers stopped\n"
    assert [one.wait(60) for one in workers] == [0, 0]
    assert gigq("worker", "stop").out == "no worker runs\n"
    assert gigq("worker", "status").out == "no worker runs\n"


def test_stop_now_gives_no_grace(start: Start, queue: JobQueue, gigq: Gigq, workshop: Path) -> None:
    process = start()
    job = queue.submit(Job("long", wait_for, {"path": str(workshop / "flag"), "never": str(workshop / "never")}))
    with Bell(queue.path).listen("k") as ear:
        while not (workshop / "flag").exists():
            ear.wait(0.1)
    assert gigq("worker", "stop", "--now").out == "1 worker stopped\n"
    assert (process.wait(60), job.row().status) == (0, "pending")


def test_once_runs_one_job_and_ends(gigq: Gigq, queue: JobQueue) -> None:
    queue.map(abs, [-1, -2])
    assert gigq("worker", "--once").out == "ran one job\n"
    assert queue.stats() | {"completed": 1, "pending": 1} == queue.stats()
    assert gigq("worker", "--once", "--json").json == {"ran": 1}
    assert gigq("worker", "--once").out == "there was no job to run\n"


def test_logs_are_followed_to_the_end_of_the_job(start: Start, queue: JobQueue, gigq: Gigq) -> None:
    start()
    job = queue.submit(count, 5)
    assert gigq("logs", "-f", str(job)).out == "".join(f"line {i}\n" for i in range(5))
    assert job.status == "completed"


def count(n: int) -> None:
    import time

    for i in range(n):
        print("line", i, flush=True)
        time.sleep(0.2)


def test_ctrl_c_ends_the_following_and_not_the_job(start: Start, queue: JobQueue, workshop: Path) -> None:
    start()
    job = queue.submit(Job("long", wait_for, {"path": str(workshop / "flag"), "never": str(workshop / "never")}))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "gigq_nb", "wait", "long"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        with Bell(queue.path).listen("k") as ear:
            while not [one for one in os.listdir(ear.path.parent) if one.startswith(f"k{waiting.pid}-")]:
                ear.wait(0.1)
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err) == (
        1,
        "gigq-nb: the waiting was interrupted, the work goes on; 'gigq-nb cancel long' ends it\n",
    )
    assert job.status == "running"
    (workshop / "never").touch()
    assert job.result(60) is None
