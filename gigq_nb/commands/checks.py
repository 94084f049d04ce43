"""What ``doctor`` looks at, one check each. A check looks and tells; it changes nothing and unpickles nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from .. import signing
from ..errors import GigQError
from ..runtime import bell, launcher, processes
from ..runtime.peers import LEASE_S
from ..store import health, pausing, pruning, reads, schema, signatures, workers
from ..store.filesystem import NETWORK, Spill
from ..upkeep import YOUNG_MS
from . import trusting
from .terminal import ago_text, visible_line

if TYPE_CHECKING:
    from ..job import WorkerRow
    from ..queue import JobQueue

FINE, NOTE, WARNING, BROKEN = "fine", "note", "warning", "broken"
LARGE_WAL_BYTES = 64 * 2**20
LITTLE_ROOM_BYTES = 200 * 10**6
_MOST_PAYLOADS = 2_000
_QUICK_CHECK_BYTES = 500 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``todo`` says what to do about it; empty: nothing."""

    level: str
    about: str
    says: str
    todo: str = ""


# ------------------------------------------------------------------------------------------------- machine and user


def machine() -> Iterator[Finding]:
    """Versions, and what the platform can keep."""
    version = health.sqlite_version()
    text = ".".join(map(str, version))
    yield Finding(
        level=FINE,
        about="versions",
        says=f"gigq_nb {metadata.version('gigq-nb')}, Python {platform.python_version()} in {sys.prefix}, SQLite {text}",
    )
    if not sys.platform.startswith("linux"):
        yield Finding(
            level=WARNING,
            about="platform",
            says=f"on {platform.system()} a killed worker's children, and processes that leave their session, may live on",
            todo="use Linux (WSL2, a container) where a timeout must end everything",
        )
    if health.has_wal_reset_bug(version):
        yield Finding(
            level=NOTE,
            about="SQLite",
            says=f"SQLite {text} has the WAL-reset bug (sqlite.org/wal.html#walresetbug), which can lose commits, very rarely;"
            " gigq_nb lets one process alone checkpoint, under the write lock, which avoids what is known of it",
            todo="use a Python with SQLite 3.51.3 or later (or 3.50.7, 3.44.6) when you can",
        )


def user() -> Iterator[Finding]:
    """The key, the runtime folder, the workers' logs."""
    path = signing.key_path()
    if not path.exists():
        yield Finding(level=NOTE, about="key", says=f"no signing key yet; {path} is made by the first submit")
    else:
        loose = path.stat().st_mode & 0o077
        try:
            mark = signing.key_id(signing.load_key())
        except GigQError as error:
            yield Finding(level=BROKEN, about="key", says=str(error), todo="'gigq-nb key import FILE' brings one back")
        else:
            yield Finding(level=FINE, about="key", says=f"{mark[:8]} in {path}")
            if loose:
                yield Finding(
                    level=WARNING,
                    about="key",
                    says=f"{path} could be read by others (it has mode 0600 now): whoever read it can run code as you",
                    todo="if others use this machine, move it away; a new one is made, and 'trust' signs your files with it",
                )
    try:
        folder = bell.runtime_dir()
    except (GigQError, OSError) as error:
        yield Finding(
            level=BROKEN, about="runtime folder", says=str(error), todo="set JUPYTER_RUNTIME_DIR to a folder of your own"
        )
    else:
        yield Finding(level=FINE, about="runtime folder", says=f"{folder} (sockets that wake workers and kernels)")


def logs(queue: JobQueue | None) -> Iterator[Finding]:
    """Where the workers' logs are, and how the newest of this queue ends."""
    folder = launcher.log_dir()
    newest = None
    if queue is not None:
        with queue._database.read() as db:
            newest = next((one for one in reads.workers(db, gone=True) if one.log), None)
    if newest is None or newest.log is None:
        yield Finding(level=FINE, about="logs", says=f"workers started from notebooks write to {folder}")
        return
    yield Finding(level=FINE, about="logs", says=f"{folder}; the newest of this queue: {visible_line(newest.log)}")
    lines = _tail(newest.log)
    bad = [line for line in lines if " ERROR " in line or line.startswith("Traceback")]
    if bad:
        yield Finding(
            level=WARNING,
            about="logs",
            says=f"the log of {visible_line(newest.name)} has an error: {visible_line(bad[-1])[:200]}",
            todo=f"read {newest.log}",
        )


