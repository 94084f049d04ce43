"""Sections C17 and C18 of the fault matrix: the next job in a child does not see what one did to the process."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- C17, C18: isolation


def _limits() -> Any:
    import resource

    return [resource.getrlimit(one) for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)]


def _lower_limits() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _seed_all() -> None:
    import random

    import numpy as np

    random.seed(1)
    np.random.seed(1)


def _is_seeded() -> tuple[bool, bool]:
    import random

    import numpy as np

    expected = random.Random(1).random(), np.random.RandomState(1).random()
    return random.random() == expected[0], np.random.random() == expected[1]


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "cwd": (lambda: os.chdir("/"), os.getcwd),
    "environment": (
        lambda: os.environ.update(HOME="/", MINE="x") or os.environ.pop("PATH"),
        lambda: dict(os.environ) | {"GIGQ_NB_CHILD": ""},
    ),
    "umask": (lambda: os.umask(0o777), _umask),
    "signal handlers": (
        lambda: [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)],
        lambda: [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)],
    ),
    "blocked signals": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT]),
        lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    ),
    "an alarm": (lambda: signal.alarm(1), lambda: time.sleep(1.2)),
    "sys.path": (lambda: sys.path.insert(0, "/nowhere"), lambda: list(sys.path)),
    "limits": (_lower_limits, _limits),
    "recursion limit": (lambda: sys.setrecursionlimit(100), sys.getrecursionlimit),
    "random numbers": (_seed_all, _is_seeded),
    "a trace function": (lambda: sys.settrace(lambda *_: None), sys.gettrace),
    "asyncio": (
        lambda: asyncio.set_event_loop(asyncio.new_event_loop()),
        lambda: "loops run: " + asyncio.run(asyncio.sleep(0, "yes")),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_job_in_a_child_does_not_see_a_change_of(queue: JobQueue, start: Start, name: str) -> None:
    start(concurrency=1)
    change, look = CHANGES[name]

    def changes() -> None:
        change()

    before = queue.submit(look).result(LIMIT_S)
    queue.submit(changes).result(LIMIT_S)
    assert queue.submit(look).result(LIMIT_S) == before


def test_the_next_job_does_not_see_what_one_did_to_the_globals_of_its_function(queue: JobQueue, worker: WorkerHandle) -> None:
    """As functions of a notebook: their globals travel with them, and are made anew for each job."""
    code = f"""
from gigq_nb import JobQueue
seen = []
def add(n):
    global more
    seen.append(n)
    more = n
    return list(seen), "more" in globals()
queue = JobQueue({str(queue.path)!r})
print([queue.submit(add, n).result(30)[0] for n in (1, 2, 3)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1], [2], [3]]"


def test_a_job_that_deletes_its_folder_does_not_harm_the_next(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    folder = tmp_path / "folder"
    folder.mkdir()
    with monkeypatch.context() as there:
        there.chdir(folder)

        def removes() -> None:
            import shutil

            shutil.rmtree(os.getcwd())

        job = queue.submit(removes)
    job.result(LIMIT_S)
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
