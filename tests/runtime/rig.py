"""Real workers for tests: processes of their own, started through the public API, and ended whatever happens."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from gigq_nb import JobQueue
from gigq_nb.store import reads, workers

#: How long something may take that takes no time: the machine may be busy with other things.
LIMIT_S = 60.0


def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Wait until a condition holds, and return what it said."""
    end_s = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def children_of(pid: int) -> list[int]:
    """The direct children of a process that run jobs."""
    with contextlib.suppress(psutil.Error):
        return [one.pid for one in psutil.Process(pid).children() if "runtime.child" in " ".join(one.cmdline())]
    return []


def tree_of(pid: int) -> list[int]:
    """A process and all below it."""
    with contextlib.suppress(psutil.Error):
        return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]
    return []


class WorkerProcess:
    """``Worker(path, …).start()`` in a process of its own, as a script of a user runs it."""

    def __init__(self, path: Path, env: dict[str, str] | None = None, *, log_folder: Path | None = None, **options: Any) -> None:
        code = f"from gigq_nb import Worker; w = Worker({str(path)!r}, alone=True, **{options!r}); w.start()"
        self.path = path
        self.log = (log_folder or path.parent) / f"worker-{time.monotonic_ns()}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self.process.pid

    def wait_ready(self) -> "WorkerProcess":
        """Until its row says that it runs and its children are recorded."""
        queue = JobQueue(self.path)

        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended with {self.process.returncode}:\n{self.log.read_text()}")
            with queue._database.read() as db:
                mine = [peer for peer in workers.peers(db) if peer.process.pid == self.pid]
                return bool(mine and workers.children(db, mine[0].id))

        until(ready, "a worker is ready")
        queue.close()
        return self

    @property
    def children(self) -> list[int]:
        """Its children."""
        return children_of(self.pid)

    def send(self, number: int) -> None:
        """Signal the worker alone."""
        os.kill(self.pid, number)

    def send_tree(self, number: int) -> None:
        """Signal the worker and all below it."""
        for pid in tree_of(self.pid):
            kill(pid, number)

    def kill(self) -> None:
        """SIGKILL, as the system does when memory runs out."""
        self.process.kill()
        self.process.wait()

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code."""
        return self.process.wait(limit_s)

    def end(self) -> None:
        """Whatever state it is in."""
        tree = tree_of(self.pid)
        for pid in reversed(tree):
            kill(pid)
        self.process.wait()


def statuses(queue: JobQueue) -> dict[str, int]:
    """Counts that are not 0."""
    return {name: n for name, n in queue.stats().items() if n and name != "total"}


def worker_rows(queue: JobQueue) -> list[Any]:
    """The workers as the file has them, the newest first."""
    with queue._database.read() as db:
        return reads.workers(db, gone=True)


def outcomes(queue: JobQueue, job: str) -> list[str | None]:
    """How each attempt of a job ended."""
    return [one.outcome for one in queue.job(job).executions()]


def lines(path: Path) -> list[str]:
    """What jobs wrote into a file so far."""
    return path.read_text().split() if path.exists() else []


def note(ledger: Path, word: str) -> None:
    """From a job: one line, whole, whoever writes at the same time."""
    handle = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{word}\n".encode())
    os.close(handle)


def note_pid(ledger: Path, word: str) -> None:
    """The same with the pid of the process: ``word:pid``."""
    note(ledger, f"{word}:{os.getpid()}")
