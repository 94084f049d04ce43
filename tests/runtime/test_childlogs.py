"""Whose output is it? The log pipe of a child, read at any moment between what its jobs do.

The child marks the end of a job in the pipe, reports the job, and only then says on the page that it runs nothing. So a
worker that reads in between finds the end of one job, output of what that job left running, and the next job in the queue.
"""

import mmap
import os
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from gigq_nb.job import Options
from gigq_nb.runtime import wire
from gigq_nb.runtime.childprocess import ChildProcess
from gigq_nb.runtime.runner import Assignment, LoadedTask
from gigq_nb.store.attempts import Claim

NONCE = b"0123456789abcdef"


class Seen(ChildProcess):
    """A child of which a test says what it runs at each look."""

    looks: list[int]

    def running(self) -> tuple[int, int]:
        return (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]), 1


@pytest.fixture
def pipe() -> Iterator[tuple[Seen, int]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    child = Seen(cast(Any, None), 0, os.open(os.devnull, os.O_RDONLY), near, far, out, mmap.mmap(-1, mmap.PAGESIZE), NONCE)
    child.looks = [0]
    yield child, into
    os.close(into)
    child.close()


def give(child: Seen, *tokens: int) -> None:
    for token in tokens:
        claim = Claim(token, "a" * 36, 1, None, 1, 1, 3, 0, None, 0, b"", False, token=token)
        child.queue[token] = Assignment(claim, LoadedTask(1, b"", "f", 1, b"", b"", b"", Options()), b"", b"", None, sent=True)


def mark(token: int) -> bytes:
    return wire.MARK.pack(NONCE, token)


def log(child: Seen, token: int) -> str:
    return child.queue[token].log.take()[0]


@pytest.mark.parametrize("looks", [[1], [0], [1, 0]], ids=["still named", "named no more", "in between"])
def test_what_a_job_left_running_prints_into_no_log(pipe: tuple[Seen, int], looks: list[int]) -> None:
    child, into = pipe
    give(child, 1)
    child.looks = [1]
    os.write(into, b"its own\n" + mark(1) + b"noise\n")
    child.drain_log()
    assert log(child, 1) == "its own\n"
    child.queue.remove(1)
    give(child, 2)
    child.looks = looks
    os.write(into, b"noise\n")
    child.drain_log()
    child.looks = [2]
    os.write(into, b"the next\n")
    child.drain_log()
    assert log(child, 2) == "the next\n"


@pytest.mark.parametrize(
    "looks", [[0], [0, 3, 0], [0, 0, 3], [1, 3]], ids=["none", "the next", "the next later", "the last, the next"]
)
def test_a_job_that_began_and_ended_between_two_looks_has_all_that_it_printed(pipe: tuple[Seen, int], looks: list[int]) -> None:
    child, into = pipe
    give(child, 2, 3)
    child.looks = looks
    text = b"0123456789abcde\n" * 4000  # the whole pipe, and its mark comes when there is room again

    def read(fd: int, size: int, inner: Any = os.read) -> bytes:
        data = cast(bytes, inner(fd, size))
        if data.endswith(text[-100:]):
            os.write(into, mark(2))
        return data

    os.write(into, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", read)
        child.drain_log()
    assert (log(child, 2), log(child, 3)) == (text.decode(), "")


def test_a_job_that_runs_has_what_it_printed_without_its_mark(pipe: tuple[Seen, int]) -> None:
    child, into = pipe
    give(child, 1, 2)
    for looks, said, whose in (([0, 1], b"a", 1), ([1], b"b", 1), ([1, 0], b"c", 1), ([0, 2], mark(1) + b"d", 2)):
        child.looks = list(looks)
        os.write(into, said)
        child.drain_log()
        assert log(child, whose) == said[-1:].decode()


def test_a_mark_may_come_in_two_parts(pipe: tuple[Seen, int]) -> None:
    child, into = pipe
    cuts = range(1, wire.MARK.size)
    give(child, *cuts)
    for cut in cuts:
        child.looks = [cut]
        os.write(into, b"said" + mark(cut)[:cut])
        child.drain_log()
        os.write(into, mark(cut)[cut:])
        child.drain_log()
    assert [log(child, cut) for cut in cuts] == ["said"] * len(cuts)
