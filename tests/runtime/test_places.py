"""Where a job runs: its folder, its modules, its environment, its process."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gigq_nb import Job, JobQueue, task
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime.rig import LIMIT_S, WorkerProcess, until

Start = Callable[..., WorkerProcess]


# ------------------------------------------------------------------------------------------------- where it runs


def test_a_job_starts_in_the_folder_and_with_the_path_of_the_submitter(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    cwd, first = queue.submit(lambda: (os.getcwd(), sys.path[0])).result(LIMIT_S)
    assert (cwd, first) == (str(folder), str(folder))


def test_a_folder_that_is_gone_is_named(
    queue: JobQueue, worker: WorkerHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with monkeypatch.context() as there:
        there.chdir(folder)
        job = queue.submit(Job("in it", os.getcwd, max_attempts=1, delay=0.5))
    folder.rmdir()
    assert f"the folder {folder}, from which the job was submitted, is gone" in str(job.exception(LIMIT_S))


def test_a_local_module_is_imported_anew_after_an_edit(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "edited_by_me.py"

    def use() -> tuple[str, int]:
        import edited_by_me

        return edited_by_me.WORD, os.getpid()

    module.write_text("WORD = 'first'\n")
    first, pid = queue.submit(use).result(LIMIT_S)
    assert (first, queue.submit(use).result(LIMIT_S)) == ("first", ("first", pid))
    module.write_text("WORD = 'after the edit'\n")
    assert queue.submit(use).result(LIMIT_S)[0] == "after the edit"


def test_an_edit_while_a_job_runs_is_seen_by_the_next_job(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)
    monkeypatch.syspath_prepend(str(tmp_path))
    module, begun, go = tmp_path / "edited_meanwhile.py", tmp_path / "begun", tmp_path / "go"

    def use(wait: bool) -> str:
        import edited_meanwhile

        begun.touch()
        while wait and not go.exists():
            time.sleep(0.01)
        return edited_meanwhile.WORD

    module.write_text("WORD = 'first'\n")
    job = queue.submit(use, True)
    until(begun.exists, "the module is imported")
    module.write_text("WORD = 'edited meanwhile'\n")
    go.touch()
    assert [job.result(LIMIT_S), queue.submit(use, False).result(LIMIT_S)] == ["first", "edited meanwhile"]


def test_two_notebooks_with_a_module_of_the_same_name_get_their_own(
    queue: JobQueue, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(concurrency=1)

    def use() -> str:
        import of_this_folder

        return of_this_folder.WORD

    jobs = []
    for name in ("a", "b", "a"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "of_this_folder.py").write_text(f"WORD = {name!r}\n")
        with monkeypatch.context() as there:
            there.syspath_prepend(str(folder))
            jobs.append(queue.submit(use))
    assert [job.result(LIMIT_S) for job in jobs] == ["a", "b", "a"]


def test_variables_given_with_a_job_are_its_own(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)

    def read() -> str | None:
        return os.environ.get("MINE")

    assert queue.submit(task(env={"MINE": "yes"})(read)).result(LIMIT_S) == "yes"
    assert queue.submit(read).result(LIMIT_S) is None


def test_input_is_an_error_and_not_a_hang(queue: JobQueue, worker: WorkerHandle) -> None:
    with pytest.raises(EOFError):
        queue.submit(input).result(LIMIT_S)


def test_a_fresh_job_has_a_process_of_its_own(queue: JobQueue, start: Start) -> None:
    start(concurrency=1)
    pid = task(fresh=True)(os.getpid)
    pids = [queue.submit(one).result(LIMIT_S) for one in (os.getpid, pid, pid, os.getpid, os.getpid)]
    assert len(set(pids[:4])) == 4
    assert pids[3] == pids[4]
