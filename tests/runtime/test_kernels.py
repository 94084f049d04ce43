"""Sections A7 to A9 of the fault matrix: kernels are killed, restarted and interrupted, and workers do not notice."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jupyter_client
import pytest

from gigq_nb import JobQueue
from tests.runtime.rig import (
    LIMIT_S,
    WorkerProcess,
    is_alive,
    lines,
    outcomes,
    until,
)

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- A7 to A9: kernels


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    """A real ipykernel as Jupyter starts it, in a process group that Jupyter interrupts and kills."""
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    with contextlib.suppress(RuntimeError):
        manager.shutdown_kernel(now=True)


def run_cell(client: Any, code: str) -> str:
    """Run a cell; returns what it printed."""
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["header"]["msg_type"] == "stream":
            said.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=LIMIT_S, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


_SUBMIT = """
import os, time
from pathlib import Path
from gigq_nb import JobQueue
queue = JobQueue({path!r})
worker = queue.start_worker(1)
def work():
    Path({begun!r}).write_text(str(os.getpid()))
    while not os.path.exists({go!r}):
        time.sleep(0.01)
    return "done"
job = queue.submit(work)
print(worker.pid, job)
"""


def test_a_killed_kernel_leaves_worker_and_jobs_alone(queue: JobQueue, kernel: Any, tmp_path: Path) -> None:
    manager, client = kernel
    begun, go = tmp_path / "begun", tmp_path / "go"
    pid, job_id = run_cell(client, _SUBMIT.format(path=str(queue.path), begun=str(begun), go=str(go))).split()
    until(lambda: lines(begun), "it runs")
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=LIMIT_S)
    found = run_cell(
        client, f"from gigq_nb import JobQueue\nw = JobQueue({str(queue.path)!r}).start_worker(1)\nprint(w.pid, w.started)"
    )
    assert found.split() == [pid, "False"]
    go.touch()
    assert queue.job(job_id).result(LIMIT_S) == "done"
    assert outcomes(queue, job_id) == ["completed"]


def test_an_interrupted_kernel_leaves_worker_and_jobs_alone(queue: JobQueue, kernel: Any, tmp_path: Path) -> None:
    manager, client = kernel
    begun, go = tmp_path / "begun", tmp_path / "go"
    _, job_id = run_cell(client, _SUBMIT.format(path=str(queue.path), begun=str(begun), go=str(go))).split()
    until(lambda: lines(begun), "it runs")
    waits = tmp_path / "waits"
    waiting = client.execute(f"open({str(waits)!r}, 'w').close(); job.result()")
    until(waits.exists, "the cell waits")  # an interrupt before it, or a second one after it, would hit the kernel's own loop
    manager.interrupt_kernel()
    deadline = time.monotonic() + LIMIT_S
    reply = None
    while reply is None and time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            message = client.get_shell_msg(timeout=0.5)
            reply = message if message["parent_header"]["msg_id"] == waiting else None
    assert reply is not None
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert is_alive(int(begun.read_text()))
    go.touch()
    assert queue.job(job_id).result(LIMIT_S) == "done"
    assert outcomes(queue, job_id) == ["completed"]


def test_an_interrupt_during_submit_leaves_the_job_there_or_not_there(queue: JobQueue, tmp_path: Path) -> None:
    """A9: an alarm at random moments around the submit; what was acknowledged is there, and nothing is half there."""
    code = f"""
import random, signal
from gigq_nb import JobQueue
chance = random.Random(11)
queue = JobQueue({str(queue.path)!r})
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
queue.submit(pow, 0, 1)
acks = interrupted = 0
for n in range(500):
    job = None
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-3))
            job = queue.submit(pow, n, 2)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    if job is not None:
        print(job)
print("interrupted", interrupted)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    *acks, last = done.stdout.splitlines()
    assert int(last.split()[1]) > 20, "the alarm must hit"
    there = {job["id"] for job in queue.list_jobs(limit=10_000)}
    assert set(acks) <= there
