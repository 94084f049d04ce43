"""Every move of a job, what each does besides, and what is refused."""

import itertools
import sqlite3

import pytest

from gigq_nb.errors import CycleError, InvalidArgument, JobNotFound
from gigq_nb.policies import MAX_LOSSES
from gigq_nb.states import FINAL, MOVES, JobStatus, Outcome, is_legal
from gigq_nb.store import pruning, reads, submissions, transitions, workers
from gigq_nb.store.filesystem import Spill
from tests.store.rig import START_MS, Rig, ending, new_task

HOUR_MS = 3_600_000
LEGAL = {(before, after) for before, after in itertools.product(JobStatus, repeat=2) if is_legal(before, after)}

# What a row of each status needs besides, so that only the move itself can be at fault.
SHAPES = {
    "pending": "reason = null, execution = null, finished_at = null",
    "running": "reason = null, execution = 1, finished_at = null",
    "completed": "reason = null, execution = null, finished_at = 1",
    **dict.fromkeys(("failed", "timeout", "cancelled"), "reason = 'error', execution = null, finished_at = 1"),
}


def reach(rig: Rig, status: JobStatus) -> str:
    """A job of this status, by legal moves."""
    job = rig.submit()
    if status is JobStatus.PENDING:
        return job
    if status is JobStatus.CANCELLED:
        rig.cancel(job)
        return job
    claim = rig.claim_one()
    outcomes = {JobStatus.COMPLETED: Outcome.COMPLETED, JobStatus.FAILED: Outcome.FAILED, JobStatus.TIMEOUT: Outcome.TIMEOUT}
    if status is not JobStatus.RUNNING:
        rig.settle(claim, outcomes[status])
    return job


# ------------------------------------------------------------------------------------------- the schema itself


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(JobStatus, 2)], ids=str)
def test_the_file_refuses_exactly_the_moves_that_the_table_of_moves_does_not_have(
    rig: Rig, before: JobStatus, after: JobStatus
) -> None:
    job = reach(rig, before)
    move = f"update jobs set status = '{after}', {SHAPES[after]} where id = ?"
    with rig.database.read() as db:  # rolled back: only whether it is refused matters
        if (before, after) in LEGAL:
            db.execute(move, (job,))
        else:
            with pytest.raises(sqlite3.IntegrityError, match="illegal move"):
                db.execute(move, (job,))


def test_completed_is_never_left() -> None:
    assert not [after for before, after in LEGAL if before is JobStatus.COMPLETED]


def test_every_status_is_reached_by_some_move_and_final_ones_are_left_only_by_a_person() -> None:
    assert {after for _, after in LEGAL} == set(JobStatus)
    assert {name for name, (sources, _) in MOVES.items() if sources & FINAL} == {"retry"}


@pytest.mark.parametrize(
    "change",
    [
        "status = 'done'",
        "status = 'running'",  # without an attempt
        "execution = 1",  # an attempt without running
        "finished_at = 1",
        "reason = 'error'",
        "reason = 'because', status = 'failed', finished_at = 1",
        "waiting_on = -1",
        "priority = 1000001",
        "priority = 'high'",
        "priority = 1.5",
        "priority = null",
        "max_attempts = 0",
        "attempts = -1",
        "attempts = 1",  # more attempts than executions
        "losses = -1",
        "held = -1",
        "backoff_ms = -5",
        "runtime = 99",
        "task = 99",
        "id = 'short'",
        "run_at = 'tomorrow'",
        "created_at = null",
    ],
)
def test_the_file_refuses_a_bad_row(rig: Rig, change: str) -> None:
    job = rig.submit()
    with rig.database.read() as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(f"update jobs set {change} where id = ?", (job,))


def test_a_running_job_cannot_wait_for_anything(rig: Rig) -> None:
    rig.submit()
    rig.claim_one()
    with rig.database.read() as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("update jobs set waiting_on = 1")


def test_an_attempt_ends_with_its_outcome_and_not_otherwise(rig: Rig) -> None:
    rig.submit()
    rig.claim_one()
    with rig.database.read() as db:
        for change in ("outcome = 'completed'", "finished_at = 1", "outcome = 'good', finished_at = 1", "n = 0"):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(f"update executions set {change}")


# --------------------------------------------------------------------------------------------------- claiming


