"""The small parts of HTML: everything a user or a job wrote goes through :func:`esc`, and nothing else makes text.

Every part carries its look inline, in colours that can be read on light and on dark, because a notebook that nobody
trusts, GitHub and mail readers keep nothing else. The stylesheet of a live view refines them by class.
"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime

from ..job import Counts

#: Of each status, on white and on black alike.
COLOURS = {
    "pending": "#9aa0a6",
    "running": "#2f81f7",
    "completed": "#2da160",
    "failed": "#e5484d",
    "timeout": "#d9822b",
    "cancelled": "#8e7cc3",
    "new": "#9aa0a6",
    "silent": "#d9822b",
    "stopping": "#d9822b",
    "paused": "#d9822b",
    "gone": "#9aa0a6",
}
MUTED = "opacity:.68"
NUMBERS = "font-variant-numeric:tabular-nums"
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-size:13px;line-height:1.5"
MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12px;line-height:1.45"
ROW = "display:flex;flex-wrap:wrap;gap:2px 12px;align-items:baseline;justify-content:space-between"

# Control characters but newline and tab, what turns the direction of a text or breaks its line, lone surrogates.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: object) -> str:
    """A text whose control characters can be seen, and do nothing: ``\\x1b``, ``\\u202e``."""
    return _HIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"\\u{ord(found[0]):04x}", str(text))


def esc(text: object, most: int = 2_000) -> str:
    """Any text as HTML that shows exactly it: the one way in which text reaches a page."""
    shown = visible(text)
    return html.escape(shown if len(shown) <= most else shown[: most - 1] + "…", quote=True)


# ------------------------------------------------------------------------------------------------ numbers as words


def number(value: float) -> str:
    """1,234,567; 0.25."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """A time span in at most two units: 0.4 s, 12 s, 3 min 05 s, 2 h 04 min, 3 d 4 h."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return "under 1 ms"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def rate(per_s: float | None) -> str:
    """12,300 a second; 4.5 a minute; 3 an hour."""
    if not per_s:
        return ""
    for factor, unit in ((1, "a second"), (60, "a minute"), (3600, "an hour")):
        if per_s * factor >= 1 or factor == 3600:
            value = per_s * factor
            return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return ""


def moment(ms: int) -> str:
    """2026-11-24 04:03:29 UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(ms: int) -> str:
    """04:03:29 UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%H:%M:%S} UTC"


# ------------------------------------------------------------------------------------------------------ the parts


def dot(status: str) -> str:
    """The colour of a status; its word stands beside it."""
    colour = COLOURS.get(status, COLOURS["pending"])
    return (
        f'<span class="gigq-dot gigq-{status if status in COLOURS else "pending"}" aria-hidden="true" style="display:inline-block;'
        f'width:8px;height:8px;border-radius:4px;background:{colour};margin-right:6px"></span>'
    )


def status_word(status: str, text: str | None = None) -> str:
    """A status: dot and word."""
    return f'<span class="gigq-status" style="white-space:nowrap">{dot(status)}{esc(text or status)}</span>'


def title(name: str, status: str, right: str = "", word: str | None = None) -> str:
    """The first line of a view: what it is, its status, and one number on the right."""
    return (
        f'<div style="{ROW}"><span style="display:flex;flex-wrap:wrap;gap:2px 10px;align-items:baseline;min-width:0">'
        f'<span class="gigq-name" style="font-weight:600;overflow-wrap:anywhere">{esc(name, 200)}</span>'
        f'{status_word(status, word)}</span><span class="gigq-right" style="{NUMBERS};{MUTED};white-space:nowrap">{esc(right)}</span></div>'
    )


def line(left: str, right: str = "") -> str:
    """A quiet line of two texts (given escaped)."""
    if not left and not right:
        return ""
    return (
        f'<div class="gigq-line" style="{ROW};font-size:12px;{NUMBERS}"><span style="{MUTED};overflow-wrap:anywhere">{left}</span>'
        f'<span style="{MUTED};white-space:nowrap">{right}</span></div>'
    )


def track(inside: str, label: str, share: float | None) -> str:
    """The frame of a bar, with its words for those who do not see it."""
    now = "" if share is None else f' aria-valuenow="{100 * share:.0f}"'
    return (
        f'<div class="gigq-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"{now} aria-label="{esc(label, 300)}" style="'
        f'display:flex;gap:1px;height:8px;border-radius:4px;overflow:hidden;background:rgba(128,128,128,.22);margin:6px 0">{inside}</div>'
    )


def part(status: str, share: float) -> str:
    """A piece of a bar."""
    return (
        f'<div class="gigq-part gigq-{status}" style="width:{100 * share:.2f}%;background:{COLOURS[status]}"></div>'
        if share
        else ""
    )


def bar(share: float, status: str, label: str) -> str:
    """One value, 0 to 1."""
    return track(part(status, share), label, share)


def stacked(counts: Counts, label: str) -> str:
    """How many have each status, as one bar; pending is the empty rest."""
    total = max(1, counts.total)
    order = ("completed", "failed", "timeout", "cancelled", "running")
    return track("".join(part(one, getattr(counts, one) / total) for one in order), label, counts.done / total)


MOVING = ("completed", "running", "pending")  # what is shown also when there is none: numbers do not jump about


def legend(counts: Counts, zero: tuple[str, ...] = MOVING) -> str:
    """The numbers of a stacked bar, with their words."""
    order = ("completed", "running", "failed", "timeout", "cancelled", "pending")
    words = [
        f'<span style="white-space:nowrap">{dot(one)}<span style="{NUMBERS}">{getattr(counts, one):,}</span> {one}</span>'
        for one in order
        if getattr(counts, one) or one in zero
    ]
    return f'<div class="gigq-legend" style="display:flex;flex-wrap:wrap;gap:2px 16px;font-size:12px;margin-bottom:2px">{"".join(words)}</div>'


def pre(lines: tuple[str, ...] | list[str], label: str, most: int = 2_000) -> str:
    """Lines as they were printed."""
    return (
        f'<pre class="gigq-pre" role="region" tabindex="0" aria-label="{esc(label)}" style="{MONO};margin:6px 0 0;padding:6px 8px;'
        'border-radius:4px;background:rgba(128,128,128,.1);color:inherit;max-height:240px;overflow:auto;white-space:pre">'
        f"{chr(10).join(esc(one, most) for one in lines)}</pre>"
    )


def fold(summary: str, inside: str, colour: str | None = None) -> str:
    """Something to open (both given as HTML)."""
    tint = f";color:{colour}" if colour else ""
    return (
        '<details class="gigq-fold" style="margin-top:6px"><summary style="cursor:pointer;overflow-wrap:anywhere'
        f'{tint}">{summary}</summary>{inside}</details>'
    )


def frame(inside: str, stamp: str, label: str) -> str:
    """A whole view as it is saved: readable with no kernel, no script, no stylesheet behind it."""
    when = (
        f'<div class="gigq-stamp" style="font-size:11px;opacity:.6;margin-top:6px;{NUMBERS}">{esc(stamp)}</div>' if stamp else ""
    )
    return (
        f'<div class="gigq-snapshot" role="group" aria-label="{esc(label, 300)}" style="{FONT};border:1px solid rgba(128,128,128,.32);'
        f'border-radius:8px;padding:10px 14px;margin:2px 0;max-width:720px;box-sizing:border-box;overflow-wrap:anywhere">{inside}{when}</div>'
    )
