"""``%%gigq``: a cell becomes a job. Here it is read, checked, given what it needs, and submitted; it runs in ``cell_shell``."""

from __future__ import annotations

import argparse
import ast
import keyword
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..commands import finding
from ..commands.command import Parser
from ..commands.submit import duration
from ..commands.terminal import time_text
from ..errors import GigQError, InvalidArgument
from ..handle import JobHandle
from ..store import keys
from ..submission import stored
from ..task import Task
from . import cell_names, returns, taken
from .cell_shell import HEAD, Cell, Variables
from .line import split
from .outputs import outputs_of

if TYPE_CHECKING:
    from ..queue import JobQueue

# As ipykernel does for its own process: figures of a cell are shown at its end.
_INLINE = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}

_ABOUT = """\
Run a cell as a job: in another process, in the background, as it would run here.

What it reads of this notebook's variables is found by itself and taken along; its prints go to the job's log, its
displays and plots into the job's card; what --out names comes back as variables when it is done."""


class CellSyntaxError(GigQError, ValueError):
    """The cell is no Python, so nothing was submitted. The line and the place in it are named below."""

    def __init__(self, error: SyntaxError) -> None:
        # Not a SyntaxError itself: IPython shows of those all frames down to the compiler, and hides the line in them.
        where = "".join(traceback.format_exception_only(error)[:-1]).rstrip()
        super().__init__(f"{error.msg}\n{where}" if where else str(error.msg))


