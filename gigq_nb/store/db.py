"""The file while it is open: bursts of connections, write transactions, reads.

Four traps of SQLite shape this module (each has a test):

* Closing *any* descriptor of the file drops the process's POSIX locks (sqlite.org/howtocorrupt.html, 2.2). A notebook
  may ``shutil.copy`` its queue at any time, so a kernel holds a connection only for a burst of operations, and with it a
  lock that stays (see :mod:`.holding`).
* A transaction that reads first and writes later cannot wait for the lock: every write is ``BEGIN IMMEDIATE``.
* SQLite's own busy waiting is unfair under load: we retry ourselves, with jitter.
* A deleted file can still be written to: each write compares the path's inode with the one that is open, and so for the
  WAL, which another process deletes when somebody's copy of the file within a burst has dropped our locks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import NotAQueue, QueueReadOnly, QueueReplaced
from ..failpoints import failpoint
from .burst import BURST_S, alive, closer
from .filesystem import refuse_network
from .holding import holding
from .opening import make_file, require_ours, resolve, translated
from .schema import migrate
from .wal import Wal

BUSY_S = 15.0
LEAST_BYTES = 512  # the smallest page of SQLite
COMMITS_PER_LOOK = 200
CHECKPOINT_BUSY_MS = 10
WAL_BYTES, LONGEST_WAL_BYTES = 2**20, 64 * 2**20

_PRAGMAS = (
    "pragma foreign_keys = on",
    "pragma temp_store = memory",
    "pragma wal_autocheckpoint = 0",  # one checkpointer: the worker (sqlite.org/wal.html#walresetbug)
    "pragma mmap_size = 0",
    "pragma trusted_schema = off",
    "pragma cell_size_check = on",
    "pragma recursive_triggers = off",
    "pragma secure_delete = fast",  # what is over is overwritten where that costs no write of its own
)


class Database:
    """One queue file, opened when needed.

    Args:
        path: The file; made (mode 0600) when it is not there and ``create`` is true.
        create: Make a missing file.
        keep: Keep the connection until :meth:`close` (a worker does; a kernel must not).
        durable: fsync before a write is acknowledged. False survives a killed process, but not a power cut.
    """

    def __init__(self, path: object, *, create: bool = True, keep: bool = False, durable: bool = True) -> None:
        self.path = resolve(path)
        self._name = str(self.path)
        self._wal = Wal(self.path)
        self._holds: tuple[int, int] | None = None  # what of `holding` is ours
        self.keep = keep
        self.durable = durable
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._synchronous = ""
        self._used_s = 0.0
        self._depth = 0
        self._commits = 0
        self._pid = os.getpid()
        self._checked: tuple[int, int] | None = None
        self._read_only = False
        alive.add(self)
        with self._lock:
            try:
                self._prepare(create)
            except BaseException:
                self._drop()  # now, not after a burst: with it goes the WAL that SQLite makes for a mere look
                raise

    # -------------------------------------------------------------------------------------------- opening

    def _prepare(self, create: bool) -> None:
        """See what the path holds, without changing a stranger's file; make or migrate ours."""
        refuse_network(self.path)
        try:
            about = os.stat(self.path)
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                raise NotAQueue(f"the folder {self.path.parent} does not exist: create it, or choose another path") from None
            if not create:
                raise NotAQueue(f"there is no file {self.path}") from None
            about = make_file(self.path)
        except NotADirectoryError:
            raise NotAQueue(f"{self.path}: a part of this path is a file, not a folder") from None
        if self.path.is_dir():
            raise NotAQueue(f"{self.path} is a folder: name a file in it, for example {self.path / 'jobs.db'}")
        if about.st_nlink > 1:
            raise NotAQueue(f"{self.path} has {about.st_nlink} hard links; SQLite is unsafe under two names. Remove the others")
        if hasattr(os, "getuid") and about.st_uid != os.getuid():
            raise QueueReadOnly(f"{self.path} belongs to another user. Copy it: 'gigq-nb trust' shows what a copy holds")
        if 0 < about.st_size < LEAST_BYTES:  # SQLite takes a stump for an empty file, and would write over it
            raise NotAQueue(f"{self.path} is not a SQLite file; it was left untouched")
        if about.st_size:
            require_ours(self.path)
        if about.st_mode & 0o077:
            with contextlib.suppress(OSError):
                os.chmod(self.path, 0o600)  # by path: opening and closing it would drop SQLite's locks
                warnings.warn(f"{self.path} could be read by other users; its mode is now 0600", stacklevel=4)
        folder = os.stat(self.path.parent)
        if folder.st_mode & 0o002 and not folder.st_mode & 0o1000:
            warnings.warn(
                f"anybody can replace files in {self.path.parent}: move the queue to a folder of your own", stacklevel=4
            )
        self._checked = (about.st_dev, about.st_ino)
        migrate(self)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """A connection outside a transaction, with the waiting and the errors of :meth:`write`."""
        with self._lock, self._errors():
            end_s = time.monotonic() + BUSY_S
            db = self._connected()
            self._let_go()  # to make the file, or to change its journal, SQLite locks it against everybody, us included
            self._depth += 1
            try:
                db.execute(f"pragma busy_timeout = {int(max(0.0, end_s - time.monotonic()) * 1000)}")
                yield db
            finally:
                self._depth -= 1
                db.execute("pragma busy_timeout = 0")
                self._done()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        self._pid = os.getpid()
        about = os.stat(self.path)
        inode = (about.st_dev, about.st_ino)
        if self._checked is not None and inode != self._checked:
            require_ours(self.path)
            raise QueueReplaced(f"{self.path} was replaced by another file while it was in use; open it again")
        try:
            db = self._connect("mode=rw")  # never makes a file: a new one would be no queue, and readable by others
        except sqlite3.OperationalError:
            os.stat(self.path)  # says so if it was deleted just now
            raise
        try:
            # The last one that closes the file locks it while it empties the WAL: whoever opens it then has to wait.
            db.execute(f"pragma busy_timeout = {int(BUSY_S * 1000)}")
            for pragma in _PRAGMAS:
                db.execute(pragma)
            db.execute("select count(*) from sqlite_schema limit 1").fetchone()
            db.execute("pragma busy_timeout = 0")
            self._read_only = False
        except BaseException as error:
            db.close()
            code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.OperationalError) else None
            if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            # A WAL file on a read-only disk cannot be opened, but it can be read as it is.
            db = self._connect("mode=ro&immutable=1")
            db.execute("select count(*) from sqlite_schema limit 1").fetchone()
            self._read_only = True
        self._connection, self._inode, self._synchronous = db, inode, ""
        self._wal.remember()
        return db

    def _connect(self, how: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?{how}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=0,
            cached_statements=200,
        )

    @property
    def is_read_only(self) -> bool:
        """Whether the open connection can only read: the disk is read-only."""
        return self._read_only

    # -------------------------------------------------------------------------------------------- transactions

    @contextlib.contextmanager
    def write(
        self, *, durable: bool = True, early: Callable[[], object] | None = None, busy_s: float = BUSY_S
    ) -> Iterator[sqlite3.Connection]:
        """One write transaction: all of it or nothing, also after an interrupt.

        Args:
            durable: fsync before this ends. What nobody was told about (a claim, a beat) needs none: the next fsync
                of the file covers it, and after a power cut it is simply undone.
            early: The others see it before its fsync, which then does not keep them from writing; called in between, to
                wake them. Right for a submit: a job that ran although the power failed before it was acknowledged could
                have done so after it, too. Never for a result: who reads one must find it again.
            busy_s: How long to wait for the write lock.

        Raises:
            QueueBusy, QueueFull, QueueReadOnly, QueueCorrupt, QueueReplaced: nothing was changed.
        """
        with self._lock, self._errors():
            db = self._connected()
            self._require_in_place()
            if self._read_only:
                raise QueueReadOnly(f"{self.path} cannot be written: its file system is read-only")
            fsync = durable and self.durable
            wanted = "full" if fsync and early is None else "normal"
            self._set_synchronous(db, wanted)
            self._depth += 1
            try:
                self._hold()
                db = self._begin(db, busy_s, wanted)  # inside: an interrupt right after it must not leave the transaction open
                yield db
                failpoint("before_store_commit")
                db.execute("commit")
                failpoint("after_store_commit")
                if early is not None:
                    early()
                    if fsync:
                        self._wal.fsync()
                self._require_our_wal()
                self._commits += 1
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # it may be closed by now
                    if db.in_transaction:
                        db.execute("rollback")
                raise
            finally:
                self._depth -= 1
                self._done()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file for a few reads. Fetch all before leaving: a reader keeps the WAL from shrinking."""
        with self._lock, self._errors():
            db = self._connected()
            nested = db.in_transaction
            if not nested and not self._wal.is_ours():
                self._drop()
                db = self._connected()
            self._depth += 1
            try:
                if self._depth == 1:  # not within exclusive()
                    self._hold()
                if not nested:
                    db.execute("begin")
                yield db
            finally:
                self._depth -= 1
                if not nested and db.in_transaction:
                    db.execute("rollback")
                self._done()

    def _begin(self, db: sqlite3.Connection, busy_s: float, wanted: str) -> sqlite3.Connection:
        """Begin to write, on this connection, or on a new one where this one's WAL is no longer the file's."""
        end_s = time.monotonic() + busy_s
        pause_s = 0.0002
        while True:
            try:
                db.execute("begin immediate")
                if self._wal.is_ours():
                    return db
                self._drop()
                db = self._connected()
                self._hold()
                self._set_synchronous(db, wanted)
                continue
            except sqlite3.OperationalError as error:
                if (error.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY or time.monotonic() > end_s:
                    raise
            time.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(0.01, pause_s * 1.3)

    def _set_synchronous(self, db: sqlite3.Connection, wanted: str) -> None:
        if wanted != self._synchronous:
            db.execute(f"pragma synchronous = {wanted}")
            self._synchronous = wanted

    def _hold(self) -> None:
        if self._holds is None and self._inode is not None and not self._read_only and holding.take(self._name, self._inode):
            self._holds = self._inode

    def _let_go(self) -> None:
        if self._holds is not None:
            holding.release(self._holds)
            self._holds = None

    def _require_our_wal(self) -> None:
        """After a commit: it went into the WAL that stands beside the file. One that was unlinked is read by nobody."""
        if not self._wal.is_ours():
            self._drop()
            raise QueueReplaced(
                f"{self._wal.name} was removed while it was written; what was just stored may be gone. Look, and try again"
            )

    def _require_in_place(self) -> None:
        try:
            about = os.stat(self._name)
        except FileNotFoundError:
            self._drop()
            raise QueueReplaced(f"{self.path} was deleted while it was in use; open it again to make a new one") from None
        if (about.st_dev, about.st_ino) != self._inode:
            self._drop()
            raise QueueReplaced(f"{self.path} was replaced by another file while it was in use; open it again")

    def is_in_place(self) -> bool:
        """Whether the path still names the file that was opened."""
        try:
            about = os.stat(self.path)
        except OSError:
            return False
        return (about.st_dev, about.st_ino) == self._checked

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        except FileNotFoundError as error:
            if error.filename is not None and os.fspath(error.filename) == os.fspath(self.path):
                raise QueueReplaced(f"{self.path} was deleted while it was in use; open it again to make a new one") from None
            raise

    # -------------------------------------------------------------------------------------------- closing

    def _done(self) -> None:
        self._used_s = time.monotonic()
        if not self.keep and not self._depth and self._commits > COMMITS_PER_LOOK:
            self._commits = 0
            self._mind_the_wal()
        if not self.keep and self._connection is not None and not self._depth:
            closer.watch(self)

    def _mind_the_wal(self) -> None:
        """In a long burst. Moving the WAL into the file is the worker's business; a kernel does it when there is none."""
        db, size = self._connection, self.wal_bytes()
        if db is None or size < WAL_BYTES:
            return
        with contextlib.suppress(sqlite3.Error):
            if db.execute("select 1 from workers where state <> 'gone' limit 1").fetchone() is None:
                db.execute("pragma wal_checkpoint(restart)").fetchone()
        if size > LONGEST_WAL_BYTES:  # the worker that stands in the file is dead: who closes it last empties the WAL
            self._drop()

    def close_if_idle(self) -> float | None:
        """Close after a burst. Returns seconds until it is worth asking again, None when closed."""
        if not self._lock.acquire(blocking=False):
            return BURST_S
        try:
            if self._connection is None:
                return None
            left_s = self._used_s + BURST_S - time.monotonic()
            if self._depth or left_s > 0:
                return max(left_s, 0.001)
            self._drop()
            return None
        finally:
            self._lock.release()

    def _drop(self) -> None:
        if self._connection is not None:
            self._let_go()  # first: else nobody, we included, could be the last one
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        self._wal.close()

    def close(self) -> None:
        """Close the connection; the next operation opens it again."""
        with self._lock:
            self._drop()

    def checkpoint(self, *, shrink: bool = True) -> int:
        """Move the WAL into the file. Only one process does this at a time. Returns the WAL's bytes.

        Args:
            shrink: Also give its space back. Else the next writes begin at its start again: an fsync of a file that
                does not grow needs no commit of the file system's journal, and takes half the time.
        """
        with self._lock, self._errors():
            db = self._connected()
            db.execute(f"pragma busy_timeout = {CHECKPOINT_BUSY_MS}")  # it needs the write lock, and others keep it busy
            try:
                db.execute("pragma wal_checkpoint(truncate)" if shrink else "pragma wal_checkpoint(restart)").fetchone()
            finally:
                db.execute("pragma busy_timeout = 0")
        return self.wal_bytes()

    def make_wal_room(self) -> None:
        """Lengthen a short write-ahead log, so that the next transactions overwrite it: an fsync then costs half."""
        with self.write(durable=False):
            self._wal.make_room()

    def wal_bytes(self) -> int:
        """Size of the write-ahead log, in bytes."""
        return self._wal.bytes()

    def wal_used_bytes(self) -> int:
        """How much of the write-ahead log is in use, in bytes: what a checkpoint would move, or has moved last."""
        return self._wal.used_bytes()

    def changed_mark(self) -> tuple[int, int]:
        """A mark that changes with each commit of any process, without a connection: the WAL's time and size."""
        try:
            about = os.stat(self._wal.name)
        except OSError:
            try:
                about = os.stat(self.path)
            except OSError:
                return (0, 0)
        return about.st_mtime_ns, about.st_size

    def backup(self, target: Path) -> None:
        """A consistent copy under load, by SQLite's backup API; appears complete, mode 0600."""
        draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with self._lock, self._errors():
                copy = sqlite3.connect(draft, isolation_level=None)
                try:
                    self._connected().backup(copy)
                    copy.execute("pragma journal_mode = delete")
                finally:
                    copy.close()
                self._done()
            os.replace(draft, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)

    def forget_in_fork(self) -> None:
        """After a fork, in the child: the parent's handle must be neither used nor closed here. It is leaked on purpose."""
        self._lock = threading.RLock()
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = None
        self._holds = None
        self._wal.close()
        self._depth = 0
