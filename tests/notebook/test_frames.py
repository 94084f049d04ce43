"""DataFrames of jobs, attempts, workers, queries and batches, from real files."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gigq_nb import Job, JobQueue, Workflow, task
from gigq_nb.errors import InvalidArgument, InvalidType, JobNotFound, QueueCorrupt
from gigq_nb.notebook import batchframe
from gigq_nb.notebook.typed import Columns
from gigq_nb.states import JobStatus, Outcome, Reason
from gigq_nb.store import columns, public, reads
from tests.store.rig import START_MS, Rig

JOBS = [
    "id",
    "name",
    "status",
    "reason",
    "created_at",
    "started_at",
    "finished_at",
    "seconds",
    "took",
    "attempts",
    "max_attempts",
    "losses",
    "priority",
    "waiting_on",
    "run_at",
    "batch",
    "function",
    "notebook",
    "result",
    "error_type",
    "error",
]
PATIENCE_S = 60


@pytest.fixture
def rig(queue_path: Path) -> Iterator[Rig]:
    one = Rig(queue_path)
    yield one
    one.close()


@pytest.fixture
def queue(queue_path: Path) -> Iterator[JobQueue]:
    with JobQueue(queue_path) as one:
        yield one


@pytest.fixture
def working(queue: JobQueue) -> Iterator[JobQueue]:
    """A queue with a worker."""
    queue.start_worker(1)
    yield queue
    queue.stop_worker(now=True)


def shape(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Names and types of the columns; of categories also the type of the words."""
    kinds = [getattr(kind, "categories", pd.Index([])).dtype for kind in frame.dtypes]
    return [(name, str(kind), str(words)) for name, kind, words in zip(frame.columns, frame.dtypes, kinds, strict=True)]


def tamper(path: Path, *statements: str) -> None:
    """Write to the file as a stranger would, past everything that guards it."""
    db = sqlite3.connect(path)
    db.execute("pragma ignore_check_constraints = on")
    for one in statements:
        db.execute(one)
    db.commit()
    db.close()


def every_status(rig: Rig) -> dict[str, str]:
    """A job in each status, and what is worth telling apart: {what it is: its id}."""
    made = {}
    made["completed"] = rig.submit()
    rig.now += 10
    rig.run(Outcome.COMPLETED)
    made["failed"] = rig.submit(priority=5)
    made["upstream"] = rig.submit(made["failed"])
    rig.run(Outcome.FAILED)
    made["timeout"] = rig.submit(priority=5)
    rig.run(Outcome.TIMEOUT)
    made["healed"] = rig.submit(max_attempts=2, priority=5)
    rig.run(Outcome.FAILED, retry_in_ms=0)
    rig.now += 2_500
    rig.run(Outcome.COMPLETED)
    made["retrying"] = rig.submit(max_attempts=2, priority=5)
    rig.run(Outcome.FAILED, retry_in_ms=60_000, backoff_ms=60_000)
    made["trying again"] = rig.submit(max_attempts=2, priority=5)
    rig.run(Outcome.FAILED, retry_in_ms=0)
    assert rig.claim_one().id == made["trying again"]
    made["running"] = rig.submit(priority=5)
    assert rig.claim_one().id == made["running"]
    made["pending"] = rig.submit()
    made["waiting"] = rig.submit(made["pending"])
    made["cancelled"] = rig.submit()
    rig.cancel(made["cancelled"])
    return made


# ------------------------------------------------------------------------------------------------------- types


def test_an_empty_queue_has_the_same_columns_and_types_as_a_full_one(rig: Rig, queue: JobQueue) -> None:
    empty = [queue.jobs(), queue.executions(), queue.jobs(name="nobody")]
    every_status(rig)
    full = [queue.jobs(), queue.executions(), queue.jobs(name="nobody")]
    assert [len(one) > 0 for one in full] == [True, True, False]
    assert [len(one) for one in empty] == [0, 0, 0]
    assert [shape(one) for one in empty] == [shape(one) for one in full]


def test_no_workers_have_the_same_columns_and_types_as_some(queue_path: Path) -> None:
    with JobQueue(queue_path) as queue:
        empty = queue.workers(gone=True)
        rig = Rig(queue_path)
        assert shape(empty) == shape(queue.workers(gone=True))
        rig.close()


