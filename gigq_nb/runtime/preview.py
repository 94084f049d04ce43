"""Short texts of values, made where the values are: bounded in length and time, without secrets."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MOST_CHARS = 2_000
JSON_BYTES = 16_384
_SECRET = re.compile(r"pass|secret|token|key|credential|auth", re.IGNORECASE)
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
_ATOMS = frozenset({int, float, bool, type(None), complex})


def preview(value: object, room: int = MOST_CHARS) -> str:
    """``repr`` of a value, cut in the middle of what is large; never raises."""
    kind = type(value)
    if kind in _ATOMS:
        return _number(value)
    try:
        text = _text(value, room, 4)
    except RecursionError:
        text = f"<{kind.__qualname__}, too deep to show>"
    except BaseException as error:  # a repr() may do anything, also sys.exit()
        text = f"<{kind.__qualname__}, whose repr() fails: {type(error).__name__}>"
    return text if len(text) <= room else text[: room - 1] + "…"


def _number(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an int with more digits than sys.get_int_max_str_digits()
        return f"<int of {value.bit_length():,} bits>"  # type: ignore[attr-defined]


def _text(value: Any, room: int, depth: int) -> str:
    kind = type(value)
    if kind in _ATOMS:
        return _number(value)
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= room else repr(value[:room]) + "…"
    if kind in _BRACKETS:
        open_, close = _BRACKETS[kind]
        if depth == 0:
            return f"{open_}…{close}"
        parts, used = [], 0
        for item in value:
            if used > room:
                parts.append(f"… {len(value):,} in all")
                break
            parts.append(_text(item, room - used, depth - 1))
            used += len(parts[-1]) + 2
        return open_ + ", ".join(parts) + ("," if kind is tuple and len(value) == 1 else "") + close
    if kind is dict:
        if depth == 0:
            return "{…}"
        parts, used = [], 0
        for key, item in value.items():
            if used > room:
                parts.append(f"… {len(value):,} in all")
                break
            shown = "***" if type(key) is str and _SECRET.search(key) else _text(item, room - used, depth - 1)
            parts.append(f"{_text(key, 200, 1)}: {shown}")
            used += len(parts[-1]) + 2
        return "{" + ", ".join(parts) + "}"
    return str(repr(value))


def arguments_preview(args: tuple[Any, ...], kwargs: dict[str, Any], room: int = 500) -> str | None:
    """Arguments as they would be written in a call; None when there are none."""
    if not args and not kwargs:
        return None
    parts = [preview(one, room // 2) for one in args[:20]]
    parts += [f"{k}=***" if _SECRET.search(k) else f"{k}={preview(v, room // 2)}" for k, v in kwargs.items()]
    text = ", ".join(parts)
    return text if len(text) <= room else text[: room - 1] + "…"


def exact_json(value: Any) -> str | None:
    """The value as JSON, where that is small and loses nothing; else None."""
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return json.dumps(value) if kind is not int or abs(value) < 2**53 else None
    if kind not in (str, float, list, dict) or not _is_json(value, [2_000]):
        return None
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        return None
    return text if len(text) <= JSON_BYTES else None


def _is_json(value: Any, budget: list[int]) -> bool:
    budget[0] -= 1
    if budget[0] < 0:
        return False
    kind = type(value)
    if kind is str:
        return len(value) <= JSON_BYTES
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(-(2**53) < value < 2**53)
    if kind is list:
        return all(_is_json(one, budget) for one in value)
    if kind is dict:
        return all(type(k) is str and _is_json(v, budget) for k, v in value.items())
    return value is None or kind is bool
