"""What is refused: in one line, with an exit code, and with nothing touched."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gigq_nb import Job, JobQueue, Worker
from tests.commands.conftest import Said

Gigq = Callable[..., Said]


def make_foreign(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("create table jobs (id text, status text)")
    db.execute("insert into jobs values ('a', 'pending')")
    db.commit()
    db.close()


def make_newer(path: Path) -> None:
    JobQueue(path).close()
    db = sqlite3.connect(path)
    db.execute("pragma user_version = 9999")
    db.commit()
    db.execute("pragma journal_mode = delete")
    db.close()


def make_text(path: Path) -> None:
    path.write_text("id,name\n1,two\n" * 100)


def make_short(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


@pytest.mark.parametrize("make", [make_foreign, make_newer, make_text, make_short])
@pytest.mark.parametrize(
    "words", [["list"], ["connect"], ["submit", "jobs_of_mine.add"], ["worker", "--once"], ["cancel", "x"], ["clear"]]
)
def test_a_file_that_is_no_queue_of_ours_is_refused_and_stays_byte_identical(
    gigq: Gigq, workshop: Path, make: Callable[[Path], None], words: list[str]
) -> None:
    path = workshop / "strange.db"
    make(path)
    before, names = path.read_bytes(), sorted(os.listdir(workshop))
    said = gigq("--db", "strange.db", *words)
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    assert "strange.db" in said.err
    assert path.read_bytes() == before
    assert set(os.listdir(workshop)) - set(names) <= {"__pycache__"}


@pytest.mark.parametrize(
    ("path", "complaint"),
    [(".", "is a folder"), ("no/such/folder/x.db", "does not exist"), ("", "empty"), ("jobs_of_mine.py/x.db", "not a folder")],
)
def test_a_path_that_can_hold_no_queue_is_refused_with_the_way_out(gigq: Gigq, path: str, complaint: str) -> None:
    said = gigq("connect", "--db", path)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert complaint in said.err


@pytest.mark.parametrize("word", ["list", "status", "stats", "clear", "watch"])
def test_looking_at_a_file_that_is_not_there_does_not_make_it(gigq: Gigq, workshop: Path, word: str) -> None:
    said = gigq("--db", "typo.db", word)
    assert said.code == 1
    assert "there is no file" in said.err
    assert not (workshop / "typo.db").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "a word is missing"),
        (["lst"], "did you mean 'list'?"),
        (["list", "--limit", "many"], "invalid int value"),
        (["list", "--nonsense"], "unrecognized arguments"),
        (["status", "a", "b"], "unrecognized arguments"),
        (["cancel"], "required: JOB"),
        (["worker", "restart"], "invalid choice"),
    ],
)
def test_what_is_not_understood_ends_with_2_in_one_line(gigq: Gigq, words: list[str], complaint: str) -> None:
    said = gigq(*words)
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert complaint in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--limit", "0"],
        ["submit", "jobs_of_mine.add", "--priority", "99999999"],
        ["submit", "jobs_of_mine.add", "--max-attempts", "0"],
        ["submit", "jobs_of_mine.add", "--timeout", "-1"],
        ["submit", "jobs_of_mine.add", "--timeout", "soon"],
        ["submit", "jobs_of_mine.add", "--name", "n" * 201],
        ["submit", "jobs_of_mine.add", "--name", ""],
        ["submit", "jobs_of_mine.add", "--param", "a"],
        ["submit", "jobs_of_mine.add", "--param", "1a=2"],
        ["worker", "--once", "--concurrency", "0"],
        ["worker", "--once", "--polling-interval", "never"],
    ],
)
def test_values_out_of_range_are_refused_and_nothing_is_stored(gigq: Gigq, queue: JobQueue, words: list[str]) -> None:
    said = gigq(*words)
    assert (said.code, said.out, len(said.err.splitlines())) == (1, "", 1)
    assert queue.stats()["total"] == 0


HOSTILE = "\r\x1b]0;owned\x07\x1b[2J\x1b]8;;http://x\x1b\\link\u202egnp.exe\x9b31m\x08<b>&"


def hostile_log() -> None:
    print(HOSTILE)
    raise ValueError(HOSTILE)


def unsafe(text: str) -> set[str]:
    """Characters that a terminal obeys."""
    return {
        one
        for one in text
        if (ord(one) < 32 and one not in "\n\t") or 0x7F <= ord(one) < 0xA0 or one in "\u202a\u202e\u2066\u2069"
    }


def test_nothing_that_a_job_is_called_or_prints_drives_the_terminal(gigq: Gigq, queue: JobQueue) -> None:
    name = "evil " + HOSTILE
    job = queue.submit(Job(name, hostile_log, max_attempts=1, description=HOSTILE, tags=[HOSTILE]))
    queue.submit_many([Job(name, hostile_log)], name=name)
    Worker(queue.path).process_one()
    for words in (
        ["list"],
        ["status", job],
        ["show", job],
        ["logs", job],
        ["result", job],
        ["batch"],
        ["batch", "1"],
        ["wait", job],
    ):
        said = gigq(*map(str, words))
        assert unsafe(said.out + said.err) == set(), words
    assert r"\x1b]0;owned\x07\x1b[2J" in gigq("list").out
    assert r"\u202egnp.exe" in gigq("logs", str(job)).out
    assert gigq("list", "--json").json[-1]["name"] == name  # machines get what it is


def test_a_name_that_came_in_by_words_is_shown_as_it_is(gigq: Gigq, queue: JobQueue) -> None:
    gigq("submit", "jobs_of_mine.add", "-p", "a=1", "--name", "<script>alert(1)</script> \U0001f600 日本")
    assert "<script>alert(1)</script> \U0001f600 日本" in gigq("list").out


def test_a_terminal_without_utf8_gets_numbers_instead_of_a_crash(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(Job("日本", len, args=[[]]))
    said = gigq("list", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert (said.code, r"\u65e5\u672c" in said.out) == (0, True)


def test_who_reads_only_the_first_line_gets_no_traceback(gigq: Gigq, queue: JobQueue, workshop: Path) -> None:
    queue.map(len, [[]] * 3000)
    command = f"{sys.executable} -m gigq_nb list --limit 3000 | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=workshop, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split()[:2], done.stderr) == (["id", "name"], "")


def test_a_file_of_somebody_else_is_listed_and_nothing_of_it_is_run(gigq: Gigq, queue: JobQueue, workshop: Path) -> None:
    """A worker with another key leaves the job alone; looking at it unpickles nothing."""
    gigq("submit", "jobs_of_mine.talk", "-p", "text=1", env={"JUPYTER_DATA_DIR": str(workshop / "other")})
    assert gigq("worker", "--once").out == "there was no job to run\n"
    said = gigq("list")
    assert (said.code, "waits for a worker" in said.out) == (0, True)
