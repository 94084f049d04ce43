"""``doctor``: what could go wrong here, and what to do about it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from ..errors import GigQError
from ..queue import JobQueue
from ..store import health, pruning
from ..store.filesystem import Spill
from ..store.opening import resolve
from ..upkeep import YOUNG_MS
from . import checks
from .checks import BROKEN, FINE, NOTE, WARNING, Finding
from .command import Answer, Command, Door

_MARK = {FINE: "  ok  ", NOTE: " note ", WARNING: " WARN ", BROKEN: "BROKEN"}


class Doctor(Command):
    """Look for what is wrong, or could go wrong, and say what to do.

    It looks at the versions, the disk, permissions, the file, workers, jobs, signatures, logs and the key. Exit code 1
    means that something is broken.
    """

    word = "doctor"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--fix", action="store_true", help="put modes right, and remove files that belong to no job")

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        path = resolve(door.path())
        if args.fix:
            fixed = fix(path)
            if fixed:
                door.say(fixed)
        findings = list(examine(path))
        broken = sum(one.level == BROKEN for one in findings)
        warnings = sum(one.level == WARNING for one in findings)
        last = "Nothing is wrong." if not broken + warnings else f"{broken} broken, {warnings} to look at."
        text = "\n".join([str(path), *map(line, findings), last])
        return Answer(data=[asdict(one) for one in findings], text=text, failed=broken > 0, report=True)


def line(one: Finding) -> str:
    """A finding for a person."""
    todo = f"\n           -> {one.todo}" if one.todo else ""
    return f"[{_MARK[one.level]}] {one.about}: {one.says}{todo}"


def examine(path: Path) -> Iterator[Finding]:
    """All findings about this machine, this user and a queue's file, whatever state they are in."""
    yield from _guarded("machine", checks.machine)
    yield from _guarded("key", checks.user)
    if not os.path.lexists(path):
        yield Finding(level=NOTE, about="file", says=f"there is no file {path} yet", todo="--db FILE names another")
        yield from _guarded("logs", lambda: checks.logs(None))
        return
    yield from _guarded("disk", lambda: checks.place(path))
    try:
        queue = JobQueue(path, False)
        queue.stats()
    except GigQError as error:
        yield Finding(level=BROKEN, about="file", says=str(error))
        return
    with queue:
        for about, check in (
            ("file", checks.file),
            ("workers", checks.workers_of),
            ("pause", checks.pause),
            ("jobs", checks.jobs),
            ("logs", checks.logs),
        ):
            yield from _guarded(about, lambda check=check: check(queue))  # type: ignore[misc]


def _guarded(about: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A check that cannot be done is a finding, and does not hide the others."""
    try:
        yield from check()
    except (GigQError, OSError) as error:
        yield Finding(level=BROKEN, about=about, says=str(error))


def fix(path: Path) -> str:
    """Put right what needs no decision. Returns what was done, in a sentence."""
    done = []
    if hasattr(os, "getuid"):
        for one in health.modes(path):
            if one.path != path.parent and one.uid == os.getuid() and one.mode & 0o077 and not one.path.is_symlink():
                os.chmod(one.path, 0o700 if one.path.is_dir() else 0o600)  # by path: opening the file would drop SQLite's locks
                done.append(f"{one.path.name} is yours alone now")
    if path.exists():
        with JobQueue(path, False) as queue, queue._database.read() as db:
            removed = pruning.sweep(db, Spill(path), time.time_ns() // 1_000_000 - YOUNG_MS)
        if removed:
            done.append(f"{removed} files that belonged to no job were removed")
    return "; ".join(done)
