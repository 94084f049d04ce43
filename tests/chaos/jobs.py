"""What runs under fire. Each run writes what it did into a ledger of its process: the queue never judges itself.

Light to import: a child imports it by name.
"""

import fcntl
import os
import time
from pathlib import Path

#: What a line of the ledger says: a run began, ended, failed on purpose, or met another run of the same job.
BEGAN, ENDED, FAILED, MET = "B", "E", "F", "O"


def say(folder: str, event: str, key: str) -> None:
    """One line, whole, at once: it must survive a SIGKILL in the next instruction."""
    handle = os.open(f"{folder}/ledger-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{event} {key} {time.monotonic_ns()}\n".encode())
    os.close(handle)


def work(key: str, folder: str, rest_s: float, parent: str | None = None) -> str:
    """Rest, and return the key. Keys that begin with ``flaky`` fail the first time, those with ``bad`` each time."""
    # The lock falls with the process that holds it: who cannot have it runs beside another run of the same job.
    lock = os.open(f"{folder}/locks/{key}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(folder, MET, key)
    try:
        say(folder, BEGAN, key)
        time.sleep(rest_s)
        mark = Path(folder, "failed", key)
        if key.startswith("bad") or (key.startswith("flaky") and not mark.exists()):
            mark.touch()
            say(folder, FAILED, key)
            raise ValueError("on purpose")
        say(folder, ENDED, key)
    finally:
        os.close(lock)
    return key


def hangs(key: str, folder: str) -> None:
    """Until its timeout ends it."""
    say(folder, BEGAN, key)
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            if len(key) % 2:
                raise
