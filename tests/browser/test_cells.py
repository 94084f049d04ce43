"""The ten-minute scenario, shortened: a cell trains and plots in the background, and survives what happens to its notebook."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from gigq_nb import JobQueue

Book = Callable[[list[str]], Any]

CONNECT = "%load_ext gigq_nb\n%gigq connect cells.db"
PREPARE = """\
import numpy as np
rng = np.random.default_rng(7)
X = rng.normal(size=(500, 3)); y = X @ np.array([1.0, -2.0, 0.5]) + rng.normal(scale=0.1, size=500)
def loss(w): return float(((X @ w - y) ** 2).mean())"""
TRAIN = """\
%%gigq --name fit --out weights,losses --timeout 10m
import matplotlib.pyplot as plt, os, time
from gigq_nb import track
weights, losses = np.zeros(3), []
for epoch in track(range(200), text="training"):
    weights = weights - 0.02 * X.T @ (X @ weights - y) / len(X) * 5
    losses.append(loss(weights))
    if epoch % 50 == 0: print(f"epoch {epoch}: loss {losses[-1]:.4f}")
    while epoch == 100 and not os.path.exists("go-on"): time.sleep(0.02)
plt.figure(figsize=(6, 2.4)); plt.semilogy(losses); plt.xlabel("epoch"); plt.title("loss while training")
losses[-1]"""
WATCH = "%gigq watch"
USE = "print(weights.round(2), f'{losses[-1]:.4f}')"
WORKING = "print('the kernel is free:', 6 * 7)"


def run(book: Any, index: int) -> None:
    """Run one cell, as a person does, and wait until it is done."""
    select(book, index)
    book.command("notebook:run-cell")


def select(book: Any, index: int) -> None:
    book.page.evaluate(
        """i => { const n = jupyterapp.shell.currentWidget.content; n.activeCellIndex = i; n.deselectAll();
        n.scrollToItem(i, 'start') }""",
        index,
    )


def output(book: Any, index: int) -> str:
    return book.page.locator(".jp-Cell").nth(index).locator(".jp-Cell-outputArea").inner_text()


def snapshot(book: Any, index: int) -> str:
    """What the notebook's own copy of the card says, hidden while the live one stands beside it."""
    return book.page.locator(".jp-Cell").nth(index).locator(".gigq-snapshot").first.text_content() or ""


def wait_for(happened: Callable[[], Any], what: str, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.slow
def test_a_cell_trains_and_plots_through_a_restart_and_a_closed_page(notebook: Book) -> None:
    book = notebook([CONNECT, PREPARE, TRAIN, WORKING, WATCH, USE])
    go_on = book.lab.root / "go-on"
    go_on.unlink(missing_ok=True)
    page = book.page
    if page.locator(".jp-DirListing").count():
        book.command("application:toggle-left-area")
    page.set_viewport_size({"width": 1000, "height": 1150})

    for index in (0, 1, 2, 3):
        run(book, index)
    assert "the kernel is free: 42" in output(book, 3), "the cell does not block"
    assert "takes along X (ndarray, 12.1 kB), y (ndarray, 4.1 kB), loss, module np; brings back weights, losses" in output(
        book, 2
    )
    wait_for(lambda: "100 of 200" in output(book, 2), "the card moves to the middle of the training")
    wait_for(lambda: "epoch 50" in output(book, 2), "its log is in the card")
    select(book, 0)
    book.screenshot("cell-1-trains")

    wait_for(lambda: "100 of 200" in snapshot(book, 2), "the notebook's own copy of the card is renewed")
    book.kernel("restart")
    book.save()
    book.page.reload()  # what closing the page and opening it again does
    book.ready()
    wait_for(lambda: "100 of 200" in output(book, 2), "the saved notebook still shows the card")
    assert "as of" in output(book, 2), "and when that was so"
    assert "model not found" not in output(book, 2)

    run(book, 0)
    assert "Since this notebook was here" in output(book, 0)
    assert "nothing ended; 1 running" in output(book, 0)
    run(book, 4)
    wait_for(lambda: "100 of 200" in output(book, 4), "the card is back")
    go_on.touch()
    picture = page.locator(".jp-Cell").nth(4).locator(".gigq-live img[src^='data:image/png']:visible")
    picture.first.wait_for(timeout=120_000)
    assert picture.first.evaluate("one => one.naturalWidth") > 300, "the plot is in the card, and nobody ran a cell"
    wait_for(lambda: "completed" in output(book, 4), "and the card says that it is done")
    run(book, 3)
    assert "fit: weights and losses came back at" in output(book, 3)
    run(book, 5)
    assert re.search(r"\[ ?1\.  ?-2\.  ? ?0\.5\] 0\.0", output(book, 5))
    wait_for(lambda: "completed" in snapshot(book, 4), "the notebook's own copy has the end")
    select(book, 4)
    page.wait_for_timeout(800)  # scrolling is animated
    book.screenshot("cell-2-comes-back")
    saved = book.save()
    assert "data:image/png" in saved.cells[4].outputs[0].data["text/html"], "and the file has the plot"
    assert "job fit: completed" in saved.cells[4].outputs[0].data["text/plain"]
    job = JobQueue(book.lab.root / "cells.db", False).last("fit")
    assert (job.attempts, len(job.executions())) == (1, 1), "trained once, whatever happened to the notebook"
    assert book.external == []


def test_variables_come_back_while_the_kernel_is_idle(notebook: Book) -> None:
    book = notebook(
        [
            CONNECT.replace("cells.db", "idle.db"),
            "%%gigq --name quick --out answer\nimport time; time.sleep(1)\nanswer = 42",
            "print(answer)",
        ]
    )
    run(book, 0)
    run(book, 1)
    wait_for(lambda: "answer came back at" in output(book, 1), "nobody runs a cell, and the line below the cell says it")
    run(book, 2)
    assert output(book, 2).strip() == "42"
