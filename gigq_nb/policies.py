"""Pure arithmetic: how long, how big, when again. No clock, no files; ``now`` is an argument where one is needed."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .errors import InvalidArgument, InvalidType

DAY_S = 86_400.0
MAX_TIMEOUT_S = 365 * DAY_S
MIN_TIMEOUT_S = 0.001
MAX_ATTEMPTS = 1_000
MAX_PRIORITY = 1_000_000
MAX_NAME = 200
MAX_LOSSES = 10
LONELY_AFTER_LOSSES = 2

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": DAY_S}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)", re.ASCII)
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)\s*\Z", re.ASCII | re.IGNORECASE)


def duration_s(value: object, what: str, *, least: float = MIN_TIMEOUT_S, most: float = MAX_TIMEOUT_S) -> float:
    """Seconds from a number, a :class:`datetime.timedelta` or a text such as ``"90s"``, ``"10m"``, ``"1h30m"``.

    Args:
        value: The duration. Booleans, NaN and bare digits in quotes are refused: they are nearly always mistakes.
        what: The argument's name, for the message.
        least: Smallest allowed value in seconds.
        most: Largest allowed value in seconds.

    Raises:
        InvalidType: not a number, timedelta or text.
        InvalidArgument: not readable as a duration, or out of range.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        end, seconds = 0, 0.0
        while match := _DURATION.match(value, end):
            seconds, end = seconds + float(match[1]) * _UNITS_S[match[2]], match.end()
        if end == 0 or value[end:].strip():
            raise InvalidArgument(f"{what}={value!r} is not a duration: write a number of seconds, or '90s', '10m', '1h30m'")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidType(f"{what} is a number of seconds, a text like '10m', or a timedelta, not {type(value).__name__}")
    else:
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    if not least <= seconds <= most:  # also refuses NaN
        raise InvalidArgument(f"{what}={value!r} is out of range: from {least:g} to {most:g} seconds")
    return seconds


def size_bytes(value: object, what: str) -> int:
    """Bytes from a whole number or a text such as ``"512MB"`` or ``"2GiB"`` (decimal and binary units as named)."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidType(f"{what} is a number of bytes or a text like '2GB', not {type(value).__name__}")
    if isinstance(value, int):
        size = value
    else:
        match = _SIZE.match(value)
        if match is None or match[2].lower() not in _SIZES:
            raise InvalidArgument(f"{what}={value!r} is not a size: write a number of bytes, or '512MB', '2GB'")
        size = int(float(match[1]) * _SIZES[match[2].lower()])
    if not 2**20 <= size <= 2**60:
        raise InvalidArgument(f"{what}={value!r} is out of range: from 1 MiB upwards")
    return size


def whole_number(value: object, what: str, least: int, most: int) -> int:
    """An ``int`` within bounds; booleans, floats and texts are refused with the message that says what is allowed."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(f"{what} is a whole number from {least} to {most}, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidArgument(f"{what}={value!r} is out of range: from {least} to {most}")
    return int(value)


def clean_name(value: object, what: str = "name") -> str:
    """A name as it may be stored: a text of 1 to 200 characters without NUL and lone surrogates."""
    if not isinstance(value, str):
        raise InvalidType(f"{what} is a text, not {type(value).__name__}")
    if not value.strip():
        raise InvalidArgument(f"{what} is empty: give the job a name of 1 to {MAX_NAME} characters")
    if len(value) > MAX_NAME:
        raise InvalidArgument(f"{what} has {len(value):,} characters; at most {MAX_NAME} are allowed")
    if "\0" in value:
        raise InvalidArgument(f"{what} contains a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{what} contains a lone surrogate, which is no character: {value!r}") from None
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long to wait after a failed attempt, and after which errors to try again at all.

    Exponential backoff with a cap and relative jitter; ``factor=1`` is a constant delay. The jitter spreads the
    retries of jobs that failed together, as in "Exponential Backoff And Jitter" (M. Brooker, 2015).

    Attributes:
        delay_s: Seconds before the second attempt.
        factor: What each further wait is multiplied by.
        cap_s: The longest wait, in seconds.
        jitter: Share of the wait by which it varies both ways, 0 to 1.
        retry_on: Qualified names of exception types that deserve another attempt; empty: all do.
    """

    delay_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 60.0
    jitter: float = 0.2
    retry_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        duration_s(self.delay_s, "delay_s", least=0.0)
        duration_s(self.cap_s, "cap_s", least=0.0)
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)) or not 1 <= self.factor <= 100:
            raise InvalidArgument(f"factor={self.factor!r} is out of range: from 1 (constant) to 100")
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, (int, float)) or not 0 <= self.jitter <= 1:
            raise InvalidArgument(f"jitter={self.jitter!r} is out of range: from 0 to 1")
        names = (self.retry_on,) if isinstance(self.retry_on, (type, str)) else tuple(self.retry_on)
        object.__setattr__(self, "retry_on", tuple(exception_name(one) for one in names))

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 1), before jitter."""
        try:
            return float(min(self.cap_s, self.delay_s * self.factor ** (attempt - 1)))
        except OverflowError:
            return float(self.cap_s)

    def jittered_s(self, attempt: int, chance: random.Random | None = None) -> float:
        """:meth:`wait_s` moved by the jitter; ``chance`` makes it repeatable."""
        spread = (chance or random).uniform(-self.jitter, self.jitter)
        return max(0.0, self.wait_s(attempt) * (1 + spread))

    def covers(self, names: tuple[str, ...] | list[str]) -> bool:
        """Whether an exception whose types (itself and its bases) have these names deserves another attempt."""
        return not self.retry_on or any(name in self.retry_on for name in names)

    def as_json(self) -> dict[str, Any]:
        """The policy as plain data, as it is stored."""
        return {
            "delay_s": self.delay_s,
            "factor": self.factor,
            "cap_s": self.cap_s,
            "jitter": self.jitter,
            "retry_on": list(self.retry_on),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Retry:
        """The policy from :meth:`as_json`."""
        return cls(**{**data, "retry_on": tuple(data.get("retry_on", ()))})


#: GigQ's retries wait for nothing; ``Job(...)`` keeps that.
AT_ONCE = Retry(delay_s=0.0, jitter=0.0)


def exception_name(kind: object) -> str:
    """The qualified name of an exception type, as errors are compared by: ``builtins.ValueError``."""
    if isinstance(kind, str):
        return kind if "." in kind else f"builtins.{kind}"
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return f"{kind.__module__}.{kind.__qualname__}"
    raise InvalidType(f"retry_on takes exception types, not {kind!r}")
