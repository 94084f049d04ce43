"""Notebook 7's own page: the same views, found again after a restart, saved."""

from collections.abc import Callable

from gigq_nb import JobQueue
from tests.browser.conftest import Notebook
from tests.browser.test_views import until, visible

CONNECT = "%load_ext gigq_nb\n%gigq connect seven.db --concurrency 2"
SWEEP = """\
from gigq_nb import task
@task(name="sweep")
def held(x):
    import os, time
    while x >= 4 and not os.path.exists("go-on"): time.sleep(.02)
    return x * x
squares = held.map(range(12)); squares"""
WATCH = "%gigq watch"


def test_a_batch_is_live_in_notebook_7_and_found_again_after_a_restart(notebook: Callable[..., Notebook]) -> None:
    book = notebook([CONNECT, SWEEP, WATCH], place="/notebooks/")
    assert book.page.evaluate("jupyterapp.name") == "Jupyter Notebook"
    (book.lab.root / "go-on").unlink(missing_ok=True)
    book.page.set_viewport_size({"width": 1000, "height": 900})
    book.run(0)
    book.run(1)
    until(book, "document.querySelector('.gigq-live').innerText.includes('4 of 12 done')")
    assert visible(book, ".gigq-snapshot") == 0, "hidden while its live view stands beside it"
    until(book, "document.querySelector('.gigq-live button').innerText.includes('Cancel all')")
    book.screenshot("notebook7-live")
    until(book, "document.querySelector('.gigq-snapshot').textContent.includes('4 of 12 done')")

    book.kernel("restart")
    book.save()
    book.reload()
    until(book, "[...document.querySelectorAll('.gigq-snapshot')].some(x => x.offsetHeight > 0)")
    assert "4 of 12" in book.page.locator(".gigq-snapshot").first.inner_text()
    book.run(0)
    assert "running" in book.page.locator(".jp-Cell").nth(0).locator(".jp-OutputArea").inner_text()
    book.run(2)
    until(book, "[...document.querySelectorAll('.gigq-live')].some(x => x.innerText.includes('4 of 12 done'))")
    (book.lab.root / "go-on").touch()
    until(book, "[...document.querySelectorAll('.gigq-live')].some(x => x.innerText.includes('all completed'))")
    book.screenshot("notebook7-found-again")
    assert JobQueue(book.lab.root / "seven.db", False).batch().counts.completed == 12
    until(book, "document.querySelectorAll('.gigq-snapshot')[1].textContent.includes('all completed')")
    assert "12 of 12 done" in book.save().cells[2].outputs[0].data["text/plain"]
    assert book.external == []
