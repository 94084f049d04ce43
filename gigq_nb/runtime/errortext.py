"""An exception as text that can be stored and shown, whatever the exception does."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

MOST_TEXT = 64 * 1024
#: The folder of this package: frames of its files are the engine's, not the user's.
OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def as_bytes(text: str) -> bytes:
    """UTF-8, whatever the text holds."""
    return text.encode("utf-8", "backslashreplace")


def clean(text: str) -> str:
    """Text that can be stored: no lone surrogates, no NUL."""
    return as_bytes(text).decode().replace("\0", "\\0")


def line_of(error: BaseException) -> str:
    """The message of an exception, whatever its ``__str__`` does."""
    try:
        text = str(error)
    except BaseException as second:
        text = f"<its message cannot be read: {type(second).__name__}>"
    return clean(text)[:MOST_TEXT]


def middle_out(text: str) -> str:
    """A long text without its middle."""
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[: MOST_TEXT // 4]}\n… {len(text) - MOST_TEXT:,} characters left out …\n{text[-3 * MOST_TEXT // 4 :]}"


def trace_of(error: BaseException) -> str:
    """The traceback as text, without the engine's own frames and without locals."""
    try:
        text = "".join(traceback.format_exception(type(error), error, _users(error.__traceback__)))
    except BaseException as second:
        text = f"{type(error).__qualname__}: {line_of(error)} (its traceback cannot be formatted: {type(second).__name__})"
    return clean(text)


def _users(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins in the user's code."""
    first = trace
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OWN + os.sep):
        trace = trace.tb_next
    return trace or first
