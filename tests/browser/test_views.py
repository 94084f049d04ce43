"""Views as a person sees them: live, replaced, frozen, saved, in a page that nobody trusts."""

from collections.abc import Callable
from typing import Any

Book = Callable[[list[str]], Any]

SETUP = """
import tempfile, time
from gigq_nb import JobQueue, Workflow, progress
q = JobQueue(tempfile.mkdtemp(dir='.') + '/jobs.db')
worker = q.start_worker(2)
def train(n, pause=0.2):
    for i in range(n):
        print(f'epoch {i}: loss {1 / (i + 1):.3f}')
        progress(i + 1, n, f'epoch {i}')
        time.sleep(pause)
    return {'accuracy': 0.97, 'epochs': n}
def bad(x): raise ValueError(f'no model for {x} <b>bold</b>')
def quick(x): return x * x
def slowly(x):
    time.sleep(.3)
    if x % 7 == 5: raise ZeroDivisionError('seven divides')
"""
FLOW = """
wf = Workflow('nightly')
load = wf.add_task(quick, {'x': 1}, name='load')
clean = wf.add_task(train, {'n': 12}, depends_on=[load], name='clean')
features = wf.add_task(slowly, {'x': 1}, depends_on=[load], name='features')
folds = [wf.add_task(train, {'n': 30}, depends_on=[clean, features], name='fold') for _ in range(5)]
judge = wf.add_task(bad, {'x': 1}, depends_on=folds, name='judge')
odd = wf.add_task(bad, {'x': 1}, depends_on=[load], name='oddity with a very long name')
wf.add_task(quick, {'x': 3}, depends_on=[judge, odd], name='report')
"""


def wide(book: Any, height: int = 1500) -> None:
    book.page.set_viewport_size({"width": 1000, "height": height})
    if book.page.locator(".jp-DirListing").count():
        book.command("application:toggle-left-area")


def test_a_first_look(notebook: Book) -> None:
    book = notebook(
        [
            SETUP,
            "a = q.submit(train, 40); a",
            "bad_ = q.submit(bad, 'x'); bad_",
            "b = q.map(slowly, range(60)); b",
            FLOW + "wf",
            "flow = wf.submit(q); flow",
            "q",
            "worker",
        ]
    )
    wide(book, 2400)
    book.run_all()
    book.page.wait_for_timeout(5000)
    book.screenshot("look-light")
    book.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    book.page.wait_for_timeout(2500)
    book.screenshot("look-dark")
    book.page.set_viewport_size({"width": 420, "height": 2400})
    book.page.wait_for_timeout(1500)
    book.screenshot("look-narrow")
    book.page.wait_for_timeout(15000)
    wide(book, 2400)
    book.page.wait_for_timeout(1500)
    book.screenshot("look-end")
    nb = book.save()
    print([[o.data.get("text/plain", "-") for o in c.outputs if "data" in o] for c in nb.cells])