def test_a_claim_opens_attempt_one_and_the_job_runs(rig: Rig) -> None:
    job = rig.submit()
    claim = rig.claim_one()
    assert (claim.id, claim.n, claim.attempts, claim.payload) == (job, 1, 1, b"a")
    row = rig.job(job)
    assert (row.status, row.attempts, row.started_at) == ("running", 1, START_MS)
    assert rig.outcomes(job) == [(None, True)]


def test_jobs_are_claimed_by_priority_then_by_age(rig: Rig) -> None:
    low, first, second, high = (rig.submit(priority=p) for p in (-5, 0, 0, 9))
    assert [one.id for one in rig.claim(10)] == [high, first, second, low]


def test_no_job_is_claimed_twice(rig: Rig) -> None:
    rig.submit()
    other = rig.new_worker()
    assert len(rig.claim(5)) == 1
    assert rig.claim(5, other) == []


def test_a_claim_stops_where_the_worker_says_so(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(3)]
    with rig.write() as db:
        taken = transitions.claim(db, rig.worker, [rig.runtime], rig.now, 10, lambda one: one.id != jobs[1])
    assert [one.id for one in taken] == jobs[:1]
    assert rig.status(*jobs) == ["running", "pending", "pending"]


def test_a_job_of_another_runtime_is_left_alone(rig: Rig) -> None:
    job = rig.submit()
    with rig.write() as db:
        other = submissions.runtime_id(db, "another key", "3.11", "/env")
        assert transitions.claim(db, rig.worker, [other], rig.now, 5) == []
    assert rig.status(job) == ["pending"]
    assert rig.job(job).waits_for is None
    with rig.write() as db:
        workers.set_state(db, rig.worker, "gone", rig.now)
    assert "waits for a worker with Python 3.11 in /env" in str(rig.job(job).waits_for)


def test_several_runtimes_are_claimed_in_one_common_order(rig: Rig) -> None:
    with rig.write() as db:
        other = submissions.runtime_id(db, "key", "3.11", "/other")
    mine = rig.submit(priority=1)
    first, rig.runtime = rig.runtime, other
    urgent = rig.submit(priority=2)
    late = rig.submit(priority=1)
    with rig.write() as db:
        taken = transitions.claim(db, rig.worker, [first, other], rig.now, 5)
    assert [one.id for one in taken] == [urgent, mine, late]


def test_tokens_grow_over_all_jobs_and_are_never_used_again(rig: Rig) -> None:
    rig.submit()
    rig.submit()
    first = rig.claim_one()
    rig.hand_back(first)
    again = rig.claim(2)
    assert min(one.token for one in again) > first.token
    assert [one.n for one in again] == [1, 1]


# --------------------------------------------------------------------------------------------------- settling


def test_a_completed_attempt_stores_its_result_once(rig: Rig) -> None:
    job = rig.submit()
    claim = rig.claim_one()
    assert rig.settle(claim, Outcome.COMPLETED)
    row = rig.job(job)
    assert (row.status, row.reason, row.attempts, row.result_text, row.finished_at) == ("completed", None, 1, "'r'", START_MS)
    assert not rig.settle(claim, Outcome.FAILED)
    assert rig.status(job) == ["completed"]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [(Outcome.FAILED, "failed", "error"), (Outcome.TIMEOUT, "timeout", "timeout"), (Outcome.CANCELLED, "cancelled", "user")],
)
def test_a_bad_end_without_attempts_left_is_final_and_says_why(rig: Rig, outcome: Outcome, status: str, reason: str) -> None:
    job = rig.submit()
    assert rig.run(outcome) == job
    row = rig.job(job)
    assert (row.status, row.reason, row.attempts) == (status, reason, 1)
    assert row.error == (None if outcome is Outcome.CANCELLED else "no")


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT])
def test_a_bad_end_with_attempts_left_waits_for_its_backoff(rig: Rig, outcome: Outcome) -> None:
    job = rig.submit(max_attempts=2)
    rig.run(outcome, retry_in_ms=500, backoff_ms=600)
    assert (rig.status(job), rig.job(job).run_at, rig.claim(5)) == (["pending"], START_MS + 500, [])
    rig.now += 499
    assert rig.promote() == START_MS + 500
    assert rig.claim(5) == []
    rig.now += 1
    assert rig.promote() is None
    assert rig.claim_one().n == 2
    assert rig.outcomes(job) == [(outcome.value, True), (None, True)]


