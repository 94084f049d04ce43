"""Functions, arguments and results <-> bytes: the only place that pickles and unpickles (:mod:`gigq_nb.signing` signs).

*Trust.* Whoever can write the file or read the key can run code as you; nobody else can. Nothing is unpickled before
:func:`verify` said yes.

*Identity.* cloudpickle sends what ``__main__`` defines by value. When such a class comes back to a kernel that has a
class of that name in its own ``__main__`` (after a restart, say), that class stands in, so that ``isinstance``, ``==``
and ``except MyError`` go on working.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import hashlib
import inspect
import io
import linecache
import os
import pickle
import sys
import threading
import types
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import cloudpickle
from cloudpickle import cloudpickle as _cp

from .errors import InvalidType, NotSerializable, PayloadTooLarge
from .signing import PYTHON as PYTHON
from .signing import SLOT_ERROR as SLOT_ERROR
from .signing import SLOT_JOB as SLOT_JOB
from .signing import SLOT_OUTPUT as SLOT_OUTPUT
from .signing import SLOT_RESULT as SLOT_RESULT
from .signing import data_dir as data_dir
from .signing import digest as digest
from .signing import digest_of as digest_of
from .signing import import_key as import_key
from .signing import key_id as key_id
from .signing import key_path as key_path
from .signing import load_key as load_key
from .signing import sign as sign
from .signing import task_digest as task_digest
from .signing import verify as verify

WARN_BYTES = 10 * 2**20
MOST_BYTES = 2**31
_ATOMS = frozenset({int, float, str, bytes, bool, type(None)})
_NO_ARGUMENTS = pickle.dumps(((), {}), protocol=5)

# ---------------------------------------------------------------------------------------------------- functions


@dataclass(frozen=True, slots=True)
class Packed:
    """A function as bytes, with what a reader of the file may see of it."""

    payload: bytes
    digest: bytes
    name: str
    source: str
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Captured:
    """A variable that travels with a function: where it comes from and how many bytes it takes."""

    name: str
    kind: str  # "global", "closure" or "default"
    type_name: str
    size_bytes: int


def _reduce_cached(function: Any) -> str | tuple[Any, ...]:
    """A function with ``@lru_cache`` of a notebook: its function travels, and gets an empty cache of the same size."""
    name = str(function.__qualname__)
    if function.__module__ != "__main__" and getattr(sys.modules.get(function.__module__), name, None) is function:
        return name
    return _cached_anew, (function.__wrapped__, function.cache_parameters())


def _cached_anew(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, and cached functions: cloudpickle leaves them to pickle, which finds none of ``__main__``'s."""

    dispatch_table: ClassVar[Any] = ChainMap({functools._lru_cache_wrapper: _reduce_cached}, cloudpickle.Pickler.dispatch_table)


def _dumps(value: object) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


_MadeOf = tuple[types.CodeType, Any, Any, Any]
_lock = threading.RLock()
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
    with _lock:
        known = _packed.get(id(function))
        if known is not None and known[0] is function and not by_value and _is_as_it_was(function, known[1], known[2]):
            return known[3]
        try:
            with _modules_by_value(by_value):
                payload = _dumps(function)
        except InvalidType:
            raise
        except Exception as error:
            raise _refusal(function, error) from error
        if len(payload) > MOST_BYTES:
            raise PayloadTooLarge(f"{display_name(function)} takes {len(payload) / 1e9:.1f} GB along: {_heaviest(function)}")
        mark = hashlib.sha256(payload).digest()
        cells = {name: text for name, text in _cell_texts() if name.encode("utf-8", "surrogatepass") in payload}
        try:
            source = inspect.getsource(inspect.unwrap(function))
        except (OSError, TypeError, ValueError):
            source = ""
        packed = Packed(payload, mark, display_name(function), source[:100_000].replace("\0", ""), cells)
        if _captures_nothing(function) and not by_value:
            if len(_packed) > 256:
                _packed.clear()
            names = _global_names(function.__code__)
            _packed[id(function)] = (function, _made_of(function), names, packed)
        return packed


def _made_of(function: Any) -> _MadeOf:
    return function.__code__, function.__defaults__, function.__kwdefaults__, function.__closure__


