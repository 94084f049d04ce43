"""Text that is safe and fits: nothing a job is called or prints can drive the terminal, and a table is as wide as the screen."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import Table

# C0 but newline and tab, DEL, C1, lone surrogates, what reorders text (bidi), and what is invisible.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def visible(text: str) -> str:
    """Text for a terminal: control characters, escape sequences and bidi overrides are shown, not obeyed."""
    return _CONTROL.sub(_escape, text)


def visible_line(text: str) -> str:
    """The same in one line."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def settled(log: str) -> str:
    """A log as a terminal leaves it: of a line that was drawn again and again (a progress bar) the last state."""
    return re.sub(r"[^\n]*\r(?=[^\r\n])", "", log.replace("\r\n", "\n")).replace("\r", "")


def screen_width() -> int | None:
    """Columns of the terminal; None where the output goes to a file or a pipe, which takes any."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return max(20, shutil.get_terminal_size().columns)
    return None


def width_of(text: str) -> int:
    """Columns that a text takes."""
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def cut(text: str, width: int) -> str:
    """A text of at most this many columns; what is left out ends in an ellipsis."""
    if width_of(text) <= width:
        return text
    taken, used = [], 0
    for one in text:
        used += width_of(one)
        if used > width - 1:
            break
        taken.append(one)
    return "".join(taken) + "…"


def _padded(text: str, width: int, right: bool) -> str:
    gap = " " * max(0, width - width_of(text))
    return gap + text if right else text + gap


def render(table: Table, width: int | None) -> str:
    """A table as text. In a narrow terminal spare columns go first, then texts are cut; an id never is."""
    if not table.rows:
        return table.empty
    names, rows = list(table.columns), [[cell_text(value) for value in row] for row in table.rows]
    for spare in table.spare:
        if spare in names and all(not row[names.index(spare)] for row in rows):
            names, rows = _without(names, rows, spare)
    for spare in table.spare:
        if width is None or _total(_least(table, names, rows)) <= width:
            break
        if spare in names:
            names, rows = _without(names, rows, spare)
    widths = [max(width_of(name), *(width_of(row[i]) for row in rows)) for i, name in enumerate(names)]
    least = _least(table, names, rows)
    if width is not None and _total(least) > width:
        return _in_blocks(names, rows, table.whole, width)
    while width is not None and _total(widths) > width:
        widest = max((i for i in range(len(names)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    right = [all(isinstance(row[table.columns.index(name)], (int, float, type(None))) for row in table.rows) for name in names]
    lines = [[*names], *rows]
    return "\n".join(
        "  ".join(_padded(cut(cell, widths[i]), widths[i], right[i]) for i, cell in enumerate(line)).rstrip() for line in lines
    )


def _without(names: list[str], rows: list[list[str]], name: str) -> tuple[list[str], list[list[str]]]:
    at = names.index(name)
    return names[:at] + names[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _least(table: Table, names: list[str], rows: list[list[str]]) -> list[int]:
    """The narrowest each column may be: whole ones as they are, texts 10 columns."""
    full = [max(width_of(name), *(width_of(row[i]) for row in rows)) for i, name in enumerate(names)]
    return [one if name in table.whole else min(one, max(10, width_of(name))) for name, one in zip(names, full, strict=True)]


def _in_blocks(names: list[str], rows: list[list[str]], whole: tuple[str, ...], width: int) -> str:
    """Too narrow for columns: a line for what people copy, the rest below it."""
    first = next((i for i, name in enumerate(names) if name in whole), 0)
    return "\n".join(
        f"{row[first]}\n  {cut('  '.join(cell for i, cell in enumerate(row) if cell and i != first), width - 2)}" for row in rows
    )


def cell_text(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return seconds_text(value)
    return visible_line(str(value))


def seconds_text(seconds: float) -> str:
    """A duration: ``0.003``, ``1.25``, ``59.1``, then ``1:05``, ``2:03:04``."""
    if not math.isfinite(seconds):
        return str(seconds)
    if seconds < 60:
        return f"{seconds:.3g}" if seconds < 1 else f"{seconds:.1f}"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def time_text(ms: int | None) -> str | None:
    """A time in the zone of whoever reads it: ``2026-03-01 12:00:00``."""
    return None if ms is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def ago_text(seconds: float) -> str:
    """How long ago, in words."""
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            n = int(seconds // unit)
            return f"{n} {name}{'s' if n > 1 else ''}"
    return f"{max(0, int(seconds))} s"
