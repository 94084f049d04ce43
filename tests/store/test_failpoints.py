"""A process dies, or a statement fails, at every named point of the store: what was acknowledged holds, the rest is whole.

As SQLite tests itself: the fault moves on by one occurrence until the work is done without meeting it.
"""

import os
import re
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from gigq_nb import JobQueue, failpoints
from gigq_nb.states import Outcome
from gigq_nb.store import burst, pausing
from tests import invariants
from tests.scripts import run
from tests.store.rig import Rig

STORE = Path(burst.__file__).parent
POINTS = sorted({name for one in STORE.glob("*.py") for name in re.findall(r'failpoint\("(\w+)"\)', one.read_text())})
MOST_TIMES = 60


def session(path: Path, acknowledge: int) -> None:
    """Submit, claim, settle, retry and cancel; write down what was acknowledged, when it was."""

    def said(*words: str) -> None:
        os.write(acknowledge, (" ".join(words) + "\n").encode())

    rig = Rig(path)
    first = rig.submit(max_attempts=2)
    said("submitted", first)
    second = rig.submit(first)
    said("submitted", second)
    for outcome, more in ((Outcome.FAILED, {"retry_in_ms": 0}), (Outcome.COMPLETED, {})):
        claim = rig.claim_one()
        assert rig.settle(claim, outcome, **more)
        said(outcome.value, claim.id)
    assert rig.cancel(second)[second]
    said("cancelled", second)
    rig.retry(second)
    with rig.write() as db:
        pausing.pause(db, rig.now)
    said("paused", second)
    assert rig.claim() == []
    with rig.write() as db:
        pausing.resume(db)
    said("resumed", second)
    rig.run()
    said("completed", second)
    rig.close()


def session_that_fails(path: Path, point: str, time: int, action: str) -> tuple[list[list[str]], bool]:
    """Run it in a process of its own. Returns what was acknowledged, and whether the fault was met."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        code = 0
        try:
            failpoints._armed, failpoints._passed = {point: (time, action)}, {}
            session(path, writer)
        except OSError as error:
            code = 7 if str(error) == f"failpoint {point}" else 8
        except BaseException as error:
            print(type(error), error, file=sys.stderr)
            code = 9
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        acknowledged = [line.split() for line in file]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 7, -signal.SIGKILL)
    return acknowledged, status != 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork() in a process with threads; the child only runs SQLite
@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("point", POINTS)
def test_what_was_acknowledged_holds_and_the_rest_is_whole(tmp_path: Path, point: str, action: str) -> None:
    met = 0
    for time in range(1, MOST_TIMES):
        path = tmp_path / f"{time}.db"
        acknowledged, failed = session_that_fails(path, point, time, action)
        if not failed:
            break
        met += 1
        JobQueue(path).close()  # whoever comes next finishes what was begun
        db = sqlite3.connect(path)
        assert invariants.broken(db) == []
        assert invariants.lost(db, [words[1] for words in acknowledged]) == []
        paused = db.execute("select count(*) from settings where name = 'paused'").fetchone()[0]
        pauses = [what for what, _ in acknowledged if what in ("paused", "resumed")]
        assert paused == (pauses[-1:] == ["paused"]) or point == "after_store_commit"  # there, and not yet acknowledged
        last = {job: what for what, job in acknowledged if what not in ("paused", "resumed")}
        for job, what in last.items():
            status = db.execute("select status from jobs where id = ?", (job,)).fetchone()[0]
            if what == "completed":
                assert status == "completed"
            elif what == "cancelled":
                assert status in ("cancelled", "pending", "running", "completed"), "only the retry after it leads on"
        db.close()
    else:
        pytest.fail("the session never ended without the fault")
    assert met, "the session does not come to this point"


def test_the_points_are_nothing_without_a_tests_two_variables(queue_path: Path) -> None:
    script = "import sys; from gigq_nb import JobQueue; JobQueue(sys.argv[1]).submit(len, 'abc')"
    run(script, queue_path, env={"GIGQ_NB_FAILPOINT": "before_store_commit:kill"})
    assert (
        run(
            script, queue_path, env={"GIGQ_NB_FAILPOINT": "before_store_commit:kill", "GIGQ_NB_TESTING": "1"}, check=False
        ).returncode
        == -9
    )
    done = run(script, queue_path, env={"GIGQ_NB_FAILPOINT": "before_store_commit:dance", "GIGQ_NB_TESTING": "1"}, check=False)
    assert "kill, raise, sleep=SECONDS or exit=CODE" in done.stderr
