"""The harness: ``python -m tests.chaos --jobs 10000 --kills 200 --submitter-kills 6 --workers 4 --seed 1``."""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from gigq_nb import JobQueue
from tests.books import FOLDERS
from tests.chaos.verdict import Fire, acknowledged, table
from tests.leftovers import kill, wait_until_gone
from tests.runtime.rig import WorkerProcess, children_of

SUBMITTERS = 3
#: Nothing moves for so long: whatever is still open is stuck.
STUCK_S = 60.0


class Harness:
    """Keeps workers and submitters alive, and kills them."""

    def __init__(
        self, folder: Path, *, jobs: int, kills: int, submitter_kills: int, workers: int, seed: int, rough: bool = False
    ) -> None:
        self.folder, self.jobs, self.seed, self.rough = folder, jobs, seed, rough
        self.frozen: list[tuple[float, WorkerProcess]] = []
        self.lock: tuple[float, sqlite3.Connection] | None = None
        self.pause: tuple[float, int] | None = None  # until when, and the newest attempt when it began
        self.chance = random.Random(seed)
        self.fire = Fire()
        for name in ("locks", "failed"):
            (folder / name).mkdir()
        self.queue = JobQueue(folder / "jobs.db")
        self.workers: list[WorkerProcess | None] = [None] * workers
        self.submitters: list[subprocess.Popen[bytes] | None] = [None] * SUBMITTERS
        self.turns = [0] * SUBMITTERS
        # When to shoot, as shares of what is done: so that all of it happens while there is work.
        self.shots = sorted(self.chance.uniform(0.0, 0.85) for _ in range(kills))  # the last ones still find work
        self.submitter_shots = sorted(self.chance.uniform(0.02, 0.9) for _ in range(submitter_kills))

    def run(self) -> None:
        """Until everything is done, or nothing moves."""
        began_s = moved_s = time.monotonic()
        before = -1
        while True:
            self._keep_workers()
            submitting = self._keep_submitters()
            done, open_ = self._progress()
            if done != before:
                before, moved_s = done, time.monotonic()
            if time.monotonic() - moved_s > STUCK_S or (not submitting and not open_):
                break
            self._shoot(done / self.jobs)
            if self.rough:
                self._be_rough(bool(self.shots))
            time.sleep(self.chance.uniform(0.005, 0.03))
        self.fire.seconds = time.monotonic() - began_s
        self._dismiss()

    def _progress(self) -> tuple[int, int]:
        counts = self.queue.stats()
        return counts["total"] - counts["pending"] - counts["running"], counts["pending"] + counts["running"]

    def _keep_workers(self) -> None:
        for place, one in enumerate(self.workers):
            if one is not None and one.process.poll() is not None:
                if one.pid not in self.fire.workers_killed | self.fire.workers_stopped:
                    self.fire.ended_by_themselves += 1
                one = None
            if one is None:
                more = {"lease": 2, "stop_grace": 0.3} if self.rough else {}
                self.workers[place] = WorkerProcess(self.folder / "jobs.db", concurrency=2, **more)
                self.fire.workers_started += 1

    def _keep_submitters(self) -> bool:
        """Returns whether any is at work."""
        share = -(-self.jobs // SUBMITTERS)
        for slot, one in enumerate(self.submitters):
            if one is not None and one.poll() == -signal.SIGKILL:
                self.fire.submitters_killed += 1
                one = None
            if one is None:
                self.turns[slot] += 1
                arguments = [str(self.folder), str(slot), str(self.turns[slot]), str(self.seed), str(share), str(self.rough)]
                self.submitters[slot] = subprocess.Popen([sys.executable, "-m", "tests.chaos.submitter", *arguments])
        return any(one is not None and one.poll() is None for one in self.submitters)

    def _be_rough(self, go_on: bool) -> None:
        """Freeze workers past their lease, stop some politely, hold the file's write lock, pause the queue."""
        now_s = time.monotonic()
        for until_s, one in self.frozen[:]:
            if now_s > until_s or not go_on:
                self.frozen.remove((until_s, one))
                one.send_tree(signal.SIGCONT)
        if self.lock is not None and (now_s > self.lock[0] or not go_on):
            self.lock[1].rollback()
            self.lock[1].close()
            self.lock = None
        free = self.lock is None and not self.frozen  # one that is frozen may hold the lock, and it is thawed here
        if self.pause is not None and free and (now_s > self.pause[0] or not go_on):
            self.fire.claimed_in_a_pause += self._newest_attempt() - self.pause[1]
            self.queue.resume()
            self.pause = None
        if not go_on or (self.pause is not None and now_s > self.pause[0]):
            return
        if free and self.pause is None and self.chance.random() < 0.03:
            self.queue.pause()
            self.fire.pauses += 1
            self.pause = (time.monotonic() + self.chance.uniform(0.3, 2), self._newest_attempt())
        asleep = {one.pid for _, one in self.frozen}
        ready = [
            one
            for one in self.workers
            if one is not None and one.process.poll() is None and one.pid not in asleep and children_of(one.pid)
        ]
        dice = self.chance.random()
        if dice < 0.03 and len(self.frozen) < 2 and ready:
            one = self.chance.choice(ready)
            self.fire.workers_frozen.add(one.pid)
            (one.send_tree if self.chance.random() < 0.5 else one.send)(signal.SIGSTOP)
            self.frozen.append((now_s + self.chance.uniform(0.5, 7), one))
        elif dice < 0.06 and (polite := [one for one in ready if one.pid not in self.fire.workers_stopped]):
            one = self.chance.choice(polite)  # once: a second signal means "at once", also when the file is locked
            self.fire.workers_stopped.add(one.pid)
            one.send(signal.SIGTERM)
        elif dice < 0.075 and self.lock is None:
            holder = sqlite3.connect(self.folder / "jobs.db", isolation_level=None, timeout=5)
            with contextlib.suppress(sqlite3.OperationalError):
                holder.execute("begin immediate")
                self.fire.locks_held += 1
            self.lock = (now_s + self.chance.uniform(0.5, 4), holder)

    def _newest_attempt(self) -> int:
        """Every claim takes the next number, and no number comes back."""
        with self.queue._database.read() as db:
            row = db.execute("select seq from sqlite_sequence where name = 'executions'").fetchone()
        return int(row[0]) if row else 0

    def _shoot(self, share: float) -> None:
        while self.shots and self.shots[0] <= share:
            living = [one for one in self.workers if one is not None and one.process.poll() is None]
            children = [pid for one in living for pid in children_of(one.pid)]
            if self.chance.random() < 0.4:
                if not children:
                    return
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.chance.choice(children), signal.SIGKILL)
                    self.fire.children_killed += 1
            else:
                # One that is at work: a worker that is still starting has nothing to lose.
                ready = [one for one in living if children_of(one.pid)]
                if not ready:
                    return
                one = self.chance.choice(ready)
                self.fire.workers_killed.add(one.pid)
                one.process.kill()
            self.shots.pop(0)
        acked_share = len(acknowledged(self.folder)) / self.jobs
        while self.submitter_shots and self.submitter_shots[0] <= acked_share:
            self.submitter_shots.pop(0)
            living_submitters = [one for one in self.submitters if one is not None and one.poll() is None]
            if living_submitters:
                self.chance.choice(living_submitters).kill()

    def _dismiss(self) -> None:
        for one in self.workers:
            if one is not None and one.process.poll() is None:
                one.send(signal.SIGTERM)
        for one in self.workers:
            if one is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.wait(30)
        for submitter in self.submitters:
            if submitter is not None and submitter.poll() is None:
                submitter.kill()
                submitter.wait()
        left = wait_until_gone(self.folder, 3.0)
        self.fire.left_processes = len(left)
        kill(left)
        self.queue.close()


