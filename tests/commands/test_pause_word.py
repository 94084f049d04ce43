"""``pause`` and ``resume``, and what every other word says of a paused queue."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from gigq_nb import Job, JobQueue
from gigq_nb.commands import registry
from tests.commands.conftest import Said
from tests.commands.spoken import speak
from tests.scripts import start

Gigq = Callable[..., Said]
NOTE = r"the queue is paused since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: 'gigq-nb resume' lets jobs begin again"


def add(a: int) -> int:
    return a


def test_a_queue_is_paused_and_resumed_by_words_alone(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(Job("n", add, {"a": 1}))
    said = gigq("pause")
    assert (said.code, said.err) == (0, "")
    assert said.out == "gigq.db is paused: what runs goes on, nothing else begins until 'gigq-nb resume' (1 pending)\n"
    assert queue.paused is not None
    assert re.fullmatch(NOTE + "\n", gigq("worker", "--once").out)
    said = gigq("resume")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(
        r"gigq.db goes on after \d+ s: 1 pending job may begin; no worker runs, 'gigq-nb worker' starts one\n", said.out
    )
    assert queue.paused is None
    assert gigq("worker", "--once").out == "ran one job\n"


def test_both_words_may_be_said_twice(gigq: Gigq, queue: JobQueue) -> None:
    since = queue.pause()
    said = gigq("pause")
    assert (said.code, "paused (already, since " in said.out, queue.paused) == (0, True, since)
    assert gigq("resume").out.startswith("gigq.db goes on after")
    said = gigq("resume")
    assert (said.code, said.out) == (0, "gigq.db was not paused\n")


def test_their_json_says_since_when(gigq: Gigq, queue: JobQueue) -> None:
    paused = gigq("pause", "--json").json
    assert set(paused) == {"path", "paused_at", "counts"}
    assert datetime.fromisoformat(paused["paused_at"]) == queue.paused
    assert gigq("status", "--json").json["paused_at"] == paused["paused_at"]
    resumed = gigq("resume", "--json").json
    assert (resumed["resumed"], resumed["was_paused_at"]) == (True, paused["paused_at"])
    assert gigq("resume", "--json").json["resumed"] is False
    assert gigq("status", "--json").json["paused_at"] is None


@pytest.mark.parametrize("word", ["pause", "resume"])
def test_a_file_that_is_not_there_is_not_made(gigq: Gigq, workshop: Path, word: str) -> None:
    said = gigq(word)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert not (workshop / "gigq.db").exists()


@pytest.mark.parametrize("words", ["list", "stats", "status", "show", "worker status", "connect", "wait --timeout 0.01"])
def test_every_look_at_a_paused_queue_says_so_and_how_to_go_on(gigq: Gigq, queue: JobQueue, words: str) -> None:
    queue.submit(add, 1)
    assert "paused since" not in gigq(*words.split()).out
    queue.pause()
    assert re.search(NOTE, gigq(*words.split()).out)


def test_who_watches_is_told_of_a_pause_and_of_its_end(queue: JobQueue) -> None:
    job = queue.submit(add, 1)
    queue.pause()
    process = start("import sys; from gigq_nb.__main__ import main; sys.exit(main(['watch']))")
    try:
        assert process.stdout is not None
        assert re.search("1 pending; " + NOTE, process.stdout.readline())
        queue.resume()
        assert process.stdout.readline().endswith("1 pending\n")
        job.cancel()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_job_says_what_it_waits_for_and_a_timeout_of_waiting_too(gigq: Gigq, queue: JobQueue) -> None:
    job = queue.submit(add, 1)
    queue.pause()
    said = gigq("status", str(job)).out
    assert "waits:    for queue.resume(): paused since" in said
    assert said.endswith("'gigq-nb resume' lets the jobs of this queue begin again\n")
    assert gigq("list", "--json").json[0]["waits_for"].startswith("waits for queue.resume(): paused since")
    said = gigq("wait", str(job), "--timeout", "0.01")
    assert said.code == 1
    assert re.search(r"they go on; " + NOTE, said.err)


def test_counts_for_machines_stay_as_they_are(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(add, 1)
    before = queue.stats()
    queue.pause()
    assert gigq("stats", "--json").json == queue.stats() == before


def test_a_resume_says_nothing_of_workers_where_one_runs(queue: JobQueue) -> None:
    from gigq_nb.runtime import processes
    from gigq_nb.store import workers

    queue.submit(add, 1)
    queue.pause()
    with queue._database.write() as db:
        me = processes.me()
        workers.register(db, "w", me, python="3", prefix="/", concurrency=1, terminal=True, log=None, now=0)
    assert speak("resume").text.endswith("1 pending job may begin")


def test_doctor_finds_a_pause_that_somebody_forgot(gigq: Gigq, queue: JobQueue) -> None:
    assert "pause:" not in gigq("doctor").out
    queue.pause()
    assert "[ note ] pause: the queue is paused since" in gigq("doctor").out
    queue.submit(add, 1)
    said = gigq("doctor").out
    assert re.search(r"\[ WARN \] pause: the queue is paused since .* UTC: nothing begins; 1 pending job held back", said)
    assert "'gigq-nb resume', '%gigq resume' or queue.resume()" in said


def test_they_stand_in_the_list_of_words_after_retry() -> None:
    words = list(registry.words())
    assert words[words.index("retry") + 1 : words.index("retry") + 3] == ["pause", "resume"]
