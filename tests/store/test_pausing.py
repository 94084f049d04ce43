"""A paused queue: nothing is claimed, whoever asks; everything else goes on, and all of it is in the file."""

from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue
from gigq_nb.states import Outcome
from gigq_nb.store import pausing, reads, views, workers
from tests.scripts import let_go, run, start
from tests.store.rig import START_MS, Rig

SINCE = "paused since 2023-11-14 22:13:20 UTC"


def pause(rig: Rig) -> int:
    with rig.write() as db:
        return pausing.pause(db, rig.now)


def resume(rig: Rig) -> int | None:
    with rig.write() as db:
        return pausing.resume(db)


def test_nothing_is_claimed_until_it_is_resumed(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(3)]
    pause(rig)
    assert rig.claim(5) == []
    assert rig.claim(5, worker=rig.new_worker()) == []
    resume(rig)
    assert [one.id for one in rig.claim(5)] == jobs


def test_both_are_idempotent_and_say_since_when(rig: Rig) -> None:
    assert pause(rig) == START_MS
    rig.now += 60_000
    assert pause(rig) == START_MS
    assert resume(rig) == START_MS
    assert resume(rig) is None


def test_what_runs_settles_and_submits_go_on(rig: Rig) -> None:
    first = rig.submit(max_attempts=2)
    claim = rig.claim_one()
    pause(rig)
    second, delayed = rig.submit(first), rig.submit(run_at=rig.now + 1000)
    assert rig.settle(claim, Outcome.FAILED, retry_in_ms=500, backoff_ms=600)
    rig.now += 5000
    assert rig.promote() is None  # a delay that comes due is over; the job waits for the resume alone
    assert rig.claim(5) == []
    assert rig.cancel(second) == {second: True}
    resume(rig)
    assert sorted(one.id for one in rig.claim(5)) == sorted([first, delayed])


def test_the_jobs_of_a_dead_worker_are_rescued_into_a_paused_queue(rig: Rig) -> None:
    job = rig.submit()
    dying = rig.new_worker(pid=4343)
    rig.claim_one(dying)
    pause(rig)
    assert rig.rescue(dying) == 1
    assert (rig.status(job), rig.claim(5)) == (["pending"], [])


def test_a_pending_job_says_that_it_waits_for_the_resume(rig: Rig) -> None:
    ready, delayed = rig.submit(), rig.submit(run_at=rig.now + 1000)
    after = rig.submit(ready)
    pause(rig)
    assert rig.job(ready).waits_for == f"waits for queue.resume(): {SINCE}"
    assert rig.job(delayed).waits_for == f"waits for its time; the queue is {SINCE}"
    assert rig.job(after).waits_for == f"waits for 1 other job; the queue is {SINCE}"
    assert rig.job(ready).paused_at == START_MS
    resume(rig)
    assert (rig.job(ready).waits_for, rig.job(ready).paused_at) == (None, None)


def test_what_runs_says_nothing_of_a_pause(rig: Rig) -> None:
    job = rig.submit()
    rig.claim_one()
    pause(rig)
    assert (rig.job(job).waits_for, rig.job(job).paused_at) == (None, None)


def test_the_marks_of_views_change_with_the_pause(rig: Rig) -> None:
    waits = rig.new_job()
    number = rig.submit_all([waits], batch="some")
    assert number is not None

    def marks() -> tuple[Any, Any]:
        with rig.database.read() as db:
            return views.job_marks(db, [waits.id]), views.batch_marks(db, [number])

    before = marks()
    pause(rig)
    paused = marks()
    assert (paused[0] != before[0], paused[1] != before[1]) == (True, True)
    resume(rig)
    assert marks() == before


def test_a_worker_that_died_is_replaced_for_what_runs_and_not_for_what_is_paused(rig: Rig) -> None:
    def open_work() -> bool:
        with rig.database.read() as db:
            return workers.has_open_work(db)

    rig.submit()
    rig.submit()
    claim = rig.claim_one()
    pause(rig)
    assert open_work()
    rig.settle(claim, Outcome.COMPLETED)
    assert not open_work()
    resume(rig)
    assert open_work()