def chaos(folder: Path, **wanted: Any) -> tuple[list[tuple[str, int]], Fire, dict[str, int]]:
    """Run it. Returns the table, what was done, and the counts of the queue.

    What is shared between its processes lies in ``folder``, which stands in their environment.
    """
    for name in FOLDERS:
        os.environ[name] = str(folder / name.lower())
        (folder / name.lower()).mkdir(mode=0o700, exist_ok=True)
    harness = Harness(folder, **wanted)
    harness.run()
    counts = harness.queue.stats()
    harness.queue.close()
    (folder / "fire").write_text(repr(harness.fire))  # for whoever looks into a folder that was kept
    return table(folder, harness.fire), harness.fire, counts


def report(rows: list[tuple[str, int]], fire: Fire, counts: dict[str, int], folder: Path) -> str:
    """The table as text."""
    db = sqlite3.connect(folder / "jobs.db")
    outcomes = dict(db.execute("select outcome, count(*) from executions group by 1"))
    losses = db.execute("select coalesce(max(losses), 0) from jobs").fetchone()[0]
    db.close()
    shown = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n and name != "total")
    attempts = ", ".join(f"{n:,} {name}" for name, n in sorted(outcomes.items(), key=str))
    lines = [
        f"{counts['total']:,} jobs in {fire.seconds:.0f} s: {shown}",
        f"SIGKILLs: {len(fire.workers_killed)} workers, {fire.children_killed} children, {fire.submitters_killed} submitters",
        f"{fire.workers_started} workers started, {len(fire.workers_frozen)} frozen, {len(fire.workers_stopped)} stopped",
        f"the file locked {fire.locks_held} times, the queue paused {fire.pauses} times",
        f"attempts: {attempts}; most losses of one job: {losses}",
        "",
        "  exceptions to what must hold:",
    ]
    width = max(len(name) for name, _ in rows)
    lines += [f"  {name:<{width}}  {n:>6,}{'' if n == 0 else '   <-- must be 0'}" for name, n in rows]
    return "\n".join(lines)


def main() -> int:
    """Exit code 0 when every count is 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs of workers and children")
    parser.add_argument("--submitter-kills", type=int, default=6)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--rough", action="store_true", help="also freeze and stop workers, lock the file, pause, cancel and hang jobs"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    wanted = vars(parser.parse_args())
    keep, seed = wanted.pop("keep"), wanted["seed"]
    folder = Path(tempfile.mkdtemp(prefix="gigq-chaos-"))
    if psutil.disk_usage(folder).free < 2 * 10**9:
        print(f"{folder} has less than 2 GB left")
        return 2
    print(f"seed {seed}: {wanted['jobs']:,} jobs, {wanted['kills']} kills, {wanted['workers']} workers", flush=True)
    rows, fire, counts = chaos(folder, **wanted)
    print(report(rows, fire, counts, folder))
    bad = any(n for _, n in rows)
    if keep or bad:
        print(f"\nkept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
