"""What a child says of an attempt, read from its packets. It may have been made up by a job: what does not fit is a ValueError."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, NamedTuple

from ..states import Outcome, Reason
from . import wire
from .runner import Assignment, Finished

_ERROR = {"type": str, "message": str, "traceback": str, "types": list, "reason": str}


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
        if min(self.sizes) < 0 or sum(self.sizes) != len(self.content):
            raise ValueError("sections that do not fit")
        begin, parts = 0, []
        for size in self.sizes:
            parts.append(self.content[begin : begin + size])
            begin += size
        return parts

    def output(self) -> tuple[str, bytes]:
        """The bundle and the signature of an OUTPUT; its place stands in ``started``.

        Raises:
            ValueError: it is none.
        """
        bundle, signature, *_ = self.sections()
        return str(bundle, "utf-8"), bytes(signature)

    def finished_attempt(self, one: Assignment) -> Finished:
        """The end of an attempt, from a RESULT or an ERROR.

        Raises:
            ValueError: it is none.
        """
        if not 0 <= self.started <= self.finished <= time.monotonic_ns():
            raise ValueError("times of no clock")
        first, second, third, fourth, signature = self.sections()
        if self.kind == wire.ERROR:
            over = Finished(one, Outcome.FAILED, self.started, self.finished, signature=bytes(signature))
            over.error, over.exception, over.arguments = _error(bytes(first)), bytes(second), str(third, "utf-8")
            return over
        preview, exact, arguments = [str(part, "utf-8") if part else "" for part in (second, third, fourth)]
        return Finished(one, Outcome.COMPLETED, self.started, self.finished, first, bytes(signature), preview, exact, arguments)


def _error(text: bytes) -> dict[str, Any]:
    try:
        error = json.loads(text)
        json.dumps(error, ensure_ascii=False).encode()  # half a surrogate pair is no text for SQLite
    except RecursionError:
        raise ValueError("no error of a child") from None
    if not isinstance(error, dict) or {name: type(value) for name, value in error.items()} != _ERROR:
        raise ValueError("no error of a child")
    Reason(error["reason"])
    return error


Packet = tuple[bytes, bytes | memoryview | None]


def receive(sock: socket.socket, most: int) -> tuple[list[Packet], Exception | None]:
    """The packets that came, and what was wrong with one that could not be taken: a descriptor that is no memory file."""
    packets: list[Packet] = []
    wrong: Exception | None = None
    for _ in range(most):
        try:
            packet = wire.receive(sock)
        except (BlockingIOError, ConnectionResetError):
            break
        except (OSError, ValueError) as error:
            wrong = error
            continue
        if not packet[0]:
            break
        packets.append(packet)
    return packets, wrong


def read(packet: bytes, body: bytes | memoryview | None) -> Message:
    """A packet and the large body that came with it, if one did.

    Raises:
        struct.error: it is no packet of a child.
    """
    kind, token, started, finished, a, b, c, d, e = wire.TO_WORKER.unpack_from(packet)
    return Message(kind, token, started, finished, (a, b, c, d, e), packet[wire.TO_WORKER.size :] if body is None else body)
