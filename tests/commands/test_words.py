"""Each word of the command line, as a real process on a real file."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gigq_nb import Job, JobQueue, Worker, Workflow
from tests.commands.conftest import Said

Gigq = Callable[..., Said]


def work_off(queue: JobQueue) -> None:
    """Run what is ready, one after the other, in this process's worker."""
    worker = Worker(queue.path)
    while worker.process_one():
        pass


def add(a: int, b: int = 1) -> int:
    return a + b


def fail(text: str = "no") -> None:
    raise ValueError(text)


def test_a_job_is_submitted_run_and_read_by_words_alone(gigq: Gigq) -> None:
    said = gigq("submit", "jobs_of_mine.add", "--name", "sum", "--param", "a=1", "-p", "b=41")
    assert said.code == 0
    job_id = re.search(r"[0-9a-f-]{36}", said.out)[0]  # type: ignore[index]
    assert gigq("worker", "--once").out == "ran one job\n"
    assert gigq("result", job_id).out == "42\n"
    assert gigq("logs", "sum").out == "adding 1 41\n"
    assert "completed" in gigq("status", job_id[:20]).out


@pytest.mark.parametrize(
    "words", [["--db", "x.db", "list", "--json"], ["list", "--db", "x.db", "--json"], ["--json", "list", "--db=x.db"]]
)
def test_options_stand_before_or_after_the_word(gigq: Gigq, workshop: Path, words: list[str]) -> None:
    job = JobQueue("x.db").submit(add, 1)
    assert [row["id"] for row in gigq(*words).json] == [str(job)]


def test_the_file_is_named_by_the_option_then_the_environment_then_as_gigq_does(gigq: Gigq, workshop: Path) -> None:
    ids = {name: str(JobQueue(name).submit(add, 1)) for name in ("a.db", "b.db", "gigq.db")}
    assert [row["id"] for row in gigq("list", "--json").json] == [ids["gigq.db"]]
    assert [row["id"] for row in gigq("list", "--json", env={"GIGQ_NB_DB": "b.db"}).json] == [ids["b.db"]]
    assert [row["id"] for row in gigq("list", "--json", "--db", "a.db", env={"GIGQ_NB_DB": "b.db"}).json] == [ids["a.db"]]


def test_parameters_are_json_or_else_text(gigq: Gigq, queue: JobQueue) -> None:
    gigq("submit", "jobs_of_mine.talk", "--param", "text=two words")
    gigq("submit", "jobs_of_mine.talk", "--param", 'text=[1, "x"]')
    work_off(queue)
    assert [queue.logs(row["id"]) for row in queue.list_jobs()] == ["[1, 'x']\n", "two words\n"]


def test_options_of_submit_are_those_of_the_job(gigq: Gigq, queue: JobQueue) -> None:
    words = "--name n --priority 7 --max-attempts 5 --timeout 90 --retry-delay 2m --description about --tag t1 --tag t2"
    said = gigq("submit", "jobs_of_mine.add", "--param", "a=1", *words.split(), "--json")
    row = queue.job(said.json["id"]).row()
    options = row.options
    assert (row.name, row.priority, row.max_attempts, options.timeout_s, options.retry.delay_s) == ("n", 7, 5, 90.0, 120.0)
    assert (options.description, options.tags) == ("about", ("t1", "t2"))


def test_without_options_a_submitted_job_is_gigqs(gigq: Gigq, queue: JobQueue) -> None:
    row = queue.job(gigq("submit", "jobs_of_mine.add", "-p", "a=1", "--json").json["id"]).row()
    assert (row.name, row.max_attempts, row.options.timeout_s, row.options.retry.delay_s) == ("add", 3, None, 0.0)


def test_a_method_of_a_class_in_a_module_can_be_named(gigq: Gigq, queue: JobQueue) -> None:
    job_id = gigq("submit", "jobs_of_mine.Kitchen.cook", "--json").json["id"]
    work_off(queue)
    assert queue.get_result(job_id) == "boiled egg"


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("nowhere.at_all", "no module nowhere"),
        ("jobs_of_mine.missing", "jobs_of_mine has no missing"),
        ("add", "module.function"),
        ("jobs_of_mine.add(1)", "module.function"),
    ],
)
def test_a_function_that_cannot_be_found_is_refused_and_nothing_stored(
    gigq: Gigq, workshop: Path, function: str, complaint: str
) -> None:
    said = gigq("submit", function)
    assert said.code == 1
    assert complaint in said.err
    assert len(said.err.splitlines()) == 1
    assert not (workshop / "gigq.db").exists()


