"""The numbered migrations, and whether the tables of a file are those that they make."""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotAQueue, QueueBusy, QueueReadOnly, QueueTooNew
from ..failpoints import failpoint
from .opening import APPLICATION_ID

if TYPE_CHECKING:
    from .db import Database

MAKING_S = 15.0


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


def migrate(database: Database) -> None:
    """Bring a file to the newest schema, in one transaction; a new file gets its mark and its WAL before.

    Raises:
        QueueTooNew, NotAQueue, QueueReadOnly: it was left untouched.
    """
    steps = migrations()
    newest = steps[-1][0]
    with database.exclusive(), database.read() as db:  # patient: whoever makes the file at this moment has it for himself
        version = db.execute("pragma user_version").fetchone()[0]
        marked = db.execute("pragma application_id").fetchone()[0] == APPLICATION_ID
        if marked and version <= newest:
            require_our_schema(db, database.path, version)
        # A backup is one file, without a WAL. Opened as a queue it gets one, else its readers would lock its writers out.
        journal = db.execute("pragma journal_mode").fetchone()[0]
    if version > newest:
        raise QueueTooNew(
            f"{database.path} has schema {version}, this gigq_nb knows {newest}. Update with: pip install -U gigq-nb"
        )
    if version == newest and marked and (journal == "wal" or database.is_read_only):
        return
    _make(database)
    with database.write() as db:
        version = db.execute("pragma user_version").fetchone()[0]
        for number, script in steps:
            if number > version:
                for statement in statements(script):
                    failpoint("mid_migration")
                    db.execute(statement)
                db.execute(f"pragma user_version = {number:d}")


def _make(database: Database) -> None:
    """Mark a file as ours and turn its WAL on.

    That reads first and writes later, for which SQLite does not wait while somebody else writes, whatever its timeout: we do.
    """
    end_s = time.monotonic() + MAKING_S
    while True:
        try:
            _mark_and_turn_on_wal(database)
            return
        except QueueBusy:
            if time.monotonic() > end_s:
                raise
        time.sleep(random.uniform(0.002, 0.02))


def _mark_and_turn_on_wal(database: Database) -> None:
    with database.exclusive() as db:
        # Small pages: a job touches six of them, and a commit writes each as a whole (measured: with 1 KiB pages a durable
        # submit costs 0.17 ms instead of 0.2 to 0.27 with 4 KiB). Only a file without pages takes it.
        db.execute("pragma page_size = 1024")
        # The mark goes into the file itself before WAL is on, so that anybody can tell whose file it is.
        if db.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
            if db.execute("select count(*) from sqlite_schema").fetchone()[0]:
                raise NotAQueue(f"{database.path} is a SQLite file of something else; it was left untouched")
            failpoint("before_mark")
            db.execute(f"pragma application_id = {APPLICATION_ID}")
        failpoint("after_mark")
        if db.execute("pragma journal_mode = wal").fetchone()[0] != "wal":
            raise QueueReadOnly(f"{database.path}: this file system has no shared memory for SQLite's WAL; use a local disk")


def require_our_schema(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuse a file whose tables are not those of its version, or that has triggers and views of somebody else.

    They would run in this process with whatever is written or read. What else a person added (a table of notes, an
    index) does no harm.

    Raises:
        NotAQueue: naming the first of them.
    """
    found = _schema_of(db)
    if version < 1 and found:  # tables and version come in one transaction
        raise NotAQueue(f"{path} says it has schema {version}, and has tables; somebody changed it. It was left untouched")
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


def additions(db: sqlite3.Connection) -> list[str]:
    """Tables and indexes of somebody else in a file that is ours; triggers and views were refused when it was opened."""
    return sorted(f"{kind} {name}" for kind, name in _schema_of(db).keys() - _schema(migrations()[-1][0]).keys())


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