def _tail(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


# ------------------------------------------------------------------------------------------------- the file


def place(path: Path) -> Iterator[Finding]:
    """Before the file is opened: its disk, its owner, its modes."""
    kind = health.file_system(path)
    room = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    if kind in NETWORK:
        yield Finding(
            level=BROKEN,
            about="disk",
            says=f"{path} is on a network file system ({kind}), where SQLite's locks are not safe",
            todo="put the queue on a local disk, and copy results home with queue.backup()",
        )
    else:
        yield Finding(level=FINE, about="disk", says=f"{kind or 'unknown'} file system, {room / 1e9:,.1f} GB free")
    if room < LITTLE_ROOM_BYTES and path.parent.is_dir():
        yield Finding(
            level=WARNING,
            about="disk",
            says=f"only {room / 1e6:,.0f} MB are free",
            todo="make room: a full disk stops every submit",
        )
    if not hasattr(os, "getuid"):
        return
    for one in health.modes(path):
        folder = one.path == path.parent
        if one.uid not in (os.getuid(), 0) and not folder:
            yield Finding(
                level=BROKEN,
                about="owner",
                says=f"{one.path} belongs to user {one.uid}",
                todo="work on a copy of your own: copy the file (and its .files folder), then 'gigq-nb trust COPY'",
            )
        elif folder and one.mode & 0o002 and not one.mode & 0o1000:
            yield Finding(
                level=WARNING,
                about="permissions",
                says=f"anybody can replace files in {one.path} (mode {one.mode:04o})",
                todo=f"chmod o-w {one.path}, or move the queue to a folder of your own",
            )
        elif not folder and one.mode & 0o077:
            mode = "700" if one.path.is_dir() else "600"
            yield Finding(
                level=WARNING,
                about="permissions",
                says=f"{one.path} can be used by others (mode {one.mode:04o}): it holds your arguments and results",
                todo=f"chmod {mode} {one.path}",
            )


def file(queue: JobQueue) -> Iterator[Finding]:
    """The file itself: schema, journal, damage, WAL, values beside it."""
    with queue._database.read() as db:
        said = health.pragmas(db)
        added = schema.additions(db)
        size = int(said["page_size"]) * int(said["page_count"])
        damage = health.quick_check(db) if size < _QUICK_CHECK_BYTES else None
        missing = health.missing_files(db, Spill(queue.path))
        orphans = pruning.orphans(db, Spill(queue.path), _now_ms() - YOUNG_MS)
    yield Finding(
        level=FINE,
        about="file",
        says=f"schema {said['user_version']} of {health.newest_schema()}, journal {said['journal_mode']}, {size / 1e6:,.1f} MB"
        + ("" if damage is not None else " (too large to check for damage here: sqlite3 FILE 'pragma quick_check')"),
    )
    if said["journal_mode"] != "wal":
        yield Finding(
            level=BROKEN,
            about="journal",
            says=f"the journal is {said['journal_mode']}, not wal: readers and the worker block each other",
            todo="end what else has the file open, then: sqlite3 FILE 'pragma journal_mode = wal'",
        )
    if damage:
        yield Finding(
            level=BROKEN,
            about="file",
            says=f"damaged: {damage[0]}",
            todo="keep it, restore a backup, or salvage it: sqlite3 FILE .recover",
        )
    if added:
        yield Finding(
            level=NOTE, about="schema", says=f"somebody added {visible_line(', '.join(added[:5]))}, which gigq_nb leaves alone"
        )
    if missing:
        yield Finding(
            level=BROKEN,
            about="large values",
            says=f"{len(missing)} values are not in {queue.path.name}.files, e.g. {missing[0]}",
            todo="copy the folder along with the file (queue.backup() does); those jobs fail as 'damaged'",
        )
    if orphans:
        yield Finding(
            level=WARNING,
            about="large values",
            says=f"{len(orphans)} files in {queue.path.name}.files belong to no job",
            todo="'gigq-nb doctor --fix' removes them",
        )
    yield from _wal(queue.path, queue._database.wal_bytes())


def _wal(path: Path, size: int) -> Iterator[Finding]:
    if size > LARGE_WAL_BYTES:
        yield Finding(
            level=WARNING,
            about="WAL",
            says=f"{path.name}-wal has {size / 1e6:,.0f} MB: no worker empties it, or a program keeps reading the file",
            todo="start a worker; end what holds the file open (fuser FILE shows it)",
        )
    else:
        yield Finding(level=FINE, about="WAL", says=f"{size / 1e6:,.1f} MB")


# ------------------------------------------------------------------------------------------------- workers and jobs


def workers_of(queue: JobQueue) -> Iterator[Finding]:
    """Who works here, who is dead or silent, and whether anybody does while jobs wait."""
    with queue._database.read() as db:
        rows = reads.workers(db)
        peers = {peer.id: peer for peer in workers.peers(db)}
        counts = reads.counts(db)
        left = health.children_of_the_gone(db)
    able = 0
    for row in rows:
        found = _worker(row, processes.is_alive(peers[row.id].process) if row.id in peers else None)
        able += found.level == FINE
        yield found
    for name, pid, birth in left:
        if processes.birth_of(pid) == birth:
            yield Finding(
                level=WARNING,
                about="workers",
                says=f"process {pid} was a child of the worker {visible_line(name)}, which is gone",
                todo=f"kill {pid}",
            )
    if not able and counts.pending + counts.running:
        yield Finding(
            level=WARNING,
            about="workers",
            says=f"no worker runs, and there is work: {_jobs(counts.pending + counts.running, 'open')}",
            todo="start one: queue.start_worker(), '%gigq worker start', or 'gigq-nb worker' in a terminal",
        )
    elif not rows:
        yield Finding(level=FINE, about="workers", says="none runs, and no job is open")
    if why := launcher.why_not(queue):
        yield Finding(level=BROKEN, about="workers", says=why, todo="its log says why; then start one with '%gigq worker start'")


def _worker(row: WorkerRow, alive: bool | None) -> Finding:
    silent_s = (_now_ms() - row.beat_at) / 1000
    name = f"{visible_line(row.name)} (pid {row.pid} on {visible_line(row.host)})"
    if alive is False:
        return Finding(
            level=WARNING,
            about="workers",
            says=f"{name} is dead" + (f" and holds {row.running} running jobs" if row.running else ""),
            todo="start a worker: it takes over what this one held",
        )
    if silent_s > LEASE_S:
        return Finding(
            level=WARNING,
            about="workers",
            says=f"{name} is silent for {ago_text(silent_s)}"
            + (": stopped, or suspended?" if alive else ", and lives elsewhere, if at all"),
            todo=f"wake it with kill -CONT {row.pid}, or end it; another worker takes over its jobs"
            if alive
            else "another worker takes over its jobs",
        )
    return Finding(
        level=FINE,
        about="workers",
        says=f"{name}: {row.concurrency} at a time, {row.running} running, {visible_line(row.why or row.state)}",
    )


def pause(queue: JobQueue) -> Iterator[Finding]:
    """Whether somebody paused the queue, and maybe forgot it."""
    with queue._database.read() as db:
        at = pausing.paused_at(db)
        pending = reads.counts(db).pending
    if at is not None:
        yield Finding(
            level=WARNING if pending else NOTE,
            about="pause",
            says=f"the queue is {pausing.words(at)}: nothing begins"
            + (f"; {_jobs(pending, 'pending')} held back" if pending else ""),
            todo="'gigq-nb resume', '%gigq resume' or queue.resume() lets jobs begin again",
        )


def jobs(queue: JobQueue) -> Iterator[Finding]:
    """Open jobs that no worker of this user, Python and environment takes, and payloads that were changed."""
    path = signing.key_path()
    mine = signing.key_id(signing.load_key()) if path.exists() else ""
    with queue._database.read() as db:
        waiting = health.waiting(db)
        changed = list(_changed(queue, db)) if mine else []
    for one in waiting:
        n = _jobs(one.pending, "pending")
        if one.pending and one.key_id != mine:
            yield Finding(
                level=WARNING,
                about="jobs",
                says=f"{n} signed with another key ({visible_line(one.key_id[:8])}): not run here",
                todo="'gigq-nb trust FILE' shows and signs them; 'gigq-nb key import' brings a key of yours from another machine",
            )
        elif one.pending and one.python != signing.PYTHON:
            yield Finding(
                level=WARNING,
                about="jobs",
                says=f"{n} for Python {visible_line(one.python)}; this is {signing.PYTHON}",
                todo=f"start a worker there: {visible_line(one.prefix)}/bin/python -m gigq_nb worker",
            )
        elif one.pending and one.prefix != sys.prefix:
            yield Finding(
                level=WARNING,
                about="jobs",
                says=f"{n} from the environment {visible_line(one.prefix)}; this is {sys.prefix}",
                todo="start a worker there, or one here with --any-environment",
            )
    if changed:
        yield Finding(
            level=BROKEN,
            about="payloads",
            says=f"{len(changed)} of the next pending jobs were changed in the file after you signed them, e.g. {changed[0]}",
            todo="they end as failed (damaged), and are not run: restore a backup, or submit them again",
        )


def _changed(queue: JobQueue, db: object) -> Iterator[str]:
    reader = trusting.Reader(db, Spill(queue.path), signing.load_key())  # type: ignore[arg-type]
    for runtime in sorted(reader.mine):
        rows = signatures.pending(reader.db, runtime, _MOST_PAYLOADS)
        for number in {row.task for row in rows}:
            reader.task(number, reader.runtimes[runtime].python)
        yield from (row.job_id for row in rows if reader.judge("arguments", row)[0] == "changed")


def _jobs(n: int, status: str) -> str:
    return f"{n:,} {status} job{'' if n == 1 else 's'}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
