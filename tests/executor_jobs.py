"""Functions and classes that the executor's tests submit. A module of its own: a child imports it, and pytest it must not."""

import os
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


def mul(x: int, y: int) -> int:
    return x * y


def capture(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def until(path: str, value: Any = None) -> Any:
    """Says that it runs (a file beside ``path``), then waits until ``path`` exists."""
    Path(path + ".begun").touch()
    end_s = time.monotonic() + PATIENCE_S
    while not os.path.exists(path):
        if time.monotonic() > end_s:
            raise TimeoutError(path)
        time.sleep(0.005)
    return value


def until_then_raise(path: str) -> None:
    until(path)
    raise ValueError("this is an exception")


def raise_here() -> None:
    raise RuntimeError(123)  # some comment


def die() -> None:
    os._exit(3)


class Thing:
    """Something to hold a weak reference to."""

    def my_method(self) -> None:
        pass


def make_thing(_: int) -> Thing:
    return Thing()


class ErrorAtPickle:
    """As CPython's: cannot be pickled."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("at pickle")


def _raise(kind: type[Exception], text: str) -> None:
    raise kind(text)


class ErrorAtUnpickle:
    """Pickles, but does not load."""

    def __reduce__(self) -> Any:
        return _raise, (RuntimeError, "at unpickle")


class CrashAtUnpickle:
    """Ends the process that loads it."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)


class CrashAtPickle:
    """Ends the process that pickles it."""

    def __reduce__(self) -> Any:
        os._exit(1)


def make(kind: type) -> Any:
    return kind()


def ignore(_: Any) -> None:
    pass