def _is_as_it_was(function: Any, made_of: _MadeOf, names: set[str]) -> bool:
    """No autoreload put other code in its place, and no cell defined meanwhile what it looks up."""
    same = all(now is then for now, then in zip(_made_of(function), made_of, strict=True))
    return same and not names & function.__globals__.keys() and not function.__dict__


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
        left += [value for part in (one, inner) for _, _, value in _variables(part)]
        left += [cell.cell_contents for cell in getattr(one, "__closure__", None) or () if not _is_empty(cell)]
    return {name: text for name, text in _cell_texts() if name in files}


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is the only way to know
    except ValueError:
        return True
    return False


def display_name(function: object) -> str:
    """What to call a callable: its qualified name, or its type's."""
    inner = function
    while hasattr(inner, "func") and not hasattr(inner, "__qualname__"):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).replace("<locals>.", "").replace("\0", "")[:200] or "function"


@contextlib.contextmanager
def _modules_by_value(modules: Sequence[types.ModuleType]) -> Iterator[None]:
    """cloudpickle's registry is global to the process: put back what was not there before, also after an error."""
    added = []
    try:
        for module in modules:
            if not isinstance(module, types.ModuleType):
                raise InvalidType(f"by_value takes modules, not {type(module).__name__}")
            if module.__name__ not in _cp.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                added.append(module)
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def _captures_nothing(function: object) -> bool:
    """True for a plain function whose bytes are the same at each pickling: no globals read, no cells, plain defaults."""
    if type(function) is not types.FunctionType or function.__closure__ or function.__dict__ or function.__kwdefaults__:
        return False
    if any(type(one) not in _ATOMS for one in function.__defaults__ or ()):
        return False
    for one in function.__annotations__.values():  # texts, None and types of Python itself do not change
        if one is not None and type(one) is not str and not (type(one) is type and one.__module__ == "builtins"):
            return False
    return not _global_names(function.__code__) & function.__globals__.keys()


def is_bare(function: object) -> bool:
    """In a child: a function that travelled by value and has nothing that a job could change for the next one."""
    if type(function) is not types.FunctionType or function.__module__ != "__main__" or function.__closure__ or function.__dict__:
        return False
    if function.__kwdefaults__ or any(type(one) not in _ATOMS for one in function.__defaults__ or ()):
        return False
    return not function.__globals__.keys() - _BARE_GLOBALS


_BARE_GLOBALS = {"__builtins__", "__name__", "__package__", "__path__", "__file__", "__doc__"}


def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _global_names(const)
    return names


def _variables(function: object) -> Iterator[tuple[str, str, Any]]:
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
    for name in sorted(_global_names(inner.__code__) & inner.__globals__.keys()):
        value = inner.__globals__[name]
        if not isinstance(value, types.ModuleType) and getattr(builtins, name, None) is not value:
            yield name, "global", value
    for parameter in inspect.signature(inner).parameters.values():
        if parameter.default is not parameter.empty:
            yield parameter.name, "default", parameter.default


def captured(function: Callable[..., Any]) -> list[Captured]:
    """The capture report: each variable that travels with the function, the largest first. Sizes are pickled bytes."""
    report = []
    for name, kind, value in _variables(function):
        with contextlib.suppress(Exception):
            report.append(Captured(name, kind, type(value).__name__, len(_dumps(value))))
    return sorted(report, key=lambda one: -one.size_bytes)


def _heaviest(function: Callable[..., Any]) -> str:
    report = captured(function)
    if not report:
        return "save large data to a file and pass the path"
    top = report[0]
    return f"mostly {top.name!r} ({top.type_name}, {top.size_bytes / 1e6:,.0f} MB). Save it to a file and pass the path"


def size_warning(function: Callable[..., Any], size: int) -> str | None:
    """What to tell somebody whose function takes more than 10 MB along; None when it does not."""
    if size <= WARN_BYTES:
        return None
    return f"{display_name(function)} takes {size / 1e6:,.0f} MB along with each version of it, {_heaviest(function)}"


