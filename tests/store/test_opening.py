"""Whose file it is, and how it comes to its newest schema: what opening refuses stays as it was, byte by byte."""

import importlib.util
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigq_nb import JobQueue, signing
from gigq_nb.errors import (
    InvalidArgument,
    InvalidType,
    NetworkFileSystem,
    NotAQueue,
    QueueBusy,
    QueueCorrupt,
    QueueError,
    QueueReadOnly,
    QueueTooNew,
)
from gigq_nb.store import filesystem, schema
from gigq_nb.store.db import Database
from tests import invariants
from tests.scripts import let_go, run, start
from tests.store.disks import can_mount, read_only

FIRST = Path(__file__).parent.parent / "data" / "first.db"

# The schema of GigQ 0.5.1, from its own JobQueue(); a test holds it to the package where that is installed.
GIGQ = """
create table jobs (id text primary key, name text not null, function_name text not null, function_module text not null,
params text, priority integer, dependencies text, max_attempts integer, timeout integer, description text, status text not null,
created_at text not null, updated_at text not null, attempts integer default 0, result text, error text, started_at text,
completed_at text, worker_id text, pass_parent_results integer default null);
create table job_executions (id text primary key, job_id text not null, worker_id text not null, status text not null,
started_at text not null, completed_at text, result text, error text, foreign key (job_id) references jobs (id));
create index idx_jobs_status on jobs (status);
insert into jobs (id, name, function_name, function_module, status, created_at, updated_at)
values ('a', 'b', 'c', 'd', 'pending', '', '');
"""


@pytest.fixture(autouse=True)
def no_new_files(tmp_path: Path) -> Iterator[None]:
    """After a refusal nothing stands beside the file that was not there."""
    yield
    assert list(tmp_path.rglob("*.draft")) == []


def sqlite_file(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


def queue_file(path: Path, jobs: int = 0) -> None:
    queue = JobQueue(path)
    if jobs:
        queue.map(len, [str(i) * 50 for i in range(jobs)])
    queue.close()


def damaged(path: Path, at: int, size: int = 600) -> None:
    queue_file(path, 100)
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * size)


def truncated(path: Path, keep: int) -> None:
    queue_file(path, 100)
    os.truncate(path, keep)


def too_new(path: Path) -> None:
    queue_file(path)
    sqlite_file(path, "pragma user_version = 999")


STRANGERS: dict[str, tuple[Callable[[Path], object], type[QueueError], str]] = {
    "text": (lambda p: p.write_text("name,age\n" * 500), NotAQueue, "not a SQLite file"),
    "one byte": (lambda p: p.write_bytes(b"S"), NotAQueue, "not a SQLite file"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 64), NotAQueue, "not a SQLite file"),
    "only SQLite's mark": (lambda p: p.write_bytes(b"SQLite format 3\0"), NotAQueue, "not a SQLite file"),
    "a foreign table": (lambda p: sqlite_file(p, "create table notes (a)"), NotAQueue, "another program"),
    "a foreign table called jobs": (
        lambda p: sqlite_file(p, "create table jobs (id); insert into jobs values (1)"), NotAQueue, "another program",
    ),
    "a foreign mark": (lambda p: sqlite_file(p, "pragma application_id = 77; create table a (b)"), NotAQueue, "another program"),
    "GigQ": (lambda p: sqlite_file(p, GIGQ), NotAQueue, "GigQ"),
    "a newer schema": (too_new, QueueTooNew, "999"),
    "a damaged header": (lambda p: damaged(p, 0), NotAQueue, "damaged"),
    "a header and nothing else": (lambda p: truncated(p, 100), NotAQueue, "not a SQLite file"),
    "half a page": (lambda p: truncated(p, 600), QueueError, "SQLite"),
    "a damaged schema": (lambda p: damaged(p, 100, 900), QueueCorrupt, "recover"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_queue_is_refused_and_stays_as_it_was(tmp_path: Path, name: str) -> None:
    make, error, words = STRANGERS[name]
    path = tmp_path / "it.db"
    make(path)
    path.chmod(0o600)
    before, beside = path.read_bytes(), sorted(tmp_path.iterdir())
    for _ in range(2):
        with pytest.raises(error, match=words) as caught:
            JobQueue(path)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == beside


def test_the_schema_of_gigq_that_we_refuse_is_gigqs_own(tmp_path: Path) -> None:
    """Where GigQ is installed (for `make bench`), a file that it made itself."""
    if importlib.util.find_spec("gigq") is None:
        pytest.skip("gigq is installed by `make bench` only")
    path = tmp_path / "gigq.db"
    run("import sys, gigq; gigq.JobQueue(sys.argv[1])", path)
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(NotAQueue, match="GigQ"):
        JobQueue(path)
    assert path.read_bytes() == before


def test_a_damaged_page_is_reported_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "it.db"
    queue_file(path, 500)
    db = sqlite3.connect(path)
    (root,) = db.execute("select rootpage from sqlite_schema where name = 'arguments'").fetchone()
    (size,) = db.execute("pragma page_size").fetchone()
    db.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)
    before = path.read_bytes()
    with pytest.raises(QueueCorrupt, match="Keep the file and its -wal, restore a backup"):
        JobQueue(path).submit(len, "abc")
    assert path.read_bytes() == before
    assert JobQueue(path).stats()["pending"] == 500, "what is not damaged can be read"


