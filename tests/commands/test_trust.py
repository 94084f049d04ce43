"""Somebody else's file: looking at it runs nothing, running it needs a signature, and signing shows it first."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from gigq_nb import JobQueue, Worker, signing
from gigq_nb.errors import GigQError, NotAQueue, PayloadRefused
from tests.commands.spoken import as_another_user, speak

MAKE = """
import sys
from gigq_nb import JobQueue, Worker

class Trap:
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")

class Value:
    pass

def touch(path):
    open(path, "w").write("ran")
    return {"path": path}

def refuse():
    raise ValueError("no, because")

def spring(trap):
    trap.write("sprung")

folder = sys.argv[1]
queue = JobQueue(folder + "/theirs.db")
worker = Worker(queue.path)
good = queue.submit(touch, folder + "/made-by-them")
bad = queue.submit(refuse)
while worker.process_one():
    pass
assert good.result(60) == {"path": folder + "/made-by-them"}
pending = queue.submit(touch, folder + "/marker")
trap = queue.submit(spring, Trap(folder + "/trap"))
queue.backup(folder + "/copy.db")
print(good, bad, pending, trap)
"""


@pytest.fixture
def theirs(tmp_path: Path, own_folder: Path) -> tuple[Path, list[str]]:
    """A copy of a file that somebody else made, and the ids of its jobs: completed, failed, pending, a trap."""
    ids = as_another_user(own_folder / "a", MAKE, tmp_path).split()
    return tmp_path / "copy.db", ids


def test_looking_at_somebody_elses_file_runs_nothing_of_it(theirs: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, (good, bad, pending, trap) = theirs
    queue = JobQueue(path)
    assert queue.stats()["pending"] == 2
    assert [row["id"] for row in queue.list_jobs()] == [trap, pending, bad, good]
    for one in (good, bad, pending, trap):
        assert queue.get_status(one)["exists"]
        repr(queue.job(one))
    queue._loader.arguments([good, bad, pending, trap])
    shown = speak("trust", path)
    assert "def touch(path):" in shown.text
    assert "Nothing was signed" in shown.text
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "trap").exists()


def test_a_worker_leaves_the_jobs_of_another_key_pending_and_says_whose_key_they_need(
    theirs: tuple[Path, list[str]], tmp_path: Path, own_folder: Path
) -> None:
    path, (_, _, pending, _) = theirs
    queue = JobQueue(path)
    queue.start_worker(1)
    assert queue.submit(len, "abc").result(60) == 3  # the worker works, and has passed by the others
    said = queue.get_status(pending)
    queue.stop_worker(timeout=60)
    their_key = (own_folder / "a" / "jupyter_data_dir" / "gigq_nb" / "key").read_bytes()
    assert said["status"] == "pending"
    assert f"the key {signing.key_id(their_key)[:8]}" in said["waits_for"]
    assert not (tmp_path / "marker").exists()


def test_a_foreign_result_is_not_loaded_before_it_is_trusted_and_loads_afterwards(theirs: tuple[Path, list[str]]) -> None:
    path, (good, bad, *_) = theirs
    queue = JobQueue(path)
    with pytest.raises(PayloadRefused, match="not signed by your key"):
        queue.job(good).result()
    speak("trust", path, "--yes")
    assert queue.job(good).result()["path"].endswith("made-by-them")
    with pytest.raises(ValueError, match="no, because"):
        queue.job(bad).result()


def test_trusted_jobs_run_as_ones_own(theirs: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, (_, bad, pending, _) = theirs
    answer = speak("trust", path, "--yes")
    assert answer.data["signed"] == {"jobs": 4, "results": 1, "errors": 1, "outputs": 0}
    assert "Signed as yours: 4 jobs, 1 result, 1 error." in answer.text
    worker = Worker(path)
    while worker.process_one():
        pass
    queue = JobQueue(path)
    assert queue.job(pending).status == "completed"
    assert (tmp_path / "marker").read_text() == "ran"
    assert queue.job(bad).retry().status == "pending"
    assert worker.process_one()
    assert queue.job(bad).status == "failed"


def test_trust_shows_functions_counts_and_what_they_refer_to(theirs: tuple[Path, list[str]]) -> None:
    path, _ = theirs
    data = speak("trust", path).data
    by_name = {one["name"]: one for one in data["functions"]}
    assert by_name["touch"]["jobs"] == {"completed": 1, "pending": 1}
    assert "raise ValueError" in by_name["refuse"]["source"]
    assert data["signatures"]["jobs"] == {"foreign": 4}
    assert "io.open" in speak("trust", path).text  # the trap, read from the pickle's opcodes
    json.dumps(data)


def test_only_the_typed_word_signs(theirs: tuple[Path, list[str]]) -> None:
    path, (good, *_) = theirs
    refused = speak("trust", path, reply="yes")
    assert refused.failed
    assert refused.text == "Nothing was signed."
    with pytest.raises(PayloadRefused):
        JobQueue(path).job(good).result()
    assert "Signed as yours" in speak("trust", path, reply=" trust ").text
    assert JobQueue(path).job(good).result()


def test_trusting_twice_finds_nothing_left_to_sign(theirs: tuple[Path, list[str]]) -> None:
    path, _ = theirs
    speak("trust", path, "--yes")
    again = speak("trust", path, "--yes")
    assert "There is nothing to sign." in again.text
    assert again.data["signed"] is None


def test_a_foreign_function_that_does_not_match_its_digest_is_never_signed(
    theirs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    path, (_, _, pending, _) = theirs
    with sqlite3.connect(path) as db:
        db.execute("update functions set payload = cast(payload || x'00' as blob) where name = 'touch'")
    answer = speak("trust", path, "--yes")
    assert "NOT SIGNED: it is not what its digest says" in answer.text
    worker = Worker(path)
    while worker.process_one():
        pass
    assert JobQueue(path).job(pending).status == "pending"
    assert not (tmp_path / "marker").exists()


def test_a_job_of_ones_own_that_was_changed_is_not_signed_again(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "mine.db")
    job = queue.submit(len, "abc")
    with sqlite3.connect(queue.path) as db:
        db.execute("update arguments set payload = cast(payload || x'00' as blob)")
    answer = speak("trust", queue.path, "--yes")
    assert answer.data["signatures"]["jobs"] == {"changed": 1}
    assert "CHANGED in the file" in answer.text
    assert Worker(queue.path).process_one()
    assert (job.status, job.row().reason) == ("failed", "damaged")


def test_what_comes_after_the_look_is_not_signed(theirs: tuple[Path, list[str]]) -> None:
    from gigq_nb.commands import trusting

    path, (*_, trap) = theirs
    queue = JobQueue(path)
    contents = trusting.look(queue)
    with sqlite3.connect(path) as db:
        seq = db.execute("select seq from jobs where id = ?", (trap,)).fetchone()[0]
    contents.last = (seq - 1, contents.last[1])  # as if the trap had been added between the look and the signature
    assert trusting.sign(queue, contents)["jobs"] == 3
    assert trusting.look(queue).signed["arguments"] == {"ours": 3, "foreign": 1}


def test_arguments_that_were_changed_after_the_look_are_not_signed(theirs: tuple[Path, list[str]]) -> None:
    from gigq_nb.commands import trusting

    path, (*_, pending, trap) = theirs
    queue = JobQueue(path)
    contents = trusting.look(queue)
    with sqlite3.connect(path) as db:  # of a job that was shown, in its row: those of another one
        db.execute(
            "update arguments set (payload, size) = (select payload, size from arguments where job = (select seq from jobs where id = ?))"
            " where job = (select seq from jobs where id = ?)",
            (trap, pending),
        )
    assert trusting.sign(queue, contents)["jobs"] == 3
    assert trusting.look(queue).signed["arguments"] == {"ours": 3, "foreign": 1}
    assert queue._loader.arguments([pending])[pending] is None


INSTEAD = """
path, old, what = sys.argv[1:]
queue = JobQueue(path)
if old:
    queue.cancel(old)
    queue.clear_completed()
