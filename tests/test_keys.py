"""Keys: submitting again under the same key finds the job that is there, whoever submits, and whatever became of it."""

import subprocess
import sys
import threading

import pytest

from gigq_nb import Job, JobNotFound, JobQueue, task
from gigq_nb.errors import InvalidArgument, InvalidType
from gigq_nb.runtime.worker import Worker
from gigq_nb.store.filesystem import SPILL_BYTES


def double(x: int) -> int:
    return 2 * x


def broken() -> None:
    raise ValueError("no")


def work(queue: JobQueue) -> None:
    worker = Worker(queue.path)
    try:
        while worker.process_one():
            pass
    finally:
        worker.close()


def test_a_key_that_stands_there_gives_its_job_whatever_else_is_given(queue: JobQueue) -> None:
    first = queue.submit_once("june", double, 1)
    assert queue.submit_once("june", double, 1) == first
    assert queue.submit_once("june", broken) == first
    assert queue.submit_once("june", Job("other", double, {"x": 3})) == first
    assert queue.submit_once("july", double, 1) != first
    assert queue.stats()["total"] == 2
    assert (first.row().key, queue.submit(double, 1).row().key) == ("june", None)


def test_nothing_is_packed_for_a_key_that_stands_there(queue: JobQueue) -> None:
    first = queue.submit_once("june", double, 1)
    assert queue.submit_once("june", double, threading.Lock()) == first


def test_a_task_and_a_job_are_submitted_under_a_key(queue: JobQueue) -> None:
    twice = task(name="twice")(double)
    first = twice.submit_once("a", queue, 4)
    again = queue.submit_once("b", Job("three", double, {"x": 3}))
    assert (first.name, again.name) == ("twice", "three")
    work(queue)
    assert (first.result(), again.result()) == (8, 6)


@pytest.mark.parametrize("key", ["", "  ", "x" * 201, "a\0b"])
def test_a_key_is_a_text_that_can_be_stored(queue: JobQueue, key: str) -> None:
    with pytest.raises(InvalidArgument, match="key"):
        queue.submit_once(key, double, 1)
    with pytest.raises(InvalidType, match="key is a text"):
        queue.submit_once(3, double, 1)  # type: ignore[arg-type]
    assert queue.stats()["total"] == 0


def test_a_job_keeps_its_key_through_failure_retry_and_cancel_until_it_is_pruned(queue: JobQueue) -> None:
    bad = queue.submit_once("june", broken)
    work(queue)
    assert bad.status == "failed"
    assert queue.submit_once("june", broken) == bad
    assert bad.status == "failed", "found, not run again unasked"
    assert bad.retry()
    assert queue.submit_once("june", broken) == bad
    bad.cancel()
    assert queue.submit_once("june", broken) == bad
    assert queue.clear_completed() == 1
    fresh = queue.submit_once("june", double, 2)
    assert fresh != bad
    work(queue)
    assert queue.clear_completed() == 1
    assert queue.submit_once("june", double, 2) != fresh


def test_jobs_are_found_by_name_tag_and_key(queue: JobQueue) -> None:
    old = queue.submit_once("june", Job("fit", double, {"x": 1}, tags=["paper"]))
    new = queue.submit(Job("fit", double, {"x": 2}, tags=["draft"]))
    last = queue.submit(double, 3)
    assert queue.last() == last
    assert queue.last("fit") == new
    assert queue.last("fit", tag="paper") == old
    assert queue.last(tag="draft") == new
    assert queue.last(key="june") == old
    with pytest.raises(JobNotFound, match="no job with the name 'fit' and tag 'none' in this queue"):
        queue.last("fit", tag="none")
    with pytest.raises(JobNotFound, match="no job with the key 'july'"):
        queue.last(key="july")


def test_large_arguments_of_a_submit_that_lost_the_race_leave_no_file(queue: JobQueue) -> None:
    first = queue.submit_once("june", double, 1)
    new, job = queue._submit.from_call(task(double), (b"x" * (SPILL_BYTES + 1),), {})
    assert queue._submit.spill.names() == [f"arguments-{job.id}"]
    assert queue._submit.store_one(new, job, 0, "june") == first, "stored by somebody else since it was looked up"
    assert queue._submit.spill.names() == []
    assert queue.stats()["total"] == 1
    assert queue.submit(double, 2).status == "pending", "and the next submit goes through"


def test_of_many_processes_that_submit_the_same_keys_each_key_has_one_job(queue: JobQueue) -> None:
    code = (
        "import sys, operator\nfrom gigq_nb import JobQueue\nq = JobQueue(sys.argv[1], False)\ninput()\n"
        "print(*[q.submit_once(f'key {i}', operator.neg, i) for i in range(40)])"
    )
    some = [
        subprocess.Popen([sys.executable, "-c", code, str(queue.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for one in some:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    said = {one.communicate()[0] for one in some}
    assert [one.returncode for one in some] == [0] * 4
    assert len(said) == 1, "all of them have the same ids"
    assert len(set(said.pop().split())) == queue.stats()["total"] == 40
