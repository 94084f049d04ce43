"""What a cell takes along from its notebook: found by itself or named, measured, and refused by name where it cannot leave."""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import captures, packing, payload
from ..errors import InvalidArgument, NotSerializable
from ..task import Task

if TYPE_CHECKING:
    from .cell_names import Names

_DEFINITIONS = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, Task)
_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One variable that travels with a cell."""

    name: str
    type_name: str
    size_bytes: int
    job: str | None = None  # it comes from this job, which is not done yet

    @property
    def is_heavy(self) -> bool:
        """Whether its size is worth a warning."""
        return self.size_bytes > payload.WARN_BYTES

    @property
    def is_definition(self) -> bool:
        """Whether it is code of the notebook, not data."""
        return self.type_name in ("function", "type", "Task", "builtin_function_or_method")

    def __str__(self) -> str:
        if self.job is not None:
            return f"{self.name} (from {self.job}, when that is done)"
        if self.type_name == "module" or (self.is_definition and self.size_bytes < 100_000):
            return self.name
        return f"{self.name} ({self.type_name}, {size_text(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Luggage:
    """All that travels with a cell.

    Attributes:
        packed: The variables as bytes.
        cells: The notebook's cells that define the functions and classes among them.
        items: What they are.
        promised: Jobs whose outs are among them; they must complete before.
        handles: Jobs whose handles are among them; they must end before, however they end.
        left: Names that cannot travel and that the cell binds itself, so that it may do without.
    """

    packed: bytes
    cells: dict[str, str]
    items: tuple[Taken, ...]
    promised: tuple[str, ...]
    handles: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def text(self) -> str:
        """What is taken along, in words."""
        if not self.items:
            return "takes nothing along"
        modules = [one for one in self.items if one.type_name == "module"]
        others = sorted(
            (one for one in self.items if one.type_name != "module"), key=lambda one: (one.is_definition, -one.size_bytes)
        )
        parts = [str(one) for one in others[:_SHOWN]]
        if len(others) > _SHOWN:
            rest = others[_SHOWN:]
            parts.append(f"{len(rest)} more ({size_text(sum(one.size_bytes for one in rest))})")
        if modules:
            parts.append("modules " + ", ".join(one.name for one in modules) if len(modules) > 1 else f"module {modules[0].name}")
        return "takes along " + ", ".join(parts)

    @property
    def warnings(self) -> list[str]:
        """One sentence for each variable over 10 MB."""
        return [
            f"{one.name} ({one.type_name}) takes {one.size_bytes / 1e6:,.0f} MB along with each run of this cell. "
            "Save it to a file and read that in the cell"
            for one in self.items
            if one.is_heavy
        ]


def pack(
    names: Names, wanted: Sequence[str] | None, namespace: dict[str, Any], hidden: Mapping[str, Any], promised: Mapping[str, Any]
) -> Luggage:
    """The variables that a cell needs, as bytes.

    Args:
        names: What the cell reads and binds.
        wanted: The names of ``--in``; None: what the cell reads. Modules, functions and classes that it reads come in both cases.
        namespace: The notebook's.
        hidden: What IPython itself put there.
        promised: Handles of jobs that will bring back variables, by name.

    Raises:
        InvalidArgument: ``--in`` names what the notebook does not have.
        NotSerializable: a variable cannot leave this process; the message names it and the way out.
    """
    for name in wanted or ():
        if name not in namespace and name not in promised:
            near = difflib.get_close_matches(name, [one for one in namespace if not one.startswith("_")], 1)
            raise InvalidArgument(
                f"--in names {name}, which this notebook does not have" + (f"; did you mean {near[0]}?" if near else "")
            )
    values: dict[str, Any] = {}
    items: list[Taken] = []
    left: list[str] = []
    for name in dict.fromkeys([*(wanted or ()), *names.read]):
        if name in promised and (wanted is None or name in wanted):
            job = promised[name]
            values[name] = payload.OutOf(str(job), name)
            items.append(Taken(name=name, type_name="", size_bytes=0, job=job.name))
            continue
        if name not in namespace or (name in hidden and namespace[name] is hidden[name]):
            continue
        value = namespace[name]
        if wanted is not None and name not in wanted and not isinstance(value, _DEFINITIONS):
            continue
        try:
            size = captures.size_of(value, name)
        except NotSerializable as error:
            if name in names.bound and (wanted is None or name not in wanted):
                left.append(name)  # it may not be needed: the cell binds it, too
                continue
            raise _refusal(error, named=wanted is not None and name in wanted) from error
        values[name] = value
        items.append(Taken(name=name, type_name=type(value).__name__, size_bytes=size))
    packed, handles = packing.pack_variables(values, namespace)
    parents = dict.fromkeys(one.job_id for one in values.values() if isinstance(one, payload.OutOf))
    return Luggage(
        packed=packed,
        cells=packing.cells_of({name: one.function if isinstance(one, Task) else one for name, one in values.items()}),
        items=tuple(items),
        promised=tuple(parents),
        handles=tuple(handles),
        left=tuple(left),
    )


def _refusal(error: NotSerializable, *, named: bool) -> NotSerializable:
    way_out = "make it inside the cell"
    if not named:
        way_out += ", or name with --in what the cell needs instead (--in alone: nothing)"
    return NotSerializable(f"{error}. The cell reads it: {way_out}")


def size_text(size: int) -> str:
    """``1.2 MB``: a size as people say it."""
    for unit, step in (("B", 1), ("kB", 10**3), ("MB", 10**6), ("GB", 10**9)):
        if size < 1000 * step or unit == "GB":
            return f"{size / step:,.0f} {unit}" if step == 1 or size >= 100 * step else f"{size / step:.1f} {unit}"
    return str(size)  # not reached


def warn(text: str, title: str) -> None:
    """A warning that points at the cell, not into this package."""
    import warnings

    from ..submission import CaptureWarning

    warnings.warn_explicit(text, CaptureWarning, title, 1, registry=None, source=None)
    sys.stderr.flush()