def test_a_retry_without_a_wait_is_ready_at_once(rig: Rig) -> None:
    rig.submit(max_attempts=2)
    rig.run(Outcome.FAILED, retry_in_ms=0)
    assert rig.claim_one().attempts == 2


def test_a_late_worker_cannot_complete_a_rescued_job(rig: Rig) -> None:
    job = rig.submit()
    other = rig.new_worker()
    late = rig.claim_one()
    assert rig.rescue(rig.worker) == 1
    second = rig.claim_one(other)
    with rig.database.read() as db:
        before = list(db.iterdump())
    assert not rig.settle(late, Outcome.COMPLETED)
    with rig.database.read() as db:
        assert list(db.iterdump()) == before
    assert rig.settle(second, Outcome.COMPLETED, worker=other)
    assert rig.outcomes(job) == [("lost", False), ("completed", True)]


def test_a_worker_cannot_end_the_attempt_of_another(rig: Rig) -> None:
    job = rig.submit()
    claim = rig.claim_one()
    assert not rig.settle(claim, Outcome.COMPLETED, worker=rig.new_worker())
    assert rig.status(job) == ["running"]


def test_of_several_endings_only_the_late_ones_are_dropped(rig: Rig) -> None:
    rig.submit()
    rig.submit()
    one, two = rig.claim(2)
    rig.settle(one, Outcome.COMPLETED)
    with rig.write() as db:
        late = transitions.settle(db, rig.worker, [ending(one, Outcome.FAILED, rig.now), ending(two, Outcome.COMPLETED, rig.now)])
    assert [each.claim.token for each in late] == [one.token]
    assert rig.status(one.id, two.id) == ["completed", "completed"]


# -------------------------------------------------------------------------------------- handing back, rescuing


def test_what_was_handed_back_was_never_attempted(rig: Rig) -> None:
    job = rig.submit()
    claim = rig.claim_one()
    rig.hand_back(claim)
    row = rig.job(job)
    assert (row.status, row.attempts, row.started_at, rig.outcomes(job)) == ("pending", 0, None, [])
    assert not rig.settle(claim, Outcome.COMPLETED)
    assert rig.claim_one().n == 1


def test_handing_back_what_was_rescued_meanwhile_changes_nothing(rig: Rig) -> None:
    job = rig.submit()
    claim = rig.claim_one()
    rig.rescue(rig.worker)
    rig.hand_back(claim)
    assert rig.outcomes(job) == [("lost", False)]
    assert rig.status(job) == ["pending"]


def test_an_attempt_that_a_stopping_worker_ended_does_not_count(rig: Rig) -> None:
    job = rig.submit()
    rig.run(Outcome.RETURNED, retry_in_ms=0)
    assert (rig.status(job), rig.job(job).attempts, rig.outcomes(job)) == (["pending"], 0, [("returned", False)])


def test_a_loss_is_not_charged(rig: Rig) -> None:
    job = rig.submit(max_attempts=1)
    rig.claim_one()
    assert rig.rescue(rig.worker) == 1
    row = rig.job(job)
    assert (row.status, row.attempts, row.losses, row.error) == ("pending", 0, 1, "its worker died")


def test_a_rescue_happens_once(rig: Rig) -> None:
    rig.submit()
    rig.claim_one()
    with rig.write() as db:
        (peer,) = workers.peers(db)
        assert workers.rescue(db, peer, rig.now, "dead") == 1
        assert workers.rescue(db, peer, rig.now, "dead") == 0
        assert workers.peers(db) == []


def test_a_worker_taken_for_dead_is_told_at_its_next_beat(rig: Rig) -> None:
    with rig.write() as db:
        assert workers.beat(db, rig.worker, rig.now) is None
    rig.rescue(rig.worker)
    with rig.write() as db:
        assert workers.beat(db, rig.worker, rig.now) == "gone"


def test_a_job_that_is_lost_too_often_fails_as_lost(rig: Rig) -> None:
    job = rig.submit()
    after = rig.submit(job)
    for n in range(MAX_LOSSES):
        assert rig.status(job) == ["pending"], n
        worker = rig.new_worker()
        rig.claim_one(worker)
        rig.rescue(worker)
    assert (rig.job(job).status, rig.job(job).reason, rig.job(job).attempts) == ("failed", "lost", 0)
    assert (rig.job(after).status, rig.job(after).reason) == ("cancelled", "upstream")


