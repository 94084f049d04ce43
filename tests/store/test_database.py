"""The file while it is in use: copied, deleted, replaced, locked, full, forked, read for hours."""

import errno
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gigq_nb import JobQueue
from gigq_nb.errors import QueueBusy, QueueError, QueueFull, QueueReplaced, Unsynced
from gigq_nb.store import burst, reads, transitions, workers
from gigq_nb.store.db import Database
from tests import invariants
from tests.scripts import PATIENCE_S, run, start
from tests.store.disks import can_mount, fill, small_disk
from tests.store.rig import Rig

STORE = Path(burst.__file__).parent


def ids_in(path: Path) -> set[str]:
    """What another process finds in the file."""
    return set(
        run(
            "import sqlite3, sys; [print(r[0]) for r in sqlite3.connect(sys.argv[1]).execute('select id from jobs')]", path
        ).stdout.split()
    )


# --------------------------------------------------------------------------------- copies, deletions, replacements

KERNEL = '''
import os, shutil, subprocess, sys
from gigq_nb import JobQueue
path, how = sys.argv[1:3]
queue = JobQueue(path)
VISITOR = """
import sqlite3, sys
for line in sys.stdin:
    db = sqlite3.connect(sys.argv[1])
    db.execute("select count(*) from jobs").fetchall()
    db.close()
    print("seen", flush=True)
"""
look = subprocess.Popen([sys.executable, "-c", VISITOR, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def visit():
    look.stdin.write("x\\n"); look.stdin.flush(); look.stdout.readline()
visit()
for i in range(100):
    print(queue.submit(len, "abc"), flush=True)
    if i % 10 == 5:
        if how == "copy":
            shutil.copy(path, path + ".copy")
        elif how == "read":
            open(path, "rb").read(100)
        elif how == "queue":
            JobQueue(path)
        visit()
os.kill(os.getpid(), 9)
'''


@pytest.mark.parametrize("how", ["copy", "read", "queue"])
def test_no_job_is_lost_when_the_file_is_copied_in_the_kernel_that_is_then_killed(queue_path: Path, how: str) -> None:
    """Closing any descriptor of the file drops SQLite's locks; whoever closes it next deletes the WAL that is in use."""
    done = run(KERNEL, queue_path, how, check=False)
    acknowledged = done.stdout.split()
    assert (done.returncode, len(acknowledged)) == (-signal.SIGKILL, 100), done.stderr
    assert set(acknowledged) == ids_in(queue_path)
    assert invariants.broken_file(queue_path) == []


def test_a_second_queue_on_the_same_file_does_not_drop_the_locks_of_the_first(queue_path: Path) -> None:
    first = Database(queue_path, keep=True)
    with first.read() as db:
        db.execute("select 1 from jobs").fetchall()
    JobQueue(queue_path).stats()
    JobQueue(queue_path).close()
    run(
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('select 1 from jobs').fetchall(); d.close()", queue_path
    )
    assert Path(f"{queue_path}-wal").exists(), "the visitor took itself for the last one"
    first.close()


def test_a_copy_in_the_process_does_not_drop_the_lock_that_keeps_the_wal(queue_path: Path) -> None:
    """It drops SQLite's own; ours belongs to its descriptor, and goes with the connection."""
    database = Database(queue_path, keep=True)
    visit = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('select 1 from jobs').fetchall(); d.close()",
        queue_path,
    )
    with database.write() as db:
        db.execute("insert into settings (name, value) values ('a', 'b')")
    wal = os.stat(f"{queue_path}-wal").st_ino
    shutil.copy(queue_path, f"{queue_path}.copy")
    run(*visit)
    assert os.stat(f"{queue_path}-wal").st_ino == wal, "the visitor took itself for the last one"
    database.close()
    run(*visit)
    assert not Path(f"{queue_path}-wal").exists(), "a lock outlived its connection"