def test_a_module_that_fails_when_imported_is_told_in_one_line(gigq: Gigq, workshop: Path) -> None:
    (workshop / "broken.py").write_text("1/0")
    said = gigq("submit", "broken.f")
    assert said.code == 1
    assert said.err == "gigq-nb: broken cannot be imported: ZeroDivisionError: division by zero\n"


def test_arguments_that_do_not_fit_are_refused(gigq: Gigq, queue: JobQueue) -> None:
    said = gigq("submit", "jobs_of_mine.add", "-p", "c=1")
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert queue.stats()["total"] == 0


def test_list_filters_by_status_name_tag_and_batch(gigq: Gigq, queue: JobQueue) -> None:
    good = queue.submit(Job("good", add, {"a": 1}, tags=["t"]))
    bad = queue.submit(Job("bad", fail, max_attempts=1))
    work_off(queue)
    batch = queue.map(add, [1, 2], batch_name="many")

    def ids(*words: str) -> list[str]:
        return [row["id"] for row in gigq("list", "--json", *words).json]

    assert ids("--status", "failed") == [str(bad)]
    assert ids("--status", "completed,failed") == [str(bad), str(good)]
    assert ids("--name", "good") == [str(good)]
    assert ids("--tag", "t") == [str(good)]
    assert ids("--batch", "many") == ids("--batch", "1") == [*map(str, batch.ids[::-1])]
    assert ids("--limit", "1") == [str(batch.ids[-1])]


def test_a_status_that_does_not_exist_is_refused_with_those_that_do(gigq: Gigq, queue: JobQueue) -> None:
    said = gigq("list", "--status", "finished")
    assert said.code == 1
    assert said.err == "gigq-nb: --status 'finished' is none of: pending, running, completed, failed, timeout, cancelled\n"


def test_mine_is_refused_where_there_is_no_notebook(gigq: Gigq, queue: JobQueue) -> None:
    assert (gigq("list", "--mine").code, queue.stats()["total"]) == (1, 0)


def test_an_empty_list_says_so(gigq: Gigq, queue: JobQueue) -> None:
    assert gigq("list").out == "no jobs found\n"
    assert gigq("list", "--json").json == []


@pytest.mark.parametrize("word", ["status", "result", "logs", "show", "wait", "cancel", "retry", "requeue"])
def test_an_unknown_job_is_an_error_in_one_line(gigq: Gigq, queue: JobQueue, word: str) -> None:
    said = gigq(word, "0199aaaa-0000-7000-8000-000000000000")
    assert (said.code, said.out) == (1, "")
    assert re.fullmatch(r"gigq-nb: no job '0199aaaa-[^\n]*\n", said.err)


def test_a_job_is_named_by_id_prefix_and_newest_name(gigq: Gigq, queue: JobQueue) -> None:
    first, second = queue.submit(Job("fit", add, {"a": 1})), queue.submit(Job("fit", add, {"a": 2}))
    assert gigq("status", "fit", "--json").json["id"] == str(second)
    assert gigq("status", str(first)[:35], "--json").json["id"] == str(first)


def test_status_has_gigqs_keys_and_shows_arguments_and_result_only_when_asked(gigq: Gigq, queue: JobQueue) -> None:
    job = queue.submit(Job("sum", add, {"a": 40, "b": 2}))
    work_off(queue)
    plain = gigq("status", str(job))
    assert "a=40" not in plain.out
    assert "result" not in plain.out
    asked = gigq("status", str(job), "--show-params", "--show-result", "--show-executions").out
    assert re.search(r"^params: +.*40.*$", asked, re.MULTILINE)
    assert re.search(r"^result: +42$", asked, re.MULTILINE)
    assert re.search(r"^attempt 1: completed", asked, re.MULTILINE)
    data = gigq("status", str(job), "--json").json
    assert {"id", "name", "status", "attempts", "max_attempts", "created_at", "executions", "result", "error"} <= data.keys()
    assert "params" not in data


