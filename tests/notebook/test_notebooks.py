"""The manual is true: each of its notebooks runs from top to bottom, in a real kernel, without the network."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.books import make_nb
from tests.leftovers import dismiss

README = Path(__file__).resolve().parents[2] / "README.md"
FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
# Nothing on this machine answers there: whoever wants the network gets an error at once.
NO_NETWORK = "http://127.0.0.1:9"


@pytest.fixture
def run_book(
    isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Path], nbformat.NotebookNode]]:
    """Executes a notebook in a folder of its own. Fails on any error that its cell does not announce."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, NO_NETWORK)

    def run(path: Path) -> nbformat.NotebookNode:
        book = nbformat.read(path, as_version=4)
        NotebookClient(book, kernel_name="python3", timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return book

    yield run
    dismiss(isolated)


def text_of(book: nbformat.NotebookNode, cell_id: str) -> str:
    """All that a cell shows, as text."""
    [cell] = [one for one in book.cells if one.id == cell_id]
    # A stream may come in several pieces, which follow each other as they were written; other outputs stand on lines of their own.
    return "".join(one.get("text") or one.get("data", {}).get("text/plain", "") + "\n" for one in cell.outputs).removesuffix("\n")


def errors_of(book: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """(cell, error) of what went wrong, and of what was printed as an error without being one."""
    return [
        (cell.id, one.get("ename") or one.get("text", ""))
        for cell in book.cells
        for one in cell.get("outputs", [])
        if one.output_type == "error" or one.get("name") == "stderr"
    ]


def test_the_manual_has_its_five_notebooks() -> None:
    assert [path.name[:2] for path in BOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert [cell.id for cell in book.cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert "widgets" not in book.metadata
    assert len({cell.id for cell in book.cells}) == len(book.cells)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\((?!http)([^)]+)\)", text)
    assert [one for one in targets if not (FOLDER / one).exists()] == []


@pytest.mark.slow
def test_the_demo_runs_the_quickstart_through_a_kernel_restart(isolated: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run_demo.py"), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = re.search(r"finished before the restart (\d+), after it (\d+), at the end (\d+)", done.stdout)
    assert numbers is not None
    before, after, end = map(int, numbers.groups())
    assert before < after <= end == 30
    assert "completed" in done.stdout
    book = nbformat.read(out / "01_quickstart.ipynb", as_version=4)
    assert errors_of(book) == []


def test_the_demo_ends_with_an_error_when_the_notebook_fails(isolated: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(FOLDER)!r})
import run_demo
run_demo.QUICKSTART = Path({str(tmp_path / "01_quickstart.ipynb")!r})
sys.exit(run_demo.main(["--out", {str(tmp_path / "demo")!r}]))
"""
    book = nbformat.read(FOLDER / "01_quickstart.ipynb", as_version=4)
    [task] = [cell for cell in book.cells if cell.id == "task"]
    task.source = "raise RuntimeError('broken on purpose')"
    nbformat.write(book, tmp_path / "01_quickstart.ipynb")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr


def test_02_cells_as_jobs(run_book: Callable[[Path], Any]) -> None:
    book = run_book(FOLDER / "02_cells_as_jobs.ipynb")
    assert errors_of(book) == []
    assert re.match(r"accuracy \d\d\.\d%, \d+ mistakes", text_of(book, "back"))
    assert "job train: completed" in text_of(book, "again")
    assert "epoch 100: loss" in text_of(book, "logs")


def test_03_workflows(run_book: Callable[[Path], Any]) -> None:
    book = run_book(FOLDER / "03_workflows.ipynb")
    assert errors_of(book) == []
    assert re.match(r"(linear|forest|svm) \{'linear': 0\.9", text_of(book, "result"))
    assert "add_up" in text_of(book, "workflow")
    assert "435" in text_of(book, "flow-result")
    assert "read: failed, count: cancelled (upstream), other: 4" in text_of(book, "failure")
    assert text_of(book, "retry") == "6"


def test_04_when_things_go_wrong(run_book: Callable[[Path], Any]) -> None:
    book = run_book(FOLDER / "04_when_things_go_wrong.ipynb")
    assert errors_of(book) == [("error", "ZeroDivisionError")]
    assert "sharing 12 among 0" in text_of(book, "error-log")
    assert "answered" in text_of(book, "flaky")
    assert "JobTimeout · timeout" in text_of(book, "timeout")
    assert "exited with code 3" in text_of(book, "crash")
    assert "SIGKILL" in text_of(book, "crash")
    assert "fine: completed · still here" in text_of(book, "crash")
    assert "True True cancelled" in text_of(book, "cancel")
    assert "count_up uses lock" in text_of(book, "unpicklable")
    assert "after: 6.0" in text_of(book, "retry")
    assert "Nothing is wrong." in text_of(book, "doctor")


def test_05_history_as_dataframes(run_book: Callable[[Path], Any]) -> None:
    book = run_book(FOLDER / "05_history_as_dataframes.ipynb")
    assert errors_of(book) == []
    assert "1000000" in text_of(book, "frame")
    assert "datetime64[ms, UTC]" in text_of(book, "jobs")
    assert re.search(r"completed\s+24\s+failed\s+8", text_of(book, "counts").replace("estimate_pi", ""))
    assert "Figure" in text_of(book, "plot")
    assert "history-copy.db" in text_of(book, "keep")


def test_the_lines_of_the_readme_that_are_for_a_notebook_run_in_one(run_book: Callable[[Path], Any], tmp_path: Path) -> None:
    fenced = README.read_text(encoding="utf-8").split("```")[1::2]
    [block] = [one.removeprefix("\n") for one in fenced if "%load_ext" in one]
    connect, cell = block.split("\n\n")
    lines = [line.split("  # ")[0].rstrip() for line in connect.splitlines()]
    define = "df = list(range(10))\n\ndef fit(values):\n    return sum(values)"
    write_book(tmp_path / "readme.ipynb", ["\n".join(lines), define, cell, "%gigq wait fit", "print(model)"])
    book = run_book(tmp_path / "readme.ipynb")
    assert errors_of(book) == []
    assert book.cells[-1].outputs[0].text == "45\n"


def write_book(path: Path, cells: list[str]) -> None:
    """A notebook of these cells."""
    nbformat.write(make_nb(cells), path)
