"""The last lines of a log as a reader wants them: colours gone, a progress bar as it stood last, nothing hidden."""

from __future__ import annotations

import re

MOST_LINE = 400

# CSI (colours, cursor), OSC (titles, links), and the short escapes of ECMA-48.
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\-~]")


def last_lines(text: str, n: int) -> tuple[str, ...]:
    """The last ``n`` lines that say something. Of a line that was written over (``\\r``), what stood there last."""
    lines: list[str] = []
    for line in reversed(_ANSI.sub("", text).split("\n")):
        shown = next((part for part in reversed(line.split("\r")) if part.strip()), "")
        if not shown and not lines:
            continue
        lines.append(shown if len(shown) <= MOST_LINE else shown[: MOST_LINE - 1] + "…")
        if len(lines) == n:
            break
    return tuple(reversed(lines))
