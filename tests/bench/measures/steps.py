"""Where a job's microseconds go: steps of the submitter and of the worker, and the CPU of everybody, for gigq_nb alone.

The steps are functions of the product, wrapped from outside (about 0.5 us a call, in their numbers). They are wall
time: a step that waits for the disk or for a lock has that in it. The CPU is what the kernel counted for the whole
process, and so has the steps that nobody wrapped in it: sockets, scheduling, the interpreter's own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import processes
from tests.bench.contenders.base import PATIENCE_S, WORKERS
from tests.bench.measures import Figure
from tests.bench.stopwatch import Stopwatch

SUBMITTER = ("pack and sign", "begin", "insert", "commit", "fsync", "ring", "read results", "load results")
WORKER = ("begin", "settle", "claim", "commit with fsync", "send", "receive", "make endings", "ring")
FIGURES = {
    **{f"submitter: {step}": Figure(title=f"submitter: {step}") for step in SUBMITTER},
    **{f"worker: {step}": Figure(title=f"worker: {step}") for step in WORKER},
    **{f"cpu: {who}": Figure(title=f"CPU of the {who}") for who in ("submitter", "worker", "children")},
    "wall": Figure(title="in all, by the clock"),
}


def run(contender, spec) -> dict[str, float]:
    count, bulk = spec.size["jobs"], spec.size["bulk"]
    about = Path(spec.folder) / "steps.json"
    worker = subprocess.Popen([sys.executable, "-m", "tests.bench.measures.steps", contender.path, str(about)])
    contender.results(contender.submit_bulk("pause", [50] * 2 * WORKERS))
    children = [pid for pid in processes.workers() if pid != worker.pid]
    watch = watch_submitter()
    before = {pid: processes.cpu_s([pid]) for pid in (worker.pid, *children)}
    cpu_s, begin_s = time.process_time(), time.perf_counter()
    xs = list(range(1, count + 1))
    handles = contender.submit_bulk("noop", xs) if bulk else [contender.submit("noop", x) for x in xs]
    if contender.results(handles) != xs:
        raise AssertionError("results are missing, wrong or out of order")
    wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    spent = {pid: processes.cpu_s([pid]) - s for pid, s in before.items()}
    worker.send_signal(signal.SIGTERM)
    worker.wait(PATIENCE_S)
    ns = json.loads(about.read_text())
    us = {
        **{f"submitter: {step}": watch.ns[step] / 1e3 for step in SUBMITTER},
        **{f"worker: {step}": ns[step] / 1e3 for step in WORKER},
        "cpu: submitter": cpu_s * 1e6,
        "cpu: worker": spent.pop(worker.pid) * 1e6,
        "cpu: children": sum(spent.values()) * 1e6,
        "wall": wall_s * 1e6,
    }
    return {name: value / count for name, value in us.items()}


def watch_submitter() -> Stopwatch:
    from gigq_nb import loading, submission
    from gigq_nb.runtime.bell import Bell
    from gigq_nb.store import reads, submissions
    from gigq_nb.store.db import Database
    from gigq_nb.store.wal import Wal

    watch = Stopwatch()
    watch.wrap(submission.Submitter, "prepare", "pack and sign")
    watch.wrap(submission.Submitter, "from_calls", "pack and sign")
    watch.wrap(submission.Submitter, "_store", "commit")  # what is left of it: the checks and the commit
    watch.wrap(Database, "_begin", "begin")
    watch.wrap(submissions, "submit", "insert")
    watch.wrap(Wal, "fsync", "fsync")
    watch.wrap(Bell, "ring", "ring")
    watch.wrap(reads, "finals", "read results")
    watch.wrap(loading, "value_of", "load results")
    return watch


def watch_worker() -> Stopwatch:
    from gigq_nb.runtime.bell import Bell
    from gigq_nb.runtime.local import LocalRunner
    from gigq_nb.runtime.settling import Settlements
    from gigq_nb.runtime.shift import Shift
    from gigq_nb.store import transitions
    from gigq_nb.store.db import Database

    watch = Stopwatch()
    watch.wrap(Shift, "_write", "commit with fsync")  # what is left of it
    watch.wrap(Database, "_begin", "begin")
    watch.wrap(Shift, "_write_ends", "settle")
    watch.wrap(transitions, "settle", "settle")
    watch.wrap(transitions, "claim", "claim")
    watch.wrap(Shift, "_claim", "claim")
    watch.wrap(Shift, "_send_on", "send")
    watch.wrap(LocalRunner, "_read", "receive")
    watch.wrap(Settlements, "take_in", "make endings")
    watch.wrap(Bell, "ring", "ring")
    return watch


def main(path: str, target: str) -> None:
    from gigq_nb import Worker

    watch = watch_worker()
    Worker(path, concurrency=WORKERS, alone=True).start()
    Path(target).write_text(json.dumps({step: watch.ns[step] for step in WORKER}))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
