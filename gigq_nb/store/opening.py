"""Whose file is it, what did SQLite mean, and the numbered migrations: what opening a queue needs to know."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterator
from importlib import resources
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


def migrations() -> list[tuple[int, str]]:
    """The numbered SQL files, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=lambda one: one.name)
    return [(int(one.name.split("_")[0]), one.read_text("utf-8")) for one in files]


def statements(script: str) -> Iterator[str]:
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if part.strip() and sqlite3.complete_statement(part):
            yield part
            part = ""


def require_our_schema(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuse a file whose tables are not those of its version, or that has triggers and views of somebody else.

    They would run in this process with whatever is written or read. What else a person added (a table of notes, an
    index) does no harm.

    Raises:
        NotAQueue: naming the first of them.
    """
    found = _schema_of(db)
    wanted = _schema(version)
    for key in sorted(found):
        kind, name = key
        if key in wanted and found[key] != wanted[key]:
            raise NotAQueue(
                f"{path}: its {kind} {name!r:.60} is not the one of schema {version}; somebody changed it. It was left untouched"
            )
        if key not in wanted and kind in ("trigger", "view"):
            raise NotAQueue(
                f"{path} has a {kind} {name!r:.60} that gigq_nb did not make; it was left untouched. Drop it, or use a copy"
            )
    for kind, name in sorted(wanted.keys() - found.keys()):
        raise NotAQueue(f"{path}: its {kind} {name!r:.60} is missing; restore a backup. It was left untouched")


def _schema_of(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """SQL by (type, name) of all that somebody made; SQLite's own tables and indexes have names that nobody else may take."""
    rows = db.execute("select type, name, sql from sqlite_schema where name not like 'sqlite\\_%' escape '\\'")
    return {(row[0], row[1]): row[2] for row in rows}


@functools.cache
def _schema(version: int) -> dict[tuple[str, str], str]:
    """What the migrations up to a version make, from a file that exists only in memory."""
    db = sqlite3.connect(":memory:")
    try:
        for number, script in migrations():
            if number <= version:
                db.executescript(script)
        return _schema_of(db)
    finally:
        db.close()


def require_ours(path: Path) -> None:
    """Read whose file it is, without a lock, a WAL or a change.

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
