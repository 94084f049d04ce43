"""Sections C19 to C22 of the fault matrix: exceptions and results that resist."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigq_nb import JobFailed, JobQueue, NotSerializable, task
from gigq_nb.errors import ResultLoadError
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess, is_alive, lines, outcomes

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------- C19, C20: exceptions


class CannotBeLoaded(Exception):
    def __reduce__(self) -> Any:
        return _fails_to_load, ()


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NeedsMore(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("needs more")


class ExitsWhenPickled(Exception):
    def __reduce__(self) -> Any:
        os._exit(4)


_STRANGE_NAME = type("StrangeName", (Exception,), {"__module__": "some\ud800where\0else"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CannotBeLoaded("cannot be loaded"), "cannot be loaded"),
        (NoText, "its message cannot be read"),
        (lambda: NeedsMore(1, 2), "needs more"),
        (ExitsWhenPickled, "exited with code 4"),
        (lambda: ValueError("lone \ud800 surrogate"), "lone \\ud800 surrogate"),
        (lambda: ValueError("NUL \0 inside"), "NUL \\0 inside"),
        (lambda: ValueError("x" * 5_000_000), "xxxx"),
        (lambda: _STRANGE_NAME("strange"), "strange"),
        (lambda: ValueError(threading.Lock()), "lock"),
        (lambda: ExceptionGroup("a group", [ValueError("one"), KeyError("two")]), "a group"),
        (lambda: StopIteration("stop"), "stop"),
        (lambda: GeneratorExit("generator"), "generator"),
        (lambda: asyncio.CancelledError("cancelled by itself"), "cancelled by itself"),
        (lambda: BaseExceptionGroup("base", [KeyboardInterrupt()]), "base"),
        (lambda: ValueError(), "ValueError"),
    ],
)
def test_any_exception_becomes_a_readable_failure_once(
    queue: JobQueue, worker: WorkerHandle, make: Callable[[], BaseException], words: str
) -> None:
    def fails() -> None:
        raise make()

    job = queue.submit(fails)
    assert job.exception(LIMIT_S) is not None
    assert (job.status, outcomes(queue, job)) == ("failed", ["failed"])
    assert words in (job.error or "")
    assert len(queue.get_status(job)["error"]) < 200_000
    assert is_alive(worker.pid)


def test_the_chain_of_an_exception_is_in_its_traceback(queue: JobQueue, worker: WorkerHandle) -> None:
    def chained() -> None:
        try:
            raise KeyError("the first")
        except KeyError as error:
            raise ValueError("the second") from error

    job = queue.submit(chained)
    with pytest.raises(ValueError, match="the second") as told:
        job.result(LIMIT_S)
    assert "KeyError: 'the first'" in str(told.value.__cause__)
    assert "raise KeyError" in str(told.value.__cause__)


# ------------------------------------------------------------------------------------------- C21, C22: results


class ExitsOnPickle:
    def __reduce__(self) -> Any:
        os._exit(5)


class RaisesOnPickle:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


class FailsToLoad:
    def __reduce__(self) -> Any:
        return _fails_to_load, ()

    def __repr__(self) -> str:
        return "a value that cannot be loaded"


def _fails_to_load() -> None:
    raise RuntimeError("cannot be loaded here")


class BadRepr:
    def __repr__(self) -> str:
        raise SystemExit(9)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (threading.Lock, "lock"),
        (lambda: (n for n in range(3)), "generator"),
        (lambda: open(os.devnull, "w"), "TextIOWrapper"),  # noqa: SIM115
        (RaisesOnPickle, "RaisesOnPickle"),
    ],
)
def test_a_result_that_cannot_be_stored_fails_its_job_once(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, make: Callable[[], Any], kind: str
) -> None:
    ledger = tmp_path / "ledger"

    @task(max_attempts=5, retry_delay=0)
    def gives() -> Any:
        with open(ledger, "a") as file:
            file.write("ran\n")
        return make()

    job = queue.submit(gives)
    error = job.exception(LIMIT_S)
    assert isinstance(error, (NotSerializable, JobFailed))
    assert f"the result ({kind}) cannot be stored" in (job.error or "")
    assert (queue.get_status(job)["reason"], len(lines(ledger))) == ("unserializable", 1)


def test_a_result_that_ends_the_process_when_it_is_packed_fails_its_job(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(ExitsOnPickle)
    assert "exited with code 5" in str(job.exception(LIMIT_S))
    assert is_alive(worker.pid)


def test_a_result_that_cannot_be_loaded_is_shown_everywhere_and_raised_by_result_alone(
    queue: JobQueue, worker: WorkerHandle
) -> None:
    job = queue.submit(FailsToLoad)
    assert job.wait(LIMIT_S)
    assert (job.status, queue.get_status(job)["result"]) == ("completed", "a value that cannot be loaded")
    assert queue.list_jobs()[0]["result"] == "a value that cannot be loaded"
    with pytest.raises(ResultLoadError, match="cannot be loaded here"):
        job.result(LIMIT_S)


def test_a_parent_whose_result_cannot_be_loaded_is_named_by_the_job_that_wanted_it(queue: JobQueue, worker: WorkerHandle) -> None:
    parent = queue.submit(FailsToLoad)
    child = queue.submit(str, parent)
    assert isinstance(child.exception(LIMIT_S), JobFailed)
    assert (parent.status, child.status) == ("completed", "failed")
    assert f"the result of the parent {parent} cannot be loaded here: cannot be loaded here" in (child.error or "")


def test_a_repr_that_does_anything_does_not_fail_the_job(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(lambda x: x, BadRepr())
    assert type(job.result(LIMIT_S)).__name__ == "BadRepr"
    assert "whose repr() fails" in queue.get_status(job)["result"]


def test_a_large_result_goes_to_a_file_of_its_own(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(lambda n: b"x" * n, 40_000_000)
    assert len(job.result(LIMIT_S)) == 40_000_000
    [file] = queue.path.with_name("jobs.db.files").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"result-{job}", 0o600)


@pytest.mark.slow
def test_two_gigabytes_are_refused_with_the_limit_named(queue: JobQueue, worker: WorkerHandle, need: Any) -> None:
    need(psutil.virtual_memory().available > 8 * 2**30, "8 GB of free memory")
    job = queue.submit(lambda: bytes(2**31 + 1))
    job.exception(4 * LIMIT_S)
    assert "more than 2 GiB" in (job.error or "")
    assert queue.submit(pow, 2, 3).result(LIMIT_S) == 8
