"""Every row of the fault matrix has a test that exists, or a reason why not. ``python -m tests.test_fault_matrix`` prints it."""

import ast
import functools
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = {"A": 15, "B": 6, "C": 28, "D": 10, "E": 8, "F": 24, "G": 10}


def matrix() -> dict[str, dict[str, Any]]:
    """Row -> what it is and what holds it."""
    sections = tomllib.loads((HERE / "faults.toml").read_text())
    return {name: row for section in sections.values() for name, row in section.items()}


@functools.cache
def defined_in(file: Path) -> frozenset[str]:
    """The tests that a file defines, also by assignment, as Hypothesis' machines are."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    return frozenset(name for name in names if name.startswith(("test_", "Test")))


def exists(test: str) -> bool:
    """Whether ``folder/file.py::name`` is a test."""
    file, _, name = test.partition("::")
    return (HERE / file).is_file() and name in defined_in(HERE / file)


def test_no_row_is_missing_and_none_is_invented() -> None:
    assert list(matrix()) == [f"{letter}{n}" for letter, most in ROWS.items() for n in range(1, most + 1)]


def test_each_row_has_tests_or_a_reason() -> None:
    for name, row in matrix().items():
        assert set(row) <= {"fault", "tests", "left_out", "but"}, name
        assert row["fault"], name
        assert bool(row.get("tests")) != bool(row.get("left_out")), f"{name}: tests, or left_out with the reason"


def test_each_test_that_the_matrix_names_exists() -> None:
    missing = [f"{name}: {test}" for name, row in matrix().items() for test in row.get("tests", ()) if not exists(test)]
    assert missing == []


def test_a_test_that_does_not_exist_is_found() -> None:
    assert exists("test_fault_matrix.py::test_a_test_that_does_not_exist_is_found")
    assert not exists("test_fault_matrix.py::test_nothing_of_this_name")
    assert not exists("test_no_such_file.py::test_anything")


if __name__ == "__main__":
    for key, fields in matrix().items():
        held = "; ".join(fields.get("tests", ())) or f"left out: {fields['left_out']}"
        print(f"{key:4}{fields['fault']}\n      {held}" + (f"\n      but: {fields['but']}" if "but" in fields else ""))
