"""Where functions run: the protocol between a worker and whatever runs its jobs, and what they tell each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..job import Options
from ..states import Outcome
from ..store.transitions import Claim


@dataclass(slots=True)
class LoadedTask:
    """A task whose digest was checked: what every job of it needs."""

    id: int
    digest: bytes
    name: str
    function: int
    payload: bytes
    cells: bytes
    settings: bytes
    options: Options


class LogBuffer:
    """What an attempt printed since the last look: bounded, with the beginning and the end kept."""

    HEAD_BYTES, TAIL_BYTES = 128 * 1024, 384 * 1024

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        """More output."""
        room = self.HEAD_BYTES - len(self.head)
        if room > 0 and not self.tail:
            self.head += data[:room]
            data = data[room:]
        if data:
            self.tail += data
            if len(self.tail) > 2 * self.TAIL_BYTES:
                over = len(self.tail) - self.TAIL_BYTES
                del self.tail[:over]
                self.dropped += over

    def __bool__(self) -> bool:
        return bool(self.head)

    def take(self) -> tuple[str, int]:
        """The text so far and how many bytes of it were left out; empties the buffer."""
        over = max(0, len(self.tail) - self.TAIL_BYTES)
        dropped = self.dropped + over
        head, tail = bytes(self.head), bytes(self.tail[over:])
        self.head, self.tail, self.dropped = bytearray(), bytearray(), 0
        text = head.decode("utf-8", "backslashreplace")
        if dropped:
            text += f"\n… {dropped:,} bytes left out …\n"
        return (text + tail.decode("utf-8", "backslashreplace")).replace("\0", "\\0"), dropped


class OutputBuffer:
    """What an attempt shows, by place, and what of it changed since the last look."""

    def __init__(self) -> None:
        self.bundles: list[tuple[str, bytes]] = []  # each with its signature
        self.changed: set[int] = set()
        self.shorter = False

    def put(self, place: int, bundle: str, signature: bytes) -> None:
        """An output for its place; an empty one ends the list there."""
        if not bundle:
            del self.bundles[place:]
            self.changed = {one for one in self.changed if one < place}
            self.shorter = True
        elif 0 <= place <= len(self.bundles):
            self.bundles[place : place + 1] = [(bundle, signature)]
            self.changed.add(place)

    def __bool__(self) -> bool:
        return bool(self.changed or self.shorter)

    def rows(self, places: Iterable[int]) -> list[tuple[int, str, bytes]]:
        """What the file keeps of them: (place, bundle, signature)."""
        return [(place, *self.bundles[place]) for place in places]

    def take(self) -> tuple[int, list[tuple[int, str, bytes]]]:
        """How many there are, and the rows of those that changed; afterwards nothing has."""
        changed = self.rows(sorted(self.changed))
        self.changed, self.shorter = set(), False
        return len(self.bundles), changed


@dataclass(slots=True)
class Assignment:
    """A claimed job on its way through a child. Times are monotonic."""

    claim: Claim
    task: LoadedTask
    arguments: bytes
    parents: bytes
    cost_s: float | None
    sent: bool = False
    log: LogBuffer = field(default_factory=LogBuffer)
    outputs: OutputBuffer = field(default_factory=OutputBuffer)
    marked_started: bool = False


@dataclass(slots=True)
class Finished:
    """An attempt is over. ``started_ns`` and ``finished_ns`` are monotonic; 0: not known."""

    assignment: Assignment
    outcome: Outcome
    started_ns: int
    finished_ns: int
    payload: bytes | memoryview = b""
    signature: bytes = b""
    preview: str = ""
    json: str = ""
    arguments: str = ""
    error: dict[str, Any] | None = None
    exception: bytes = b""


class Runner(Protocol):
    """Runs assignments. A worker is its only user and calls it from one thread."""

    def place(self, claim: Claim, task: LoadedTask) -> bool:
        """Reserve room for a claim, if what is claimed ahead stays within bounds."""

    def start(self, assignments: Sequence[Assignment]) -> None:
        """Run what was placed."""

    def collect(self, timeout_s: float) -> list[Finished]:
        """Wait for news, and return the attempts that are over."""

    def take_back(self) -> list[Assignment]:
        """Assignments that were not started and have no place any more."""

    def stop(self, token: int, outcome: Outcome, grace_s: float) -> bool:
        """End an attempt and all its processes; it comes back by :meth:`collect` when they are gone."""

    def close(self) -> None:
        """End everything."""