def test_the_start_that_was_known_before_a_rescue_stays(rig: Rig) -> None:
    job = rig.submit()
    claim = rig.claim_one()
    with rig.write() as db:
        workers.mark_started(db, [(START_MS + 7, claim.token)])
    rig.rescue(rig.worker)
    with rig.database.read() as db:
        assert [one.started_at for one in reads.executions(db, job)] == [START_MS + 7]


def test_a_clock_set_back_does_not_end_an_attempt_before_it_began(rig: Rig) -> None:
    job = rig.submit()
    rig.claim_one()
    rig.now -= HOUR_MS
    rig.rescue(rig.worker)
    with rig.database.read() as db:
        (one,) = reads.executions(db, job)
    assert one.started_at is not None
    assert one.finished_at is not None
    assert one.started_at <= one.finished_at


# -------------------------------------------------------------------------------------------------- cancelling


def test_a_pending_job_is_cancelled_at_once(rig: Rig) -> None:
    job = rig.submit()
    assert rig.cancel(job) == {job: True}
    assert (rig.job(job).status, rig.job(job).reason, rig.claim(5)) == ("cancelled", "user", [])


def test_a_delayed_job_that_is_cancelled_does_not_come_back(rig: Rig) -> None:
    job = rig.submit(run_at=START_MS + HOUR_MS)
    rig.cancel(job)
    rig.now += 2 * HOUR_MS
    assert rig.promote() is None
    assert rig.status(job) == ["cancelled"]


def test_a_loss_waits_again_for_a_parent_that_was_retried_while_it_ran(rig: Rig) -> None:
    parent = rig.submit()
    cleanup = rig.submit(edges={parent: "run"})
    rig.run(Outcome.FAILED)
    running = rig.claim_one()
    rig.retry(parent)
    rig.hand_back(running)
    assert rig.job(cleanup).waiting_on == 1
    assert [rig.run() for _ in range(2)] == [parent, cleanup]


def test_a_running_job_is_marked_and_cancelled_by_its_worker(rig: Rig) -> None:
    job = rig.submit(max_attempts=3)
    claim = rig.claim_one()
    assert rig.cancel(job) == {job: True}
    assert (rig.job(job).status, rig.job(job).cancel_requested) == ("running", True)
    with rig.database.read() as db:
        assert workers.cancelling_tokens(db, rig.worker) == {claim.token}
        assert workers.cancelling_tokens(db, rig.worker + 1) == set()
    assert rig.settle(claim, Outcome.CANCELLED)
    assert (rig.job(job).status, rig.job(job).reason, rig.job(job).cancel_requested) == ("cancelled", "user", False)


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT, Outcome.LOST, Outcome.RETURNED])
def test_a_cancel_that_was_acknowledged_holds_however_the_attempt_ends(rig: Rig, outcome: Outcome) -> None:
    job = rig.submit(max_attempts=3)
    claim = rig.claim_one()
    assert rig.cancel(job) == {job: True}
    assert rig.settle(claim, outcome, retry_in_ms=None if outcome is Outcome.COMPLETED else 0)
    assert (rig.job(job).status, rig.job(job).reason, rig.job(job).result_text) == ("cancelled", "user", None)


def test_a_cancel_holds_when_the_worker_dies(rig: Rig) -> None:
    job = rig.submit(max_attempts=3)
    rig.claim_one()
    rig.cancel(job)
    rig.rescue(rig.worker)
    assert (rig.job(job).status, rig.job(job).reason) == ("cancelled", "user")


def test_a_cancel_holds_when_the_job_is_handed_back(rig: Rig) -> None:
    job = rig.submit()
    after = rig.submit(job)
    claim = rig.claim_one()
    rig.cancel(job)
    rig.hand_back(claim)
    assert rig.status(job, after) == ["cancelled", "cancelled"]
    assert (rig.job(job).attempts, rig.outcomes(job)) == (0, [])


def test_what_is_over_is_not_cancelled(rig: Rig) -> None:
    done, failed, gone = rig.submit(), rig.submit(max_attempts=1), rig.submit()
    rig.run(Outcome.COMPLETED)
    rig.run(Outcome.FAILED)
    rig.cancel(gone)
    assert rig.cancel(done, failed, gone, "unknown") == {done: False, failed: False, gone: True}
    assert rig.status(done, failed, gone) == ["completed", "failed", "cancelled"]


