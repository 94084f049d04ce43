"""What a job shows, in the child: its rich outputs in their places, bounded, replaced and cleared as in a notebook's cell."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from typing import Any

MOST_OUTPUTS = 200
MOST_BYTES = 32 * 2**20
MOST_ONE_BYTES = 16 * 2**20
BURST, PER_S = 20.0, 4.0


class Shown:
    """The rich outputs of one job.

    A new output is sent at once. One that replaces another is sent four times a second at most, after a burst of
    twenty; the last state is sent before the job is reported.
    """

    def __init__(self, send: Callable[[int, bytes], None]) -> None:
        self._send = send
        self._places: list[tuple[str | None, bytes]] = []
        self._sent = 0  # so many places the worker knows
        self._dirty: set[int] = set()
        self._bytes = 0
        self._clear_first = False
        self._refused = False
        self._tokens, self._tokens_s = BURST, 0.0

    def add(self, bundle: dict[str, Any], metadata: dict[str, Any], display_id: str | None, update: bool, kind: str) -> None:
        """Show one more, or replace those of this name."""
        data = _encoded(bundle, metadata, display_id, kind)
        if update:
            for place, (name, _) in enumerate(self._places):
                if name is not None and name == display_id:
                    self._put(place, display_id, data)
            return
        if self._clear_first:
            self.clear(False)
        if len(self._places) >= MOST_OUTPUTS or self._bytes + len(data) > MOST_BYTES:
            if not self._refused:
                self._refused = True
                sys.stderr.write(
                    f"[gigq_nb: {len(self._places)} outputs of {self._bytes / 1e6:,.0f} MB are stored; no more of this job are]\n"
                )
            return
        self._places.append((display_id, b""))
        self._put(len(self._places) - 1, display_id, data)

    def _put(self, place: int, name: str | None, data: bytes) -> None:
        self._bytes += len(data) - len(self._places[place][1])
        self._places[place] = name, data
        self._dirty.add(place)
        if place >= self._sent or self._may_send():
            self.flush()

    def clear(self, wait: bool) -> None:
        """Remove all; ``wait``: when the next one comes."""
        self._clear_first = wait
        if not wait:
            # What the worker has stays until something takes its place: a clear that is followed by a display does not flicker.
            self._places, self._bytes = [], 0
            self._dirty.clear()
            self._refused = False

    def flush(self) -> None:
        """Send what the worker does not have yet."""
        if self._sent > len(self._places):
            self._send(len(self._places), b"")
        for place in sorted(self._dirty):
            self._send(place, self._places[place][1])
        self._dirty.clear()
        self._sent = len(self._places)

    def _may_send(self) -> bool:
        now_s = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now_s - self._tokens_s) * PER_S)
        self._tokens_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _encoded(bundle: dict[str, Any], metadata: dict[str, Any], display_id: str | None, kind: str) -> bytes:
    """One output as JSON; what has no JSON form, or is too large, is left out with a word about it."""
    data: dict[str, Any] = {}
    left_out = []
    for mime, content in bundle.items():
        plain = base64.b64encode(content).decode() if isinstance(content, bytes) else content
        try:
            size = len(json.dumps(plain))
        except (TypeError, ValueError):
            left_out.append(f"{mime} (it has no JSON form)")
            continue
        if size > MOST_ONE_BYTES:
            left_out.append(f"{mime} ({size / 1e6:,.0f} MB)")
            continue
        data[str(mime)] = plain
    if left_out:
        data["text/plain"] = f"{data.get('text/plain', '')}\n[left out: {', '.join(left_out)}]".strip()
    try:
        json.dumps(metadata)
    except (TypeError, ValueError):
        metadata = {}
    whole = {"kind": kind, "data": data, "metadata": metadata, "display_id": display_id, "update": False}
    return json.dumps(whole).encode()
