"""``@task``: a function with a name and options, ready to be submitted."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, overload

from . import captures
from .errors import InvalidArgument, InvalidType
from .job import Job, Options
from .policies import MAX_PRIORITY, clean_name, whole_number

if TYPE_CHECKING:
    from .handle import Batch, JobHandle
    from .queue import JobQueue


class Task:
    """A function with a name and options. Calling it calls the function, here and now.

    Args:
        function: Any callable, also a lambda, a closure or a bound method.
        name: What its jobs are called; the function's name if not given.
        priority: Higher runs first.
        by_value: Modules whose code travels along instead of being imported by the child.
        options: ``timeout max_attempts retry retry_delay retry_on memory fresh grace tags env description
            pass_parent_results``; see :class:`gigq_nb.job.Options`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        priority: int = 0,
        by_value: Sequence[types.ModuleType] = (),
        **options: Any,
    ) -> None:
        refuse_uncallable(function)
        self.function = function
        self.name = clean_name(captures.display_name(function) if name is None else name)
        self.priority = whole_number(priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)
        self.by_value = (by_value,) if isinstance(by_value, types.ModuleType) else tuple(by_value)
        try:
            self.options = Options.of(**options)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            unknown = str(error).rsplit(" ", 1)[-1]
            raise InvalidType(
                f"@task has no option {unknown}; it has: name priority by_value {' '.join(_OPTION_NAMES)}"
            ) from None
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        return _rebuild, (self.function, self.name, self.priority, self.options.as_json())

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"

    def to_job(self, *args: Any, **kwargs: Any) -> Job:
        """A :class:`Job` of this task with these arguments, not submitted yet."""
        job = Job(self.name, self.function, kwargs, self.priority, args=args)
        job.options = self.options
        return job

    def submit(self, *args: Any, **kwargs: Any) -> JobHandle:
        """Submit one job: ``train.submit(lr=0.1)``. A JobQueue as first argument is the queue, else the connected one.

        Raises:
            NotConnected: no queue was given, and none is connected.
            TypeError: the arguments do not fit the function.
        """
        queue, rest = self._queue(args)
        return queue.submit(self, *rest, **kwargs)

    def submit_once(self, key: str, /, *args: Any, **kwargs: Any) -> JobHandle:
        """:meth:`submit`, unless a job stands under this key already; ``train.submit_once("june", lr=0.1)``. See JobQueue."""
        queue, rest = self._queue(args)
        return queue.submit_once(key, self, *rest, **kwargs)

    def map(self, *iterables: Any, product: bool = False, batch_name: str | None = None, **lists: Iterable[Any]) -> Batch:
        """One job for each set of arguments: ``train.map(lr=[.1, .01], depth=[3, 5], product=True)``."""
        queue, rest = self._queue(iterables)
        return queue.map(self, *rest, product=product, batch_name=batch_name, **lists)

    def _queue(self, args: tuple[Any, ...]) -> tuple[JobQueue, tuple[Any, ...]]:
        from .connected import current
        from .queue import JobQueue

        if args and isinstance(args[0], JobQueue):
            return args[0], args[1:]
        return current(), args


_OPTION_NAMES = tuple(name for name in inspect.signature(Options.of).parameters)


def _rebuild(function: Callable[..., Any], name: str, priority: int, options: str) -> Task:
    task_ = Task(function, name=name, priority=priority)
    task_.options = Options.from_json(options)
    return task_


def refuse_uncallable(function: object) -> None:
    """Refuse what can never be run as a job, with the way out.

    Raises:
        InvalidType: not callable, or a task already.
        InvalidArgument: a generator function.
    """
    if isinstance(function, Task):
        raise InvalidType("this is a task already; @task is applied once")
    if not callable(function):
        raise InvalidType(f"a function is something that can be called, not {type(function).__name__}")
    inner = inspect.unwrap(function) if not isinstance(function, functools.partial) else function.func
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise InvalidArgument(
            f"{captures.display_name(function)} is a generator function: its values would stay in the child. Return list(…) of them"
        )


_STARS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
#: Signatures of plain functions, with the code and annotations they were read from: %autoreload puts others in their place.
_signatures: dict[Any, tuple[types.CodeType, dict[str, Any], inspect.Signature | None]] = {}


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of a callable; None where it has none (``time.sleep``)."""
    if not holds_nothing(function):
        return _read_signature(function)
    known = _signatures.get(function)
    if known is None or known[0] is not function.__code__ or known[1] is not function.__annotations__:
        if len(_signatures) >= 256:
            _signatures.clear()
        known = _signatures[function] = (function.__code__, function.__annotations__, _read_signature(function))
    return known[2]


def _read_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def holds_nothing(function: object) -> TypeGuard[types.FunctionType]:
    """Whether it can be remembered: a method or a closure would keep alive, for good, the data that it holds."""
    if type(function) is not types.FunctionType or function.__closure__ or function.__dict__:
        return False
    return not function.__defaults__ and not function.__kwdefaults__


@functools.lru_cache(maxsize=64)
def _remembered(function: Callable[..., Any]) -> Task:
    return Task(function)


def as_task(what: Task | Callable[..., Any]) -> Task:
    """A task, also of a callable that is none yet; that of a plain function is remembered."""
    if isinstance(what, Task):
        return what
    return _remembered(what) if holds_nothing(what) else Task(what)


def refuse_misfit(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], injected: bool) -> None:
    """Refuse arguments that the function does not take. What has no signature is not checked.

    Raises:
        InvalidType: with Python's own words about the arguments.
    """
    if _fits_plainly(function, args, kwargs):
        return
    signature = signature_of(function)
    if signature is None:
        return
    if injected and "parent_results" in signature.parameters and "parent_results" not in kwargs:
        kwargs = {**kwargs, "parent_results": {}}
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidType(f"{captures.display_name(function)}{signature}: {error}") from None


def _fits_plainly(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Nearly always: as many positional arguments as a plain function has parameters. There is nothing to bind."""
    if kwargs or type(function) is not types.FunctionType or function.__dict__:  # where __wrapped__ and __signature__ stand
        return False
    code = function.__code__
    if code.co_argcount != len(args) or code.co_kwonlyargcount or code.co_flags & _STARS:
        return False
    return "parent_results" not in code.co_varnames[: code.co_argcount]  # it may be given twice


@overload
def task(function: Callable[..., Any], /) -> Task: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., Any]], Task]: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function submittable: ``@task`` or ``@task(timeout="10m", max_attempts=3)``. See :class:`Task`."""
    if function is not None:
        return Task(function, **options)
    return functools.partial(Task, **options)