def test_the_columns_of_jobs_have_their_types(rig: Rig, queue: JobQueue) -> None:
    every_status(rig)
    frame = queue.jobs()
    assert list(frame.columns) == JOBS
    kinds = frame.dtypes.astype(str)
    assert set(kinds[["created_at", "started_at", "finished_at", "run_at"]]) == {"datetime64[ms, UTC]"}
    assert set(kinds[["attempts", "max_attempts", "losses", "priority", "waiting_on"]]) == {"int64"}
    assert set(kinds[["status", "reason", "name", "function", "notebook", "error_type"]]) == {"category"}
    assert (kinds["seconds"], kinds["took"], kinds["batch"]) == ("float64", "timedelta64[ms]", "Int64")


def test_statuses_and_reasons_have_all_their_words_and_statuses_have_their_order(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    frame = queue.jobs()
    assert list(frame.status.cat.categories) == [one.value for one in JobStatus]
    assert frame.status.cat.ordered
    assert list(frame.reason.cat.categories) == [one.value for one in Reason]
    assert list(queue.executions().outcome.cat.categories) == [one.value for one in Outcome]
    assert frame.status.value_counts().to_dict() == {**dict.fromkeys(map(str, JobStatus), 0), "pending": 1}


def test_frames_of_a_queue_hold_texts_and_no_objects(rig: Rig, queue: JobQueue) -> None:
    every_status(rig)
    for frame in (queue.jobs(), queue.executions(), queue.workers()):
        for name in frame.columns:
            if frame[name].dtype == object or str(frame[name].dtype) in ("str", "string"):
                assert {type(one) for one in frame[name].dropna()} <= {str}


# ------------------------------------------------------------------------------------------------------- values


def test_a_frame_says_of_each_job_what_its_row_says(rig: Rig, queue: JobQueue) -> None:
    made = every_status(rig)
    with rig.database.read() as db:
        rows = reads.jobs(db)
    frame = queue.jobs()
    assert len(frame) == len(made) == len(rows)
    assert set(frame.status) == {one.value for one in JobStatus}
    for row, (_, shown) in zip(rows, frame.iterrows(), strict=True):
        there = {name: None if pd.isna(value) else value for name, value in shown.items()}
        for name in [
            "id",
            "name",
            "status",
            "reason",
            "attempts",
            "max_attempts",
            "losses",
            "priority",
            "waiting_on",
            "seconds",
            "batch",
            "notebook",
            "error",
        ]:
            assert there[name] == getattr(row, name), (name, row)
        for name in ("created_at", "started_at", "finished_at", "run_at"):
            assert (there[name] and int(there[name].timestamp() * 1000)) == getattr(row, name)
        assert there["took"] == (None if row.seconds is None else pd.Timedelta(seconds=row.seconds))
        assert there["function"] == row.function_name
        assert there["result"] == (row.result_text or row.result_json)


def test_the_error_is_that_of_the_newest_attempt(rig: Rig, queue: JobQueue) -> None:
    made = every_status(rig)
    frame = queue.jobs().set_index("id")
    assert (frame.error_type[made["failed"]], frame.error[made["failed"]]) == ("ValueError", "no")
    assert frame.error[made["retrying"]] == "no"
    assert pd.isna(frame.error[made["healed"]])
    assert pd.isna(frame.error[made["trying again"]])
    assert pd.isna(frame.error_type[made["healed"]])
    assert frame.error.notna().sum() == frame.error_type.notna().sum() == 3


def test_times_are_utc_and_what_has_not_happened_has_none(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    (job,) = queue.jobs().itertuples()
    assert job.created_at == pd.Timestamp(START_MS, unit="ms", tz="UTC")
    assert [pd.isna(one) for one in (job.started_at, job.finished_at, job.seconds, job.took, job.run_at)] == [True] * 5


def test_durations_are_there_as_seconds_and_as_timedeltas(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    claim = rig.claim_one()
    rig.now += 1_500
    rig.settle(claim, Outcome.COMPLETED)
    tamper(rig.database.path, f"update jobs set started_at = {START_MS}", f"update executions set started_at = {START_MS}")
    for frame in (queue.jobs(), queue.executions()):
        assert frame.seconds.tolist() == [1.5]
        assert frame.took.tolist() == [pd.Timedelta("1.5s")]


def test_hostile_texts_arrive_as_they_are(rig: Rig, queue: JobQueue) -> None:
    evil = "<script>\x00\x1e\x1f\"'\\,[]{}\u202e\U0001f4a9\n"
    rig.submit()
    rig.run()
    rig.submit()
    rig.run(Outcome.FAILED)
    db = sqlite3.connect(rig.database.path)
    for statement in (
        "update results set preview = ?",
        "update failures set message = ?, type = ?",
        "update tasks set name = ?, notebook = ?",
        "update functions set name = ?",
    ):
        db.execute(statement, (evil,) * statement.count("?"))
    db.commit()
    db.close()
    failed, completed = queue.jobs().itertuples()
    assert completed.result == failed.error == failed.error_type == failed.name == failed.notebook == failed.function == evil
    assert "<script>" not in queue.jobs().to_html()


def test_an_id_with_a_comma_does_not_shift_the_others(rig: Rig, queue: JobQueue) -> None:
    ids = [rig.submit() for _ in range(3)]
    odd = "a,b" + "c" * 33
    tamper(rig.database.path, f"update jobs set id = '{odd}' where id = '{ids[1]}'")
    assert queue.jobs().id.tolist() == [ids[2], odd, ids[0]]


def test_absurd_times_are_missing_and_the_frame_can_be_shown(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    tamper(rig.database.path, f"update jobs set created_at = {2**62}, run_at = {-(2**40)}")
    frame = queue.jobs()
    assert frame.created_at.isna().all()
    assert frame.run_at.isna().all()
    assert "NaT" in repr(frame.created_at)


def test_long_texts_are_cut_and_say_so(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    rig.run()
    rig.submit()
    rig.run(Outcome.FAILED)
    tamper(rig.database.path, "update results set preview = printf('%.*c', 9000, 'x')")
    tamper(rig.database.path, "update failures set message = printf('%.*c', 2000, 'y')")
    failed, completed = queue.jobs().itertuples()
    assert completed.result == "x" * (columns.MOST_CHARS - 1) + "…"
    assert failed.error == "y" * columns.MOST_CHARS


def test_a_job_without_its_task_is_reported_and_not_left_out(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    tamper(rig.database.path, "update jobs set task = 77")
    with pytest.raises(QueueCorrupt, match="restore a backup"):
        queue.jobs()


# ------------------------------------------------------------------------------------------------------- filters


def test_the_newest_job_comes_first_and_a_limit_keeps_the_newest(rig: Rig, queue: JobQueue) -> None:
    ids = [rig.submit() for _ in range(5)]
    assert queue.jobs().id.tolist() == ids[::-1]
    assert queue.jobs(limit=2).id.tolist() == ids[:2:-1]
    assert queue.jobs(limit=0).id.tolist() == []
    assert queue.jobs(limit=99).id.tolist() == ids[::-1]


def test_filters_are_combined_and_a_limit_counts_what_they_leave(queue: JobQueue) -> None:
    @task(name="work")
    def work(x: int) -> int:
        return x

    first = queue.map(work, range(3))
    second = queue.map(work, range(3), batch_name="again")
    tagged = queue.submit(Job("other", work.function, {"x": 1}, tags=["night", "gpu"]))
    queue.cancel(first[1])
    assert set(queue.jobs(name="work").id) == {*first.ids, *second.ids}
    assert queue.jobs(batch=second).id.tolist() == second.ids[::-1]
    assert queue.jobs(batch=first.number, status="pending").id.tolist() == [first.ids[2], first.ids[0]]
    assert queue.jobs(status=["cancelled"], name="work").id.tolist() == [first.ids[1]]
    assert queue.jobs(tag="gpu").id.tolist() == [tagged]
    assert queue.jobs(batch=first, limit=2).id.tolist() == first.ids[:0:-1]
    assert queue.jobs(tag="gpu").batch.isna().all()
    assert queue.jobs(batch=second).batch.tolist() == [second.number] * 3


def test_a_filter_whose_index_has_another_order_keeps_the_newest_first(rig: Rig, queue: JobQueue) -> None:
    every_status(rig)
    every_status(rig)
    bad = ["cancelled", "failed", "timeout"]
    everything = queue.jobs()
    pd.testing.assert_frame_equal(queue.jobs(status=bad), everything[everything.status.isin(bad)].reset_index(drop=True))


def test_rows_that_an_index_gave_in_another_order_are_put_in_order_with_their_errors() -> None:
    def piece(*seqs: int) -> columns.Slice:
        errors = columns.Errors(1, str(seqs[-1]), ["builtins.KeyError"], [f"e{seqs[-1]}"])
        keys = ",".join(map(str, seqs))
        return columns.Slice(len(seqs), [f"i{one}" for one in seqs], {"seq": keys}, {"t": [f"t{one}" for one in seqs]}, errors)

    for newest_first, order in ((True, [6, 5, 4, 3, 2, 1]), (False, [1, 2, 3, 4, 5, 6])):
        rows = Columns([piece(2, 3, 1), piece(6, 4, 5)], "seq", newest_first=newest_first)
        assert rows.number("seq").tolist() == order
        assert list(rows.id()) == rows.ids_in_order() == [f"i{one}" for one in order]
        assert list(rows.text("t")) == [f"t{one}" for one in order]
        types, messages = rows.errors()
        assert [None if pd.isna(one) else one for one in messages] == [f"e{one}" if one in (1, 5) else None for one in order]
        assert [one == "KeyError" for one in types] == [one in (1, 5) for one in order]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 1000])
def test_slices_of_any_length_make_the_same_frame(rig: Rig, queue: JobQueue, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    made = every_status(rig)
    jobs, executions = queue.jobs(), queue.executions()
    gone = ", ".join(f"'{made[one]}'" for one in ("timeout", "cancelled"))
    left = jobs[~jobs.id.isin([made["timeout"], made["cancelled"]])].reset_index(drop=True)
    tamper(rig.database.path, "pragma foreign_keys = on", f"delete from jobs where id in ({gone})")
    monkeypatch.setattr(columns, "ROWS", rows)
    pd.testing.assert_frame_equal(queue.jobs(), left, check_categorical=False)
    assert len(queue.executions()) == len(executions) - 1


def test_a_huge_gap_between_two_jobs_costs_one_look(rig: Rig, queue: JobQueue) -> None:
    ids = [rig.submit() for _ in range(2)]
    tamper(rig.database.path, f"update jobs set seq = {2**63 - 1} where id = '{ids[1]}'")
    assert queue.jobs().id.tolist() == ids[::-1]


def test_filters_that_make_no_sense_are_refused_by_name(queue: JobQueue) -> None:
    for wrong in ({"limit": -1}, {"status": "done"}, {"batch": -1}):
        with pytest.raises(InvalidArgument, match=next(iter(wrong))):
            queue.jobs(**wrong)
    for odd in ({"limit": 1.5}, {"name": 5}, {"tag": b"x"}, {"batch": "b"}):
        with pytest.raises(InvalidType, match=next(iter(odd))):
            queue.jobs(**odd)


def test_a_filter_is_a_value_and_never_sql(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    for evil in ("x'; drop table jobs;--", "1) or 1=1", "%", "@__import__('os')"):
        assert len(queue.jobs(name=evil)) == len(queue.jobs(tag=evil)) == 0
    assert len(queue.jobs()) == 1


def test_a_read_leaves_no_transaction_open(rig: Rig, queue: JobQueue) -> None:
    every_status(rig)
    queue.jobs()
    with pytest.raises(InvalidType):
        queue.jobs(name=5)
    assert rig.database.checkpoint() == 0


# ----------------------------------------------------------------------------------------- attempts and workers


def test_attempts_come_oldest_first_with_their_worker_and_outcome(rig: Rig, queue: JobQueue) -> None:
    made = every_status(rig)
    frame = queue.executions()
    assert frame.claimed_at.is_monotonic_increasing
    healed = frame[frame.job_id == made["healed"]]
    assert healed.attempt.tolist() == [1, 2]
    assert healed.outcome.tolist() == ["failed", "completed"]
    assert healed.error.isna().tolist() == [False, True]
    assert frame.outcome[frame.job_id == made["trying again"]].isna().tolist() == [False, True]
    assert set(frame.worker) == {"w0"}
    assert set(frame.name) == {"work"}
    assert frame.charged.dtype == bool


def test_attempts_of_one_job_by_its_id_or_its_beginning(rig: Rig, queue: JobQueue) -> None:
    made = every_status(rig)
    for text in (made["healed"], queue.job(made["healed"])):
        assert queue.executions(text).job_id.tolist() == [made["healed"]] * 2
    assert queue.executions(made["pending"]).empty
    with pytest.raises(JobNotFound):
        queue.executions("no such job")
    with pytest.raises(InvalidType):
        queue.executions(5)  # type: ignore[arg-type]


def test_a_worker_that_was_not_heard_of_is_silent_and_one_that_ended_is_only_shown_when_asked(rig: Rig, queue: JobQueue) -> None:
    rig.new_worker(4243)
    tamper(
        rig.database.path,
        "update workers set beat_at = unixepoch() * 1000 where name = 'w0'",
        "update workers set state = 'gone', stopped_at = beat_at where name = 'w1'",
    )
    assert [(one.name, one.state) for one in queue.workers().itertuples()] == [("w0", "running")]
    tamper(rig.database.path, "update workers set beat_at = beat_at - 3600000")
    shown = queue.workers(gone=True)
    assert [(one.name, one.state) for one in shown.itertuples()] == [("w1", "gone"), ("w0", "silent")]
    assert shown.stopped_at.isna().tolist() == [False, True]


# ------------------------------------------------------------------------------------------------------- sql


def test_the_public_views_have_the_columns_of_the_frames(rig: Rig, queue: JobQueue) -> None:
    every_status(rig)
    assert list(queue.sql("select * from jobs").columns) == [one for one in JOBS if one != "took"]
    attempts = [one for one in queue.executions().columns if one != "took"]
    assert list(queue.sql("select * from executions").columns) == [*attempts, "traceback"]


def test_sql_and_jobs_say_the_same(rig: Rig, queue: JobQueue) -> None:
    every_status(rig)
    frame = queue.jobs()
    rows = queue.sql("select * from jobs").set_index("id").loc[frame.id].reset_index()
    for name in [
        "id",
        "status",
        "reason",
        "created_at",
        "started_at",
        "finished_at",
        "seconds",
        "attempts",
        "waiting_on",
        "result",
        "error",
    ]:
        there, here = rows[name], frame[name]
        assert (there.isna() == here.isna()).all(), name
        assert (there.dropna() == here.dropna().astype(there.dtype)).all(), name


def test_columns_that_end_in_at_are_utc_times(rig: Rig, queue: JobQueue) -> None:
    rig.submit()
    frame = queue.sql("select created_at, started_at, ? as given_at, 'soon' as odd_at, 1.5 as half_at from jobs", [START_MS])
    assert frame.created_at.tolist() == frame.given_at.tolist() == [pd.Timestamp(START_MS, unit="ms", tz="UTC")]
    assert frame.started_at.isna().all()
    assert (frame.odd_at.tolist(), frame.half_at.tolist()) == (["soon"], [1.5])
    kinds = frame.dtypes.astype(str)
    assert set(kinds[["created_at", "started_at", "given_at"]]) == {"datetime64[ms, UTC]"}
    assert str(queue.sql("select created_at from jobs where false").dtypes["created_at"]) == "datetime64[ms, UTC]"


def test_whole_numbers_of_a_query_stay_whole_beside_null(queue: JobQueue) -> None:
    frame = queue.sql("select column1 as a, column2 as b, column2 as b from (values (1, 'x'), (null, null), (3, 'y'))")
    assert frame.a.tolist() == [1, pd.NA, 3]
    assert str(frame.a.dtype) == "Int64"
    assert list(frame.columns) == ["a", "b", "b"]
    assert queue.sql("select 1 as x where ?", (0,)).shape == (0, 1)
    assert queue.sql("select :n as x", {"n": 7}).x.tolist() == [7]


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("delete from jobs", ()),
        ("drop table jobs", ()),
        ("", ()),
        (7, ()),
        ("select nonsense from jobs", ()),
        ("select 1; select 2", ()),
        ("with x as (select 1) delete from main.counts", ()),
        ("select ?", ()),
        ("select ?", (object(),)),
        ("select ?", (2**70,)),
        ("select 1\0", ()),
        ("pragma user_version = 9", ()),
    ],
)
def test_a_query_that_does_not_read_is_refused_and_changes_nothing(
    rig: Rig, queue: JobQueue, query: Any, values: tuple[Any, ...]
) -> None:
    rig.submit()
    with pytest.raises(InvalidArgument):
        queue.sql(query, values)
    assert queue.stats()["total"] == len(queue.jobs()) == 1
    assert queue.sql("select count(*) as n from jobs").n.tolist() == [1]


# ------------------------------------------------------------------------------------------------------- batches


def test_a_batch_has_its_arguments_and_results_as_columns_in_the_order_of_its_submit(working: JobQueue) -> None:
    def train(lr: float, depth: int = 3, *, seed: int = 0) -> dict[str, Any]:
        return {"score": lr * depth, "seed": seed + 1, "label": str(depth)}

    batch = working.map(train, [0.5, 0.25], [2, 4])
    assert batch.wait(PATIENCE_S)
    frame = batch.frame()
    assert list(frame.columns) == ["lr", "depth", "id", "status", "seconds", "attempts", "score", "seed", "label", "error"]
    assert (frame.lr.tolist(), frame.depth.tolist(), frame.score.tolist()) == ([0.5, 0.25], [2, 4], [1.0, 1.0])
    assert frame.id.tolist() == batch.ids
    assert set(frame.status) == {"completed"}
    assert frame.error.isna().all()
    assert [str(frame.dtypes[one]) for one in ("lr", "depth", "seed", "status")] == ["float64", "int64", "int64", "category"]


def test_names_that_are_taken_get_a_suffix(working: JobQueue) -> None:
    def echo(id: int, result: str, status_arg: int, status: int) -> dict[str, Any]:  # noqa: A002 - that is the point
        return {"id": id, "status": 0, "result": result, "x": 1, "error": "none"}

    batch = working.map(echo, id=[7], result=["r"], status_arg=[1], status=[2])
    assert batch.wait(PATIENCE_S)
    frame = batch.frame()
    assert list(frame.columns) == [
        "id_arg",
        "result_arg",
        "status_arg",
        "status_arg_arg",
        "id",
        "status",
        "seconds",
        "attempts",
        "id_result",
        "status_result",
        "result_result",
        "x",
        "error_result",
        "error",
    ]
    assert frame.iloc[0][["id_arg", "status_arg", "status_arg_arg", "id_result", "error_result"]].tolist() == [7, 1, 2, 7, "none"]


def test_mixed_results_failures_and_none_stand_side_by_side(working: JobQueue) -> None:
    def mixed(x: int) -> Any:
        if x == 3:
            raise KeyError("lr")
        return [{"a": 1}, 5, None, None, {}, [1, 2], {"a": 2, 3: "three"}][x]

    batch = working.map(mixed, range(7))
    assert batch.wait(PATIENCE_S)
    frame = batch.frame()
    assert frame.a.tolist() == [1, *[pd.NA] * 5, 2]
    assert frame["3"].tolist()[-1] == "three"
    assert frame.result.tolist()[1:6] == [5, None, pd.NA, {}, [1, 2]]
    assert pd.isna(frame.result[0])
    assert frame.error[3] == "KeyError: 'lr'"
    assert frame.error.isna().sum() == 6
    assert frame.status.tolist() == [*["completed"] * 3, "failed", *["completed"] * 3]


def test_what_is_not_done_has_no_result_and_numbers_stay_whole(working: JobQueue) -> None:
    def square(x: int) -> int:
        return x * x

    some = working.map(square, range(3), batch_name="squares")
    assert some.wait(PATIENCE_S)
    working.stop_worker()
    waiting = working.map(square, range(3)).frame()
    assert waiting.status.tolist() == ["pending"] * 3
    assert waiting.result.isna().all()
    assert waiting.x.tolist() == [0, 1, 2]
    tamper(working.path, "delete from results where job = (select max(job) from results)")
    tamper(working.path, "update jobs set batch = 1")
    frame = some.frame()
    assert str(frame.result.dtype) == "Int64"
    assert frame.result.tolist() == [0, 1, pd.NA, pd.NA, pd.NA, pd.NA]


def test_a_result_that_cannot_be_loaded_does_not_hide_the_others(working: JobQueue) -> None:
    class Thorny:
        def __setstate__(self, _: Any) -> None:
            import os

            if os.environ.get("GIGQ_NB_TEST_THORNS"):
                raise RuntimeError("ouch")

        def __getstate__(self) -> Any:
            return 1

    def grow(x: int) -> Any:
        return Thorny() if x == 1 else x

    batch = working.map(grow, range(3))
    assert batch.wait(PATIENCE_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIGQ_NB_TEST_THORNS", "1")
        frame = batch.frame()
    assert frame.status.tolist() == ["completed"] * 3
    assert frame.result.tolist() == [0, pd.NA, 2]
    assert "ouch" in frame.error[1]
    assert frame.error.isna().tolist() == [True, False, True]


def test_a_batch_of_somebody_else_shows_how_it_went_and_loads_nothing(rig: Rig, queue: JobQueue) -> None:
    number = rig.submit_all([rig.new_job(), rig.new_job()], batch="theirs")
    assert number is not None
    rig.run()
    frame = queue.batch(number).frame()
    assert list(frame.columns) == ["id", "status", "seconds", "attempts", "result", "error"]
    assert frame.status.tolist() == ["completed", "pending"]
    assert frame.result.isna().all()
    assert "not signed by your key" in frame.error[0]


def test_results_with_too_many_keys_stay_dicts(working: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(x: int) -> dict[str, int]:
        return {f"k{x}": x, f"m{x}": x}

    batch = working.map(count, range(3))
    assert batch.wait(PATIENCE_S)
    assert {f"k{x}" for x in range(3)} < set(batch.frame().columns)
    monkeypatch.setattr(batchframe, "MOST_KEYS", 5)
    assert batch.frame().result.tolist() == [{f"k{x}": x, f"m{x}": x} for x in range(3)]


def test_the_jobs_of_a_workflow_have_names_and_parents_stand_as_ids(working: JobQueue) -> None:
    def one() -> int:
        return 1

    def double(x: int) -> int:
        return 2 * x

    flow = Workflow("flow")
    first = flow.add_job(Job("first", one))
    flow.add_job(Job("second", double, {"x": 4}), depends_on=[first])
    ids = [str(job) for job in flow.submit_all(working)]
    batch = working.batch()
    assert batch.wait(PATIENCE_S)
    assert batch.frame().name.tolist() == ["first", "second"]
    assert batch.frame().result.tolist() == [1, 8]
    chained = working.map(double, [working.job(ids[0])])
    assert chained.wait(PATIENCE_S)
    assert chained.frame().x.tolist() == [ids[0]]
    assert chained.frame().result.tolist() == [2]


def test_arrays_and_frames_as_results_are_values_of_one_column(working: JobQueue) -> None:
    def make(x: int) -> Any:
        return np.arange(x)

    batch = working.map(make, [2, 2])
    assert batch.wait(PATIENCE_S)
    assert [one.tolist() for one in batch.frame().result] == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(a, b=1, /, c=2, *d, e, **g): pass", ["a", "b", "c"]),
        ("    @task(timeout=3)\n    async def f(x): pass", ["x"]),
        ("class C:\n    def __init__(self, x): pass", ["self", "x"]),
        ("b = queue.map(lambda x, y: x, range(3))", ["x", "y"]),
        ("f, g = lambda x: x, lambda y: y", []),
        (".map(lambda x: x,", []),
        ("", []),
        ("x = 1\0", []),
        ("(" * 5000, []),
    ],
)
def test_the_parameters_of_a_function_are_read_from_its_source(source: str, names: list[str]) -> None:
    assert batchframe.parameter_names(source) == names


def test_a_bound_method_names_its_arguments_without_self(working: JobQueue) -> None:
    class Model:
        def fit(self, rate: float) -> float:
            return rate

    batch = working.map(Model().fit, [0.5])
    assert batch.wait(PATIENCE_S)
    assert batch.frame().columns[0] == "rate"


def test_positional_arguments_beyond_the_known_parameters_are_numbered(working: JobQueue) -> None:
    batch = working.map(max, [1, 5], [4, 2])
    assert batch.wait(PATIENCE_S)
    frame = batch.frame()
    assert (frame.arg1.tolist(), frame.arg2.tolist(), frame.result.tolist()) == ([1, 5], [4, 2], [4, 5])


# ------------------------------------------------------------------------------------------------------- the rest


def test_pandas_is_loaded_by_the_first_frame_and_not_before(queue_path: Path) -> None:
    code = (
        "import sys; from gigq_nb import JobQueue; from gigq_nb.notebook import frames;"
        f" queue = JobQueue({str(queue_path)!r}); before = 'pandas' in sys.modules; queue.jobs();"
        " print(before, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_text_of_a_result_stands_before_its_payload_so_that_a_list_reads_no_payload(rig: Rig) -> None:
    with rig.database.read() as db:
        names = [row[1] for row in db.execute("pragma table_info(results)")]
    assert names[-1] == "payload"
    assert set(public.VIEWS) == {"jobs", "executions", "workers", "batches"}
