"""The house, as data: which room may import which, and what is dangerous and where. `python -m tests.rooms` draws it.

An import counts wherever it stands: at the top, inside a function, or as importlib.import_module("..."). One that is
only for types (under `if TYPE_CHECKING`) loads nothing and is free.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "gigq_nb"
HOUSE = Path(__file__).resolve().parent.parent / PACKAGE

NOUNS = ("errors", "states", "job", "policies", "failpoints")
VERBS = (
    *("queue", "connected", "handle", "task", "workflow", "executor", "compat"),  # what users touch
    *("given", "submission", "finding", "waiting", "loading", "upkeep"),  # what these are made of
)
PAYLOAD = ("payload", "signing", "packing", "captures")
_LOWER = {*NOUNS, "payload", "store"}

# Room -> the rooms above it. A room may always import itself; nobody imports the face (`__init__`).
MAY_IMPORT: dict[str, set[str]] = {
    "failpoints": set(),  # a test's way to let a process die at a named point
    "errors": set(),
    "states": {"errors"},
    "policies": {"errors", "states"},
    "job": {"errors", "states", "policies"},
    "payload": {"errors", "failpoints"},
    "store": {*NOUNS},
    "verbs": _LOWER,
    "runtime": _LOWER,
    "commands": _LOWER | {"verbs", "runtime"},
    "notebook": _LOWER | {"verbs", "runtime", "commands"},
    "__main__": {"commands"},
    "__init__": _LOWER | {"verbs", "runtime", "commands", "notebook"},  # lazily: test_rooms checks what it loads
}

# Dangerous module -> the rooms (or one module of a room) that alone may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sqlite3", "apsw", "pysqlite3"), ("store",)),
    **dict.fromkeys(("cloudpickle", "pickle", "dill", "marshal", "shelve"), ("payload",)),
    "hmac": ("signing",),
    **dict.fromkeys(("subprocess", "signal", "psutil", "multiprocessing", "resource", "pty"), ("runtime",)),
    "ctypes": (
        "runtime",
        "store.db",
        "store.wal",
    ),  # store.db: a connection that a fork inherited is leaked on purpose; store.wal: statx(2)
    **dict.fromkeys(("IPython", "ipywidgets", "ipykernel", "comm", "traitlets"), ("notebook",)),
    **dict.fromkeys(("pandas", "numpy", "matplotlib", "html"), ("notebook",)),
    **dict.fromkeys(("distributed", "dask"), ("runtime.dask_runner",)),
}

# Of `os`, which everybody may import: what makes, ends or replaces processes.
ONLY_RUNTIME_CALLS = {
    *("kill", "killpg", "fork", "forkpty", "waitpid", "wait", "system", "popen", "abort", "_exit", "setsid", "setpgid"),
    *("posix_spawn", "posix_spawnp", "pidfd_open", "execv", "execve", "execvp", "spawnv", "spawnve"),
}


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One import: `module` (within the package, dotted) imports `target` in `where` ('' is the top of the file)."""

    module: str
    where: str
    target: str
    line: int

    @property
    def inside(self) -> bool:
        """Whether the target is a module of this package."""
        return self.target == PACKAGE or self.target.startswith(PACKAGE + ".")

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.where or 'at the top'} imports {self.target}"


# The reach-downs: (module, method, what it imports there). These and no others; one that nobody needs any more is an
# error too. Each is a verb that a user expects on a noun, though its work is done in a lower room: start_worker and
# executor (runtime), DataFrames, and how a handle, batch, queue, worker or workflow shows itself (notebook). As in:
# ("queue", "JobQueue.start_worker", "runtime.launcher"). They are listed as they are written.
REACH_DOWNS: set[tuple[str, str, str]] = {
    *(("queue", f"JobQueue.{verb}", "notebook.frames") for verb in ("jobs", "executions", "workers", "sql")),
    ("handle", "Batch.frame", "notebook.frames"),
    *(("queue", f"JobQueue.{verb}", "runtime.launcher") for verb in ("start_worker", "stop_worker")),
    ("waiting", "Waiting.bell", "runtime.bell"),  # submit rings it, wait sleeps on it
    *(
        (module, f"{noun}.{how}", "notebook.display")
        for module, noun in (("handle", "JobHandle"), ("handle", "Batch"), ("queue", "JobQueue"), ("workflow", "Workflow"))
        for how in ("_repr_mimebundle_", "_ipython_display_")
    ),
    ("runtime.launcher", "WorkerHandle._repr_mimebundle_", "notebook.display"),
}


