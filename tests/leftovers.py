"""Which processes a test has left behind, and how they are sent home."""

import contextlib
import time
from pathlib import Path

import psutil

# Python's own, started once in a process and ended with it: not the doing of the test that first needed them.
_PYTHONS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes that carry `folder` in their environment, and our descendants that run gigq_nb.

    The environment finds a worker in a session of its own whose parents are all gone; the descent finds one that was
    given another environment.
    """
    mark = str(folder)
    ours = {p.pid for p in psutil.Process().children(recursive=True)}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid == psutil.Process().pid or process.status() == psutil.STATUS_ZOMBIE:
                continue
            arguments = process.cmdline()[1:]  # not the interpreter: its path may well contain the project's name
            if any(own in argument for own in _PYTHONS_OWN for argument in arguments):
                continue
            runs_gigq = any("gigq_nb" in argument for argument in arguments)
            if (process.pid in ours and runs_gigq) or any(mark in value for value in process.environ().values()):
                found.append(process)
    return found


def wait_until_gone(folder: Path, patience_s: float) -> list[psutil.Process]:
    """Those that are still there when patience ends."""
    end = time.monotonic() + patience_s
    while (left := left_behind(folder)) and time.monotonic() < end:
        psutil.wait_procs(left, timeout=0.1)
    return left


def dismiss(folder: Path) -> None:
    """Ask workers to stop, as a person does (SIGTERM); one whose kernel is gone may linger for a while otherwise."""
    left = left_behind(folder)
    pids = {process.pid for process in left}
    for process in left:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:  # a worker ends its children itself
                process.terminate()


def kill(processes: list[psutil.Process]) -> None:
    """So that the next test does not meet them."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def describe(process: psutil.Process) -> str:
    """One line for a failure message."""
    try:
        return f"{process.pid} ({process.status()}, parent {process.ppid()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"{process.pid} (ended just now)"