def test_status_without_a_job_is_the_queues(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(add, 1)
    said = gigq("status")
    assert "1 pending" in said.out
    assert "no worker runs" in said.out


def test_a_failed_job_says_why_and_what_to_do(gigq: Gigq, queue: JobQueue) -> None:
    job = queue.submit(Job("bad", fail, {"text": "the disk is on fire"}, max_attempts=1))
    work_off(queue)
    text = gigq("status", str(job)).out
    assert "ValueError: the disk is on fire" in text
    assert "raise ValueError(text)" in text  # the line of the function, from its traceback
    assert f"'gigq-nb retry {job}'" in text
    said = gigq("result", "bad")
    assert said.code == 1
    assert "ValueError: the disk is on fire" in said.err
    assert len(said.err.splitlines()) == 1


def test_a_result_that_is_not_there_yet_is_an_error_that_names_the_word_to_wait(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(Job("later", add, {"a": 1}))
    said = gigq("result", "later")
    assert (said.code, "'gigq-nb wait later'" in said.err) == (1, True)


def test_a_result_that_is_no_json_is_shown_as_text_without_unpickling(gigq: Gigq, queue: JobQueue) -> None:
    gigq("submit", "jobs_of_mine.box", "-p", "x=3")
    work_off(queue)
    assert gigq("result", "box").out == "{3}\n"
    assert gigq("result", "box", "--json").json == "{3}"


def test_cancel_and_requeue_say_what_they_did_and_fail_where_they_could_not(gigq: Gigq, queue: JobQueue) -> None:
    job = queue.submit(Job("n", add, {"a": 1}))
    assert gigq("cancel", str(job)).code == 0
    assert queue.job(job).status == "cancelled"
    assert gigq("requeue", str(job)).code == 0
    assert queue.job(job).status == "pending"
    work_off(queue)
    for word in ("cancel", "retry"):
        said = gigq(word, str(job))
        assert (said.code, "completed" in said.err) == (1, True)


def test_a_batch_is_cancelled_and_retried_as_a_whole(gigq: Gigq, queue: JobQueue) -> None:
    queue.map(add, [1, 2, 3])
    assert gigq("cancel", "#1").code == 0
    assert queue.stats()["cancelled"] == 3
    assert gigq("retry", "#1").code == 0
    assert queue.stats()["pending"] == 3


def test_wait_ends_with_the_jobs_and_fails_with_them(gigq: Gigq, queue: JobQueue) -> None:
    good, bad = queue.submit(Job("good", add, {"a": 1})), queue.submit(Job("bad", fail, max_attempts=1))
    said = gigq("wait", "good", "--timeout", "0.1")
    assert (said.code, "they go on" in said.err) == (1, True)
    work_off(queue)
    assert gigq("wait", str(good)).code == 0
    said = gigq("wait", str(good), str(bad))
    assert (said.code, "bad: no" in said.err) == (1, True)
    assert gigq("wait").out == "nothing is open\n"
    queue.submit(add, 1)
    assert "1 of 1 jobs are not done" in gigq("wait", "--timeout", "0").err


def test_clear_removes_what_is_completed_and_prune_what_is_old(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(Job("good", add, {"a": 1}))
    queue.submit(Job("bad", fail, max_attempts=1))
    work_off(queue)
    assert gigq("clear", "--before", "1").out == "0 jobs removed\n"
    assert gigq("prune", "1d").out == "0 jobs removed\n"
    assert gigq("clear").out == "1 job removed\n"
    assert gigq("prune", "0", "--status", "completed").out == "0 jobs removed\n"
    assert gigq("prune", "0").out == "1 job removed\n"
    assert queue.stats()["total"] == 0


@pytest.mark.parametrize(
    "words", [("clear", "--before", "nan"), ("clear", "--before", "-1"), ("prune", "soon"), ("prune", "0", "--status", "running")]
)
def test_ages_that_make_no_sense_remove_nothing(gigq: Gigq, queue: JobQueue, words: tuple[str, ...]) -> None:
    queue.submit(add, 1).cancel()
    said = gigq(*words)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert queue.stats()["total"] == 1


def test_stats_counts_all_six_statuses(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(add, 1)
    lines = [line.split() for line in gigq("stats").out.splitlines()]
    assert lines == [
        ["status", "jobs"],
        *([name, str(n)] for name, n in queue.stats().items()),
    ]
    assert gigq("stats", "--json").json == queue.stats()


def test_backup_is_a_queue_with_the_same_jobs_and_overwrites_nothing(gigq: Gigq, queue: JobQueue) -> None:
    job = queue.submit(add, 1)
    assert gigq("backup", "copy.db").code == 0
    assert [row["id"] for row in gigq("list", "--json", "--db", "copy.db").json] == [str(job)]
    said = gigq("backup", "copy.db")
    assert (said.code, "there already" in said.err) == (1, True)


def test_a_workflow_is_drawn_as_text_with_parents_above_their_dependants(gigq: Gigq, queue: JobQueue) -> None:
    flow = Workflow("nightly")
    load = flow.add_job(Job("load", add, {"a": 1}))
    clean = flow.add_job(Job("clean", fail, max_attempts=1), depends_on=[load])
    flow.add_job(Job("report", add, {"a": 1}), depends_on=[load, clean])
    flow.submit_all(queue)
    work_off(queue)
    lines = gigq("workflow", "nightly").out.splitlines()
    assert lines[0] == "workflow 1 nightly: 3 of 3 done (1 completed, 1 failed, 1 cancelled)"
    assert [re.sub(r"[\d.]+ s", "_ s", re.sub(r" +", " ", line.strip())) for line in lines[1:]] == [
        "load completed _ s",
        "clean failed (error) _ s after load",
        "report cancelled (upstream) after load, clean",
    ]
    data = gigq("batch", "1", "--json").json
    assert [one["name"] for one in data["jobs"]] == ["load", "clean", "report"]
    assert data["jobs"][2]["after"] == [data["jobs"][0]["id"], data["jobs"][1]["id"]]
    assert "nightly" in gigq("batch").out


def test_show_finds_jobs_batches_and_the_queue(gigq: Gigq, queue: JobQueue) -> None:
    queue.map(add, [1, 2], batch_name="sweep")
    single = queue.submit(Job("single", add, {"a": 1}))
    assert gigq("show", "sweep").out.startswith("map 1 sweep: 0 of 2 done")
    assert gigq("show", "#1", "--json").json["name"] == "sweep"
    assert str(single) in gigq("show", "single").out
    assert "3 pending" in gigq("show").out


def test_connect_makes_the_file_and_then_finds_it(gigq: Gigq, workshop: Path) -> None:
    assert gigq("connect", "new.db").out == "new.db is new: no jobs\n"
    assert (workshop / "new.db").stat().st_mode & 0o777 == 0o600
    JobQueue("new.db").submit(add, 1)
    assert gigq("connect", "new.db").out == "new.db is a queue: 1 pending\n"


def test_watch_in_a_terminal_ends_when_nothing_is_open(gigq: Gigq, queue: JobQueue) -> None:
    queue.submit(add, 1).cancel()
    assert gigq("watch").out.split(maxsplit=1)[1] == "1 cancelled\n"


def test_every_word_answers_json_that_parses(gigq: Gigq, queue: JobQueue) -> None:
    job = queue.submit(Job("n", add, {"a": 1}))
    work_off(queue)
    of_jobs = [(word, job) for word in ("status", "result", "logs", "show", "wait")]
    alone = ["connect", "status", "list", "show", "watch", "wait", "stats", "batch"]
    others = ["logs -f n", "clear --before 9", "prune 9d", "worker status", "worker stop"]
    for words in (*of_jobs, *((word,) for word in alone), *(text.split() for text in others)):
        said = gigq(*map(str, words), "--json")
        assert (said.code, said.err) == (0, ""), words
        json.loads(said.out)


def test_submit_with_a_key_stores_one_job_and_finds_it_again(gigq: Gigq, queue: JobQueue) -> None:
    first = gigq("submit", "jobs_of_mine.add", "-p", "a=1", "--key", "june")
    assert first.out.startswith("submitted add: ")
    again = gigq("submit", "jobs_of_mine.add", "-p", "a=2", "--key", "june")
    assert again.out.startswith("already submitted at ")
    assert first.out.split()[-1] == again.out.split()[-1] == queue.last(key="june")
    assert queue.stats()["total"] == 1
    assert "key:      june" in gigq("status", "june").out
