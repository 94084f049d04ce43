"""``%gigq WORD`` and ``%%gigq``: the notebook's door to the words of ``commands/``."""

from __future__ import annotations

import ast
import contextlib
import dis
import os
import sys
from types import FrameType
from typing import Any

from IPython.core.magic import no_var_expand
from IPython.display import display as _display
from IPython.utils.text import DollarFormatter

from .. import submission
from ..commands import registry
from ..commands.command import NOTHING, Answer, Call, Door, HelpWanted, UsageError, failure
from ..commands.terminal import visible
from ..connected import connect, current
from ..errors import JobFailed, NotConnected, RemoteError
from ..queue import JobQueue
from . import cells, completion
from .line import Word, split

_NAME = "gigq"


class NotebookDoor(Door):
    """Words said in a cell: they mean the connected queue, and names of the notebook."""

    notebook = True

    def __init__(self, shell: Any, names: dict[str, Any], db: str | None = None, *, kept: bool = False) -> None:
        super().__init__(db)
        self.shell, self.names = shell, names
        # In a terminal pandas leaves out the columns that do not fit, the status among them.
        self.frames = kept or getattr(shell, "kernel", None) is not None

    def queue(self, *, create: bool = False) -> JobQueue:
        """The file of ``--db`` or of the environment; else the connected queue."""
        if self.db is None:
            try:
                return current()
            except NotConnected:
                if not create and not os.path.lexists(self.path()):
                    raise NotConnected("no queue is connected: %gigq connect jobs.db opens or creates one") from None
        return super().queue(create=create)

    def path(self) -> str:
        """The file of ``--db``; else that of the connected queue."""
        if self.db is None:
            with contextlib.suppress(NotConnected):
                return str(current().path)
        return super().path()

    def connect(self) -> JobQueue:
        """The queue that tasks and words mean from now on; variables that cells promised before a restart come back."""
        queue = connect(self.path())
        cells.resume(self.shell, queue)
        return queue

    def look_again(self) -> None:
        """Views of revived jobs move on."""
        from .display import look_again

        look_again()

    def say(self, text: str) -> None:
        """Print."""
        sys.stdout.write(visible(text) + "\n")
        sys.stdout.flush()

    def call(self, text: str) -> Call | None:
        """``train(lr=0.1)``: the function and the evaluated arguments; ``train``: the function alone.

        Raises:
            UsageError: it is neither, or evaluating it fails; the message has Python's words.
        """
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            raise UsageError(f"{text!r:.80} is not Python: {error.msg}; write a call such as train(lr=0.1)") from None
        if isinstance(tree.body, ast.Call):
            taken = ast.Call(ast.Name("__gigq_arguments__", ast.Load()), tree.body.args, tree.body.keywords)
            function = self._value(tree.body.func, text)
            args, kwargs = self._value(taken, text)
            return Call(function, args, kwargs, written=True)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if isinstance(tree.body, (ast.Name, ast.Attribute)) and not names <= self.names.keys():
            if isinstance(tree.body, ast.Attribute):
                return None  # module.function, which is imported
            raise UsageError(f"this notebook has no {text}: define it first, or write module.function")
        found = self._value(tree.body, text)
        if not callable(found):
            raise UsageError(f"{text} is no function but {type(found).__name__}; write a call such as train(lr=0.1)")
        return Call(found, written=True)

    def _value(self, node: ast.expr, text: str) -> Any:
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "<%gigq submit>", "eval")
        names = {**self.names, "__gigq_arguments__": lambda *args, **kwargs: (args, kwargs)}
        try:
            return eval(code, names)  # noqa: S307 - the cell's own text, as if it stood there without the magic
        except Exception as error:
            raise UsageError(f"{text:.80}: {type(error).__name__}: {error}") from error