print(queue.submit(touch, Trap(what) if old else what))
"""


def test_what_comes_in_place_of_a_pruned_job_after_the_look_is_not_signed(
    theirs: tuple[Path, list[str]], tmp_path: Path, own_folder: Path
) -> None:
    """The newest job goes, and another call of a function that was shown comes: it must not take over its number."""
    from gigq_nb.commands import trusting

    path, (_, bad, pending, _) = theirs
    code = MAKE.partition("folder = ")[0] + INSTEAD
    seen = as_another_user(own_folder / "a", code, path, "", tmp_path / "seen").strip()
    queue = JobQueue(path)
    contents = trusting.look(queue)
    unseen = as_another_user(own_folder / "a", code, path, seen, tmp_path / "unseen").strip()
    assert trusting.sign(queue, contents)["jobs"] == 3
    arguments = queue._loader.arguments([bad, pending, unseen])
    assert [one for one, loaded in arguments.items() if loaded is None] == [unseen]
    assert not (tmp_path / "unseen").exists()


def test_a_file_with_a_trigger_of_its_own_is_refused(theirs: tuple[Path, list[str]]) -> None:
    path, _ = theirs
    with sqlite3.connect(path) as db:
        db.execute("create trigger sly after update on jobs begin delete from results; end")
    with pytest.raises(NotAQueue, match="trigger 'sly'"):
        speak("trust", path, "--yes")


def test_a_file_with_a_table_of_its_own_is_not_signed(theirs: tuple[Path, list[str]]) -> None:
    path, _ = theirs
    with sqlite3.connect(path) as db:
        db.execute("create table extra (a)")
    with pytest.raises(PayloadRefused, match="table extra"):
        speak("trust", path, "--yes")


def test_text_from_the_file_cannot_drive_the_terminal(theirs: tuple[Path, list[str]]) -> None:
    path, _ = theirs
    with sqlite3.connect(path) as db:
        db.execute("update functions set source = 'evil' || char(27) || '[2J' || char(8238), name = 'x' || char(27)")
    text = speak("trust", path).text
    assert [one for one in text if ord(one) < 32 and one != "\n"] == []
    assert "\u202e" not in text
    assert "evil\\x1b[2J\\u202e" in text


def test_a_lost_key_leaves_jobs_pending_until_the_file_is_trusted(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path / "mine.db")
    job = queue.submit(len, "abc")
    signing.key_path().unlink()
    assert not Worker(queue.path).process_one()
    assert job.status == "pending"
    speak("trust", queue.path, "--yes")
    assert Worker(queue.path).process_one()
    assert JobQueue(queue.path).job(job).result() == 3


def test_values_without_their_file_are_said_and_not_signed(tmp_path: Path, own_folder: Path) -> None:
    as_another_user(
        own_folder / "a",
        """
        import sys
        from gigq_nb import JobQueue
        queue = JobQueue(sys.argv[1] + "/theirs.db")
        queue.submit(len, b"x" * 17_000_000)
        queue.backup(sys.argv[1] + "/large.db")
        """,
        tmp_path,
    )
    shutil.copy(tmp_path / "large.db", tmp_path / "without.db")
    assert "copy the folder without.db.files, too): 1 job." in speak("trust", tmp_path / "without.db", "--yes").text
    shutil.copytree(tmp_path / "large.db.files", tmp_path / "without.db.files")
    assert "Signed as yours: 1 job." in speak("trust", tmp_path / "without.db", "--yes").text
    assert Worker(tmp_path / "without.db").process_one()
    assert JobQueue(tmp_path / "without.db").list_jobs(limit=1)[0]["result"] == 17_000_000


def test_a_missing_file_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(GigQError, match="there is no file"):
        speak("trust", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
