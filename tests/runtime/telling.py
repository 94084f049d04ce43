"""Jobs that say how far they are, and what that costs. A module of its own, which a child imports without pytest."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from gigq_nb import current_job, progress, track
from gigq_nb.runtime import wire

PATIENCE_S = 60.0


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """How many messages this process sends to its worker meanwhile."""
    sent = [0]
    send = wire.send

    def count(*args: Any) -> None:
        sent[0] += 1
        send(*args)

    wire.send = count
    try:
        yield sent
    finally:
        wire.send = send


def pause(path: str) -> None:
    """Wait until a file exists."""
    end_s = time.monotonic() + PATIENCE_S
    while not os.path.exists(path):
        if time.monotonic() > end_s:
            raise TimeoutError(path)
        time.sleep(0.005)


def a_million_times(path: str) -> int:
    with counted() as sent:
        for i in range(1_000_000):
            progress(i, 1_000_000, "counting")
        progress(999_999.5, 1_000_000, "and stands still")
        pause(path)
    return sent[0]


def a_million_steps(path: str) -> tuple[int, int]:
    from tqdm import tqdm

    with counted() as sent:
        for _ in tqdm(range(1_000_000), desc="steps"):
            pass
        pause(path)
    return sent[0], sum(type(one).__name__ == "TMonitor" for one in threading.enumerate())


def a_burst_then_stall(path: str) -> None:
    progress(0, 3)
    progress(1, 3, "the second takes an hour")
    pause(path)


def tell(*words: Any) -> None:
    progress(*words)


def tell_then_pause(path: str, *words: Any) -> None:
    progress(*words)
    pause(path)


def tell_then_fail() -> None:
    progress(7, 10, "before it broke")
    raise ValueError("broken")


def tell_from_a_fork() -> None:
    progress(1, 10, "the job's own")
    pid = os.fork()
    if pid == 0:
        progress(9, 10, "the fork's")
        os._exit(0)
    os.waitpid(pid, 0)


def tracked(path: str, n: int, stop: int) -> list[int]:
    seen = []
    for one in track(range(n), text="tracked"):
        if one == stop:
            pause(path)
        seen.append(one)
    return seen


def tracked_generator(path: str) -> int:
    total = sum(track((i for i in range(5)), text="unknown length"))
    pause(path)
    return total


def who() -> tuple[str, str, int]:
    job = current_job()
    assert job is not None
    return job.id, job.name, job.attempt


def nested_bars(path: str) -> None:
    from tqdm.auto import tqdm, trange

    for epoch in trange(4, desc="epoch"):
        for i in tqdm(range(10), desc="batch", leave=False, mininterval=0):
            if epoch == 2 and i == 5:
                pause(path)


def notebook_bar() -> None:
    from tqdm.notebook import tqdm, trange

    for _ in tqdm(range(3), desc="widget", display=True):
        pass
    for _ in trange(2):
        pass


def manual_bar(path: str) -> None:
    from tqdm import tqdm

    with tqdm(total=100, desc="manual", mininterval=0) as bar:
        bar.update(40)
        bar.set_postfix(loss=0.5)
        tqdm.write("a line of its own")
        pause(path)
        bar.update(60)


def many_bars() -> None:
    from tqdm import tqdm

    for _ in range(500):
        for _ in tqdm(range(2)):
            pass


def bar_into_a_file(path: str) -> None:
    from tqdm import tqdm

    with open(path, "w") as file:
        for _ in tqdm(range(3), file=file):
            pass


def disabled_bar() -> int:
    from tqdm import tqdm

    return sum(tqdm(range(4), disable=True))
