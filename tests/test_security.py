"""Whoever can write the file or the key can run code as you; nobody else can. Opening a stranger's file runs nothing.

The numbers are those of the security requirements S1 to S25; what is shown as HTML or in a terminal has tests of its own
in tests/notebook and tests/commands.
"""

import hashlib
import json
import os
import pickle
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigq_nb import Job, JobQueue, Secret, signing
from gigq_nb.errors import GigQError, InvalidArgument, JobNotFound, NotAQueue, PayloadDamaged, PayloadRefused, QueueError
from gigq_nb.runtime import processes
from gigq_nb.runtime.preview import preview
from gigq_nb.runtime.worker import Worker
from gigq_nb.store.filesystem import Spill
from tests.scripts import ROOT, let_go, run, start

CANARY = "canary-9c1e"


def double(x: int) -> int:
    return 2 * x


def fail(_x: int) -> None:
    raise ValueError("no")


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def work(path: Path) -> None:
    """All that can be done, is done."""
    worker = Worker(path)
    while worker.process_one():
        pass
    worker.close()


def change(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    """Somebody writes to the file."""
    db = sqlite3.connect(path)
    with db:
        for one in statements:
            db.execute(*((one,) if isinstance(one, str) else one))
    db.close()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it was run"


# ------------------------------------------------------------------------- S1, S4: nothing unsigned is unpickled


@pytest.fixture
def trapped(queue_path: Path, marker: Path) -> dict[str, str]:
    """A queue with jobs of every status, and a trap in every blob; digests fit, signatures do not."""
    queue = JobQueue(queue_path)
    done, bad = queue.submit(double, 1), queue.submit(fail, 2)
    work(queue_path)
    waiting = queue.submit(double, 3)
    queue.map(double, [4, 5])
    queue.close()
    trap = pickle.dumps(Trap(marker))
    db = sqlite3.connect(queue_path)
    with db:
        for table in ("arguments", "results", "failures"):
            size = "" if table == "failures" else ", size = length(?1)"
            db.execute(f"update {table} set payload = ?1{size}", (trap,))
        for number, function in enumerate([row[0] for row in db.execute("select id from functions").fetchall()]):
            payload = trap + b" " * number  # what stands behind a pickle's end is not read
            mark = hashlib.sha256(payload).digest()
            db.execute(
                "update functions set payload = ?, size = ?, digest = ? where id = ?", (payload, len(payload), mark, function)
            )
            for task in db.execute(
                "select id, name, folder, sys_path, options, notebook, cell from tasks where function = ?", (function,)
            ).fetchall():
                db.execute("update tasks set digest = ? where id = ?", (signing.task_digest(mark, *task[1:]), task[0]))
        db.execute('insert into outputs select id, 0, \'{"text/html": "<script>"}\', ? from executions limit 1', (trap,))
    db.close()
    return {"done": str(done), "bad": str(bad), "waiting": str(waiting)}


READERS = """
import sys, json
unpickled = []
sys.addaudithook(lambda event, args: unpickled.append(args) if event == "pickle.find_class" and watching else None)
watching = False
import pandas, IPython
from gigq_nb import JobQueue
from gigq_nb.notebook import display
path, ids = sys.argv[1], json.loads(sys.argv[2])
watching = True
queue = JobQueue(path)
for job_id in ids.values():
    queue.get_status(job_id)
    job = queue.job(job_id)
    repr(job), str(job), job.row(), job.status, job.name, job.attempts, job.error, job.progress, job.logs(), job.executions()
    display.mimebundle(job)
    queue.executions(job_id)
queue.list_jobs(), queue.stats(), repr(queue), queue.batches()
for frame in (queue.jobs(), queue.executions(), queue.workers(gone=True), queue.sql("select * from jobs"), queue.sql("select * from executions")):
    frame.to_string(), frame.to_html()
batch = queue.batch()
batch.row(), batch.counts, repr(batch), batch.failed(), display.mimebundle(batch), display.mimebundle(queue)
from gigq_nb.__main__ import main
for words in (["list"], ["stats"], ["batch"], ["doctor"], ["trust"], ["show", ids["done"]], *([w, i] for i in ids.values() for w in ("status", "logs"))):
    try:
        main(["--db", path, *words])
    except SystemExit:
        pass
sys.stdout.flush()
print("unpickled:", unpickled)
"""


def test_looking_at_a_file_full_of_traps_unpickles_nothing(queue_path: Path, trapped: dict[str, str], marker: Path) -> None:
    done = run(READERS, queue_path, json.dumps(trapped))
    assert done.stdout.splitlines()[-1] == "unpickled: []"
    assert not marker.exists()


def test_results_errors_and_arguments_that_are_not_signed_are_refused(
    queue_path: Path, trapped: dict[str, str], marker: Path
) -> None:
    queue = JobQueue(queue_path)
    for load in (queue.get_result, lambda i: queue.job(i).result(0), lambda i: queue.batch(1).results(0)):
        with pytest.raises((PayloadRefused, GigQError)):
            load(trapped["done"])
    with pytest.raises(PayloadRefused, match="not signed by your key, or was changed"):
        queue.job(trapped["done"]).result(0)
    with pytest.raises(GigQError, match="no"):
        queue.job(trapped["bad"]).result(0)
    assert queue._loader.arguments(list(trapped.values())) == dict.fromkeys(trapped.values())
    assert not marker.exists()


def test_a_worker_fails_jobs_with_traps_as_damaged_and_runs_nothing(
    queue_path: Path, trapped: dict[str, str], marker: Path
) -> None:
    work(queue_path)
    queue = JobQueue(queue_path)
    row = queue.job(trapped["waiting"]).row()
    assert (row.status, row.reason, row.attempts) == ("failed", "damaged", 1)
    assert "somebody changed the file" in str(row.error)
    assert not marker.exists()
    with pytest.raises(PayloadDamaged):
        queue.job(trapped["waiting"]).result(0)


def test_a_job_of_another_user_stays_pending_and_says_whose_key_it_needs(queue_path: Path, marker: Path, tmp_path: Path) -> None:
    theirs = {"JUPYTER_DATA_DIR": str(tmp_path / "theirs"), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    script = "import os, sys; from gigq_nb import JobQueue; print(JobQueue(sys.argv[1]).submit(os.mkdir, sys.argv[2]))"
    job = run(script, queue_path, marker, env=theirs).stdout.strip()
    work(queue_path)
    queue = JobQueue(queue_path)
    assert queue.job(job).status == "pending"
    assert "waits for a worker with" in str(queue.get_status(job)["waits_for"])
    assert "the key" in str(queue.get_status(job)["waits_for"])
    # and one that claims to be signed by our key is refused
    change(queue_path, ("update runtimes set key_id = ?", (signing.key_id(signing.load_key()),)))
    work(queue_path)
    assert queue.job(job).row().reason == "damaged"
    assert not marker.exists()


# -------------------------------------------------------------- S2: a signature is of this content, in this place

# What somebody changes; ? is the job. Each must keep that job, and only it, from running.
TAMPERED: dict[str, str] = {
    "a bit of the arguments": "update arguments set payload = cast(x'00' || substr(payload, 2) as blob) where job = :job",
    "the end of the arguments": "update arguments set payload = cast(substr(payload, 1, length(payload) - 1) as blob), size = size - 1 where job = :job",
    "a bit of the signature": "update arguments set signature = cast(case substr(signature, 1, 1) when x'00' then x'01' else x'00' end"
    " || substr(signature, 2) as blob) where job = :job",
    "no signature": "update arguments set signature = x'' where job = :job",
    "another job's arguments": "update arguments set payload = (select payload from arguments where job = :other), size ="
    " (select size from arguments where job = :other) where job = :job",
    "another job's arguments with their signature": "update arguments set payload = (select payload from arguments where job = :other), size ="
    " (select size from arguments where job = :other), signature = (select signature from arguments where job = :other) where job = :job",
    "another task": "update jobs set task = (select task from jobs where seq = :other) where seq = :job",
    "another id": "update jobs set id = substr(id, 1, 35) || case substr(id, 36) when '0' then '1' else '0' end where seq = :job",
    "a file that is not there": "update arguments set payload = null where job = :job",
    # these are of its task, which is its own
    "the function's bytes": "update functions set payload = cast(substr(payload, 1, length(payload) - 1) || x'00' as blob) where id ="
    " (select function from tasks where id = :task)",
    "another function": "update tasks set function = (select t.function from jobs j join tasks t on t.id = j.task where j.seq = :other)"
    " where id = :task",
    "the options": "update tasks set options = replace(options, '\"fresh\":false', '\"fresh\":true') where id = :task",
    "options that are no JSON": "update tasks set options = '{' where id = :task",
    "options that are no JSON, with a digest that fits": "update tasks set options = '{' where id = :task",
    "a timeout that is a text, with a digest that fits": 'update tasks set options = replace(options, \'"timeout_s":null\', \'"timeout_s":"x"\')'
    " where id = :task",
    "a sys.path that is no JSON, with a digest that fits": "update tasks set sys_path = '[' where id = :task",
    "its function's row": "delete from functions where id = (select function from tasks where id = :task)",
    "its task's row": "delete from tasks where id = :task",
    "the folder": "update tasks set folder = '/' where id = :task",
    "the sys.path": "update tasks set sys_path = '[\"/tmp\"]' where id = :task",
    "the task's name": "update tasks set name = 'innocent' where id = :task",
    "the task's digest": "update tasks set digest = cast(case substr(digest, 1, 1) when x'00' then x'01' else x'00' end"
    " || substr(digest, 2) as blob) where id = :task",
}


def test_a_job_that_was_changed_in_any_place_is_damaged_and_only_that_one(queue_path: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    queue = JobQueue(queue_path)

    def note(who: str) -> None:
        with open(ran, "a") as file:
            file.write(who + "\n")

    def submit(who: str) -> str:
        def own(who: str) -> str:
            note(who)
            return who

        # a name and code of its own make a task and a function of its own
        own.__code__ = own.__code__.replace(co_name=f"own_{len(jobs)}")
        return str(queue.submit(Job(f"job {len(jobs)}", own, {"who": who}, max_attempts=1)))

    jobs: dict[str, str] = {}
    for name in ("untouched", "other", *TAMPERED):
        jobs[name] = submit(name)
    queue.close()
    db = sqlite3.connect(queue_path)
    with db:
        seqs = dict(db.execute("select id, seq from jobs").fetchall())
        tasks = dict(db.execute("select id, task from jobs").fetchall())
        for name, statement in TAMPERED.items():
            job = jobs[name]
            if name in ("the options", "the folder", "the sys.path", "the task's name") or name.endswith(
                "fits"
            ):  # with a digest that fits them
                db.execute(statement, {"task": tasks[job]})
                row = db.execute(
                    "select f.digest, t.name, t.folder, t.sys_path, t.options, t.notebook, t.cell from tasks t join functions f on f.id ="
                    " t.function where t.id = ?", (tasks[job],),
                ).fetchone()  # fmt: skip
                db.execute("update tasks set digest = ? where id = ?", (signing.task_digest(*row), tasks[job]))
                continue
            names = {"job": seqs[job], "other": seqs[jobs["other"]], "task": tasks[job]}
            changed = db.execute(statement, {key: value for key, value in names.items() if f":{key}" in statement}).rowcount
            assert changed == 1, name
        jobs["another id"] = db.execute("select id from jobs where seq = ?", (seqs[jobs["another id"]],)).fetchone()[0]
    db.close()
    work(queue_path)
    db = sqlite3.connect(queue_path)
    found = {row[0]: row[1:] for row in db.execute("select id, status, reason from jobs")}
    db.close()
    statuses = {name: found[job] for name, job in jobs.items()}
    assert len(queue.list_jobs()) == len(jobs) - 2, "what is left of a job without a function is not shown; the others are"
    wanted: dict[str, tuple[str, str | None]] = dict.fromkeys(TAMPERED, ("failed", "damaged"))
    assert statuses == {"untouched": ("completed", None), "other": ("completed", None), **wanted}
    assert sorted(ran.read_text().split("\n")) == ["", "other", "untouched"]


def test_a_result_that_was_changed_or_swapped_is_refused_also_as_an_argument(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    one, two = queue.submit(double, 1), queue.submit(double, 2)
    work(queue_path)
    child = queue.submit(double, one)
    queue.close()
    change(
        queue_path,
        "create temp table kept as select * from results",
        "update results set payload = (select payload from kept where job <> results.job),"
        " signature = (select signature from kept where job <> results.job)",
    )
    for job in (one, two):
        with pytest.raises(PayloadRefused):
            job.result(0)
    work(queue_path)
    assert (child.row().status, child.row().reason) == ("failed", "damaged")
    assert str(one) in str(child.error)


# ------------------------------------------------------------------------------------------------------ the key


def test_twenty_processes_that_need_the_key_at_once_all_have_the_same_complete_one() -> None:
    script = "import sys; from gigq_nb import signing; print('ready', flush=True); sys.stdin.readline(); print(signing.load_key().hex())"
    some = [start(script) for _ in range(20)]
    let_go(some)
    keys = {one.communicate(timeout=60)[0].strip() for one in some}
    assert keys == {signing.load_key().hex()}
    assert len(signing.load_key()) == 32
    assert [one.name for one in signing.data_dir().iterdir()] == ["key"], "no draft stays"
    assert stat.S_IMODE(signing.key_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(signing.data_dir().stat().st_mode) == 0o700


def test_a_key_that_is_damaged_a_link_or_somebody_elses_is_refused(need: Callable[[bool, str], None]) -> None:
    need(os.geteuid() == 0, "root")
    signing.load_key()
    path = signing.key_path()
    key = path.read_bytes()
    path.write_bytes(key[:31])
    with pytest.raises(GigQError, match="damaged: put it back with 'gigq-nb key import'"):
        signing.load_key()
    path.write_bytes(key)
    os.chown(path, 65534, 65534)
    with pytest.raises(GigQError, match="belongs to another user"):
        signing.load_key()
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(GigQError, match="cannot be used"):
        signing.load_key()


def test_a_key_that_others_can_read_is_closed() -> None:
    signing.load_key()
    signing.key_path().chmod(0o644)
    signing.load_key()
    assert stat.S_IMODE(signing.key_path().stat().st_mode) == 0o600


# ------------------------------------------------------------------------- S7, S8, S9: files beside the database


def test_a_folder_in_which_anybody_may_replace_files_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.warns(UserWarning, match="anybody can replace files in"):
        JobQueue(tmp_path / "open" / "jobs.db")
    (tmp_path / "open").chmod(0o1777)  # as /tmp: only owners replace their files
    JobQueue(tmp_path / "open" / "jobs.db")


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "arguments-../../../../../../../../etc/passwd", "arguments-" + "a" * 35, "arguments-" + "/" * 36, "",
     "result-0123456789abcdef-0123456789abcdef-\0a", "function-" + "g" * 64, ".draft", "arguments-" + "\u0661" * 36,
     "arguments-0123456789abcdef0123456789abcdef0123\n"],
)  # fmt: skip
def test_a_name_that_leads_out_of_the_folder_is_none(queue_path: Path, name: str) -> None:
    spill = Spill(queue_path)
    for use in (lambda: spill.read(name, 5), lambda: spill.write(name, b"x")):
        with pytest.raises(PayloadDamaged, match="is no name of a stored value"):
            use()  # type: ignore[no-untyped-call]
    spill.remove(name)
    spill.remove_draft(name)
    assert not spill.folder.exists()


def test_rows_with_paths_as_ids_read_and_remove_nothing_outside(queue_path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    queue = JobQueue(queue_path)
    job = queue.submit(double, 1)
    done = queue.submit(len, b"x" * 17_000_000)
    queue.close()
    path = ("../" * 20 + str(victim)[1:]).rjust(36, "/")[-36:]
    change(
        queue_path, ("update arguments set payload = null, size = 4 where job = (select seq from jobs where id = ?)", (str(job),)),
        ("update jobs set id = ? where id = ?", (path, str(job))),
    )  # fmt: skip
    work(queue_path)
    assert JobQueue(queue_path).sql("select reason from jobs where id = ?", (path,)).reason[0] == "damaged"
    assert done.result(0) == 17_000_000
    queue.prune(0)
    assert victim.read_text() == "mine"


def test_links_among_the_large_values_are_neither_read_nor_followed(queue_path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"x" * 20)
    queue = JobQueue(queue_path)
    job = queue.submit(len, b"x" * 17_000_000)
    spill = Spill(queue_path)
    file = spill.folder / f"arguments-{job}"
    size = file.stat().st_size
    file.unlink()
    file.symlink_to(victim)
    for wanted in (20, size):
        with pytest.raises(PayloadDamaged, match="cannot be read"):
            spill.read(file.name, wanted)
    spill.remove(file.name)
    assert victim.exists()
    assert not file.is_symlink()
    spill.folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    spill.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PayloadRefused, match="is a link"):
        queue.submit(len, b"x" * 17_000_000)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert spill.names() == []


# -------------------------------------------------------------------------------------------------- S10: SQL

NASTY = [
    "x'; drop table jobs;--",
    '1) or 1=1 --"',
    "%",
    "_",
    "@__import__('os').system('touch X')",
    "\\",
    "x\ny",
    "';attach 'y' as z;--",
]


@pytest.mark.parametrize("text", NASTY)
def test_text_is_never_sql(queue_path: Path, text: str) -> None:
    queue = JobQueue(queue_path)
    queue.submit(double, 1)
    job = queue.submit(Job(text, double, {"x": 1}, tags=[text], description=text))
    assert list(queue.jobs(name=text).index if "id" not in queue.jobs().columns else queue.jobs(name=text)["id"]) == [str(job)]
    assert len(queue.jobs(tag=text)) == 1
    assert queue.last(text) == job
    for look in (queue.job, queue.cancel, queue.get_result):
        with pytest.raises(JobNotFound):
            look(text)
    with pytest.raises(InvalidArgument):
        queue.list_jobs(text)
    assert queue.stats()["total"] == 2


@pytest.mark.parametrize(
    "sql",
    ["insert into settings values ('a', 'b')", "with x as (select 1) delete from jobs", "delete from jobs", "pragma user_version = 5",
     "attach 'other.db' as other", "select 1; delete from jobs", "vacuum", "update jobs set status = 'completed'", "", "select load_extension('x')",
     "with a as (select 1) insert into settings select 'a', 'b'", "values (1); drop table jobs", "select writefile('a', 'b')", "explain delete from jobs",
     "create temp table t (a)", "select * from no_such_table", "begin immediate", "-- x\ndelete from jobs", "select ?"],
)  # fmt: skip
def test_queue_sql_reads_only(queue_path: Path, sql: str) -> None:
    queue = JobQueue(queue_path)
    queue.submit(double, 1)
    queue.close()
    before = dump(queue_path)
    with pytest.raises(InvalidArgument, match=r"SELECT|SQLite does not accept"):
        queue.sql(sql)
    queue.close()
    assert dump(queue_path) == before
    queue.sql("select * from jobs")
    queue.submit(double, 2)


def dump(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    try:
        return list(db.iterdump())
    finally:
        db.close()


def test_no_sql_is_put_together_from_what_users_give() -> None:
    """An f-string in execute() holds constants, numbers and the store's own texts only; each was looked at."""
    held = {
        f"{file.name} {match}"
        for file in (ROOT / "gigq_nb" / "store").glob("*.py")
        for call in re.findall(r'execute(?:many)?\(\s*f"([^"]*)"', file.read_text())
        for match in re.findall(r"\{([^}]*)\}", call)
    }
    assert held - LOOKED_AT == set()


# where: from reads.conditions(), with bound values; column, table, key and the like: literals in columns.py; name, text: of VIEWS
LOOKED_AT = {
    "columns.py column", "columns.py errors", "columns.py key", "columns.py newest", "columns.py rest", "columns.py rows_of",
    "columns.py table", "columns.py where", "db.py 'truncate' if shrink else 'passive'", "db.py CHECKPOINT_BUSY_MS",
    "db.py int(BUSY_S * 1000)",
    "db.py int(max(0.0, end_s - time.monotonic()) * 1000)", "db.py wanted", "health.py most:d", "health.py name", "pruning.py marks",
    "public.py name", "public.py text", "reads.py where", "schema.py APPLICATION_ID", "schema.py number:d", "transitions.py _OPEN_PARENTS",
}  # fmt: skip


# ----------------------------------------------------------------------------------- S11: the file is untrusted


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("create trigger sly after insert on jobs begin delete from arguments; end", "trigger 'sly'"),
        ("create view sly as select 1", "view 'sly'"),
        ("drop trigger jobs_lifecycle", "trigger 'jobs_lifecycle' is missing"),
        ("drop index jobs_ready", "index 'jobs_ready' is missing"),
        ("drop index jobs_ready; create index jobs_ready on jobs(priority)", "index 'jobs_ready' is not the one"),
        (
            "alter table jobs rename to old; create view jobs as select * from old",
            "table 'old'|view 'jobs'|'jobs' is missing|not the one",
        ),
        ("alter table settings add column twice text generated always as (value || value)", "table 'settings' is not the one"),
        ("drop table settings; create table settings (name, value)", "table 'settings' is not the one"),
        ("drop table outputs", "table 'outputs' is missing"),
        ("pragma user_version = 0", "says it has schema 0, and has tables"),
        ("pragma user_version = -5", "says it has schema -5, and has tables"),
    ],
)
def test_a_file_with_a_schema_of_somebody_elses_is_refused(queue_path: Path, script: str, words: str) -> None:
    JobQueue(queue_path).submit(double, 1)
    JobQueue(queue_path).close()
    end_s = time.monotonic() + 60
    while Path(f"{queue_path}-wal").exists() and time.monotonic() < end_s:
        time.sleep(0.01)
    db = sqlite3.connect(queue_path)
    db.executescript(script)
    db.close()
    before = queue_path.read_bytes()
    with pytest.raises(QueueError, match=words):
        JobQueue(queue_path)
    with pytest.raises(QueueError, match=words):
        Worker(queue_path)
    assert queue_path.read_bytes() == before


def test_a_table_and_an_index_of_ones_own_do_no_harm(queue_path: Path) -> None:
    JobQueue(queue_path).close()
    change(queue_path, "create table notes (a)", "create index mine on jobs(created_at)")
    JobQueue(queue_path).submit(double, 1)


def test_a_connection_trusts_no_schema_and_loads_no_extension(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    with queue._database.read() as db:
        said = {
            one: db.execute(f"pragma {one}").fetchone()[0]
            for one in ("trusted_schema", "mmap_size", "cell_size_check", "foreign_keys")
        }
        assert said == {"trusted_schema": 0, "mmap_size": 0, "cell_size_check": 1, "foreign_keys": 1}
        with pytest.raises(sqlite3.OperationalError, match="not authorized"):
            db.execute("select load_extension('x')")


def test_a_value_that_claims_to_be_huge_is_damaged(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    job = queue.submit(double, 1)
    queue.close()
    change(queue_path, "update arguments set payload = null, size = 1000000000000")
    work(queue_path)
    assert job.row().reason == "damaged"


# ------------------------------------------------------------------------------ S14, S22: hostile and huge values


class Shouting:
    def __init__(self, how: str) -> None:
        self.how = how

    def __repr__(self) -> str:
        if self.how == "raises":
            raise RuntimeError("never show me")
        if self.how == "exits":
            sys.exit(3)
        if self.how == "is huge":
            return "x" * 50_000_000
        if self.how == "is none":
            return None  # type: ignore[return-value]
        return "\x1b[2J\ud800\0"

    _repr_html_ = __str__ = __repr__


@pytest.mark.parametrize("how", ["raises", "exits", "is huge", "is none", "is unprintable"])
def test_a_preview_survives_any_repr(how: str) -> None:
    for value in (Shouting(how), [Shouting(how)], {"a": Shouting(how)}):
        assert len(preview(value)) <= 2_000


def test_a_loop_in_a_value_ends_its_preview() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert len(preview(loop)) < 200
    assert preview(10**10_000).startswith("<int of") or len(preview(10**10_000)) <= 2_000


def test_errors_and_names_of_any_size_leave_short_rows(queue_path: Path) -> None:
    def shout() -> None:
        raise ValueError("x" * 5_000_000)

    queue = JobQueue(queue_path)
    job = queue.submit(shout)
    work(queue_path)
    row = job.row()
    assert row.status == "failed"
    assert len(str(row.error)) <= 65_536
    assert len(str(row.traceback)) <= 70_000


# --------------------------------------------------------------------------------------------------- S18: secrets


def test_arguments_are_in_no_command_line_environment_or_log(queue_path: Path, isolated: Path) -> None:
    def look(secret: Any, plain: str) -> list[str]:
        """Where this text stands, in the processes above."""
        import os

        found, pid = [], os.getpid()
        while pid > 1:
            for name in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as file:
                        if plain.encode() in file.read():
                            found.append(f"{pid} {name}")
                except OSError:
                    pass
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        return found

    queue = JobQueue(queue_path)
    queue.start_worker(1)
    assert queue.submit(look, Secret(CANARY), plain=CANARY).result(60) == []
    status = str(queue.get_status(queue.last(queue.list_jobs()[0]["name"])))
    queue.stop_worker()
    logs = b"".join(one.read_bytes() for one in isolated.rglob("*") if one.is_file())
    assert b"worker" in logs
    assert CANARY.encode() not in logs
    assert f"Secret({CANARY}" not in status


# ------------------------------------------------------------------------ S19, S20, S21: sockets, signals, children


def test_nothing_listens_on_the_network(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    worker = queue.start_worker(2)
    assert queue.submit(double, 1).result(60) == 2
    ours = [psutil.Process(), psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    before = {one.pid: [c for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN] for one in ours}
    queue.stop_worker()
    assert len(before) >= 4
    assert [c for pid, some in before.items() for c in some if pid != os.getpid()] == []


def test_a_signal_goes_only_to_the_very_process_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        birth = processes.birth_of(other.pid)
        assert birth is not None
        sent: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
        me = processes.birth_of(os.getpid())
        for pid, born in (
            (1, None),
            (0, None),
            (-1, None),
            (-other.pid, birth),
            (os.getpid(), me),
            (other.pid, birth + 1),
            (2**22 + 5, None),
        ):
            assert processes.send_signal(pid, signal.SIGKILL, born) in (False, True)
            processes.kill_tree(pid, born)
        assert [pid for pid, _ in sent if pid != 2**22 + 5] == []
        processes.send_signal(other.pid, signal.SIGTERM, birth)
        assert sent[-1] == (other.pid, signal.SIGTERM)
    finally:
        monkeypatch.undo()
        other.kill()
        other.wait()


@pytest.mark.parametrize(("table", "pid"), [("children", 1), ("children", 0), ("children", -1), ("kernels", 0), ("kernels", -5)])
def test_the_file_refuses_pids_that_are_none(queue_path: Path, table: str, pid: int) -> None:
    """Nor is the first process of a machine or container ever a child of a worker."""
    JobQueue(queue_path).close()
    statements = {
        "children": "insert into children values (1, ?, 5)",
        "kernels": "insert into kernels (host, boot_id, pid_ns, pid, birth, seen_at) values ('', '', 1, ?, 1, 1)",
    }
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        change(queue_path, (statements[table], (pid,)))


def test_a_job_has_no_descriptor_of_the_file_no_input_and_dumps_no_core(queue_path: Path) -> None:
    def look() -> tuple[list[str], tuple[int, int], str]:
        import os
        import resource
        import sys

        links = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{fd}"))
            except OSError:
                pass
        return links, resource.getrlimit(resource.RLIMIT_CORE), sys.stdin.read() if sys.stdin else ""

    queue = JobQueue(queue_path)
    job = queue.submit(look)
    work(queue_path)
    links, core, read = job.result(0)
    assert [one for one in links if str(queue_path) in one] == []
    assert core[0] == 0
    assert read == ""


# ------------------------------------------------------------------------------------------ S23: what was removed


def test_what_was_pruned_is_no_longer_in_the_file(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    jobs = queue.map(len, [f"{CANARY}-{i}-" + "x" * size for i, size in enumerate([10, 900, 5_000, 60_000] * 5)])
    work(queue_path)
    kept = queue.submit(double, 1)
    assert jobs.results(0)
    queue.close()
    assert CANARY.encode() in queue_path.read_bytes()
    assert queue.prune(0) == 20
    queue.close()
    assert not Path(f"{queue_path}-wal").exists()
    assert CANARY.encode() not in queue_path.read_bytes()
    assert queue.job(kept).status == "pending"


# ------------------------------------------------------------------------------------------------ S25: the package


def test_nothing_is_loaded_from_the_network() -> None:
    """No address in styles, scripts or HTML; comments and messages may name one."""
    package = ROOT / "gigq_nb"
    found = [
        f"{one.relative_to(ROOT)}: {line.strip()}"
        for one in package.rglob("*")
        if one.suffix in (".py", ".js", ".css", ".html")
        for line in one.read_text().splitlines()
        if re.search(
            r"""(src|href)\s*=\s*\\?["']?https?:|url\(\s*["']?https?:|@import|cdn\.|urllib\.request|import requests|http\.client""",
            line,
        )
    ]
    assert found == []


@pytest.fixture(autouse=True)
def nothing_was_touched(tmp_path: Path) -> Iterator[None]:
    """No string became a command."""
    yield
    assert not (tmp_path / "X").exists()
    assert not Path("X").exists()


def test_a_file_of_somebody_elses_that_is_opened_as_a_worker_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "foreign.db"
    change(path, "create table jobs (id, status)")
    path.chmod(0o600)
    before = path.read_bytes()
    done = run(
        "import sys; from gigq_nb.__main__ import main; sys.exit(main(['--db', sys.argv[1], 'worker']))", path, check=False
    )
    assert done.returncode != 0
    assert "another program" in done.stdout + done.stderr
    assert path.read_bytes() == before
    with pytest.raises(NotAQueue):
        Worker(path)
