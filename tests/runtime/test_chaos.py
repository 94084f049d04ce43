"""The short form of ``make chaos``, and that its verdict can see."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.books import FOLDERS
from tests.chaos.__main__ import chaos, report
from tests.chaos.verdict import Fire, table


@pytest.mark.slow
def test_random_kills_lose_nothing_and_run_nothing_twice(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOLDERS:
        monkeypatch.setenv(name, "")  # put back at the end what the harness sets
    folder = own_folder / "chaos"
    folder.mkdir()
    rows, fire, counts = chaos(folder, jobs=1000, kills=20, submitter_kills=2, workers=4, seed=20)
    print(report(rows, fire, counts, folder))
    assert [row for row in rows if row[1]] == []
    assert counts["total"] >= 1000
    assert len(fire.workers_killed) + fire.children_killed >= 20
    assert fire.submitters_killed >= 1

    # The verdict is worth something: each kind of lie is seen.
    def wrong() -> list[str]:
        return [name for name, n in table(copy, fire) if n]

    copy = own_folder / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.sock", "jupyter*", "xdg*"))
    [(job, key)] = [line.split() for line in next(copy.glob("acks-*")).read_text().splitlines() if " plain-" in line][:1]
    with open(copy / "acks-9", "a") as file:
        file.write("never-stored plain-9\n")
    assert wrong() == ["I1 acknowledged, and not in the file"]
    (copy / "acks-9").unlink()
    (copy / "ledger-9").write_text(f"O {key} 1\n" + f"B {key} 1\n" * 50)
    assert wrong() == ["two runs of one job at once", "a run that is in no attempt"]
    (copy / "ledger-9").unlink()
    for file in copy.glob("ledger-*"):
        file.write_text("".join(f"{line}\n" for line in file.read_text().splitlines() if f"E {key} " not in line))
    assert wrong() == ["I9 completed without having run to its end"]
    db = sqlite3.connect(copy / "jobs.db")
    db.execute("update results set json = '\"another\"' where job = (select seq from jobs where id = ?)", (job,))
    db.execute("update executions set outcome = 'lost' where job = (select seq from jobs where id = ?)", (job,))
    db.commit()
    db.close()
    assert "I4 a completed job has a completed last attempt" in wrong()
    assert "wrong: a result is that of another job" in wrong()
    fire.workers_killed.clear()
    assert "lost by a worker that nobody killed or froze" in wrong()
    assert isinstance(fire, Fire)
