"""The code that runs a cell in a child: an IPython shell of its own, whose displays go to the job and whose errors are raised.

IPython is imported only when a cell runs. Each cell has a process of its own, so nothing needs to be put back after it.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .. import captures, payload
from ..errors import JobFailed
from ..runtime import context

#: The line in front of the code stands for the line of ``%%gigq``, so that line numbers are those of the notebook's cell.
HEAD = "# %%gigq\n"


@dataclass(frozen=True)
class Variables:
    """The variables that a cell takes along, as bytes: they are read when its shell is there, and never shown."""

    packed: bytes
    cells: dict[str, str]  # the notebook's cells that define what is among them, for tracebacks
    about: str

    def __repr__(self) -> str:
        return self.about


class Cell:
    """A cell as a function: called with its variables, it runs as a cell runs.

    Args:
        code: The cell without its first line.
        title: What tracebacks call it.
        outs: Names whose values are the job's result; empty: the value of the last line is.
        interactivity: Which values are shown, as the notebook's shell has it.
    """

    def __init__(self, code: str, title: str, outs: tuple[str, ...], interactivity: str) -> None:
        self.code, self.title, self.outs, self.interactivity = code, title, outs, interactivity
        self.__qualname__ = self.__name__ = "cell"

    def __call__(self, variables: Variables) -> Any:
        shell = _start_shell(self.title, self.interactivity)
        for name, text in variables.cells.items():
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        try:
            values = payload.unpack(variables.packed)
        except Exception as error:
            raise JobFailed(f"the variables of the cell cannot be loaded here: {type(error).__name__}: {error}") from error
        shell.user_ns.update(values)
        value = shell.run(self.code)
        if self.outs:
            return _picked(self.outs, shell.user_ns)
        return _storable(value)


def _picked(outs: tuple[str, ...], namespace: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in outs if name not in namespace]
    if missing:
        names = ", ".join(missing)
        raise JobFailed(f"the cell ran, but did not set {names}, which --out names; check the spelling, then run it again")
    return {name: namespace[name] for name in outs}


def _storable(value: Any) -> Any:
    """The value of the last line, where it can be stored: a plot's axes or a generator must not fail a cell that ran."""
    if _is_drawing(value):
        return None
    try:
        captures.size_of(value, "the value of the last line")
    except Exception as error:
        sys.stderr.write(f"[gigq_nb: {error}; it was shown, result() gives None]\n")
        return None
    return value


def _is_drawing(value: Any) -> bool:
    """What plotting functions return: it was drawn, and is nothing to load matplotlib for in the notebook."""
    if isinstance(value, (list, tuple)):
        return any(_is_drawing(one) for one in value[:100])
    return type(value).__module__.partition(".")[0] == "matplotlib"


def _start_shell(title: str, interactivity: str) -> Any:
    shell_class = _shell_class()
    shell_class.clear_instance()
    shell = shell_class.instance(title=title)
    shell.ast_node_interactivity = interactivity
    return shell


def _trimmed(trace: TracebackType | None, file: str) -> TracebackType | None:
    """The part of a traceback that begins in the cell; all of it, if no frame is the cell's."""
    first = trace
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            return trace
        trace = trace.tb_next
    return first


def _shell_class() -> Any:  # noqa: C901 - one class; made here because IPython is imported only in the child
    from IPython.core.compilerop import CachingCompiler
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Compiler(CachingCompiler):
        """Calls the cell what the notebook calls the job."""

        title = "cell"

        def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:  # noqa: ARG002 - IPython's signature
            return self.title if number == 1 else f"{self.title}, code {number}"

    class Publisher(DisplayPublisher):
        """``display()`` and its relatives."""

        def publish(
            self,
            data: dict[str, Any],
            metadata: dict[str, Any] | None = None,
            *_: Any,
            transient: dict[str, Any] | None = None,
            update: bool = False,
            **__: Any,
        ) -> None:
            context.show(data, metadata, (transient or {}).get("display_id"), update)

        def clear_output(self, wait: bool = False) -> None:
            context.clear(wait)

    class Hook(DisplayHook):
        """The value of the last line."""

        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
            context.show(format_dict, md_dict, kind="execute_result")

        def finish_displayhook(self) -> None:
            self._is_active = False

    class CellShell(InteractiveShell):
        """IPython without history, profile, terminal and prompts."""

        def __init__(self, title: str, **options: Any) -> None:
            config = Config()
            config.HistoryManager.enabled = False
            config.HistoryManager.hist_file = ":memory:"
            self.head = ""
            super().__init__(config=config, **options)  # type: ignore[no-untyped-call]
            self.compile = Compiler()  # type: ignore[no-untyped-call]
            self.compile.title = title
            self.title = title

        def init_profile_dir(self, profile_dir: Any = None) -> None:
            """A cell has no profile: nothing is written into the user's folders."""

        def init_virtualenv(self) -> None:
            """sys.path is the notebook's."""

        def init_display_pub(self) -> None:
            self.display_pub = Publisher(parent=self, shell=self)  # type: ignore[no-untyped-call]

        def init_displayhook(self) -> None:
            from IPython.core.display_trap import DisplayTrap

            self.displayhook = Hook(parent=self, shell=self, cache_size=self.cache_size)  # type: ignore[no-untyped-call]
            self.display_trap = DisplayTrap(hook=self.displayhook)  # type: ignore[no-untyped-call]

        def transform_cell(self, raw_cell: str) -> str:
            """IPython's, with the line of ``%%gigq`` back in front of the cell itself."""
            head, self.head = self.head, ""
            return head + str(super().transform_cell(raw_cell))  # type: ignore[no-untyped-call]

        # !cmd writes where the job writes, as it goes, not through a terminal of its own.
        system = InteractiveShell.system_raw

        def showtraceback(self, *_: Any, **__: Any) -> None:
            """The engine reports the error; once is enough."""

        showsyntaxerror = showtraceback

        def run(self, code: str) -> Any:
            """Run the code; returns the value of the last line.

            Raises:
                BaseException: what the code raised, its traceback beginning in the cell.
            """
            warnings.filterwarnings("ignore", message="To exit: use")
            self.head = "" if code.lstrip().startswith("%%") else HEAD
            result = self.run_cell(code, store_history=True)  # type: ignore[no-untyped-call]
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                raise error.with_traceback(_trimmed(error.__traceback__, self.title))
            return result.result

    return CellShell
