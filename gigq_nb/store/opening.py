"""Whose file is it, what did SQLite mean, and the numbered migrations: what opening a queue needs to know."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from ..errors import InvalidArgument, InvalidType, NotAQueue, QueueBusy, QueueCorrupt, QueueError, QueueFull, QueueReadOnly

APPLICATION_ID = 0x67514E42  # "gQNB"


def resolve(path: object) -> Path:
    """The absolute path of a queue from what a user gives.

    Raises:
        InvalidType, InvalidArgument: neither text nor path; empty, ``:memory:`` or a URI.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidType(f"the path of a queue is a text or a Path, not {type(path).__name__}")
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InvalidType("the path of a queue is a text, not bytes")
    if not text.strip():
        raise InvalidArgument("the path of a queue is empty; write for example 'jobs.db'")
    if text == ":memory:" or text.startswith("file:"):
        raise InvalidArgument(f"{text!r}: a queue lives in a file that other processes can open; write for example 'jobs.db'")
    if "\0" in text:
        raise InvalidArgument("the path of a queue contains a NUL character")
    return Path(os.path.realpath(os.path.expanduser(text)))


def require_ours(path: Path) -> None:
    """Read whose file it is, without a lock, a WAL or a change.

    By SQLite itself, never by open(): it knows which descriptors of the file this process must not close yet.

    Raises:
        NotAQueue: not SQLite, or the file of another program.
    """
    try:
        try:
            mark, tables = _mark_and_tables(f"{path.as_uri()}?mode=ro&immutable=1")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or not os.path.exists(f"{path}-wal"):
                raise
            # Without locks a file looks damaged while somebody moves its WAL into it: look again, with locks.
            mark, tables = _mark_and_tables(f"{path.as_uri()}?mode=ro")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise NotAQueue(f"{path} is not a SQLite file, or its beginning is damaged; it was left untouched") from None
        raise translated(error, path) from error
    if mark == APPLICATION_ID:
        return
    if {"jobs", "job_executions"} <= tables:
        raise NotAQueue(
            f"{path} is a queue of GigQ, which cannot be opened in place. Choose a new path; the old file was left untouched"
        )
    if tables or mark:
        some = f" (it holds {', '.join(sorted(tables)[:3])})" if tables else ""
        raise NotAQueue(f"{path} is a SQLite file of another program{some}; it was left untouched. Choose another path")


def _mark_and_tables(uri: str) -> tuple[int, set[str]]:
    """The application id of a file, and the names of its tables if it is not ours."""
    db = sqlite3.connect(uri, uri=True, timeout=15.0)
    try:
        mark = db.execute("pragma application_id").fetchone()[0]
        if mark == APPLICATION_ID:
            return mark, set()
        return mark, {row[0] for row in db.execute("select name from sqlite_schema where type = 'table'")}
    finally:
        db.close()


def translated(error: sqlite3.Error, path: Path) -> QueueError | sqlite3.Error:
    """SQLite's error as one that says what to do; programming errors stay what they are."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", "") or ""
    if code is None:
        return error
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return QueueBusy(f"{path}: another process holds the write lock; nothing was changed. Try again, or end that process")
    if primary == sqlite3.SQLITE_FULL or name in (
        "SQLITE_IOERR_WRITE",
        "SQLITE_IOERR_FSYNC",
        "SQLITE_IOERR_SHMSIZE",
        "SQLITE_IOERR_TRUNCATE",
    ):
        return QueueFull(
            f"{path}: the disk is full or a size limit is reached ({error}); nothing was changed. Make room and try again"
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return QueueReadOnly(f"{path}: cannot be written ({error})")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
        return QueueCorrupt(
            f"{path}: SQLite cannot read it ({error}). Keep the file and its -wal, restore a backup, or try '.recover'"
        )
    return error


def make_file(path: Path) -> os.stat_result:
    """A new empty file, 0600 under any umask; also when another process makes it at this moment.

    Raises:
        QueueReadOnly, QueueFull, NotAQueue: it cannot be made here.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        os.chmod(path, 0o600)
    except FileExistsError:
        pass  # another process makes it at this moment
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise QueueReadOnly(f"{path} cannot be made: {error.strerror}. Choose a folder you can write") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise QueueFull(f"{path} cannot be made: {error.strerror}. Make room and try again") from error
        raise NotAQueue(f"{path} cannot be made: {error.strerror}") from error
    return os.stat(path)