def test_a_folder_and_a_missing_folder_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotAQueue, match="is a folder: name a file in it"):
        JobQueue(tmp_path)
    with pytest.raises(NotAQueue, match="does not exist: create it"):
        JobQueue(tmp_path / "no" / "jobs.db")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotAQueue, match="is a file, not a folder"):
        JobQueue(tmp_path / "file" / "jobs.db")
    with pytest.raises(NotAQueue, match="there is no file"):
        JobQueue(tmp_path / "jobs.db", initialize=False)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", InvalidArgument), ("   ", InvalidArgument), (":memory:", InvalidArgument), ("file:x.db", InvalidArgument),
        ("a\0b", InvalidArgument), (b"jobs.db", InvalidType), (None, InvalidType), (3, InvalidType), (["a"], InvalidType),
    ],
)  # fmt: skip
def test_a_path_that_names_no_file_is_refused(path: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        JobQueue(path)


def test_paths_of_every_kind_name_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    job = JobQueue("~/jobs é ?#%20.db").submit(len, "abc")
    for one in ("jobs é ?#%20.db", tmp_path / "jobs é ?#%20.db", "./x/../jobs é ?#%20.db"):
        assert JobQueue(one).job(job).name == "len"
    assert sorted(one.name for one in tmp_path.glob("jobs*")) == ["jobs é ?#%20.db", "jobs é ?#%20.db-shm", "jobs é ?#%20.db-wal"]


def test_a_name_that_is_no_utf8_works(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"jobs\xff.db")
    job = JobQueue(path).submit(len, "abc")
    assert JobQueue(path).job(job).name == "len"


def test_an_empty_file_becomes_a_queue(queue_path: Path) -> None:
    queue_path.touch(0o600)
    JobQueue(queue_path).submit(len, "abc")


def test_a_second_name_is_refused_and_a_symbolic_link_is_the_same_queue(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    job = JobQueue(path).submit(len, "abc")
    (tmp_path / "link.db").symlink_to(path)
    linked = JobQueue(tmp_path / "link.db")
    assert linked.path == path
    assert linked.job(job).name == "len"
    os.link(path, tmp_path / "other.db")
    for one in (path, tmp_path / "other.db"):
        with pytest.raises(NotAQueue, match="2 hard links"):
            JobQueue(one)


@pytest.mark.parametrize("kind", sorted(filesystem.NETWORK))
def test_a_network_file_system_is_refused_with_a_local_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    folder = tmp_path / "ho me"
    folder.mkdir()
    named = str(folder).replace(" ", "\\040")
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda rw\n23 22 0:5 / {named} rw shared:3 - {kind} host:/x rw\n")
    monkeypatch.setattr(filesystem, "MOUNTINFO", str(mounts))
    with pytest.raises(NetworkFileSystem, match=f"{kind}.*Use a local disk, for example"):
        JobQueue(folder / "jobs.db")
    assert list(folder.iterdir()) == []
    JobQueue(tmp_path / "jobs.db")  # beside it is local


def test_a_local_mount_within_a_network_file_system_is_local() -> None:
    mounts = "1 0 0:1 / / rw - nfs4 h:/ rw\n2 1 0:2 / /fast rw - xfs /dev/b rw\n3 1 0:3 / /fast rw - tmpfs none rw\n"
    assert filesystem.file_system_of(Path("/fast/jobs.db"), mounts) == "tmpfs"
    assert filesystem.file_system_of(Path("/faster/jobs.db"), mounts) == "nfs4"
    assert filesystem.file_system_of(Path("/jobs.db"), "") == ""


def test_on_a_read_only_disk_a_queue_can_be_read_and_says_why_it_cannot_be_written(
    tmp_path: Path, need: Callable[[bool, str], None]
) -> None:
    need(can_mount(), "the permission to mount")
    folder = tmp_path / "rw"
    folder.mkdir()
    queue = JobQueue(folder / "jobs.db")
    job = queue.submit(len, "abc")
    queue.close()
    with read_only(folder, tmp_path / "ro") as frozen:
        there = JobQueue(frozen / "jobs.db")
        assert there.job(job).status == "pending"
        assert there.stats()["pending"] == 1
        with pytest.raises(QueueReadOnly, match="read-only"):
            there.submit(len, "abc")
        with pytest.raises(QueueReadOnly, match="Choose a folder you can write"):
            JobQueue(frozen / "new.db")
        there.close()
    assert sorted(one.name for one in folder.iterdir()) == ["jobs.db"]


# ------------------------------------------------------------------------------------------------------- modes


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_everything_that_is_made_is_private_under_any_umask(tmp_path: Path, isolated: Path, umask: int) -> None:
    run(
        """
        import os, sys
        os.umask(int(sys.argv[2]))
        from gigq_nb import JobQueue
        queue = JobQueue(sys.argv[1])
        queue.submit(len, b"x" * 17_000_000)
        queue.submit(len, "abc").wait(0)
        queue.backup(sys.argv[1] + ".backup")
        queue.start_worker(1)
        queue.stop_worker()
        os._exit(0)  # as a kernel that is killed: its -wal and -shm stay
        """,
        tmp_path / "jobs.db",
        umask,
    )
    modes = {}
    for top in (tmp_path, isolated):
        for folder, _, files in os.walk(top):
            modes.update({os.path.join(folder, one): stat.S_IMODE(os.lstat(os.path.join(folder, one)).st_mode) for one in files})
            if Path(folder) not in (tmp_path, isolated):
                modes[folder] = stat.S_IMODE(os.lstat(folder).st_mode)
    names = {Path(one).name.split("-")[0] for one in modes}
    assert {"jobs.db", "key", "jobs.db.files", "jobs.db.backup", "arguments"} <= names
    sockets = {one for one in modes if stat.S_ISSOCK(os.lstat(one).st_mode)}  # in a 0700 folder
    assert {one: oct(mode) for one, mode in modes.items() if mode & 0o077 and one not in sockets} == {}


def test_a_file_that_others_could_read_is_closed_with_a_warning(queue_path: Path) -> None:
    queue_file(queue_path)
    queue_path.chmod(0o644)
    with pytest.warns(UserWarning, match="could be read by other users"):
        JobQueue(queue_path)
    assert stat.S_IMODE(queue_path.stat().st_mode) == 0o600


def test_a_file_of_another_user_is_not_opened(queue_path: Path, need: Callable[[bool, str], None]) -> None:
    need(os.geteuid() == 0, "root")
    queue_file(queue_path)
    os.chown(queue_path, 65534, 65534)
    with pytest.raises(QueueReadOnly, match="belongs to another user"):
        JobQueue(queue_path)


# -------------------------------------------------------------------------------------------------- migrations


def test_whoever_makes_a_file_waits_for_somebody_who_writes_to_it_just_then(queue_path: Path) -> None:
    """SQLite does not: the change to WAL reads first and writes later, and is refused at once."""
    other = sqlite3.connect(queue_path, isolation_level=None, check_same_thread=False)
    other.execute(f"pragma application_id = {schema.APPLICATION_ID}")  # half made: marked, and without its WAL
    os.chmod(queue_path, 0o600)
    other.execute("begin immediate")
    refused = []

    def make(database: Database) -> None:
        try:
            mark(database)
        except QueueBusy as error:
            refused.append(error)
            if other.in_transaction:
                other.execute("rollback")
            raise

    mark = schema._mark_and_turn_on_wal
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schema, "_mark_and_turn_on_wal", make)
        queue = JobQueue(queue_path)
    assert refused, "it was not in the way"
    other.close()
    assert queue.submit(len, "abc").status == "pending"
    queue.close()


def test_twenty_processes_that_make_the_same_file_at_once_make_one_queue(queue_path: Path) -> None:
    script = """
        import sys
        from gigq_nb import JobQueue
        print("ready", flush=True)
        sys.stdin.readline()
        print(JobQueue(sys.argv[1]).submit(len, "abc"))
        """
    some = [start(script, queue_path) for _ in range(20)]
    let_go(some)
    ids = {one.communicate(timeout=60)[0].strip() for one in some}
    assert [one.returncode for one in some] == [0] * 20
    assert len(ids) == 20
    db = sqlite3.connect(queue_path)
    assert invariants.lost(db, ids) == []
    assert invariants.broken(db) == []
    db.close()


@pytest.mark.parametrize(
    "point", ["before_mark", "after_mark", *(f"mid_migration@{n}" for n in (1, 2, 9, 25)), "before_store_commit"]
)
@pytest.mark.parametrize("how", ["kill", "raise"])
def test_a_migration_that_dies_half_way_is_done_by_the_next(queue_path: Path, point: str, how: str) -> None:
    done = run(
        "import sys; from gigq_nb.store.db import Database; Database(sys.argv[1])",
        queue_path,
        env={"GIGQ_NB_TESTING": "1", "GIGQ_NB_FAILPOINT": f"{point}:{how}"},
        check=False,
    )
    assert done.returncode == (-9 if how == "kill" else 1), done.stderr
    queue = JobQueue(queue_path)
    queue.submit(len, "abc")
    assert fingerprint(queue_path) == fingerprint_of_a_fresh_file(queue_path.with_name("fresh.db"))


def fingerprint(path: Path) -> tuple[object, ...]:
    db = sqlite3.connect(path)
    try:
        rows = db.execute("select type, name, tbl_name, sql from sqlite_schema order by 1, 2").fetchall()
        return (rows, *(db.execute(f"pragma {one}").fetchone()[0] for one in ("user_version", "application_id", "journal_mode")))
    finally:
        db.close()


def fingerprint_of_a_fresh_file(path: Path) -> tuple[object, ...]:
    JobQueue(path).close()
    return fingerprint(path)


@pytest.fixture
def second_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that is to come."""
    more = "create table notes (job integer primary key references jobs(seq), text text not null) strict;\n"
    more += "alter table batches add column note text;\n"
    steps = [*schema.migrations(), (2, more)]
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    schema._schema.cache_clear()
    monkeypatch.setattr(schema, "_schema", schema._schema.__wrapped__)


def test_an_older_file_is_migrated_with_its_rows_and_equals_a_fresh_one(queue_path: Path, request: pytest.FixtureRequest) -> None:
    job = JobQueue(queue_path).submit(len, "abc")
    request.getfixturevalue("second_version")
    queue = JobQueue(queue_path)
    assert queue.job(job).status == "pending"
    queue.submit(len, "abc")
    queue.close()
    assert fingerprint(queue_path) == fingerprint_of_a_fresh_file(queue_path.with_name("fresh.db"))
    assert fingerprint(queue_path)[1] == 2
    request.getfixturevalue("monkeypatch").undo()
    with pytest.raises(QueueTooNew, match="schema 2, this gigq_nb knows 1"):
        JobQueue(queue_path)


def test_the_file_of_the_first_release_still_opens_and_runs(queue_path: Path) -> None:
    """When a table changes before the first release: python -m tests.data.make_first. Afterwards: write a migration."""
    shutil.copyfile(FIRST, queue_path)
    queue_path.chmod(0o600)
    signing.import_key(bytes(32))
    queue = JobQueue(queue_path)
    assert queue.stats() == {"pending": 5, "running": 0, "completed": 4, "failed": 1, "timeout": 0, "cancelled": 2, "total": 12}
    jobs = queue.list_jobs(limit=100)
    assert [queue.get_result(one["id"]) for one in jobs if one["status"] == "completed"] == [0, 4, 2, 0]
    (bad,) = [one for one in jobs if one["status"] == "failed"]
    with pytest.raises(ValueError, match="no"):
        queue.job(bad["id"]).result(0)
    assert queue.logs(next(one["id"] for one in jobs if one["status"] == "completed")) == "doubling 0\n"
    assert queue.batch().name == "waiting"
    queue.requeue_job(bad["id"])
    queue.submit(len, "abc")
    with queue._database.read() as db:
        assert invariants.broken(db) == []


def test_a_file_that_is_read_while_its_wal_is_moved_is_still_ours(queue_path: Path) -> None:
    """Whose file it is is read without locks; somebody who checkpoints at that moment must not make it look damaged."""
    queue_file(queue_path)
    writer = start(
        """
        import sys
        from gigq_nb.store.db import Database
        database = Database(sys.argv[1], keep=True, durable=False)
        for i in range(300):
            with database.write() as db:
                db.execute("insert or replace into settings values (?, ?)", (f"n{i % 50}", "x" * 3000))
            database.checkpoint()
        """,
        queue_path,
    )
    looks = 0
    while writer.poll() is None:
        Database(queue_path).close()
        looks += 1
    assert writer.wait() == 0
    assert looks > 10
    writer.communicate()
