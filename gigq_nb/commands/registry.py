"""All words in their order, the parser made from them, and the one text of help."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import re
import textwrap
from functools import cache
from typing import NoReturn

from .command import Answer, Command, Door, Parser, UsageError

# A word is its module. One whose module is not installed is left out: nothing else depends on it.
_MODULES = (
    *("connect", "submit", "status", "list", "result", "logs", "show", "watch", "wait", "cancel", "retry", "pause", "resume"),
    *("clear", "prune", "stats", "worker", "batch", "backup", "key", "trust", "doctor"),
)

_HEAD = """\
Durable background jobs for notebooks, in one SQLite file.

  gigq-nb [--db FILE] [--json] WORD ...   in a terminal; also: python -m gigq_nb
  %gigq   [--db FILE] WORD ...            in a notebook, after %load_ext gigq_nb
  %%gigq  [options]                       a cell as a job; %%gigq --help has its options

words:
"""
_FOOT = """\

options, before or after the word:
  --db FILE    the queue's file; else GIGQ_NB_DB, else gigq.db (in a notebook: the connected one)
  --json       print JSON instead of text
  --version    print the version
  --help       this text; after a word: what that word takes

JOB is a job's id, the beginning of one, its name (the newest of that name), or its key.
Exit codes: 0 done, 1 could not be done (why is on standard error), 2 not understood."""


@cache
def words() -> dict[str, Command]:
    """The words by their names, in the order of the help."""
    found: dict[str, Command] = {}
    for name in _MODULES:
        full = f"{__package__}.{name}"
        try:
            module = importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
            continue
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Command) and kind.__module__ == full:
                found[kind.word] = kind()
    return found


def overview() -> str:
    """The text of ``gigq-nb --help`` and of ``%gigq?``."""
    lines = []
    for word, command in words().items():
        names = ", ".join((word, *command.also))
        lines += textwrap.wrap(
            command.summary(), 96, initial_indent=f"  {names:<16} ", subsequent_indent=" " * 19, break_on_hyphens=False
        )
    return _HEAD + "\n".join(lines) + "\n" + _FOOT


class _Overview(Parser):
    def error(self, message: str) -> NoReturn:
        if (match := re.search(r"argument WORD: invalid choice: ('[^']*'|\S+)", message)) is not None:
            said = match[1].strip("'")
            known = [name for word, command in words().items() for name in (word, *command.also)]
            near = difflib.get_close_matches(said, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"the words are {' '.join(words())}"
            raise UsageError(f"{said!r:.40} is no word of {self.prog}; {hint}")
        super().error(message)

    def format_help(self) -> str:
        return overview()

    def format_usage(self) -> str:
        return f"{self.prog} [--db FILE] [--json] WORD ..."


def parser(prog: str = "gigq-nb") -> Parser:
    """The parser of all words, for a terminal or a notebook."""
    # SUPPRESS: a word's own default would overwrite what was given before the word.
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--db", metavar="FILE", help="the queue's file")
    common.add_argument("--json", action="store_true", help="print JSON instead of text")
    whole = _Overview(prog=prog, parents=[common], allow_abbrev=False)
    whole.add_argument("--version", action="store_true", help="print the version")
    below = whole.add_subparsers(dest="word", metavar="WORD", parser_class=Parser)
    for word, command in words().items():
        text = inspect.cleandoc(command.__doc__ or "")
        one = below.add_parser(
            word,
            aliases=list(command.also),
            parents=[common],
            prog=f"{prog} {word}",
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.arguments(one)
        one.set_defaults(command=command)
    return whole


def options_of(word: str) -> list[str]:
    """The long options of a word, for completion."""
    command = words().get(word) or next((one for one in words().values() if word in one.also), None)
    if command is None:
        return []
    own = Parser(add_help=True)
    command.arguments(own)
    own.add_argument("--db")
    own.add_argument("--json", action="store_true")
    # argparse has no public list of its options
    return sorted(name for action in own._actions for name in action.option_strings if name.startswith("--"))


def parse(arguments: list[str], prog: str = "gigq-nb") -> argparse.Namespace:
    """What was said.

    Raises:
        UsageError: it is not understood.
        HelpWanted: ``--help``.
    """
    whole = parser(prog)
    found = whole.parse_args(arguments)
    if found.word is None and not found.version:
        raise UsageError(f"a word is missing; '{prog} --help' lists them: {' '.join(words())}")
    found.db = getattr(found, "db", None)
    found.json = getattr(found, "json", False)
    return found


def run(door: Door, args: argparse.Namespace) -> Answer:
    """Do what was said."""
    command: Command = args.command
    return command.run(door, args)
