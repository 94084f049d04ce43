"""``python -m tests.recovery``: 50 SIGKILLs of a kernel's worker, nothing configured. How long until its job runs again?

The connected kernel starts another worker by itself; with ``--second`` a second worker is alive and takes over.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from gigq_nb import JobQueue
from tests.books import FOLDERS
from tests.leftovers import kill, left_behind
from tests.runtime.rig import WorkerProcess, until, worker_rows


def rests(ledger: str) -> None:
    """Say who runs, and rest."""
    handle = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{time.monotonic()} {os.getppid()}\n".encode())
    os.close(handle)
    time.sleep(600)


def measure(folder: Path, kills: int, second: bool) -> list[float]:
    """Seconds from each SIGKILL to the beginning of the next run."""
    queue, ledger = JobQueue(folder / "jobs.db"), folder / "ledger"
    team: list[WorkerProcess] = []
    if not second:
        queue.start_worker(1)
    took = []
    job = queue.submit(rests, str(ledger))

    def runs() -> list[str]:
        return ledger.read_text().splitlines() if ledger.exists() else []

    for n in range(kills):
        if second:
            team = [one for one in team if one.process.poll() is None]
            while len(team) < 2:
                team.append(WorkerProcess(queue.path, concurrency=1).wait_ready())
        until(lambda n=n: len(runs()) == n + 1, "it runs")
        if not second:
            # As shipped, a keeper starts five a minute; this measures how fast, not how often.
            from gigq_nb.runtime.launcher import keeper_of

            keeper_of(queue)._starts.clear()
        time.sleep(0.3)  # the keeper has seen the new worker, as it has in a life of minutes
        pid = int(runs()[n].split()[1])
        began_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda n=n: len(runs()) == n + 2, "it runs again")
        took.append(float(runs()[n + 1].split()[0]) - began_s)
        if (n + 1) % 8 == 0:  # ten losses would end it: a new one is as good
            job.cancel()
            job.wait(30)
            ledger.rename(folder / f"ledger-{n}")
            ledger.write_text("x 0\n" * (n + 1))
            job = queue.submit(rests, str(ledger))
            until(lambda n=n: len(runs()) == n + 2, "the new one runs")
    job.cancel()
    job.wait(30)
    gone = len([row for row in worker_rows(queue) if row.state == "gone"])
    print(f"{kills} SIGKILLs, {gone} workers gone")
    queue.stop_worker(now=True)
    for one in team:
        one.end()
    queue.close()
    return took


def main() -> int:
    """Print p50, p95, max."""
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--second", action="store_true", help="a second worker is alive")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gigq-recovery-"))
    for name in FOLDERS:
        os.environ[name] = str(folder / name.lower())
        (folder / name.lower()).mkdir(mode=0o700)
    try:
        took = sorted(measure(folder, wanted.kills, wanted.second))
    finally:
        kill(left_behind(folder))
        shutil.rmtree(folder, ignore_errors=True)
    who = "another worker is alive" if wanted.second else "the connected kernel starts another worker"
    p95 = took[min(len(took) - 1, int(0.95 * len(took)))]
    print(f"runs again after ({who}): p50 {statistics.median(took):.2f} s, p95 {p95:.2f} s, max {took[-1]:.2f} s")
    print("the slowest five: " + ", ".join(f"{one:.2f}" for one in took[-5:]))
    return int(took[-1] > 3)


if __name__ == "__main__":
    sys.exit(main())