def _refusal(function: object, error: BaseException) -> NotSerializable:
    for name, _kind, value in _variables(function):
        if path := _culprit(value, name):
            place, kind = path
            return NotSerializable(
                f"{display_name(function)} uses {place} ({kind}), which cannot leave this process: {_short(error)}. "
                "Open or create it inside the function, or pass what it is made from as an argument"
            )
    return NotSerializable(f"{display_name(function)} cannot be sent to another process: {_short(error)}")


def _short(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0]
    return text[:200] or type(error).__name__


def _pickles(value: object) -> bool:
    try:
        _dumps(value)
    except Exception:
        return False
    return True


def _culprit(value: object, path: str, depth: int = 5) -> tuple[str, str] | None:
    """The innermost part of ``value`` that cannot be pickled: where it is and of which type."""
    if _pickles(value):
        return None
    parts: list[tuple[str, object]] = []
    if depth and isinstance(value, Mapping):
        parts = [(f"{path}[{key!r:.60}]", one) for key, one in value.items()]
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        parts = [(f"{path}[{i}]", one) for i, one in enumerate(value)]
    elif depth and isinstance(value, types.FunctionType):
        parts = [(name, one) for name, _, one in _variables(value) if one is not value]
    elif depth and hasattr(value, "__dict__") and not isinstance(value, type):
        parts = [(f"{path}.{key}", one) for key, one in vars(value).items()]
    for place, one in parts[:1000]:
        if found := _culprit(one, place, depth - 1):
            return found
    return path, type(value).__name__


# --------------------------------------------------------------------------------------------- arguments, results

_collector = threading.local()


class ParentRef:
    """What stands in pickled arguments for the result of another job."""

    #: In a child: how to get a parent's result by its id. In a kernel: None.
    resolve: Callable[[str], Any] | None = None


def _parent_result(job_id: str) -> Any:
    if ParentRef.resolve is None:
        return job_id  # a kernel that reads its arguments back sees the parent's id
    return ParentRef.resolve(job_id)


def reduce_handle(job_id: str) -> tuple[Any, tuple[str]]:
    """How a handle is pickled: as its parent's result where arguments are packed for a job, else as its id."""
    parents = getattr(_collector, "parents", None)
    if parents is None:
        return str, (job_id,)
    parents.append(job_id)
    return _parent_result, (job_id,)


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
    if all(type(one) in _ATOMS for one in args) and all(type(one) in _ATOMS for one in kwargs.values()):
        return pickle.dumps((tuple(args), dict(kwargs)), protocol=5), []
    parents: list[str] = []
    try:
        with _lock:
            _collector.parents = parents if follow else None
            try:
                payload = _dumps((tuple(args), dict(kwargs)))
            finally:
                _collector.parents = None
    except Exception as error:
        for name, value in [
            *((f"argument {i + 1}", one) for i, one in enumerate(args)),
            *((f"params[{k!r}]", v) for k, v in kwargs.items()),
        ]:
            if found := _culprit(value, name):
                raise NotSerializable(
                    f"{found[0]} ({found[1]}) cannot leave this process: {_short(error)}. "
                    "Pass what it is made from, and open or create it inside the function"
                ) from error
        raise NotSerializable(f"the arguments cannot be sent to another process: {_short(error)}") from error
    if len(payload) > MOST_BYTES:
        raise PayloadTooLarge(f"the arguments take {len(payload) / 1e9:.1f} GB; save them to a file and pass the path")
    return payload, list(dict.fromkeys(parents))


def keeps_handles(job_ids: Sequence[str]) -> bool:
    """Whether a handle or batch that is being pickled stays one: among the variables of a cell. Notes its jobs."""
    kept: list[str] | None = getattr(_collector, "kept", None)
    if kept is None:
        return False
    kept += job_ids
    return True


@dataclass(frozen=True, slots=True)
class OutOf:
    """Among the variables of a cell: what a job that is not done yet will bring back under this name."""

    job_id: str
    name: str

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return _out_of, (self.job_id, self.name)


def _out_of(job_id: str, name: str) -> Any:
    return _parent_result(job_id)[name]