def test_cancelling_parent_and_child_together_counts_each_once(rig: Rig) -> None:
    parent = rig.submit()
    child = rig.submit(parent)
    assert rig.cancel(parent, child) == {parent: True, child: True}
    assert [rig.job(one).reason for one in (parent, child)] == ["user", "upstream"]


# ------------------------------------------------------------------------------------------------ dependencies


def test_a_dependant_waits_for_all_its_parents(rig: Rig) -> None:
    one, two = rig.submit(), rig.submit()
    child = rig.submit(one, two)
    assert rig.job(child).waiting_on == 2
    assert rig.job(child).waits_for == "waits for 2 other jobs"
    assert rig.run() == one
    assert rig.job(child).waiting_on == 1
    assert rig.run() == two
    assert rig.run() == child


def test_a_parent_that_completed_before_is_not_waited_for(rig: Rig) -> None:
    parent = rig.submit()
    rig.run()
    child = rig.submit(parent)
    assert rig.claim_one().id == child


def test_a_released_dependant_is_queued_by_its_own_priority(rig: Rig) -> None:
    parent = rig.submit(priority=100)
    rig.submit(priority=5)
    urgent = rig.submit(parent, priority=50)
    assert rig.run() == parent
    assert rig.claim_one().id == urgent


def test_parents_that_end_in_one_transaction_release_their_dependant_once(rig: Rig) -> None:
    parents = [rig.submit() for _ in range(5)]
    child = rig.submit(*parents)
    claims = rig.claim(5)
    with rig.write() as db:
        transitions.settle(db, rig.worker, [ending(one, Outcome.COMPLETED, rig.now) for one in claims])
    assert rig.job(child).waiting_on == 0
    assert rig.claim_one().id == child


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT, Outcome.CANCELLED])
def test_a_bad_end_settles_everything_downstream_in_its_transaction(rig: Rig, outcome: Outcome) -> None:
    top = rig.submit()
    left, right = rig.submit(top), rig.submit(top)
    bottom = rig.submit(left, right, top)
    below = rig.submit(bottom)
    elsewhere = rig.submit()
    rig.run(outcome)
    assert [rig.job(one).reason for one in (left, right, bottom, below)] == ["upstream"] * 4
    assert rig.claim_one().id == elsewhere


def test_a_lost_attempt_does_not_settle_what_depends_on_it(rig: Rig) -> None:
    parent = rig.submit()
    child = rig.submit(parent)
    rig.claim_one()
    rig.rescue(rig.worker)
    assert rig.status(parent, child) == ["pending", "pending"]


def test_a_dependant_added_to_a_dead_end_is_settled_at_submit(rig: Rig) -> None:
    parent = rig.submit()
    rig.run(Outcome.FAILED)
    child = rig.submit(parent)
    grandchild = rig.submit(child)
    assert [(rig.job(one).status, rig.job(one).reason) for one in (child, grandchild)] == [("cancelled", "upstream")] * 2


def test_jobs_of_one_submission_may_depend_on_each_other_in_any_order(rig: Rig) -> None:
    first, second, third = (rig.new_job() for _ in range(3))
    first.parents, second.parents = {second.id: "cancel"}, {third.id: "cancel"}
    rig.submit_all([first, second, third])
    assert [rig.run() for _ in range(3)] == [third.id, second.id, first.id]


def test_a_dead_end_reaches_through_a_whole_submission(rig: Rig) -> None:
    dead = rig.submit()
    rig.run(Outcome.FAILED)
    last, middle, alive = (rig.new_job() for _ in range(3))
    last.parents, middle.parents = {middle.id: "cancel", alive.id: "cancel"}, {dead: "cancel"}
    rig.submit_all([last, middle, alive])
    assert rig.status(last.id, middle.id, alive.id) == ["cancelled", "cancelled", "pending"]


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_circle_is_refused_and_nothing_is_stored(rig: Rig, length: int) -> None:
    jobs = [rig.new_job() for _ in range(length)]
    outside = rig.new_job()
    for one, parent in zip(jobs, [*jobs[1:], jobs[0]], strict=True):
        one.parents = {parent.id: "cancel"}
    with pytest.raises(CycleError, match=jobs[0].id):
        rig.submit_all([outside, *jobs], batch="circle")
    with rig.database.read() as db:
        assert db.execute("select (select count(*) from jobs), (select count(*) from batches)").fetchone() == (0, 0)