def module_name(path: Path, house: Path = HOUSE) -> str:
    """gigq_nb/store/db.py -> store.db; gigq_nb/store/__init__.py -> store; gigq_nb/__init__.py -> __init__."""
    parts = list(path.relative_to(house).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def room(module: str) -> str:
    """store.db -> store; queue -> verbs. A name that the table does not know is a room of its own, and refused."""
    first = module.partition(".")[0]
    return "verbs" if first in VERBS else "payload" if first in PAYLOAD else first


def modules(house: Path = HOUSE) -> dict[str, Path]:
    """Every module of the package, by name."""
    return {module_name(path, house): path for path in sorted(house.rglob("*.py"))}


def imports(house: Path = HOUSE) -> list[Import]:
    """Every import of the package that loads something."""
    known = {PACKAGE if name == "__init__" else f"{PACKAGE}.{name}" for name in modules(house)}
    found = []
    for name, path in modules(house).items():
        package = [PACKAGE, *path.relative_to(house).parts[:-1]]
        for where, node in _walk(ast.parse(path.read_text(encoding="utf-8")), ""):
            found += [Import(name, where, target, node.lineno) for target in _targets(node, package, known)]
    return found


def process_calls(house: Path = HOUSE) -> list[Import]:
    """os.kill and the like, outside runtime/ too; in the form of imports."""
    return [
        Import(name, where, f"os.{node.attr}", node.lineno)
        for name, path in modules(house).items()
        for where, node in _walk(ast.parse(path.read_text(encoding="utf-8")), "")
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in ONLY_RUNTIME_CALLS
    ]


def _walk(node: ast.AST, where: str) -> Iterator[tuple[str, Any]]:
    """All nodes with the function they stand in, but what is only for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield where, other
                yield from _walk(other, where)
            continue
        yield where, child
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _walk(child, ".".join(filter(None, (where, child.name))))
        else:
            yield from _walk(child, where)


def _targets(node: ast.AST, package: list[str], known: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *filter(None, [node.module])])
        # `from . import db` names a module, `from .db import connect` a thing within one
        return sorted({full if (full := f"{origin}.{alias.name}") in known else origin for alias in node.names})
    if isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "importlib.import_module",
        "import_module",
        "__import__",
    ):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            dots = len(first.value) - len(first.value.lstrip("."))
            base = package[: len(package) - dots + 1] if dots else []
            return [".".join(filter(None, [*base, first.value.lstrip(".")]))]
    return []


def _target_module(found: Import) -> str:
    return found.target.partition(".")[2] or "__init__"


def _is_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == one or module.startswith(one + ".") for one in rooms)


def broken(
    found: list[Import], reach_downs: set[tuple[str, str, str]] | None = None, calls: list[Import] | None = None
) -> list[str]:
    """What is against the table, one sentence each; also reach-downs that are listed but not there."""
    listed = REACH_DOWNS if reach_downs is None else reach_downs
    used: set[tuple[str, str, str]] = set()
    wrong = []
    for one in found:
        reason = _against(one)
        if not reason:
            continue
        key = (one.module, one.where, _target_module(one) if one.inside else one.target)
        if one.where and key in listed:
            used.add(key)
        else:
            wrong.append(f"{one}: {reason}")
    wrong += [
        f"{call.module}:{call.line} uses {call.target}: only runtime/ touches processes"
        for call in calls or []
        if room(call.module) not in ("runtime", "failpoints")
    ]
    wrong += [f"{module} {where} no longer imports {it}: take it off the list" for module, where, it in listed - used]
    return wrong


def _against(one: Import) -> str:
    """Why this import is against the table; '' if it is not."""
    mine = room(one.module)
    if mine not in MAY_IMPORT:
        return f"'{mine}' is no room of the house; say in tests/rooms.py what it may import"
    if one.inside:
        theirs = room(_target_module(one))
        if theirs == "__init__":
            return "the face is for users; import the room itself"
        return "" if theirs == mine or theirs in MAY_IMPORT[mine] else f"{mine} stands above {theirs}"
    allowed = ONLY_IN.get(one.target.partition(".")[0])
    return "" if allowed is None or _is_in(one.module, allowed) else f"only {' and '.join(allowed)} may"


def draw(found: list[Import]) -> str:
    """Who imports whom, as text."""
    lines = [f"{PACKAGE}: who imports whom   (↓ a reach-down inside a method, ! dangerous, only there)", ""]
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    present = sorted({room(name) for name in sizes}, key=lambda r: [*MAY_IMPORT, r].index(r))
    for mine in present:
        members = [name for name in sizes if room(name) == mine]
        lines.append(f"{mine}  {sum(sizes[m] for m in members)} lines in {len(members)}")
        up: dict[str, set[str]] = defaultdict(set)
        for one in (one for one in found if room(one.module) == mine):
            if one.inside and (theirs := room(_target_module(one))) != mine:
                down = bool(_against(one))
                up[("↓ " if down else "→ ") + theirs].add(f"{one.module} {one.where}".strip() if down else one.module)
            elif not one.inside and (top := one.target.partition(".")[0]) in ONLY_IN:
                up["! " + top].add(one.module)
        marks = sorted(up, key=lambda mark: ("→↓!".index(mark[0]), mark))
        lines += [f"    {mark:<16} {', '.join(sorted(up[mark]))}" for mark in marks]
    long = [f"{name} ({size})" for name, size in sizes.items() if size > 400]
    if long:
        lines += ["", f"past 400 lines, to be split by noun: {', '.join(long)}"]
    return "\n".join(lines)


def main() -> int:
    """Draw, then name what is broken."""
    found = imports()
    print(draw(found))
    wrong = broken(found, calls=process_calls())
    if wrong:
        print("\nagainst the table:", *wrong, sep="\n  ")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
