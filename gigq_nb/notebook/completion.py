"""Tab completion behind ``%gigq``: words, options, statuses, jobs by name and id."""

from __future__ import annotations

from typing import Any

from ..commands import registry
from ..commands.finding import reading
from ..connected import current
from ..errors import GigQError
from ..queue import JobQueue
from ..states import JobStatus
from ..store import reads
from . import cells

_OF_JOBS = frozenset(["status", "result", "logs", "show", "wait", "cancel", "retry", "requeue"])
_OF_BATCHES = frozenset(["batch", "workflow", "show"])
_MAGICS = ("%gigq", "%%gigq")
_MOST = 200


def complete(line: str, symbol: str, queue: JobQueue | None) -> list[str]:
    """What may follow. ``line`` is the text up to the cursor, ``symbol`` the piece of a word before it."""
    magic, *before = line.split()
    if not line.endswith(tuple(" \t")):
        before = before[:-1]
    if magic == "%%gigq":
        return cells.options() if symbol.startswith("-") or not symbol else []
    plain = [one for one in before if not one.startswith("-")]
    words = registry.words()
    known = {**words, **{other: command for command in words.values() for other in command.also}}
    word = next((one for one in plain if one in known), None)
    if before and before[-1] == "--status":
        return [status.value for status in JobStatus]
    if symbol.startswith("-") or (line.rsplit(None, 1)[-1].startswith("-") and not line.endswith(" ")):
        return registry.options_of(word) if word else ["--db", "--help", "--json", "--version"]
    if word is None:
        return list(known)
    if word == "worker":
        return ["start", "stop", "status"]
    found: list[str] = []
    if queue is not None and (word in _OF_JOBS or before[-1] == "--name"):
        found += _jobs(queue)
    if queue is not None and (word in _OF_BATCHES or before[-1] == "--batch"):
        found += _batches(queue)
    return found


def _jobs(queue: JobQueue) -> list[str]:
    """Names and ids of the newest jobs; a name with blanks in quotes would not complete, so its id does."""
    with reading(queue) as db:
        rows = reads.jobs(db, limit=_MOST)
    names = dict.fromkeys(row.name for row in rows if row.name.isprintable() and " " not in row.name)
    return [*names, *(row.id for row in rows)]


def _batches(queue: JobQueue) -> list[str]:
    with reading(queue) as db:
        rows = [reads.batch(db, number, times=False) for number in reads.batches(db, _MOST)]
    return list(dict.fromkeys(row.name for row in rows if row.name.isprintable() and " " not in row.name))


def _completer(_shell: Any, event: Any) -> list[str]:
    try:
        queue = current()
    except GigQError:
        queue = None
    try:
        return complete(event.text_until_cursor, event.symbol, queue)
    except GigQError:  # a file that cannot be read now: nothing to offer, and no noise while somebody types
        return []


def register(shell: Any) -> None:
    """Add the completer to a shell, once."""
    unregister(shell)
    for magic in _MAGICS:
        shell.set_hook("complete_command", _completer, str_key=magic)


def unregister(shell: Any) -> None:
    """Take it away again."""
    hooks = shell.strdispatchers.get("complete_command")
    for magic in _MAGICS:
        if hooks is not None:
            hooks.strs.pop(magic, None)
