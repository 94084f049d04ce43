"""A worker's shifts: begun, abandoned, begun again, and undone when they cannot begin."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue, Worker
from gigq_nb.errors import InvalidArgument, QueueBusy
from gigq_nb.runtime import local, worker
from gigq_nb.store.db import Database


class Script:
    """Stands in for :class:`Shift`: each one does what is next in the list, (claimed, abandoned) or an error when it begins."""

    def __init__(self, *steps: tuple[int, bool] | Exception) -> None:
        self.steps = list(steps)
        self.limits: list[int | None] = []
        self.handed: list[Any] = []
        self.ready: Any = None
        self.closed = 0

    def __call__(self, _database: Database, _terms: Any, _key: bytes, _request: Any, limit: int | None, ready: Any) -> "Script":
        step = self.steps.pop(0)
        self.limits.append(limit)
        self.handed.append(ready)
        if isinstance(step, Exception):
            raise step
        self.claimed, self.abandoned = step
        return self

    def work(self) -> None:
        """It is over at once."""

    def close(self) -> None:
        self.closed += 1


def scripted(monkeypatch: pytest.MonkeyPatch, *steps: tuple[int, bool] | Exception) -> Script:
    script = Script(*steps)
    monkeypatch.setattr(worker, "Shift", script)
    return script


def test_after_an_abandoned_shift_another_begins_as_soon_as_the_file_can_be_written(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = scripted(monkeypatch, (0, True), QueueBusy("locked"), QueueBusy("locked"), (1, False))
    assert Worker(queue.path).process_one()
    assert (script.steps, script.closed) == ([], 2)


def test_no_second_job_is_begun_for_one_that_others_took_over(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    script = scripted(monkeypatch, (1, True))
    assert Worker(queue.path).process_one()
    assert script.closed == 1


def test_a_file_that_is_busy_when_the_worker_starts_is_said(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, QueueBusy("locked"))
    with pytest.raises(QueueBusy):
        Worker(queue.path).process_one()


def test_the_first_word_is_said_by_whichever_shift_comes_so_far(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shy(Script):
        def __call__(self, *terms: Any) -> Script:
            one = super().__call__(*terms)
            self.ready = terms[-1]  # the first one is over before it said it
            return one

    script = Shy((0, True), (1, False))
    monkeypatch.setattr(worker, "Shift", script)
    one = Worker(queue.path)
    one.ready = said = lambda: None
    assert one.process_one()
    assert script.handed == [said, said]


def test_a_shift_that_cannot_begin_leaves_nothing(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any) -> None:
        raise RuntimeError("no children today")

    monkeypatch.setattr(local.LocalRunner, "fill", fails)
    room, before = queue._bell.room, len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError, match="no children today"):
        Worker(queue.path).process_one()
    assert len(queue.workers()) == 0, "a ghost is left"
    assert [name for name in os.listdir(room) if name.startswith("w")] == []
    queue.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "descriptors were left open"


def test_a_log_that_gets_no_room_keeps_no_worker_from_working(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_locked(self: Database) -> None:
        raise QueueBusy("locked")

    monkeypatch.setattr(Database, "make_wal_room", is_locked)
    job = queue.submit(pow, 2, 5)
    assert Worker(queue.path).process_one()
    assert job.result(1) == 32


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"polling_interval": 0}, {"lease": "never"}, {"stop_grace": -1}])
def test_a_wrong_argument_makes_no_file(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises((InvalidArgument, TypeError)):
        Worker(tmp_path / "new.db", **options)
    assert os.listdir(tmp_path) == []


def test_a_worker_that_cannot_be_woken_does_not_undo_a_submit(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_descriptor(*_: object) -> int:
        raise OSError(24, "Too many open files")

    large = os.urandom(17 * 2**20)  # in a file of its own
    ring: Callable[..., int] = no_descriptor
    with monkeypatch.context() as patched:
        patched.setattr("gigq_nb.runtime.bell.Bell.ring", ring)
        job, keyed = queue.submit(len, large), queue.submit_once("k", len, large)
    for one in (job, keyed):
        assert Worker(queue.path).process_one()
        assert one.result(1) == len(large)
