"""The quickstart as a person sees it: half done, kernel restarted and found again, the table and the plot."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from gigq_nb import JobQueue
from gigq_nb.handle import Batch
from tests.browser.conftest import Lab, Notebook

QUICKSTART = Path(__file__).resolve().parents[2] / "notebooks" / "01_quickstart.ipynb"
GO_TO = """id => { const n = jupyterapp.shell.currentWidget.content;
n.activeCellIndex = n.widgets.findIndex(c => c.model.sharedModel.getId() === id); n.deselectAll();
n.scrollToItem(n.activeCellIndex, 'start') }"""


@pytest.fixture
def quickstart(lab: Lab, chromium: Browser) -> Iterator[Notebook]:
    """The committed notebook, open in JupyterLab."""
    for old in lab.root.glob("digits.db*"):
        old.unlink() if old.is_file() else shutil.rmtree(old)
    shutil.copy(QUICKSTART, lab.root)
    page = chromium.new_context(viewport={"width": 1000, "height": 850}).new_page()
    book = Notebook(lab, page, QUICKSTART.name)
    yield book
    page.context.close()
    lab.end_kernels()


def wait_until(happened: Callable[[], bool], limit_s: float = 180) -> None:
    """Wait for what the worker does."""
    end = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def go_to(book: Notebook, cell: str) -> None:
    """Select a cell and bring it to the top."""
    book.page.evaluate(GO_TO, cell)


def submitted(book: Notebook) -> bool:
    """Whether the sweep is in the file."""
    path = book.lab.root / "digits.db"
    return path.exists() and bool(JobQueue(path, False).batches())


def sweep_of(book: Notebook) -> Batch:
    """The sweep, read from its file, not from the page."""
    return JobQueue(book.lab.root / "digits.db", False).batch("digits-svc")


@pytest.mark.slow
def test_a_sweep_is_watched_found_again_after_a_restart_and_plotted(quickstart: Notebook) -> None:
    book, page = quickstart, quickstart.page
    book.command("application:toggle-left-area")
    go_to(book, "restart")
    book.command("notebook:run-all-above", wait=False)
    wait_until(lambda: submitted(book))
    sweep = sweep_of(book)
    wait_until(lambda: sweep.counts.done >= 12)
    go_to(book, "submit-text")
    page.wait_for_timeout(600)  # scrolling is animated
    book.screenshot("quickstart-1-half-done")
    before = sweep.counts.done
    assert before < 30

    book.kernel("restart")
    wait_until(lambda: sweep.counts.done >= before + 2)
    after = sweep.counts.done
    book.ready()
    go_to(book, "again")
    book.command("notebook:run-cell")
    page.wait_for_function("document.querySelectorAll('.jp-OutputArea-output').length >= 2")
    go_to(book, "restart")
    page.wait_for_timeout(600)
    book.screenshot("quickstart-2-found-again")
    assert before < after
    assert [one.attempts for one in sweep if one.done()].count(1) >= after  # nothing was started twice

    go_to(book, "results-text")
    book.command("notebook:run-all-below", wait=False)
    wait_until(lambda: sweep.counts.completed == 30)
    page.wait_for_selector(".jp-OutputArea-output img", timeout=60_000)
    wait_until(lambda: not book.running())
    page.set_viewport_size({"width": 1000, "height": 1780})
    go_to(book, "results-text")
    page.wait_for_timeout(600)
    book.screenshot("quickstart-3-table-and-plot")
    saved = book.save()
    [plot] = [cell for cell in saved.cells if cell.id == "plot"]
    assert any("image/png" in output.get("data", {}) for output in plot.outputs)
    assert [cell.id for cell in saved.cells for output in cell.get("outputs", []) if output.output_type == "error"] == []
    assert book.external == []
