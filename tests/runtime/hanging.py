"""Jobs that do not end by themselves. Each appends the pids of its processes to a file, then the word ``ready``.

They stand in a module of its own, light to import: a child imports it by name.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable


def _say(pids: str, *words: object) -> None:
    with open(pids, "a") as file:
        file.write("".join(f"{word}\n" for word in words))


def loops_in_python(pids: str) -> None:
    """C1"""
    _say(pids, os.getpid(), "ready")
    while True:
        pass


def sleeps_in_c_holding_the_gil(pids: str) -> None:
    """C2"""
    _say(pids, os.getpid(), "ready")
    ctypes.PyDLL(None).sleep(3600)


def computes_in_c_holding_the_gil(pids: str) -> None:
    """C2, in a loop that no signal's handler ever gets into."""
    _say(pids, os.getpid(), "ready")
    sum(range(10**15))


def ignores_signals(pids: str) -> None:
    """C3"""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _say(pids, os.getpid(), "ready")
    while True:
        time.sleep(0.1)


def swallows_every_exception(pids: str) -> None:
    """C4"""
    _say(pids, os.getpid(), "ready")
    while True:
        try:
            while True:
                time.sleep(0.1)
        except BaseException:
            pass


def leaves_grandchildren(pids: str) -> None:
    """C5 and C6: in its group, in a session of its own, by a double fork, and with an empty environment."""
    group = subprocess.Popen(["sleep", "3600"])
    session = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    bare = subprocess.Popen(["env", "-i", "setsid", "/bin/sleep", "3600"])
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            os.execvp("sleep", ["sleep", "3600"])
        os._exit(0)
    daemon = int(os.read(read, 100))
    _say(pids, os.getpid(), group.pid, session.pid, bare.pid, daemon, "ready")
    while True:
        time.sleep(0.1)


KINDS: dict[str, Callable[[str], None]] = {
    one.__name__: one
    for one in (
        loops_in_python,
        sleeps_in_c_holding_the_gil,
        computes_in_c_holding_the_gil,
        ignores_signals,
        swallows_every_exception,
        leaves_grandchildren,
    )
}
