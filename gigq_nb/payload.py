"""Values <-> bytes: the only place that pickles and unpickles, for both ends (:mod:`gigq_nb.signing` signs).

:mod:`gigq_nb.packing` makes payloads with it where a job is submitted; a child reads them, and needs no more than this.

*Trust.* Whoever can write the file or read the key can run code as you; nobody else can. Nothing is unpickled before
:func:`verify` said yes.

*Identity.* cloudpickle sends what ``__main__`` defines by value. When such a class comes back to a kernel that has a
class of that name in its own ``__main__`` (after a restart, say), that class stands in, so that ``isinstance``, ``==``
and ``except MyError`` go on working.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
import threading
import types
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, cast

import cloudpickle
from cloudpickle import cloudpickle as _cp

from .errors import InvalidType
from .signing import CHANGED as CHANGED
from .signing import PARENT_CHANGED as PARENT_CHANGED
from .signing import PYTHON as PYTHON
from .signing import SIGNATURE_BYTES as SIGNATURE_BYTES
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
ATOMS = frozenset({int, float, str, bytes, bool, type(None)})
#: cloudpickle's registry is of the whole process: one thread at a time pickles.
lock = threading.RLock()

# -------------------------------------------------------------------------------------------------- into bytes


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


def dumps(value: object) -> bytes:
    """Any value as bytes. What becomes of handles in it is decided by :func:`reduce_handle`."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def dumps_plain(value: object) -> bytes:
    """What is made of :data:`ATOMS` as bytes: it needs no cloudpickle, and a small part of its time."""
    return pickle.dumps(value, protocol=5)


def dumps_following(value: object) -> tuple[bytes, list[str]]:
    """A value as bytes in which handles stand for the results of their jobs, and the ids of these jobs."""
    parents: list[str] = []
    with lock:
        _collector.parents = parents
        try:
            return dumps(value), list(dict.fromkeys(parents))
        finally:
            _collector.parents = None


def dump_keeping(value: object, file: BinaryIO, namespace: dict[str, Any] | None = None) -> list[str]:
    """Write a value in which handles stay handles. Returns the ids of their jobs.

    Args:
        value: What to write.
        file: Where to write it.
        namespace: A notebook's. Functions that look up their globals there will look them up in the ``__main__`` of
            the process that reads them.
    """
    kept: list[str] = []
    pickler = _Pickler(file, protocol=5)
    if namespace is not None:
        pickler.globals_ref[id(namespace)] = _NotebookGlobals()
    with lock:
        _collector.kept = kept
        try:
            pickler.dump(value)
        finally:
            _collector.kept = None
    return list(dict.fromkeys(kept))


def pack_value(value: object) -> bytes:
    """Any value as bytes."""
    if type(value) in ATOMS:
        return dumps_plain(value)
    with lock:
        return dumps(value)


@contextlib.contextmanager
def modules_by_value(modules: Sequence[types.ModuleType]) -> Iterator[None]:
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


# ------------------------------------------------------------------------------------ what stands for a result

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


# ------------------------------------------------------------------------------------------------ from bytes


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


# ---------------------------------------------------------------------------------------- between two jobs


def is_bare(function: object) -> bool:
    """In a child: a function that travelled by value and has nothing that a job could change for the next one."""
    if type(function) is not types.FunctionType or function.__module__ != "__main__" or function.__closure__ or function.__dict__:
        return False
    if function.__kwdefaults__ or any(type(one) not in ATOMS for one in function.__defaults__ or ()):
        return False
    return not function.__globals__.keys() - _BARE_GLOBALS


_BARE_GLOBALS = {"__builtins__", "__name__", "__package__", "__path__", "__file__", "__doc__"}


def forget_classes() -> None:
    """In a child, between two jobs: classes that travelled by value are made anew for the next one."""
    if _cp._DYNAMIC_CLASS_TRACKER_BY_ID:
        _cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()


# ------------------------------------------------------------------------------------------------------ secrets


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
