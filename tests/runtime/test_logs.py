"""What a job prints is in the log of its attempt, and in no other."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gigq_nb import JobQueue, current_job, task
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, until

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------------- logs


def test_each_attempt_has_its_own_log(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    @task(max_attempts=2, retry_delay=0)
    def speaks() -> None:
        me = current_job()
        assert me is not None
        print(f"attempt {me.attempt}")
        if not mark.exists():
            mark.touch()
            raise ValueError("once")

    job = queue.submit(speaks)
    job.result(LIMIT_S)
    assert (job.logs(1), job.logs(2)) == ("attempt 1\n", "attempt 2\n")


def test_all_that_reaches_the_descriptors_is_in_the_log(queue: JobQueue, worker: WorkerHandle) -> None:
    def speaks() -> None:
        import ctypes
        import logging
        import warnings

        print("python")
        print("stderr", file=sys.stderr)
        logging.getLogger("x").error("logging")
        warnings.warn("warning", stacklevel=1)
        libc = ctypes.CDLL(None)
        libc.printf(b"native without newline")
        libc.puts(b"")
        os.write(1, b"descriptor\n")
        subprocess.run(["echo", "subprocess"], check=True)
        print("no newline at the end", end="")

    job = queue.submit(speaks)
    job.result(LIMIT_S)
    log = job.logs()
    for word in "python stderr logging warning native descriptor subprocess".split():
        assert word in log
    assert log.endswith("no newline at the end")


def test_output_is_given_to_the_job_that_printed_it(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def speaks(n: int) -> None:
        for i in range(n % 7):
            print(f"job {n} line {i}")
            if i == 3:
                os.write(2, f"job {n} raw\n".encode())
        print(f"job {n} ends", end="")

    batch = queue.map(speaks, range(300))
    batch.results(LIMIT_S)
    for n, job in enumerate(batch):
        said = [f"job {n} line {i}" for i in range(n % 7)]
        if n % 7 > 3:
            said.insert(4, f"job {n} raw")
        assert job.logs() == "\n".join([*said, f"job {n} ends"])


def test_what_a_job_left_running_does_not_print_into_the_log_of_the_next(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def leaves_a_thread() -> None:
        import threading

        def talk() -> None:
            while True:
                print("noise")
                time.sleep(0.001)

        threading.Thread(target=talk, daemon=True).start()

    def leaves_a_process() -> int:
        return subprocess.Popen(["sh", "-c", "while true; do echo noise; sleep 0.01; done"]).pid

    def quiet() -> str:
        time.sleep(0.2)
        return "quiet"

    noisy = [queue.submit(leaves_a_thread), queue.submit(quiet), queue.submit(leaves_a_process), queue.submit(quiet)]
    results = [job.result(LIMIT_S) for job in noisy]
    assert [noisy[1].logs(), noisy[3].logs()] == ["", ""]
    until(lambda: not is_alive(results[2]), "the process that a job left is gone")


def test_a_log_can_be_read_while_the_job_runs(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def speaks() -> None:
        print("begun")
        while not go.exists():
            time.sleep(0.01)

    job = queue.submit(speaks)
    until(lambda: job.logs() == "begun\n", "the log is seen")
    assert job.status == "running"
    go.touch()
    job.result(LIMIT_S)