class _NotebookGlobals:
    """Stands for a notebook's namespace among the pickled globals of its functions: there, it is that of the cell's shell."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _main_globals, ()


def _main_globals() -> dict[str, Any]:
    return vars(sys.modules["__main__"])


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
    kept: list[str] = []
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=5)
    pickler.globals_ref[id(namespace)] = _NotebookGlobals()
    with _lock:
        _collector.kept = kept
        try:
            pickler.dump(dict(values))
        except Exception as error:
            for name, value in values.items():
                if found := _culprit(value, name):
                    raise NotSerializable(f"{found[0]} ({found[1]}) cannot leave this process: {_short(error)}") from error
            raise NotSerializable(f"the variables cannot be sent to another process: {_short(error)}") from error
        finally:
            _collector.kept = None
    packed = file.getvalue()
    if len(packed) > MOST_BYTES:
        raise PayloadTooLarge(f"the variables take {len(packed) / 1e9:.1f} GB; save them to a file and pass the path")
    return packed, list(dict.fromkeys(kept))


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
    with _lock:
        _collector.kept = []
        try:
            _Pickler(counter, protocol=5).dump(value)
        except Exception as error:
            place, kind = _culprit(value, name) or (name, type(value).__name__)
            raise NotSerializable(f"{place} ({kind}) cannot leave this process: {_short(error)}") from error
        finally:
            _collector.kept = None
    return counter.size


def culprit_of(value: object, name: str) -> str | None:
    """Which part of a value cannot be pickled: its place and type, as a text; None when all of it can."""
    found = _culprit(value, name)
    return f"{found[0]} ({found[1]})" if found else None


def pack_value(value: object) -> bytes:
    """Any value as bytes."""
    if type(value) in _ATOMS:
        return pickle.dumps(value, protocol=5)
    with _lock:
        return _dumps(value)


def unpack(payload: bytes | memoryview) -> Any:
    """The value of verified bytes, in the process where it runs."""
    return pickle.loads(payload)  # noqa: S301 - only after verify(), or in the child that was handed verified bytes


def unpack_here(payload: bytes | memoryview) -> Any:
    """The value of verified bytes in a kernel: classes of ``__main__`` of the same name stand in."""
    return _KernelUnpickler(io.BytesIO(payload)).load()


def _make_class(*args: Any) -> type:
    """cloudpickle's ``_make_skeleton_class``, unless this kernel's ``__main__`` has a class of that name."""
    name, kwargs, tracker = args[1], args[3], args[4]
    own = getattr(sys.modules.get("__main__"), name, None)
    if kwargs.get("__module__") == "__main__" and isinstance(own, type) and own.__module__ == "__main__":
        if tracker is not None and own not in _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS:
            _cp._lookup_class_or_track(tracker, own)
        return own
    return cast(type, _cp._make_skeleton_class(*args))


def _make_enum(*args: Any) -> type:
    """cloudpickle's ``_make_skeleton_enum``, likewise."""
    name, module = args[1], args[4] if len(args) > 4 else None
    own = getattr(sys.modules.get("__main__"), name, None)
    if module == "__main__" and isinstance(own, type) and own.__module__ == "__main__":
        return own
    return cast(type, _cp._make_skeleton_enum(*args))


def _set_class_state(obj: type, state: Any) -> type:
    """cloudpickle's ``_class_setstate``, which must not write over a class that stands in."""
    if getattr(sys.modules.get("__main__"), obj.__name__, None) is obj:
        return obj  # type: ignore[no-any-return]  # it stands in
    return cast(type, _cp._class_setstate(obj, state))


_STANDINS: dict[tuple[str, str], Any] = {
    (_cp.__name__, "_make_skeleton_class"): _make_class,
    (_cp.__name__, "_make_skeleton_enum"): _make_enum,
    (_cp.__name__, "_class_setstate"): _set_class_state,
}


class _KernelUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _STANDINS.get((module, name)) or super().find_class(module, name)


def forget_classes() -> None:
    """In a child, between two jobs: classes that travelled by value are made anew for the next one."""
    if _cp._DYNAMIC_CLASS_TRACKER_BY_ID:
        _cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()


class Secret:
    """A value that is never shown: ``Secret("…")`` as an argument; the function reads ``.value``.

    Its text is ``Secret(***)`` everywhere: in previews, lists, cards, logs and tracebacks. It travels inside the
    signed payload, in a file that only you can read.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.value == other.value

    def __hash__(self) -> int:
        return hash(("gigq_nb.Secret", self.value))
