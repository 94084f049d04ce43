"""Functions, arguments and results <-> bytes: the only place that pickles, signs and unpickles.

*Trust.* Whoever can write the file or read the key can run code as you; nobody else can. Every payload carries an
HMAC-SHA256 (RFC 2104) over its slot, the job's id and the bytes, made with a key of the user, as Jupyter signs
notebooks. Nothing is unpickled before :func:`verify` said yes.

*Identity.* cloudpickle sends what ``__main__`` defines by value. When such a class comes back to a kernel that has a
class of that name in its own ``__main__`` (after a restart, say), that class stands in, so that ``isinstance``, ``==``
and ``except MyError`` go on working.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import hmac
import inspect
import io
import linecache
import os
import pickle
import secrets
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cloudpickle
from cloudpickle import cloudpickle as _cp

from .errors import GigQError, InvalidType, NotSerializable, PayloadTooLarge

WARN_BYTES = 10 * 2**20
MOST_BYTES = 2**31
SLOT_JOB, SLOT_RESULT, SLOT_ERROR, SLOT_OUTPUT = b"gigq_nb 1 job", b"gigq_nb 1 result", b"gigq_nb 1 error", b"gigq_nb 1 output"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
_ATOMS = frozenset({int, float, str, bytes, bool, type(None)})
_NO_ARGUMENTS = pickle.dumps(((), {}), protocol=5)

# ------------------------------------------------------------------------------------------------- key, signature


def data_dir() -> Path:
    """The user's folder for the key, as Jupyter's data directory is found (without importing jupyter_core)."""
    if given := os.environ.get("JUPYTER_DATA_DIR"):
        return Path(given) / "gigq_nb"
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "jupyter" / "gigq_nb"


def key_path() -> Path:
    """Where the user's signing key is."""
    return data_dir() / "key"


def load_key() -> bytes:
    """The user's signing key, 32 random bytes, made on first use; complete for every process that sees it.

    Raises:
        GigQError: the key file is damaged, belongs to somebody else, or the folder cannot be written.
    """
    path = key_path()
    try:
        try:
            return _read_key(path)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _place_key(path, secrets.token_bytes(32), replace=False)
            return _read_key(path)
    except OSError as error:
        raise GigQError(
            f"the signing key {path} cannot be used: {error}. Set JUPYTER_DATA_DIR to a folder you can write"
        ) from error


def _read_key(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        about = os.fstat(handle)
        key = os.read(handle, 4096)
    finally:
        os.close(handle)
    if hasattr(os, "getuid") and about.st_uid != os.getuid():
        raise GigQError(f"the signing key {path} belongs to another user; remove it or set JUPYTER_DATA_DIR")
    if len(key) != 32:
        raise GigQError(f"the signing key {path} is damaged: put it back with 'gigq-nb key import', or remove it")
    if about.st_mode & 0o077:
        os.chmod(path, 0o600)
    return key


def _place_key(path: Path, key: bytes, *, replace: bool) -> None:
    """Write the key beside its place, then link it in: whoever looks finds all 32 bytes or no key."""
    draft = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, key)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        if replace:
            os.replace(draft, path)
        else:
            with contextlib.suppress(FileExistsError):  # another process was first: its key is as good
                os.link(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def import_key(key: bytes) -> None:
    """Put a key from another machine in place of this user's."""
    if len(key) != 32:
        raise InvalidType("a signing key has 32 bytes; make the file with 'gigq-nb key export'")
    key_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _place_key(key_path(), key, replace=True)


def key_id(key: bytes) -> str:
    """A name for a key that does not give it away: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(b"gigq_nb key id" + key).hexdigest()[:16]


def sign(key: bytes, slot: bytes, about: str, *parts: bytes | memoryview) -> bytes:
    """HMAC-SHA256 over the slot, what it belongs to, and the parts, each with its length before it."""
    head = b"%s\0%s\0" % (slot, about.encode())
    if sum(map(len, parts)) < 65_536:
        return hmac.digest(key, head + b"".join([b"%d:%b" % (len(p), p) for p in parts]), "sha256")
    mac = hmac.new(key, head, "sha256")
    for part in parts:
        mac.update(b"%d:" % len(part))
        mac.update(part)
    return mac.digest()


def verify(key: bytes, signature: bytes | None, slot: bytes, about: str, *parts: bytes | memoryview) -> bool:
    """Whether the signature is ours, for exactly these bytes in this place."""
    return signature is not None and hmac.compare_digest(signature, sign(key, slot, about, *parts))


def digest(*parts: bytes) -> bytes:
    """SHA-256 over the parts, each with its length before it."""
    return hashlib.sha256(b"".join([b"%d:%b" % (len(p), p) for p in parts])).digest()


def digest_of(function: bytes | memoryview) -> bytes:
    """SHA-256 of a function's bytes, by which it is stored once."""
    return hashlib.sha256(function).digest()


def task_digest(
    function: bytes, name: str, folder: str, sys_path: str, options: str, notebook: str | None, cell: str | None
) -> bytes:
    """What a job's signature covers besides its arguments: the function and all that decides how and where it runs."""
    texts = (PYTHON, name, folder, sys_path, options, notebook or "", cell or "")
    return digest(function, *(one.encode("utf-8", "surrogatepass") for one in texts))


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


_lock = threading.RLock()
_packed: dict[int, tuple[Any, Packed]] = {}  # functions that capture nothing: their bytes cannot change


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
        if known is not None and known[0] is function and not by_value:
            return known[1]
        try:
            with _modules_by_value(by_value):
                payload = cloudpickle.dumps(function, protocol=5)
        except Exception as error:
            raise _refusal(function, error) from error
        if len(payload) > MOST_BYTES:
            raise PayloadTooLarge(f"{display_name(function)} takes {len(payload) / 1e9:.1f} GB along: {_heaviest(function)}")
        mark = hashlib.sha256(payload).digest()
        cells = {}
        for name, entry in list(linecache.cache.items()):
            lines = entry[2] if len(entry) == 4 else None
            if lines and not os.path.exists(name) and name.encode("utf-8", "surrogatepass") in payload:
                cells[name] = "".join(lines)
        try:
            source = inspect.getsource(inspect.unwrap(function))
        except (OSError, TypeError, ValueError):
            source = ""
        packed = Packed(payload, mark, display_name(function), source[:100_000].replace("\0", ""), cells)
        if _captures_nothing(function) and not by_value:
            if len(_packed) > 256:
                _packed.clear()
            _packed[id(function)] = (function, packed)
        return packed


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
    if function.__annotations__ or any(type(one) not in _ATOMS for one in function.__defaults__ or ()):
        return False
    return not _global_names(function.__code__) & function.__globals__.keys()


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
            report.append(Captured(name, kind, type(value).__name__, len(cloudpickle.dumps(value, protocol=5))))
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
        cloudpickle.dumps(value, protocol=5)
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
                payload = cloudpickle.dumps((tuple(args), dict(kwargs)), protocol=5)
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


def pack_value(value: object) -> bytes:
    """Any value as bytes."""
    if type(value) in _ATOMS:
        return pickle.dumps(value, protocol=5)
    with _lock:
        return cast(bytes, cloudpickle.dumps(value, protocol=5))


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
        return obj
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
