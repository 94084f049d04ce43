"""What a submit sends: functions, arguments and variables as payloads, and which job's result stands for which argument."""

from __future__ import annotations

import hashlib
import inspect
import io
import linecache
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import captures, payload
from .errors import InvalidType, NotSerializable, PayloadTooLarge

_NO_ARGUMENTS = payload.dumps_plain(((), {}))

# ---------------------------------------------------------------------------------------------------- functions


@dataclass(frozen=True, slots=True)
class Packed:
    """A function as bytes, with what a reader of the file may see of it."""

    payload: bytes
    digest: bytes
    name: str
    source: str
    cells: dict[str, str]


_MadeOf = tuple[types.CodeType, Any, Any, Any]
#: Functions that capture nothing, with all on which that depends: what they are made of, and the names they look up.
_packed: dict[int, tuple[Any, _MadeOf, set[str], Packed]] = {}


def pack_function(function: Callable[..., Any], by_value: Sequence[types.ModuleType] = ()) -> Packed:
    """A function and all that it captures, as bytes.

    Args:
        function: Any callable.
        by_value: Modules whose code travels along instead of being imported by the child.

    Raises:
        NotSerializable: naming the captured variable that cannot leave the process.
        PayloadTooLarge: over 2 GiB.
    """
    with payload.lock:
        known = _packed.get(id(function))
        if known is not None and known[0] is function and not by_value and _is_as_it_was(function, known[1], known[2]):
            return known[3]
        try:
            with payload.modules_by_value(by_value):
                data = payload.dumps(function)
        except InvalidType:
            raise
        except Exception as error:
            raise captures.refusal(function, error) from error
        if len(data) > payload.MOST_BYTES:
            raise PayloadTooLarge(
                f"{captures.display_name(function)} takes {len(data) / 1e9:.1f} GB along: {captures.heaviest(function)}"
            )
        mark = hashlib.sha256(data).digest()
        cells = {name: text for name, text in _cell_texts() if name.encode("utf-8", "surrogatepass") in data}
        try:
            source = inspect.getsource(inspect.unwrap(function))
        except (OSError, TypeError, ValueError):
            source = ""
        packed = Packed(data, mark, captures.display_name(function), source[:100_000].replace("\0", ""), cells)
        if _captures_nothing(function) and not by_value:
            if len(_packed) > 256:
                _packed.clear()
            names = captures.global_names(function.__code__)
            _packed[id(function)] = (function, _made_of(function), names, packed)
        return packed


def _made_of(function: Any) -> _MadeOf:
    return function.__code__, function.__defaults__, function.__kwdefaults__, function.__closure__


def _is_as_it_was(function: Any, made_of: _MadeOf, names: set[str]) -> bool:
    """No autoreload put other code in its place, and no cell defined meanwhile what it looks up."""
    code, defaults, kwdefaults, closure = made_of
    same = function.__code__ is code and function.__defaults__ is defaults and function.__closure__ is closure
    same = same and function.__kwdefaults__ is kwdefaults and not function.__dict__
    return same and function.__globals__.keys().isdisjoint(names)


def _captures_nothing(function: object) -> bool:
    """True for a plain function whose bytes are the same at each pickling: no globals read, no cells, plain defaults."""
    if type(function) is not types.FunctionType or function.__closure__ or function.__dict__ or function.__kwdefaults__:
        return False
    if any(type(one) not in payload.ATOMS for one in function.__defaults__ or ()):
        return False
    for one in function.__annotations__.values():  # texts, None and types of Python itself do not change
        if one is not None and type(one) is not str and not (type(one) is type and one.__module__ == "builtins"):
            return False
    return not captures.global_names(function.__code__) & function.__globals__.keys()


# ------------------------------------------------------------------------------------------------------- cells


def _cell_texts() -> Iterator[tuple[str, str]]:
    """(file name, text) of code that is in no file: the cells of a notebook."""
    for name, entry in list(linecache.cache.items()):
        lines = entry[2] if len(entry) == 4 else None
        if lines and not os.path.exists(name):
            yield name, "".join(lines)


def cells_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The cells that define the functions and classes among these values, and what those use: for tracebacks elsewhere."""
    files: set[str] = set()
    seen: set[int] = set()
    left = list(values.values())
    while left:
        one = left.pop()
        if id(one) in seen or not isinstance(one, (types.FunctionType, types.MethodType, type)):
            continue
        seen.add(id(one))
        if isinstance(one, type):
            if one.__module__ == "__main__":
                left += [getattr(part, "__func__", part) for part in vars(one).values()]
            continue
        inner = inspect.unwrap(one)  # a decorator's wrapper and what it wraps may stand in two cells
        files |= {part.__code__.co_filename for part in (one, inner) if hasattr(part, "__code__")}
        left += [value for part in (one, inner) for _, _, value in captures.variables(part)]
        left += [cell.cell_contents for cell in getattr(one, "__closure__", None) or () if not _is_empty(cell)]
    return {name: text for name, text in _cell_texts() if name in files}


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is the only way to know
    except ValueError:
        return True
    return False


# ----------------------------------------------------------------------------------------- arguments, variables


def pack_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], *, follow: bool = True) -> tuple[bytes, list[str]]:
    """Arguments as bytes, and the ids of the jobs whose results they stand for.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        follow: Turn handles into the results of their jobs; False leaves them as ids.

    Raises:
        NotSerializable: naming the argument.
    """
    if not args and not kwargs:
        return _NO_ARGUMENTS, []
    both = (tuple(args), dict(kwargs))
    if all(type(one) in payload.ATOMS for one in args) and all(type(one) in payload.ATOMS for one in kwargs.values()):
        return payload.dumps_plain(both), []
    try:
        data, parents = payload.dumps_following(both) if follow else (payload.pack_value(both), [])
    except Exception as error:
        for name, value in [
            *((f"argument {i + 1}", one) for i, one in enumerate(args)),
            *((f"params[{k!r}]", v) for k, v in kwargs.items()),
        ]:
            if found := captures.culprit(value, name):
                raise NotSerializable(
                    f"{found[0]} ({found[1]}) cannot leave this process: {captures.short(error)}. "
                    "Pass what it is made from, and open or create it inside the function"
                ) from error
        raise NotSerializable(f"the arguments cannot be sent to another process: {captures.short(error)}") from error
    if len(data) > payload.MOST_BYTES:
        raise PayloadTooLarge(f"the arguments take {len(data) / 1e9:.1f} GB; save them to a file and pass the path")
    return data, parents


def pack_variables(values: Mapping[str, Any], namespace: dict[str, Any]) -> tuple[bytes, list[str]]:
    """Variables of a notebook for a cell that runs elsewhere, and the ids of the jobs whose handles are among them.

    Args:
        values: The variables by name.
        namespace: Where they come from. Functions among them look up their globals where the cell runs, in its ``__main__``:
            what the cell rebinds, they see.

    Raises:
        NotSerializable: naming the variable.
        PayloadTooLarge: over 2 GiB.
    """
    file = io.BytesIO()
    try:
        kept = payload.dump_keeping(dict(values), file, namespace)
    except Exception as error:
        for name, value in values.items():
            if found := captures.culprit(value, name):
                raise NotSerializable(f"{found[0]} ({found[1]}) cannot leave this process: {captures.short(error)}") from error
        raise NotSerializable(f"the variables cannot be sent to another process: {captures.short(error)}") from error
    data = file.getvalue()
    if len(data) > payload.MOST_BYTES:
        raise PayloadTooLarge(f"the variables take {len(data) / 1e9:.1f} GB; save them to a file and pass the path")
    return data, kept