def parser() -> Parser:
    """The options of ``%%gigq``."""
    one = Parser(prog="%%gigq", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    one.add_argument("--name", metavar="N", help="what to call the job; else after its first --out")
    one.add_argument(
        "--in",
        dest="taken",
        nargs="*",
        action="extend",
        metavar="A,B",
        help="take these variables along, and no other data (functions, classes and modules that the cell uses come anyway)",
    )
    one.add_argument(
        "--out", nargs="+", action="extend", default=[], metavar="A,B", help="variables that come back when it is done"
    )
    one.add_argument("--timeout", metavar="T", help="seconds, or 90s, 10m, 2h; its processes are ended then (default: none)")
    one.add_argument("--max-attempts", type=int, default=1, metavar="N", help="attempts before it ends badly (default 1)")
    one.add_argument("--memory", metavar="SIZE", help="fail rather than use more than this (2GB)")
    one.add_argument("--needs", nargs="+", action="extend", default=[], metavar="JOB", help="start when these jobs are completed")
    one.add_argument("--priority", type=int, default=0, metavar="N", help="higher runs first (default 0)")
    one.add_argument("--tag", action="append", default=[], help="a word to find it by; may be repeated")
    one.add_argument("--key", metavar="K", help="run it only if no job stands under this key; else that one is meant")
    one.add_argument("--quiet", "-q", action="store_true", help="submit without a card and without a line")
    return one


def options() -> list[str]:
    """The long options, for completion."""
    return sorted(name for action in parser()._actions for name in action.option_strings if name.startswith("--"))


def run_cell_magic(line: str, cell: str, shell: Any, queue: JobQueue) -> JobHandle | None:
    """Submit a cell as a job. Returns its handle, or None with ``--quiet``.

    Args:
        line: What stands behind ``%%gigq``.
        cell: The lines below.
        shell: The notebook's IPython shell.
        queue: Where the job goes.

    Raises:
        HelpWanted: ``--help``.
        UsageError, InvalidArgument: an option is not understood.
        CellSyntaxError: with the cell's line numbers; nothing was stored.
        NotSerializable: a variable cannot leave this process; nothing was stored.
    """
    args = parser().parse_args([word.text for word in split(line)])
    outs = tuple(_names(args.out, "--out"))
    wanted = None if args.taken is None else _names(args.taken, "--in")
    name = args.name or (outs[0] if outs else "cell")
    title = "cell" if name == "cell" else f"cell {name}"
    code = checked(cell, title, shell)
    held = None if args.key is None else finding.held(queue, args.key)
    if held is None:
        job = _submit(args, _Written(line, cell, name, title, code, outs, wanted), shell, queue)
    else:
        job = held
        _say_held(args.key, job, cell, name)
    if outs:
        # The card says what was taken along; this line, which variables are awaited, and then that they came.
        words = f"{name}: {' and '.join(outs)} {'come' if len(outs) > 1 else 'comes'} back when it is done"
        returns.of(shell).expect(job, name, outs, None if args.quiet else returns.tell(words))
    return None if args.quiet else job


@dataclass(frozen=True, slots=True)
class _Written:
    """What stands in the cell, and what that means."""

    line: str
    cell: str
    name: str
    title: str
    code: str
    outs: tuple[str, ...]
    wanted: list[str] | None


def _submit(args: argparse.Namespace, written: _Written, shell: Any, queue: JobQueue) -> JobHandle:
    comings = returns.of(shell)
    needs = [_needed(text, queue, shell.user_ns) for one in args.needs for text in one.split(",") if text]
    promised = comings.promised(queue)
    read = cell_names.names_of(written.code, shell.transform_cell)
    luggage = taken.pack(read, written.wanted, shell.user_ns, shell.user_ns_hidden, promised)
    coming = f"; brings back {', '.join(written.outs)}" if written.outs else ""
    task = Task(
        Cell(written.cell, written.title, written.outs, shell.ast_node_interactivity),
        name=written.name,
        priority=args.priority,
        timeout=duration(args.timeout),
        max_attempts=args.max_attempts,
        memory=args.memory,
        tags=args.tag,
        fresh=True,  # a cell changes its process as it likes: plots, the shell, whatever it imports
        pass_parent_results=False,
        description=luggage.text + coming,
        env=_INLINE,
    )
    variables = Variables(luggage.packed, luggage.cells, ", ".join(one.name for one in luggage.items))
    parents = {**dict.fromkeys(luggage.handles, "run"), **dict.fromkeys([*map(str, needs), *luggage.promised], "cancel")}
    source, cells = stored(f"%%gigq {written.line}", written.cell), {written.title: HEAD + written.code}
    job = queue._submit_cell(task, variables, source, cells, parents, args.key)
    for one in luggage.warnings:
        taken.warn(one, written.title)
    comings.gave(job, luggage.promised)
    return job


def _say_held(key: str, job: JobHandle, cell: str, name: str) -> None:
    with finding.reading(job.queue) as db:
        before = keys.source(db, key)
    said = f"{name}: already submitted at {time_text(job.row().created_at)} under the key {key}, and not again"
    if stored(before.partition("\n")[0], cell) != before:
        said += "; what stands here now is not what was submitted then, another --key runs it"
    returns.tell(said)


def checked(cell: str, title: str, shell: Any) -> str:
    """The cell as Python, without the magics.

    Raises:
        CellSyntaxError: with the line numbers of the whole cell, its first line being that of ``%%gigq``.
        InvalidArgument: there is nothing in it.
    """
    if not cell.strip():
        raise InvalidArgument("the cell is empty: write the code below the line of %%gigq")
    try:
        code: str = shell.transform_cell(cell)
        compile(HEAD + code, title, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        raise CellSyntaxError(error) from None
    return code


def _names(words: list[str], option: str) -> list[str]:
    names = [one for word in words for one in word.split(",") if one]
    for one in names:
        if not one.isidentifier() or keyword.iskeyword(one):
            raise InvalidArgument(f"{option} takes names of variables, such as {option} model,scores; {one!r:.60} is none")
    return list(dict.fromkeys(names))


def _needed(text: str, queue: JobQueue, namespace: dict[str, Any]) -> JobHandle:
    """A job by a variable that holds its handle, by its name, or by its id."""
    held = namespace.get(text)
    return held if isinstance(held, JobHandle) else finding.job(queue, text)


def resume(shell: Any, queue: JobQueue) -> None:
    """After a restart: go on waiting for the variables that cells of this notebook promised."""
    returns.of(shell).resume(queue)


def unload(shell: Any) -> None:
    """Stop bringing variables back; the jobs go on."""
    returns.forget(shell)


__all__ = ["checked", "options", "outputs_of", "parser", "resume", "run_cell_magic", "unload"]