def test_an_unknown_parent_is_refused_by_its_name_and_nothing_is_stored(rig: Rig) -> None:
    with pytest.raises(JobNotFound, match="no-such-job"):
        rig.submit_all([rig.new_job(), rig.new_job(parents={"no-such-job": "cancel"})])
    with rig.database.read() as db:
        assert db.execute("select count(*) from jobs").fetchone() == (0,)


def test_an_edge_that_says_run_is_released_by_a_bad_end(rig: Rig) -> None:
    parent = rig.submit()
    cleanup = rig.submit(edges={parent: "run"})
    below = rig.submit(cleanup)
    rig.run(Outcome.FAILED)
    assert rig.run() == cleanup
    assert rig.run() == below


def test_a_parent_that_failed_before_does_not_hold_an_edge_that_says_run(rig: Rig) -> None:
    parent = rig.submit()
    rig.run(Outcome.FAILED)
    cleanup = rig.submit(edges={parent: "run"})
    assert rig.run() == cleanup


def test_ten_thousand_dependants_of_one_job_are_released_and_settled(rig: Rig) -> None:
    for outcome, status in ((Outcome.COMPLETED, "pending"), (Outcome.FAILED, "cancelled")):
        parent = rig.submit(priority=9)
        fan = [rig.new_job(parents={parent: "cancel"}) for _ in range(10_000)]
        rig.submit_all(fan)
        assert rig.run(outcome) == parent
        assert set(rig.status(*(one.id for one in fan))) == {status}


def test_a_chain_of_five_thousand_is_settled_from_its_beginning(rig: Rig) -> None:
    chain = [rig.new_job() for _ in range(5_000)]
    for parent, one in itertools.pairwise(chain):
        one.parents = {parent.id: "cancel"}
    rig.submit_all(chain)
    rig.cancel(chain[0].id)
    assert set(rig.status(*(one.id for one in chain))) == {"cancelled"}


# ----------------------------------------------------------------------------------------- retrying by a person


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT, Outcome.CANCELLED])
def test_a_retry_grants_one_more_attempt(rig: Rig, outcome: Outcome) -> None:
    job = rig.submit(max_attempts=1)
    rig.run(outcome)
    assert rig.retry(job) == [job]
    assert (rig.job(job).status, rig.job(job).max_attempts, rig.job(job).reason) == ("pending", 2, None)
    assert (rig.claim_one().n, rig.outcomes(job)) == (2, [(outcome.value, True), (None, True)])


def test_a_retry_keeps_attempts_that_are_left(rig: Rig) -> None:
    job = rig.submit(max_attempts=5)
    rig.cancel(job)
    rig.retry(job)
    assert rig.job(job).max_attempts == 5


def test_what_is_open_or_completed_is_not_retried(rig: Rig) -> None:
    waiting, running, done = rig.submit(), rig.submit(priority=2), rig.submit(priority=9)
    rig.run()
    rig.claim_one()
    assert rig.retry(waiting, running, done) == []
    assert rig.status(waiting, running, done) == ["pending", "running", "completed"]


def test_a_retry_of_an_unknown_job_changes_nothing(rig: Rig) -> None:
    job = rig.submit()
    rig.run(Outcome.FAILED)
    with pytest.raises(JobNotFound, match="nobody"):
        rig.retry(job, "nobody")
    assert rig.status(job) == ["failed"]


def test_a_retried_parent_revives_what_it_took_along(rig: Rig) -> None:
    top = rig.submit()
    left, right = rig.submit(top), rig.submit(top)
    bottom = rig.submit(left, right, top)
    rig.run(Outcome.FAILED)
    assert set(rig.retry(top)) == {top, left, right, bottom}
    assert rig.job(bottom).waiting_on == 3
    assert [rig.run() for _ in range(4)] == [top, left, right, bottom]


def test_a_retry_does_not_revive_what_a_person_cancelled(rig: Rig) -> None:
    top = rig.submit()
    child = rig.submit(top)
    rig.cancel(child)
    rig.run(Outcome.FAILED)
    assert rig.retry(top) == [top]
    assert rig.job(child).reason == "user"


def test_a_dependant_with_another_dead_parent_stays_settled(rig: Rig) -> None:
    one, two = rig.submit(), rig.submit()
    child = rig.submit(one, two)
    rig.run(Outcome.FAILED)
    rig.run(Outcome.FAILED)
    assert rig.retry(one) == [one]
    assert rig.status(child) == ["cancelled"]
    assert rig.retry(two) == [two, child]
    assert rig.job(child).waiting_on == 2


