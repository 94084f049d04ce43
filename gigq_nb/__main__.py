"""``gigq-nb WORD`` and ``python -m gigq_nb WORD``: prints what a word answers.

Exit codes: 0 done, 1 not done, 2 not understood.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

from .commands import registry
from .commands.command import Answer, Door, HelpWanted, UsageError, failure
from .commands.terminal import render, screen_width, visible, visible_line


class Terminal(Door):
    """Prints."""

    def say(self, text: str) -> None:
        print(visible(text), flush=True)

    def ask(self, question: str) -> str | None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return None
        try:
            return input(visible(question))
        except EOFError:
            return ""


def main(arguments: list[str] | None = None) -> int:
    """Entry of ``gigq-nb``. Returns the exit code."""
    _prepare()
    try:
        code = _main(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # somebody has read enough: `gigq-nb list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return code


def _main(arguments: list[str]) -> int:
    try:
        args = registry.parse(arguments)
        if args.version:
            from importlib.metadata import version

            print(f"gigq-nb {version('gigq-nb')}")
            return 0
        answer = registry.run(Terminal(args.db), args)
    except HelpWanted as wanted:
        print(wanted)
        return 0
    except UsageError as error:
        return _complain(error, 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 1)
    except Exception as error:
        if not failure(error):
            raise
        return _complain(error, 1)
    _print(answer, as_json=args.json)
    return 1 if answer.failed else 0


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.data, indent=2))
        return
    if answer.table is not None:
        print(render(answer.table, screen_width()))
    if answer.text:
        print(visible(answer.text), file=sys.stderr if answer.failed and not answer.report else sys.stdout)


def _complain(what: object, code: int) -> int:
    print(f"gigq-nb: {visible_line(str(what))}", file=sys.stderr)
    return code


def _prepare() -> None:
    """A terminal that cannot show a character gets its number; warnings are one line; modules beside us can be imported."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning):
        print(f"gigq-nb: {visible_line(str(message))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
