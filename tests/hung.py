"""``python -m tests.hung``: five kinds of jobs that hang, timed out and cancelled; the seconds from the start of the function to
the final row, and what is left of their processes (nothing)."""

import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import psutil

from gigq_nb import JobQueue, task
from tests.books import FOLDERS
from tests.leftovers import describe
from tests.runtime.hanging import KINDS
from tests.runtime.rig import is_alive, lines, until

TIMEOUT_S = 1.0


def measure(queue: JobQueue, pids: Path, kind: str, how: str) -> tuple[str, float, str, list[int]]:
    """(status, seconds, why, pids that were there)."""
    job = queue.submit(task(timeout=TIMEOUT_S if how == "timeout" else None)(KINDS[kind]), str(pids))
    until(lambda: "ready" in lines(pids), f"{kind} hangs")
    asked = time.time()
    if how == "cancel":
        job.cancel()
    job.wait(60)
    [attempt] = job.executions()
    begun = attempt.started_at.timestamp() if isinstance(attempt.started_at, datetime) else attempt.started_at / 1000
    seconds = time.time() - (begun if how == "timeout" else asked)
    why = job.error or queue.get_status(job)["reason"] or ""
    return job.status, seconds, why, [int(word) for word in lines(pids) if word.isdigit()]


def main() -> int:
    """Print the table. Returns 1 when a process survived or a row was late."""
    bad = False
    with tempfile.TemporaryDirectory(prefix="gq-hung-") as name:
        folder = Path(name)
        for one in FOLDERS:
            (folder / one.lower()).mkdir(mode=0o700)
            os.environ[one] = str(folder / one.lower())
        queue = JobQueue(folder / "jobs.db")
        worker = queue.start_worker(2)
        print(f"timeout {TIMEOUT_S:g} s; as shipped, 2 children, worker {worker.pid}\n")
        print(f"{'how it hangs':30}{'ended by':10}{'row':11}{'seconds':>8}{'processes':>11}  survivors")
        survivors: list[str] = []
        for kind in KINDS:
            for how in ("timeout", "cancel"):
                status, seconds, _, pids = measure(queue, folder / f"{kind}-{how}", kind, how)
                left = [pid for pid in pids if is_alive(pid)]
                survivors += [describe(psutil.Process(pid)) for pid in left]
                bad = bad or bool(left) or seconds > (TIMEOUT_S if how == "timeout" else 0) + 5
                print(f"{kind:30}{how:10}{status:11}{seconds:8.2f}{len(pids):11}  {left or 'none'}")
        print(
            f"\nthe queue goes on: 2 ** 10 = {queue.submit(pow, 2, 10).result(60)}; worker {worker.pid} lives: {is_alive(worker.pid)}"
        )
        print("surviving processes:", *(survivors or ["none"]), sep="\n  ")
        queue.stop_worker(now=True, timeout=30)
        queue.close()
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