def test_a_dependant_cannot_be_retried_without_its_parent_and_the_error_names_that(rig: Rig) -> None:
    parent = rig.submit()
    child = rig.submit(parent)
    rig.run(Outcome.FAILED)
    with pytest.raises(InvalidArgument, match=parent):
        rig.retry(child)
    assert rig.status(child) == ["cancelled"]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))], ids=str)
def test_a_whole_graph_is_retried_in_whatever_order_it_is_named(rig: Rig, order: tuple[int, ...]) -> None:
    top = rig.submit()
    left = rig.submit(top)
    cleanup = rig.submit(edges={top: "run"})
    bottom = rig.submit(left, top)
    rig.run(Outcome.FAILED)
    rig.run(Outcome.FAILED)
    graph = [top, left, cleanup, bottom]
    assert rig.status(*graph) == ["failed", "cancelled", "failed", "cancelled"]
    assert set(rig.retry(*(graph[i] for i in order))) == set(graph)
    assert [rig.job(one).waiting_on for one in graph] == [0, 1, 1, 2]
    assert [rig.run() for _ in range(4)] == [top, left, cleanup, bottom]


def test_an_edge_that_says_run_waits_again_for_a_retried_parent(rig: Rig) -> None:
    parent, other = rig.submit(), rig.submit(priority=-1)
    cleanup = rig.submit(edges={parent: "run", other: "run"})
    rig.run(Outcome.FAILED)
    assert rig.job(cleanup).waiting_on == 1
    rig.retry(parent)
    assert rig.job(cleanup).waiting_on == 2


def test_a_retry_forgets_losses(rig: Rig) -> None:
    job = rig.submit()
    for _ in range(MAX_LOSSES):
        worker = rig.new_worker()
        rig.claim_one(worker)
        rig.rescue(worker)
    rig.retry(job)
    assert rig.job(job).losses == 0
    assert rig.run() == job


# ------------------------------------------------------------------------------------------------------- clocks


def test_a_delayed_job_is_promoted_when_it_is_due(rig: Rig) -> None:
    job = rig.submit(run_at=START_MS + 1_000)
    assert rig.promote() == START_MS + 1_000
    assert rig.job(job).waits_for == "waits for its time"
    rig.now += 1_000
    assert rig.promote() is None
    assert rig.claim_one().id == job


def test_a_retry_is_not_lost_when_the_clock_is_set_back(rig: Rig) -> None:
    rig.submit(max_attempts=2)
    rig.run(Outcome.FAILED, retry_in_ms=1_000, backoff_ms=1_200)
    rig.now -= HOUR_MS
    assert rig.promote() is None
    assert rig.claim_one().n == 2


def test_a_retry_keeps_its_wait_when_the_clock_is_set_back_a_little(rig: Rig) -> None:
    rig.submit(max_attempts=2)
    rig.run(Outcome.FAILED, retry_in_ms=1_000, backoff_ms=1_200)
    rig.now -= 100
    assert rig.promote() == START_MS + 1_000
    assert rig.claim(1) == []


def test_a_job_delayed_by_its_submitter_keeps_its_time_when_the_clock_is_set_back(rig: Rig) -> None:
    rig.submit(run_at=START_MS + HOUR_MS)
    rig.now -= 10 * HOUR_MS
    assert rig.promote() == START_MS + HOUR_MS
    assert rig.claim(1) == []


def test_a_dependant_with_a_delay_waits_for_both(rig: Rig) -> None:
    parent = rig.submit()
    child = rig.submit(parent, run_at=START_MS + 50)
    rig.now += 100
    rig.promote()
    assert rig.claim_one().id == parent
    assert rig.job(child).waiting_on == 1


# ------------------------------------------------------------------------------------------------------- counts


def test_counts_of_batch_and_queue_follow_every_move(rig: Rig) -> None:
    number = rig.submit_all([rig.new_job(max_attempts=2) for _ in range(4)], batch="four")
    rig.submit()
    one, two, three, four = rig.claim(4)
    rig.settle(one, Outcome.COMPLETED)
    rig.settle(two, Outcome.FAILED, retry_in_ms=0)
    rig.settle(three, Outcome.TIMEOUT)
    rig.hand_back(four)
    rig.cancel(four.id)
    with rig.database.read() as db:
        batch, queue = reads.counts(db, number), reads.counts(db)
    assert batch.as_dict() == {"pending": 1, "running": 0, "completed": 1, "failed": 0, "timeout": 1, "cancelled": 1}
    assert (queue.total, queue.pending) == (5, 2)
    rig.retry(three.id, four.id)
    with rig.database.read() as db:
        assert reads.counts(db, number).pending == 3