def test_who_writes_early_does_not_keep_others_waiting_for_its_fsync(queue_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Database(queue_path, keep=True), Database(queue_path, keep=True)
    fsynced = []

    def slow_disk(handle: int) -> None:
        if not fsynced:
            fsynced.append(os.path.realpath(f"/proc/self/fd/{handle}"))
            with second.write(busy_s=0) as db:
                fsynced.append(db.execute("select value from settings where name = 'a'").fetchone()[0])
        os.fdatasync(handle)

    monkeypatch.setattr("gigq_nb.store.wal._fdatasync", slow_disk)
    woken = []
    with first.write(early=lambda: woken.append(len(fsynced))) as db:
        db.execute("insert into settings (name, value) values ('a', 'b')")
    assert woken == [0], "nobody was woken before the fsync"
    assert fsynced == [f"{queue_path}-wal", "b"]
    with first.write() as db:  # and who must not be seen early is fsynced by SQLite, within the lock
        db.execute("delete from settings")
    assert len(fsynced) == 2
    first.close()
    second.close()


def test_a_disk_that_refuses_the_fsync_of_a_submit_is_told(queue_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_disk(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("gigq_nb.submission.SPILL_BYTES", 1_000)
    queue = JobQueue(queue_path)
    queue.submit(len, "abc")
    monkeypatch.setattr("gigq_nb.store.wal._fdatasync", broken_disk)
    with pytest.raises(Unsynced, match="may be gone after a power failure"):
        queue.submit(len, "x" * 2_000)
    assert queue.stats()["pending"] == 2
    assert (Path(f"{queue_path}.files") / f"arguments-{queue.last('len')}").exists(), "it can run, as long as the power lasts"


def test_a_kernel_keeps_no_connection_after_a_burst(queue_path: Path) -> None:
    """What it keeps is a descriptor without a lock, for the next burst: to close it would drop the locks of the user's own."""
    queue = JobQueue(queue_path)
    queue.submit(len, "abc")
    end_s = time.monotonic() + PATIENCE_S
    while any(f"{queue_path}-" in os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")):
        assert time.monotonic() < end_s
        time.sleep(0.005)
    assert not Path(f"{queue_path}-wal").exists()
    alone = sqlite3.connect(queue_path, timeout=0)
    alone.execute("pragma locking_mode = exclusive")
    alone.execute("begin exclusive")
    alone.close()


@pytest.mark.parametrize("keep", [True, False])
def test_a_job_never_goes_into_a_deleted_file(queue_path: Path, keep: bool) -> None:
    database = Database(queue_path, keep=keep)
    for name in (queue_path, f"{queue_path}-wal", f"{queue_path}-shm"):
        Path(name).unlink(missing_ok=True)
    with pytest.raises(QueueReplaced, match="was deleted while it was in use; open it again to make a new one"), database.write():
        pytest.fail("a write began")
    assert not queue_path.exists(), "and none is made by accident"
    database.close()


@pytest.mark.parametrize("keep", [True, False])
def test_a_job_never_goes_into_a_replaced_file(queue_path: Path, keep: bool) -> None:
    database = Database(queue_path, keep=keep)
    JobQueue(queue_path.with_name("other.db")).close()
    os.replace(queue_path.with_name("other.db"), queue_path)
    for name in (f"{queue_path}-wal", f"{queue_path}-shm"):
        Path(name).unlink(missing_ok=True)
    with pytest.raises(QueueReplaced, match="replaced by another file"), database.write():
        pytest.fail("a write began")
    database.close()
    with pytest.raises(QueueReplaced, match="replaced by another file"), database.read():
        pytest.fail("a read began")
    JobQueue(queue_path).submit(len, "abc")


def test_a_deleted_wal_is_an_error_that_says_what_to_do_or_no_error_at_all(queue_path: Path) -> None:
    holder = Database(queue_path, keep=True)
    queue = JobQueue(queue_path)
    first = queue.submit(len, "abc")
    holder.checkpoint()
    Path(f"{queue_path}-wal").unlink()
    said = ""
    try:
        queue.submit(len, "abc")
    except QueueError as error:
        said = str(error)
    assert not said or "Keep the file" in said or "was removed" in said
    holder.close()
    queue.close()
    assert str(first) in ids_in(queue_path)


# ---------------------------------------------------------------------------------------------- backup under load


def test_a_backup_under_load_holds_all_that_was_acknowledged_before_it(queue_path: Path) -> None:
    writer = start(
        """
        import sys
        from gigq_nb import JobQueue
        queue = JobQueue(sys.argv[1])
        for i in range(400):
            print(queue.submit(len, "x" * 2000), flush=True)
        """,
        queue_path,
    )
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
    queue = JobQueue(queue_path)
    for n in range(5):
        before = list(acknowledged)
        copy = queue.backup(queue_path.with_name(f"copy{n}.db"))
        db = sqlite3.connect(copy)
        assert invariants.lost(db, before) == []
        assert invariants.broken(db) == []
        db.close()
        acknowledged += [writer.stdout.readline().strip() for _ in range(20)]
    assert len(writer.communicate(timeout=PATIENCE_S)[0].split()) == 400 - len(acknowledged)
    assert writer.returncode == 0


# ------------------------------------------------------------------------------------------------------- forks


@pytest.mark.parametrize("leave", ["sys.exit()", "os._exit(0)", "queue.submit(len, 'child'); os._exit(0)"])
def test_a_fork_neither_uses_nor_closes_its_parents_connection(queue_path: Path, leave: str) -> None:
    done = run(
        f"""
        import os, signal, sys
        from gigq_nb import JobQueue
        from gigq_nb.store.db import Database
        queue = JobQueue(sys.argv[1])
        kept = Database(sys.argv[1], keep=True)
        for i in range(20):
            queue.submit(len, "abc")
            with kept.write() as db:
                db.execute("insert or replace into settings values ('n', ?)", (str(i),))
            pid = os.fork()
            if not pid:
                signal.alarm(30)
                kept.close()
                {leave}
            assert os.waitpid(pid, 0)[1] == 0
        for i in range(100):
            queue.submit(len, "abc")
        os.kill(os.getpid(), 9)
        """,
        queue_path,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(ids_in(queue_path)) == (140 if "submit" in leave else 120)
    assert invariants.broken_file(queue_path) == []


# ------------------------------------------------------------------------------------------------------- locks


def test_a_locked_file_can_be_read_and_a_write_waits_and_then_names_it(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    job = queue.submit(len, "abc")
    other = sqlite3.connect(queue_path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    assert queue.job(job).status == "pending"
    with pytest.raises(QueueBusy, match=re.escape(str(queue_path))), queue._database.write(busy_s=0.1):
        pytest.fail("two wrote at once")
    releases = threading.Timer(0.2, other.execute, ("commit",))
    releases.start()
    queue.submit(len, "abc")  # waits for the lock
    releases.join()
    other.close()
    assert queue.stats()["pending"] == 2


def test_every_write_begins_immediate() -> None:
    """A transaction that reads first and then writes cannot wait for the lock: it fails at once (SQLITE_BUSY_SNAPSHOT)."""
    found = [
        (one.name, match)
        for one in STORE.glob("*.py")
        for match in re.findall(r'execute\(\s*f?"(begin[^"]*)"', one.read_text(), re.IGNORECASE)
    ]
    assert sorted(set(found)) == [("db.py", "begin"), ("db.py", "begin immediate")]
    assert "begin" in Path(STORE / "db.py").read_text().split("def read(")[1].split("def _begin")[0]


def test_two_threads_that_write_through_one_database_take_turns(rig: Rig) -> None:
    def more(n: int) -> None:
        for _ in range(50):
            with rig.write() as db:
                value = db.execute("select value from settings where name = 'n'").fetchone()
                db.execute("insert or replace into settings values ('n', ?)", (str(int(value[0] if value else 0) + n),))

    threads = [threading.Thread(target=more, args=(1,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with rig.database.read() as db:
        assert db.execute("select value from settings").fetchone() == ("200",)


def test_four_processes_that_write_at_once_wait_for_each_other(queue_path: Path) -> None:
    JobQueue(queue_path).close()
    script = (
        "import sys; from gigq_nb import JobQueue; q = JobQueue(sys.argv[1]); [print(q.submit(len, 'abc')) for _ in range(100)]"
    )
    some = [start(script, queue_path) for _ in range(4)]
    ids = [line for one in some for line in one.communicate(timeout=PATIENCE_S)[0].split()]
    assert [one.returncode for one in some] == [0] * 4
    assert set(ids) == ids_in(queue_path)
    assert len(set(ids)) == 400


def test_an_error_within_a_transaction_undoes_all_of_it(rig: Rig) -> None:
    rig.submit()
    with pytest.raises(sqlite3.IntegrityError), rig.write() as db:
        db.executemany("insert into settings values (?, 'b')", [("a",), ("b",), ("a",)])
    with rig.database.read() as db:
        assert db.execute("select count(*) from settings").fetchone() == (0,)


# ---------------------------------------------------------------------------------------------- no room on the disk


def test_a_full_disk_stores_nothing_says_so_and_goes_on_when_there_is_room(
    tmp_path: Path, need: Callable[[bool, str], None]
) -> None:
    need(can_mount(), "the permission to mount")
    with small_disk(tmp_path / "disk") as disk:
        queue = JobQueue(disk / "jobs.db")
        acknowledged = [queue.submit(len, "abc")]
        for _ in range(3):
            make_room = fill(disk)
            refused: list[str] = []
            for _ in range(50):
                try:
                    acknowledged.append(queue.submit(len, os.urandom(3000)))
                except QueueFull as error:
                    refused.append(str(error))
            assert refused
            assert all("Make room and try again" in one for one in refused)
            assert queue.stats()["pending"] == len(acknowledged)
            with pytest.raises((QueueFull, OSError)):
                queue.submit(len, b"x" * 17_000_000)
            make_room()
            acknowledged.append(queue.submit(len, "abc"))
        queue.close()
        assert {str(one) for one in acknowledged} == ids_in(disk / "jobs.db")
        assert invariants.broken_file(disk / "jobs.db") == []
        assert list((disk / "jobs.db.files").glob("*")) == [], "a value that did not fit leaves nothing"


def test_a_full_disk_is_no_place_for_a_new_queue(tmp_path: Path, need: Callable[[bool, str], None]) -> None:
    need(can_mount(), "the permission to mount")
    with small_disk(tmp_path / "disk") as disk:
        make_room = fill(disk)
        with pytest.raises(QueueFull):
            JobQueue(disk / "jobs.db")
        make_room()
        JobQueue(disk / "jobs.db").submit(len, "abc")


def test_a_limit_on_the_size_of_files_is_told_as_a_full_disk(queue_path: Path) -> None:
    done = run(
        """
        import os, resource, sys
        from gigq_nb import JobQueue
        from gigq_nb.errors import QueueFull
        queue = JobQueue(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        stored = refused = 0
        for i in range(200):
            try:
                queue.submit(len, os.urandom(4000))
                stored += 1
            except QueueFull:
                refused += 1
        print(stored, refused, queue.stats()["pending"])
        """,
        queue_path,
    )
    stored, refused, pending = map(int, done.stdout.split())
    assert stored == pending == len(ids_in(queue_path))
    assert refused > 50
    assert invariants.broken_file(queue_path) == []


# ---------------------------------------------------------------------------------------------------- long readers


def test_the_wal_shrinks_when_a_long_reader_lets_go(rig: Rig) -> None:
    reader = sqlite3.connect(rig.database.path, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from jobs").fetchall()
    for _ in range(200):
        rig.submit()
    rig.database.checkpoint()
    assert rig.database.wal_bytes() > 100_000
    reader.execute("commit")
    assert rig.database.checkpoint() == 0
    reader.close()


def test_a_view_that_reads_keeps_no_transaction_open(queue_path: Path) -> None:
    queue = JobQueue(queue_path)
    queue.map(len, ["abc"] * 50)
    queue.list_jobs()
    assert queue._database._connection is None or not queue._database._connection.in_transaction


# --------------------------------------------------------------------------------------------------- query plans


def plan(db: sqlite3.Connection, sql: str) -> list[str]:
    return [row[3] for row in db.execute("explain query plan " + sql, [None] * sql.count("?"))]


@pytest.fixture
def explained(rig: Rig) -> dict[str, list[list[str]]]:
    """The plans of all statements by what was done, as SQLite runs them with a million rows expected."""
    rig.submit_all([rig.new_job(priority=i % 3) for i in range(300)], batch="many")
    parent = rig.submit()
    rig.submit(parent, run_at=rig.now + 5)
    for _ in range(20):
        rig.run()
    rig.run(transitions.Outcome.FAILED)
    seen: dict[str, list[str]] = {}

    def does(name: str, work: Callable[[sqlite3.Connection], object]) -> None:
        statements: list[str] = []
        with rig.write() as db:
            db.set_trace_callback(statements.append)
            work(db)
            db.set_trace_callback(None)
        seen[name] = statements

    (ready,) = rig.claim(1)
    other = rig.claim(1)[0]
    peer = next(one for one in workers_of(rig) if one.id == rig.worker)
    from tests.store.rig import ending

    does("claim", lambda db: transitions.claim(db, rig.worker, [rig.runtime], rig.now, 8))
    does("promote", lambda db: transitions.promote(db, rig.now, stepped=False))
    does(
        "settle and release",
        lambda db: transitions.settle(db, rig.worker, [ending(ready, transitions.Outcome.COMPLETED, rig.now)]),
    )
    does("hand back", lambda db: transitions.hand_back(db, rig.worker, [other], rig.now))
    does("finals", lambda db: reads.finals(db, ids=[ready.id]))
    does("finals of a batch", lambda db: reads.finals(db, batch=1))
    does("unsuccessful", lambda db: reads.unsuccessful(db, None, 5))
    does("running", lambda db: reads.running(db, 5))
    does("statuses", lambda db: reads.statuses(db, [ready.id]))
    does("one job", lambda db: reads.job(db, ready.id))
    does("counts", lambda db: reads.counts(db))
    does("beat", lambda db: workers.beat(db, rig.worker, rig.now))
    does("cancel", lambda db: transitions.cancel(db, [parent], rig.now))
    does("rescue", lambda db: workers.rescue(db, peer, rig.now, "gone"))
    with rig.database.read() as db:
        return {
            name: [
                [sql, *plan(db, sql)] for sql in dict.fromkeys(statements) if re.match(r"\s*(select|insert|update|delete)", sql)
            ]
            for name, statements in seen.items()
        }


def workers_of(rig: Rig) -> list[workers.Peer]:
    with rig.database.read() as db:
        return workers.peers(db)


#: Small whatever the file holds: read whole, and nothing is lost by it.
SMALL = {"workers", "w", "cancellations", "c", "json_each", "sqlite_sequence", "runtimes", "r2", "children"}


def test_no_statement_of_the_daily_work_reads_a_whole_table(explained: dict[str, list[list[str]]]) -> None:
    whole = []
    for name, plans in explained.items():
        for sql, *steps in plans:
            for step in steps:
                match = re.match(r"SCAN (\w+)(.*)", step)
                if match and match[1] not in SMALL and "VIRTUAL TABLE" not in step and not partial(match[2]):
                    whole.append(f"{name}: {step}: {sql}")
    assert whole == []


def partial(rest: str) -> bool:
    """A walk along a partial index that holds only what is asked for is no scan of the table."""
    return any(
        index in rest for index in ("executions_open", "jobs_unsuccessful", "jobs_delayed", "sqlite_autoindex_cancellations")
    )


@pytest.mark.parametrize(
    ("work", "index"),
    [
        ("claim", "jobs_ready"), ("promote", "jobs_delayed"), ("settle and release", "executions_open"),
        ("running", "executions_open"),
        ("finals of a batch", "jobs_of_batch"), ("unsuccessful", "jobs_unsuccessful"), ("rescue", "executions_open"),
    ],
)  # fmt: skip
def test_the_work_uses_its_index(explained: dict[str, list[list[str]]], work: str, index: str) -> None:
    assert [one for one in explained[work] if index in " ".join(one[1:])], explained[work]


def test_what_is_claimed_next_is_not_sorted_first(explained: dict[str, list[list[str]]]) -> None:
    assert not [one for one in explained["claim"] if "TEMP B-TREE" in " ".join(one)]
    assert not [one for one in explained["unsuccessful"] if "TEMP B-TREE" in " ".join(one)]