def _caller() -> FrameType | None:
    """The frame of the cell in which the magic stands."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "IPython",
        __package__.partition(".")[0],
    ):
        frame = frame.f_back
    return frame


def _fate(frame: FrameType | None) -> str:
    """What the cell does with what the magic returns: ``thrown away``, ``kept`` (assigned), or something else.

    Only the last expression of a cell is shown by the kernel. A card in the middle of a cell must be seen, too, so the
    instruction behind the call is looked at: POP_TOP means that nobody takes the value.
    """
    if frame is None:
        return ""
    after = [one for one in dis.get_instructions(frame.f_code) if one.offset > frame.f_lasti and one.opname != "CACHE"]
    following = after[0].opname if after else ""
    return "thrown away" if following == "POP_TOP" else "kept" if following.startswith("STORE_") else ""


class Magics:
    """The two magics of one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    @no_var_expand  # a dict or set in a call is Python; $x and {x} are expanded below, in everything but calls
    def line(self, line: str) -> Any:
        """Replaced by the text of all words when it is registered."""
        frame = _caller()
        names = {**self.shell.user_ns, **(frame.f_locals if frame is not None else {})}
        try:
            quiet = line.rstrip().endswith(";")
            arguments = [self._expanded(word, names) for word in split(line.rstrip().rstrip(";"))]
            args = registry.parse(arguments or ["--help"], "%gigq")
            if args.version:
                from importlib.metadata import version

                return self._tell(f"gigq-nb {version('gigq-nb')}")
            fate = _fate(frame)
            door = NotebookDoor(self.shell, names, args.db, kept=fate == "kept")
            answer = registry.run(door, args)
        except HelpWanted as wanted:
            return self._tell(str(wanted))
        except Exception as error:
            raise _in_one_line(error) from None
        if args.json:
            import json

            return self._tell(json.dumps(answer.data, indent=2))
        return self._give(answer, fate=fate, quiet=quiet, frames=door.frames)

    def cell(self, line: str, cell: str) -> Any:
        """Run the cell as a job; ``%%gigq --help`` has its options."""
        try:
            if not {"--help", "-h"}.isdisjoint(word.text for word in split(line)):
                raise HelpWanted(cells.parser().format_help().rstrip())  # needs no queue
            return cells.run_cell_magic(line, cell, self.shell, NotebookDoor(self.shell, {}).queue())
        except HelpWanted as wanted:
            return self._tell(str(wanted))
        except Exception as error:
            raise _in_one_line(error) from None

    def _expanded(self, word: Word, names: dict[str, Any]) -> str:
        """IPython's $x and {x}, in all words but Python's."""
        if word.is_python or not ("$" in word.text or "{" in word.text):
            return word.text
        try:
            return str(DollarFormatter().vformat(word.text, args=[], kwargs=names))
        except Exception:
            return word.text  # as IPython does: what cannot be expanded was not meant to be

    def _tell(self, text: str) -> None:
        if text:
            sys.stdout.write(visible(text) + "\n")

    def _give(self, answer: Answer, *, fate: str, quiet: bool, frames: bool) -> Any:
        """Show what is to be shown; return what somebody may take."""
        if answer.failed and not answer.report:
            raise _in_one_line(JobFailed(answer.text))
        for one in answer.shows:
            _show(one)
        if answer.kept is not NOTHING:
            self._tell(answer.text)
            return answer.kept if fate == "kept" else None
        value = answer.frame() if answer.frame is not None and frames else answer.value
        if value is NOTHING:
            if answer.table is not None:
                from ..commands.terminal import render, screen_width

                self._tell(render(answer.table, 120 if frames else screen_width()))
            return self._tell(answer.text)
        if quiet:
            return None
        if fate == "thrown away":
            if value is not None:
                _show(value)
            return None
        return value


def _show(value: Any) -> None:
    _display(value)  # type: ignore[no-untyped-call]


def _in_one_line(error: Exception) -> Exception:
    """What a person did wrong, or a job, is told in one line and still ends "Run All"; a fault of ours keeps its traceback."""
    if failure(error) or isinstance(error.__cause__, RemoteError):
        said = visible(f"{type(error).__name__}: {error}")
        error._render_traceback_ = lambda: [said]  # type: ignore[attr-defined]
    return error


def whereabouts(shell: Any) -> tuple[str | None, str | None]:
    """(notebook, cell) as the front end tells them; None for what it does not tell."""
    names = shell.user_ns
    notebook = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME") or names.get("__session__")
    cell = None
    get_parent = getattr(shell, "get_parent", None)
    if get_parent is not None:
        parent = get_parent()
        metadata = parent.get("metadata") if isinstance(parent, dict) else None
        cell = metadata.get("cellId") if isinstance(metadata, dict) else None
    return notebook if isinstance(notebook, str) else None, cell if isinstance(cell, str) else None


def load(shell: Any) -> None:
    """``%load_ext gigq_nb``. A second time replaces the first."""
    magics = Magics(shell)

    @no_var_expand
    def line_magic(line: str) -> Any:
        return magics.line(line)

    def cell_magic(line: str, cell: str) -> Any:
        return magics.cell(line, cell)

    line_magic.__doc__, cell_magic.__doc__ = registry.overview(), cells.parser().format_help()
    shell.register_magic_function(line_magic, "line", _NAME)
    shell.register_magic_function(cell_magic, "cell", _NAME)
    submission.whereabouts = lambda: whereabouts(shell)
    completion.register(shell)


def unload(shell: Any) -> None:
    """``%unload_ext gigq_nb``. Jobs and workers go on."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(_NAME, None)
    cells.unload(shell)
    submission.whereabouts = lambda: (None, None)
    completion.unregister(shell)


__all__ = ["Magics", "NotebookDoor", "load", "unload", "whereabouts"]
