"""progress(), track(), current_job() and tqdm inside a job: what the notebook sees, and that it costs nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue, current_job, progress, track
from gigq_nb.notebook.outputs import outputs_of
from gigq_nb.runtime import context
from gigq_nb.runtime.launcher import WorkerHandle
from tests.runtime import telling
from tests.runtime.rig import LIMIT_S, until


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Jobs wait until this file exists."""
    return tmp_path / "gate"


# ------------------------------------------------------------------------------------------- progress and track


def test_a_million_calls_send_no_message_and_the_last_one_is_seen(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.a_million_times, str(gate))
    until(lambda: job.progress == (999_999.5, 1_000_000, "and stands still"), "the last word")
    gate.touch()
    assert job.result(LIMIT_S) == 0


def test_what_was_said_last_before_a_long_step_is_seen(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.a_burst_then_stall, str(gate))
    until(lambda: job.progress == (1, 3, "the second takes an hour"), "the second word, said right after the first")
    gate.touch()
    assert job.wait(LIMIT_S)


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ((3,), (3, None, "")),
        ((0.5, 1.5, "half\0way"), (0.5, 1.5, "halfway")),
        ((1, 2, "ä" * 500), (1, 2, "ä" * 200)),
        ((1, 2, "\N{ROCKET}" * 500), (1, 2, "\N{ROCKET}" * 200)),
        ((1, 2, "lone \ud800"), (1, 2, "lone ?")),
        ((10**12, 10**13), (1e12, 1e13, "")),
    ],
)
def test_what_is_said_arrives(
    queue: JobQueue, worker: WorkerHandle, gate: Path, words: tuple[Any, ...], seen: tuple[Any, ...]
) -> None:
    job = queue.submit(telling.tell_then_pause, str(gate), *words)
    until(lambda: job.progress == seen, f"{seen}, not {job.progress}")
    gate.touch()
    assert job.wait(LIMIT_S)


def test_what_a_short_job_said_is_there_after_its_end(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.tell, 10, 10, "all of it")
    assert job.wait(LIMIT_S)
    until(lambda: job.progress == (10, 10, "all of it"), "the last word of a completed job")


def test_what_a_failed_job_said_last_is_there(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.tell_then_fail)
    assert job.wait(LIMIT_S)
    until(lambda: job.progress == (7, 10, "before it broke"), "the last word of a failed job")


def test_the_next_job_in_the_same_child_has_said_nothing_yet(queue: JobQueue, worker: WorkerHandle) -> None:
    assert queue.submit(telling.tell, 10, 10, "mine").wait(LIMIT_S)
    others = [queue.submit(telling.who) for _ in range(6)]
    assert all(one.wait(LIMIT_S) for one in others)
    assert {one.progress for one in others} == {(None, None, "")}


def test_a_fork_of_the_job_says_nothing(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.tell_from_a_fork)
    assert job.result(LIMIT_S) is None
    until(lambda: job.progress == (1, 10, "the job's own"), "the job's own word")


def test_track_counts_what_is_done(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.tracked, str(gate), 5, 3)
    until(lambda: job.progress == (3, 5, "tracked"), "three are done, the fourth has begun")
    gate.touch()
    assert job.result(LIMIT_S) == [0, 1, 2, 3, 4]
    until(lambda: job.progress == (5, 5, "tracked"), "all are done")


def test_track_of_unknown_length_ends_full(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.tracked_generator, str(gate))
    until(lambda: job.progress == (5, 5, "unknown length"), "the end")
    gate.touch()
    assert job.result(LIMIT_S) == 10


def test_current_job_says_which_job_it_is(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.who)
    assert job.result(LIMIT_S) == (str(job), "who", 1)


def test_outside_a_job_all_of_it_does_nothing() -> None:
    assert current_job() is None
    progress(1, 2, "nobody hears it")
    assert list(track([1, 2])) == [1, 2]
    assert list(track(iter([1, 2]))) == [1, 2]
    assert not context.show({"text/plain": "nobody sees it"})
    context.clear()


# --------------------------------------------------------------------------------------------------------- tqdm


def test_a_million_steps_of_tqdm_send_no_message_and_log_one_line(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.a_million_steps, str(gate))
    until(lambda: job.progress == (1_000_000, 1_000_000, "steps"), "the end of the bar")
    gate.touch()
    assert job.result(LIMIT_S) == (0, 0), "no message, and no thread of tqdm's"
    (line,) = job.logs().splitlines()
    assert line.startswith("steps: 100%|")
    assert "1000000/1000000" in line


def test_of_nested_bars_the_outer_one_counts_and_the_inner_one_is_told(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.nested_bars, str(gate))
    until(lambda: job.progress[:2] == (2, 4) and job.progress[2].startswith("epoch · batch 5/10"), "the sixth batch of epoch two")
    gate.touch()
    assert job.wait(LIMIT_S)
    assert [one.split(":")[0] for one in job.logs().splitlines()] == ["epoch"], "the inner bars leave no line"


def test_tqdm_notebook_works_without_widgets(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.notebook_bar)
    assert job.result(LIMIT_S) is None
    assert outputs_of(job) == [], "no widget that nobody could move"
    assert [one.split("|")[0] for one in job.logs().splitlines()] == ["widget: 100%", "100%"]
    until(lambda: job.progress == (2, 2, ""), "the last bar")


def test_a_bar_that_is_moved_by_hand_and_lines_between(queue: JobQueue, worker: WorkerHandle, gate: Path) -> None:
    job = queue.submit(telling.manual_bar, str(gate))
    until(lambda: job.progress == (40, 100, "manual, loss=0.5"), "what set_postfix said")
    gate.touch()
    assert job.wait(LIMIT_S)
    first, second = job.logs().splitlines()
    assert first == "a line of its own"
    assert second.startswith("manual: 100%|")


def test_a_bar_for_each_of_many_files_does_not_flood_the_log(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.many_bars)
    assert job.wait(LIMIT_S)
    assert 20 <= len(job.logs().splitlines()) < 100


def test_a_bar_with_a_file_of_its_own_is_left_alone(queue: JobQueue, worker: WorkerHandle, tmp_path: Path) -> None:
    job = queue.submit(telling.bar_into_a_file, str(tmp_path / "bar"))
    assert job.wait(LIMIT_S)
    assert "3/3" in (tmp_path / "bar").read_text()
    assert job.logs() == ""
    assert job.progress == (None, None, "")


def test_a_disabled_bar_stays_silent(queue: JobQueue, worker: WorkerHandle) -> None:
    job = queue.submit(telling.disabled_bar)
    assert job.result(LIMIT_S) == 6
    assert (job.logs(), job.progress) == ("", (None, None, ""))


def test_outside_a_job_tqdm_is_as_it_is() -> None:
    script = (
        "from gigq_nb.runtime import tqdm_report; tqdm_report.install(); tqdm_report.install()\n"
        "from tqdm import tqdm\n"
        "for _ in tqdm(range(3), desc='plain'): pass\n"
        "import sys; assert sum(type(one).__name__ == '_Finder' for one in sys.meta_path) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert "plain:   0%|" in done.stderr, "each state is drawn"
    assert "plain: 100%|" in done.stderr
