"""What a word is: it parses its arguments, does its work, and returns data. The terminal prints it, the notebook shows it."""

from __future__ import annotations

import argparse
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..errors import GigQError

if TYPE_CHECKING:
    from ..queue import JobQueue

DEFAULT_DB = "gigq.db"
DB_VARIABLE = "GIGQ_NB_DB"


class UsageError(GigQError):
    """The words were not understood. The message says how they are written."""


class Interrupted(GigQError):
    """Somebody stopped waiting. What was waited for goes on."""


class HelpWanted(Exception):
    """``--help`` was asked for; the text is the argument."""


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of ending the process: a kernel must outlive a typing error."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise UsageError(f"{message}; usage: {usage}")

    def print_help(self, file: Any = None) -> NoReturn:  # noqa: ARG002 - argparse's signature
        raise HelpWanted(self.format_help().rstrip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under column names. The columns named in ``whole`` are never cut to make a row fit."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    empty: str
    whole: tuple[str, ...] = ("id",)
    #: Columns that may be left out when the terminal is narrow, the first one first.
    spare: tuple[str, ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


NOTHING: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a word has to say.

    Attributes:
        data: For machines (``--json``): dicts, lists, texts and numbers.
        text: For people, in lines.
        table: For people, in a terminal.
        frame: The same as a DataFrame, for a notebook; called only there.
        shows: What a notebook shows instead of the text: jobs, batches, queues.
        value: What a notebook gets back (``x = %gigq …``); it is shown where nobody takes it.
        kept: What ``x = %gigq …`` gets where the text is all that is shown.
        failed: The word was understood, and could not be done, or did not end well.
        report: The text is what was asked for, also where it tells of a failure: it goes to where texts go.
    """

    data: Any = None
    text: str = ""
    table: Table | None = None
    frame: Callable[[], Any] | None = None
    shows: list[Any] = field(default_factory=list)
    value: Any = NOTHING
    kept: Any = NOTHING
    failed: bool = False
    report: bool = False


class Call(NamedTuple):
    """What to run: a function of a module, or a call that was written in a notebook, evaluated there."""

    function: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed
    written: bool = False  # in a notebook


class Door(ABC):
    """Where a word was spoken: a terminal or a notebook. A word asks its door for all that differs between the two."""

    notebook = False
    frames = False  # a DataFrame is wanted, or drawn well: else a table is printed

    def __init__(self, db: str | None = None) -> None:
        self.db = db

    @property
    def name(self) -> str:
        """How words are written here, for messages."""
        return "%gigq" if self.notebook else "gigq-nb"

    def path(self) -> str:
        """The file that is meant."""
        return self.db if self.db is not None else os.environ.get(DB_VARIABLE) or DEFAULT_DB

    def queue(self, *, create: bool = False) -> JobQueue:
        """The queue that is meant.

        Raises:
            NotAQueue: there is none, and the word does not make one.
        """
        from ..errors import NotAQueue
        from ..queue import JobQueue
        from ..store.opening import resolve

        path = resolve(self.path())
        if not create and not os.path.lexists(path):
            raise NotAQueue(f"there is no file {path}: '{self.name} connect' makes one, --db FILE names another")
        return JobQueue(path, create)

    def look_again(self) -> None:  # noqa: B027 - a terminal has no views
        """Views that had come to an end are to go on: something was revived."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Show a line now: for words that take their time."""

    def ask(self, question: str) -> str | None:  # noqa: ARG002 - a terminal asks
        """What a person answers; None where there is nobody to ask."""
        return None

    def call(self, text: str) -> Call | None:  # noqa: ARG002 - a notebook's door reads it
        """The call or function that this text means in the notebook; None where it means none."""
        return None

    def connect(self) -> JobQueue:
        """The queue that is meant, made if it is not there; where words follow each other, they mean it from now on."""
        return self.queue(create=True)


class Command:
    """One word. Its docstring is its help; the first line of it stands in the list of all words."""

    word: str
    also: tuple[str, ...] = ()

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what the word takes."""

    def run(self, door: Door, args: argparse.Namespace) -> Answer:
        """Do it.

        Raises:
            GigQError: it cannot be done; the message says why, in one line.
        """
        raise NotImplementedError

    @classmethod
    def summary(cls) -> str:
        """The first line of the help."""
        return (cls.__doc__ or "").strip().split("\n", 1)[0]


def short(path: str | Path) -> str:
    """A path as people write it: relative to the current folder where it is below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def failure(error: BaseException) -> bool:
    """Whether an error is something to tell in one line, rather than a fault of ours."""
    return isinstance(error, (GigQError, OSError))