def test_a_worker_without_kernels_stays_for_paused_work(rig: Rig) -> None:
    rig.submit()
    pause(rig)
    with rig.database.read() as db:
        assert workers.has_work_for(db, [rig.runtime])


def test_a_copy_of_a_paused_queue_is_paused(queue_path: Path, tmp_path: Path, isolated: Path) -> None:
    with JobQueue(queue_path) as queue:
        queue.submit(len, "abc")
        since = queue.pause()
        with JobQueue(queue.backup(tmp_path / "copy.db")) as copy:
            assert copy.paused == since


CLAIMER = """
import sys, time
from gigq_nb.store import transitions
from gigq_nb.store.db import Database
from pathlib import Path
database = Database(Path(sys.argv[1]), keep=True, durable=False)
worker, runtime = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
while True:
    with database.write() as db:
        claims = transitions.claim(db, worker, [runtime], time.time_ns() // 1_000_000, 1)
    if not claims:
        break
"""


def test_from_the_commit_of_a_pause_on_no_process_claims(rig: Rig) -> None:
    """Three processes claim one job after the other; each stops at the pause, and nothing is claimed after its commit."""
    rig.submit_all([rig.new_job() for _ in range(20_000)])
    claimers = [start(CLAIMER, rig.database.path, rig.new_worker(pid=5000 + n), rig.runtime) for n in range(3)]
    try:
        let_go(claimers)
        claimed = 0
        while claimed < 50:
            with rig.database.read() as db:
                claimed = reads.counts(db).running
        with rig.write() as db:
            pausing.pause(db, rig.now)
            at_the_pause = reads.counts(db).running
        assert [one.wait(60) for one in claimers] == [0, 0, 0]
    finally:
        for one in claimers:
            one.kill()
            one.communicate()
    with rig.database.read() as db:
        assert reads.counts(db).running == at_the_pause < 20_000


PAUSER = """
import sys
from gigq_nb import JobQueue
queue = JobQueue(sys.argv[1])
getattr(queue, sys.argv[2])()
print("acknowledged")
"""


@pytest.mark.parametrize(
    ("point", "is_paused"),
    [("pause_before_commit", False), ("before_store_commit", False), ("after_store_commit", True)],
)
def test_a_pausing_process_that_is_killed_has_paused_it_or_not(queue_path: Path, point: str, is_paused: bool) -> None:
    with JobQueue(queue_path) as queue:
        done = run(PAUSER, queue_path, "pause", env={"GIGQ_NB_TESTING": "1", "GIGQ_NB_FAILPOINT": f"{point}:kill"}, check=False)
        assert (done.returncode, done.stdout) == (-9, "")
        assert (queue.paused is not None) == is_paused


@pytest.mark.parametrize(
    ("point", "is_paused"),
    [("resume_before_commit", True), ("before_store_commit", True), ("after_store_commit", False)],
)
def test_a_resuming_process_that_is_killed_has_resumed_it_or_not(queue_path: Path, point: str, is_paused: bool) -> None:
    with JobQueue(queue_path) as queue:
        since = queue.pause()
        done = run(PAUSER, queue_path, "resume", env={"GIGQ_NB_TESTING": "1", "GIGQ_NB_FAILPOINT": f"{point}:kill"}, check=False)
        assert (done.returncode, done.stdout) == (-9, "")
        assert queue.paused == (since if is_paused else None)


def test_both_ring_for_workers_and_for_views(queue_path: Path, isolated: Path) -> None:
    with JobQueue(queue_path) as queue, queue._bell.listen("w") as worker, queue._bell.listen("k") as view:
        queue.pause()
        assert (worker.wait(60), view.wait(60)) == (True, True)
        queue.resume()
        assert (worker.wait(60), view.wait(60)) == (True, True)
