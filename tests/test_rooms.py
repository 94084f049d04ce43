"""The drawing of the house cannot drift from the code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import rooms

HEAVY = ("pandas", "numpy", "IPython", "ipywidgets", "ipykernel", "traitlets", "cloudpickle", "distributed", "psutil")
# What an import of the face must not pay for either: each costs milliseconds that every child and command would pay.
COSTLY = ("asyncio", "multiprocessing", "concurrent.futures.process", "logging.config", "sqlite3")
EMPTY_NAME = re.compile(r"utils?|help.+|managers?|common|misc")


def loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after a statement."""
    code = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def house(folder: Path, files: dict[str, str]) -> list[str]:
    """What is wrong in a house of these files."""
    for name, source in files.items():
        path = folder / rooms.PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    base = folder / rooms.PACKAGE
    return rooms.broken(rooms.imports(base), set(), rooms.process_calls(base))


def test_every_import_is_in_the_table_or_a_listed_reach_down() -> None:
    assert rooms.broken(rooms.imports(), calls=rooms.process_calls()) == []


def test_every_module_stands_in_a_room_of_the_table() -> None:
    assert {rooms.room(name) for name in rooms.modules()} - set(rooms.MAY_IMPORT) == set()


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("job.py", "import sqlite3", "only store may"),
        ("job.py", "def f():\n    from sqlite3 import connect", "only store may"),
        ("queue.py", "class Q:\n    def f(self):\n        import pandas as pd", "only notebook may"),
        ("store/db.py", "from ..payload import sign", "store stands above payload"),
        ("store/db.py", "from gigq_nb import payload", "store stands above payload"),
        ("store/db.py", "import importlib\nimportlib.import_module('gigq_nb.queue')", "store stands above verbs"),
        (
            "store/db.py",
            "import importlib\nimportlib.import_module('..queue', __package__)",
            "store stands above verbs",
        ),
        ("runtime/local.py", "import distributed", "only runtime.dask_runner may"),
        ("runtime/local.py", "from gigq_nb import JobQueue", "the face is for users"),
        ("tools.py", "import json", "no room of the house"),
        ("queue.py", "import os\n\ndef stop(pid):\n    os.kill(pid, 9)", "only runtime/ touches processes"),
    ],
)
def test_what_is_against_the_table_is_found(tmp_path: Path, name: str, source: str, complaint: str) -> None:
    [sentence] = house(tmp_path, {"__init__.py": "", "payload.py": "", "queue.py": "", name: source})
    assert complaint in sentence


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("store/db.py", "import sqlite3\nfrom ..errors import GigQError\nfrom . import reads"),
        ("queue.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas as pd"),
        ("runtime/dask_runner.py", "import distributed"),
        ("notebook/frames.py", "import pandas\nfrom ..queue import JobQueue"),
    ],
)
def test_what_the_table_allows_is_allowed(tmp_path: Path, name: str, source: str) -> None:
    around = {"__init__.py": "", "errors.py": "", "store/reads.py": "", "queue.py": ""}
    assert house(tmp_path, {**around, name: source}) == []


def test_a_reach_down_is_for_one_method_and_leaves_the_list_with_its_reason() -> None:
    found = [rooms.Import("queue", "JobQueue.start_worker", "gigq_nb.runtime.launcher", 1)]
    listed = {("queue", "JobQueue.start_worker", "runtime.launcher")}
    assert rooms.broken(found, listed) == []
    assert rooms.broken([rooms.Import("queue", "", "gigq_nb.runtime.launcher", 1)], listed) != []
    assert rooms.broken([], listed) != []


def test_importing_the_package_loads_nothing_heavy() -> None:
    new = loaded_by("import gigq_nb") - loaded_by("pass")
    assert new & {*HEAVY, *COSTLY} == set()


def test_a_child_loads_what_reads_payloads_and_nothing_that_makes_them() -> None:
    mine = {name.removeprefix("gigq_nb.") for name in loaded_by("import gigq_nb.runtime.child") if name.startswith("gigq_nb.")}
    assert {name for name in mine if not name.startswith("runtime")} == {"errors", "payload", "signing"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name for name in rooms.modules() if any(map(EMPTY_NAME.fullmatch, name.split(".")))] == []


def test_no_module_is_too_long_to_read() -> None:
    """Past 400 lines a module is to be split (`make rooms` reports it); past 450 it has to be."""
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in rooms.modules().items()}
    assert {name: size for name, size in sizes.items() if size > 450} == {}


def test_the_package_says_that_it_is_typed() -> None:
    assert (rooms.HOUSE / "py.typed").exists()


def test_the_drawing_names_every_room_that_exists() -> None:
    drawing = rooms.draw(rooms.imports())
    assert [room for room in {rooms.room(name) for name in rooms.modules()} if f"\n{room}  " not in drawing] == []
