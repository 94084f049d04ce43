"""What a child says of an attempt, read from its packets. It may have been made up by a job: what does not fit is a ValueError."""

from __future__ import annotations

import json
from typing import NamedTuple

from ..states import Outcome
from . import wire
from .runner import Assignment, Finished


class Message(NamedTuple):
    """One packet. ``started`` and ``finished`` are monotonic ns; ``sizes`` are those of the sections that follow one another."""

    kind: bytes
    token: int
    started: int
    finished: int
    sizes: tuple[int, int, int, int, int]
    content: bytes | memoryview

    def sections(self) -> list[bytes | memoryview]:
        """The five sections; those of a large body stay where they are, in the memory file that came with the packet."""
        begin, parts = 0, []
        for size in self.sizes:
            parts.append(self.content[begin : begin + size])
            begin += size
        return parts

    def finished_attempt(self, one: Assignment) -> Finished:
        """The end of an attempt, from a RESULT or an ERROR."""
        first, second, third, fourth, signature = self.sections()
        if self.kind == wire.ERROR:
            over = Finished(one, Outcome.FAILED, self.started, self.finished, signature=bytes(signature))
            over.error, over.exception, over.arguments = json.loads(bytes(first)), bytes(second), str(third, "utf-8")
            return over
        preview, exact, arguments = [str(part, "utf-8") if part else "" for part in (second, third, fourth)]
        return Finished(one, Outcome.COMPLETED, self.started, self.finished, first, bytes(signature), preview, exact, arguments)


def read(packet: bytes, body: bytes | memoryview | None) -> Message:
    """A packet and the large body that came with it, if one did.

    Raises:
        struct.error: it is no packet of a child.
    """
    kind, token, started, finished, a, b, c, d, e = wire.TO_WORKER.unpack_from(packet)
    return Message(kind, token, started, finished, (a, b, c, d, e), packet[wire.TO_WORKER.size :] if body is None else body)