# ------------------------------------------------------------------------------------------------------ pruning


def prune(rig: Rig, *statuses: str, before: int | None = None) -> int:
    with rig.write() as db:
        removed, files = pruning.prune(db, statuses, before)
    assert files == []
    return removed


def test_pruning_removes_a_job_with_all_that_is_its_own(rig: Rig) -> None:
    rig.submit_all([rig.new_job()], batch="one")
    rig.run()
    assert prune(rig, "completed") == 1
    with rig.database.read() as db:
        left = {
            table: db.execute(f"select count(*) from {table}").fetchone()[0]
            for table in ("jobs", "arguments", "executions", "results", "failures", "batches", "edges")
        }
    assert set(left.values()) == {0}, left


def test_numbers_of_pruned_jobs_and_batches_are_never_used_again(rig: Rig) -> None:
    """Whoever remembers one (a batch in a notebook, `trust` between the look and the signature) cannot mean another."""
    rig.submit(run_at=rig.now + 10**9)  # keeps the task
    used: list[tuple[int, int]] = []
    for kept in (0, 0, 1, 0, 2):
        for _ in range(2):
            (job,) = jobs = [rig.new_job()]
            used.append((rig.submit_all(jobs, batch="one") or 0, rig.job(job.id).seq))
            rig.run()
        used += [(0, rig.job(rig.submit()).seq) for _ in range(kept)]
        assert prune(rig, "completed") >= 2
        for _ in range(kept):
            rig.run()
    seqs, batches = [seq for _, seq in used], [batch for batch, _ in used if batch]
    assert seqs == sorted(set(seqs))
    assert batches == sorted(set(batches))


def test_pruning_keeps_what_ended_later(rig: Rig) -> None:
    rig.submit()
    rig.run()
    assert prune(rig, "completed", before=START_MS) == 0
    assert prune(rig, "completed", before=START_MS + 1) == 1


def test_a_parent_stays_while_a_dependant_may_still_need_it(rig: Rig) -> None:
    top = rig.submit()
    middle = rig.submit(top)
    bottom = rig.submit(middle)
    rig.run()
    rig.run()
    assert prune(rig, "completed", "failed", "cancelled") == 1  # the top: what depends on it has completed
    assert rig.status(middle, bottom) == ["completed", "pending"]
    rig.run(Outcome.FAILED)
    assert prune(rig, "completed") == 0  # the bottom may be retried, and needs the middle's result
    assert prune(rig, "completed", "failed") == 2


def test_a_dead_parent_stays_while_its_dependants_do(rig: Rig) -> None:
    parent = rig.submit()
    child = rig.submit(parent)
    rig.run(Outcome.FAILED)
    assert prune(rig, "failed") == 0
    with pytest.raises(InvalidArgument, match=parent):  # else it would run without its parent
        rig.retry(child)
    assert prune(rig, "failed", "cancelled") == 2


def test_pruning_removes_functions_that_no_job_uses(rig: Rig) -> None:
    rig.submit()
    rig.run()
    prune(rig, "completed")
    with rig.database.read() as db:
        assert db.execute("select (select count(*) from tasks), (select count(*) from functions)").fetchone() == (0, 0)
    with rig.write() as db:
        assert submissions.task_id(db, new_task()) > rig.task, "a number is never used again"


def test_the_files_of_pruned_jobs_are_named_for_whoever_removes_them_after_the_commit(rig: Rig, tmp_path: object) -> None:
    spill = Spill(rig.database.path)
    one = rig.new_job()
    one.arguments, one.size = None, 5
    spill.write(f"arguments-{one.id}", b"large")
    rig.submit_all([one])
    rig.cancel(one.id)
    with rig.write() as db:
        removed, files = pruning.prune(db, ("cancelled",), None)
    assert removed == 1
    assert f"arguments-{one.id}" in files
    assert spill.names() == [f"arguments-{one.id}"], "the file outlives a transaction that may yet fail"
