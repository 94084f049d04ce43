"""What a function brings along: which variables, how large they are, and which of them cannot leave this process."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import io
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from . import payload
from .errors import NotSerializable


def display_name(function: object) -> str:
    """What to call a callable: its qualified name, or its type's."""
    inner = function
    while hasattr(inner, "func") and not hasattr(inner, "__qualname__"):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).replace("<locals>.", "").replace("\0", "")[:200] or "function"


def variables(function: object) -> Iterator[tuple[str, str, Any]]:
    """What a function brings along: (name, kind, value), without modules and builtins."""
    inner = inspect.unwrap(function) if callable(function) else function
    while hasattr(inner, "func"):
        for i, value in enumerate(getattr(inner, "args", ())):
            yield f"argument {i + 1} of the partial", "default", value
        yield from ((k, "default", v) for k, v in (getattr(inner, "keywords", None) or {}).items())
        inner = inner.func
    if isinstance(inner, types.MethodType):
        yield "self", "closure", inner.__self__
        inner = inner.__func__
    if not isinstance(inner, types.FunctionType):
        return
    for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):
            yield name, "closure", cell.cell_contents
    for name in sorted(global_names(inner.__code__) & inner.__globals__.keys()):
        value = inner.__globals__[name]
        if not isinstance(value, types.ModuleType) and getattr(builtins, name, None) is not value:
            yield name, "global", value
    for parameter in inspect.signature(inner).parameters.values():
        if parameter.default is not parameter.empty:
            yield parameter.name, "default", parameter.default


def global_names(code: types.CodeType) -> set[str]:
    """All names that code looks up or reads from something, also in the functions inside it."""
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= global_names(const)
    return names


# ------------------------------------------------------------------------------------------------ how large


@dataclass(frozen=True, slots=True)
class Captured:
    """A variable that travels with a function: where it comes from and how many bytes it takes."""

    name: str
    kind: str  # "global", "closure" or "default"
    type_name: str
    size_bytes: int


def captured(function: Callable[..., Any]) -> list[Captured]:
    """The capture report: each variable that travels with the function, the largest first. Sizes are pickled bytes."""
    report = []
    for name, kind, value in variables(function):
        with contextlib.suppress(Exception):
            report.append(Captured(name, kind, type(value).__name__, len(payload.dumps(value))))
    return sorted(report, key=lambda one: -one.size_bytes)


def heaviest(function: Callable[..., Any]) -> str:
    """What to say about the size of a function: its largest variable, and the way out."""
    report = captured(function)
    if not report:
        return "save large data to a file and pass the path"
    top = report[0]
    return f"mostly {top.name!r} ({top.type_name}, {top.size_bytes / 1e6:,.0f} MB). Save it to a file and pass the path"


def size_warning(function: Callable[..., Any], size: int) -> str | None:
    """What to tell somebody whose function takes more than 10 MB along; None when it does not."""
    if size <= payload.WARN_BYTES:
        return None
    return f"{display_name(function)} takes {size / 1e6:,.0f} MB along with each version of it, {heaviest(function)}"


class _Counter(io.RawIOBase):
    """A file that only counts what is written."""

    def __init__(self) -> None:
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        n = memoryview(data).nbytes
        self.size += n
        return n


def size_of(value: object, name: str) -> int:
    """How many bytes a value takes pickled, without holding them.

    Raises:
        NotSerializable: naming the part of it that cannot leave this process.
    """
    counter = _Counter()
    try:
        payload.dump_keeping(value, cast(BinaryIO, counter))
    except Exception as error:
        place, kind = culprit(value, name) or (name, type(value).__name__)
        raise NotSerializable(f"{place} ({kind}) cannot leave this process: {short(error)}") from error
    return counter.size


# ------------------------------------------------------------------------------------------- what cannot leave


def refusal(function: object, error: BaseException) -> NotSerializable:
    """The error about a function that cannot be packed: it names the variable, and the way out."""
    for name, _kind, value in variables(function):
        if path := culprit(value, name):
            place, kind = path
            return NotSerializable(
                f"{display_name(function)} uses {place} ({kind}), which cannot leave this process: {short(error)}. "
                "Open or create it inside the function, or pass what it is made from as an argument"
            )
    return NotSerializable(f"{display_name(function)} cannot be sent to another process: {short(error)}")


def short(error: BaseException) -> str:
    """The first line of an error, bounded."""
    text = str(error).split("\n", 1)[0]
    return text[:200] or type(error).__name__


def _pickles(value: object) -> bool:
    try:
        payload.dumps(value)
    except Exception:
        return False
    return True


def culprit(value: object, path: str, depth: int = 5) -> tuple[str, str] | None:
    """The innermost part of ``value`` that cannot be pickled: where it is and of which type."""
    if _pickles(value):
        return None
    parts: list[tuple[str, object]] = []
    if depth and isinstance(value, Mapping):
        parts = [(f"{path}[{key!r:.60}]", one) for key, one in value.items()]
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        parts = [(f"{path}[{i}]", one) for i, one in enumerate(value)]
    elif depth and isinstance(value, types.FunctionType):
        parts = [(name, one) for name, _, one in variables(value) if one is not value]
    elif depth and hasattr(value, "__dict__") and not isinstance(value, type):
        parts = [(f"{path}.{key}", one) for key, one in vars(value).items()]
    for place, one in parts[:1000]:
        if found := culprit(one, place, depth - 1):
            return found
    return path, type(value).__name__
