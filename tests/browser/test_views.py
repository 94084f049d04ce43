"""Views as a person sees them: live, replaced, frozen, saved, in a page that nobody trusts. Each test leaves a picture."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import SHOTS, Lab, Notebook
from tests.notebook.hostile import TEXTS

Book = Callable[[list[str]], Notebook]

LIMIT_MS = 60_000
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
odd = wf.add_task(bad, {'x': 1}, depends_on=[load], name='oddity with a very long name')
clean = wf.add_task(train, {'n': 8}, depends_on=[load], name='clean')
features = wf.add_task(slowly, {'x': 1}, depends_on=[load], name='features')
folds = [wf.add_task(train, {'n': 400}, depends_on=[clean, features], name='fold') for _ in range(5)]
judge = wf.add_task(quick, {'x': 1}, depends_on=folds, name='judge')
wf.add_task(quick, {'x': 3}, depends_on=[judge, odd], name='report')
flow = wf.submit(q); flow
"""
# The texts of what is drawn: neither hidden by a stylesheet nor of no height.
SHOWN = """[...document.querySelectorAll('.gigq-live, .gigq-snapshot, .jp-OutputArea-child')]
.filter(x => x.offsetHeight > 0).map(x => x.innerText).join('\\n')"""


def wide(book: Notebook, height: int = 900, width: int = 1000) -> None:
    """Room for the notebook alone."""
    book.page.set_viewport_size({"width": width, "height": height})
    if book.page.evaluate("!jupyterapp.shell.leftCollapsed"):
        book.command("application:toggle-left-area")


def until(book: Notebook, js: str) -> None:
    """Wait until an expression is true in the page; what it looks at may not be there yet."""
    book.page.wait_for_function(f"() => {{ try {{ return {js} }} catch (e) {{ return false }} }}", timeout=LIMIT_MS)


def visible(book: Notebook, selector: str) -> int:
    """How many of these are drawn."""
    return book.page.evaluate("s => [...document.querySelectorAll(s)].filter(x => x.offsetHeight > 0).length", selector)


def pid_of_kernel(book: Notebook) -> int:
    """What the last cell printed."""
    return int(book.page.locator(".jp-OutputArea-output pre").last.inner_text())


WIDTH = "parseFloat(document.querySelector('.gigq-live .gigq-part').style.width)"


def test_views_move_with_the_kernel_idle_and_busy_and_buttons_say_when_they_must_wait(notebook: Book) -> None:
    book = notebook(
        [SETUP, "job = q.submit(train, 150); job", FLOW, "q.map(slowly, range(300))", "q", "import time; time.sleep(8)"]
    )
    wide(book, 1900)
    book.run_all(wait=False)
    until(book, f"document.querySelectorAll('.gigq-live').length == 4 && {WIDTH} > 0")
    until(book, "document.body.innerText.includes('the kernel is busy in a cell')")
    busy = book.sample(WIDTH, 3)
    book.screenshot("views-busy")
    until(book, "![...document.querySelectorAll('.jp-InputPrompt')].some(x => x.innerText.includes('*'))")
    until(book, "!document.body.innerText.includes('the kernel is busy in a cell')")
    idle = book.sample(WIDTH, 3)
    for values in (busy, idle):
        assert values == sorted(values)
        assert len(set(values)) > 4
    assert visible(book, ".gigq-live") == 4
    assert visible(book, ".gigq-snapshot") == 0  # each hidden while its live view stands beside it
    until(book, "document.querySelectorAll('.gigq-node.gigq-running').length > 0")
    assert book.page.locator(".gigq-node.gigq-failed").count() == 1
    book.screenshot("views-light")
    book.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    until(book, "document.body.dataset.jpThemeName == 'JupyterLab Dark'")
    until(book, "getComputedStyle(document.querySelector('.gigq-live')).backgroundColor != 'rgb(255, 255, 255)'")
    until(book, "!document.querySelector('#jupyterlab-splash')")
    book.screenshot("views-dark")
    wide(book, 1900, 400)
    page = "document.querySelector('.gigq-live')"
    until(book, f"{page}.getBoundingClientRect().right <= innerWidth")
    assert book.page.evaluate(
        f"[...{page}.querySelectorAll('div, span')].every(x => x.scrollWidth <= x.clientWidth + 1 || !x.clientWidth)"
    )
    book.screenshot("views-narrow")
    book.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    assert book.external == []


def test_buttons_cancel_and_retry_and_are_reached_by_keyboard(notebook: Book) -> None:
    twice = (
        "for _ in range(600):\n    if len(q.executions()) == 7: break\n    time.sleep(.1)\nb.wait(60)\nprint(len(q.executions()))"
    )
    book = notebook([SETUP, "job = q.submit(train, 1000); job", "b = q.map(bad, [1, 1, 2]); b.wait(60); b", twice])
    wide(book)
    for cell in range(3):
        book.run(cell)
    until(book, "document.querySelector('.gigq-live')?.innerText.includes('running')")
    button = book.page.locator(".gigq-live button", has_text="Cancel")
    button.focus()
    book.page.keyboard.press("Enter")
    until(book, "document.querySelector('.gigq-live').innerText.includes('cancelled')")
    book.page.locator(".gigq-live button", has_text="Retry 3 failed").click()
    book.run(3)
    assert book.save().cells[3].outputs[0].text == "7\n", "the job, and each of the three twice"
    until(book, "document.querySelectorAll('.gigq-live')[1].innerText.includes('× 2')")
    until(book, "document.querySelectorAll('.gigq-live')[1].innerText.includes('ValueError: no model for 1 <b>bold</b>')")
    book.page.locator(".gigq-live button", has_text="Retry").first.click()
    until(book, "document.querySelector('.gigq-live').innerText.includes('running')")
    book.page.locator(".gigq-live button").first.focus()
    book.screenshot("views-buttons")


def test_the_dashboard_pauses_and_resumes_by_its_button_and_sees_a_pause_from_elsewhere(notebook: Book) -> None:
    """Two run, four wait, paused by the keyboard: the two end, the four stay; a resume and a pause of another process arrive."""
    held = """
import os
def held(n):
    while not os.path.exists(f'{n}.go'): time.sleep(.02)
    return n
def go(*some):
    for n in some: open(f'{n}.go', 'w').close()
import subprocess, sys
def elsewhere(word):
    subprocess.run([sys.executable, '-m', 'gigq_nb', '--db', str(q.path), word], check=True)
"""
    book = notebook([SETUP + held, "b = q.map(held, range(6)); b", "q", "go(0, 1)", "go(2, 3, 4, 5)\nelsewhere('resume')"])
    wide(book, 900)
    cells = "jupyterapp.shell.currentWidget.content"
    for _ in range(3):
        book.command("notebook:run-cell-and-select-next")
    board = "document.querySelectorAll('.gigq-live')[1]"
    until(book, f"{board}.innerText.includes('2 running') && {board}.innerText.includes('4 pending')")
    button = book.page.locator(".gigq-live").nth(1).locator("button")
    assert button.inner_text() == "Pause"
    button.focus()
    book.page.keyboard.press("Enter")
    until(book, f"{board}.innerText.includes('paused since')")
    until(book, f"{board}.querySelector('button').innerText == 'Resume'")
    until(book, "document.querySelectorAll('.gigq-live')[0].innerText.includes('waits for queue.resume(): paused since')")
    book.screenshot("views-paused")
    book.page.evaluate(f"{cells}.activeCellIndex = 3")
    book.command("notebook:run-cell-and-select-next")
    until(book, f"{board}.innerText.includes('2 completed') && {board}.innerText.includes('4 pending')")
    until(book, "document.querySelectorAll('.gigq-snapshot')[1].textContent.includes('paused since')")
    nb = book.save()
    kept = nb.cells[2].outputs[0].data
    assert "paused since" in kept["text/plain"] and "paused since" in kept["text/html"]
    book.screenshot("views-paused-quiet")
    book.page.evaluate(f"{cells}.activeCellIndex = 4")
    book.command("notebook:run-cell-and-select-next")  # a resume of another process
    until(book, f"{board}.innerText.includes('6 completed')")
    until(book, f"!{board}.innerText.includes('paused') && {board}.querySelector('button').innerText == 'Pause'")
    button.click()
    until(book, f"{board}.innerText.includes('6 jobs, paused')")
    book.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    until(book, "document.body.dataset.jpThemeName == 'JupyterLab Dark' && !document.querySelector('#jupyterlab-splash')")
    wide(book, 900, 420)
    book.screenshot("views-paused-dark-narrow")
    book.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    button.click()
    until(book, f"{board}.querySelector('button').innerText == 'Pause'")


def test_a_traceback_is_folded_out_and_stays_open(notebook: Book) -> None:
    book = notebook([SETUP, "b = q.submit(bad, 'x'); b.wait(60); b"])
    wide(book)
    book.run_all()
    book.page.locator(".gigq-live summary").first.click()
    until(book, "document.querySelector('.gigq-live details').open")
    assert "def bad(x): raise ValueError" in book.page.locator(".gigq-live details").first.inner_text()
    book.screenshot("views-error")


def test_running_a_cell_again_replaces_its_view(notebook: Book) -> None:
    book = notebook(
        [
            SETUP + "job = q.submit(time.sleep, 1000)",
            "job",
            "from ipywidgets.widgets.widget import _instances; print(len(_instances))",
        ]
    )
    book.run_all()
    until(book, "document.querySelectorAll('.gigq-live').length == 1")
    before = book.page.locator(".jp-OutputArea-output pre").last.inner_text()
    for _ in range(3):
        book.run_all()
    until(book, "document.querySelectorAll('.gigq-live').length == 1")
    assert book.page.locator(".jp-OutputArea-output pre").last.inner_text() == before


def test_a_kernel_that_is_killed_leaves_the_snapshot_at_once_and_after_a_reload(notebook: Book) -> None:
    book = notebook([SETUP, "job = q.submit(train, 1000); job", FLOW, "import os; print(os.getpid())"])
    wide(book, 1300)
    book.run_all()
    until(book, f"{WIDTH} > 0")
    until(book, "[...document.querySelectorAll('.gigq-snapshot')].some(x => x.textContent.includes('running'))")
    book.save()
    os.kill(pid_of_kernel(book), signal.SIGKILL)
    until(book, "[...document.querySelectorAll('.gigq-snapshot')].filter(x => x.offsetHeight > 0).length == 2")
    assert visible(book, ".gigq-live") == 0
    book.page.keyboard.press("Escape")
    book.screenshot("views-killed")
    book.reload()
    until(book, "document.body.textContent.includes('model not found')")
    shown = book.page.evaluate(SHOWN)
    assert "model not found" not in shown
    assert "train" in shown and "as of" in shown and "to see it move: %gigq show train" in shown
    assert visible(book, ".gigq-snapshot") == 2
    book.screenshot("views-killed-reloaded")


def test_a_page_that_is_closed_and_opened_goes_on_live(notebook: Book) -> None:
    book = notebook([SETUP, "job = q.submit(train, 1000); job", "job"])
    wide(book)
    book.run(0)
    book.run(1)
    until(book, f"{WIDTH} > 0")
    book.save()
    book.reload()
    until(book, "document.querySelectorAll('.gigq-live').length == 1")
    values = book.sample(WIDTH, 3)
    assert len(set(values)) > 4
    assert visible(book, ".gigq-snapshot") == 0
    book.screenshot("views-reloaded")
    # JupyterLab takes no update of an output that it read from a file: what is saved stays true to its time, and says so.
    stale = book.save().cells[1].outputs[0].data["text/plain"]
    assert "train: running" in stale and "as of" in stale
    book.page.locator(".gigq-live button", has_text="Cancel").click()
    until(book, "document.querySelector('.gigq-live').innerText.includes('cancelled')")
    book.run(2)
    until(book, "document.querySelectorAll('.gigq-live').length == 2")
    saved = book.save()
    assert saved.cells[1].outputs[0].data["text/plain"] == stale
    assert "train: cancelled" in saved.cells[2].outputs[0].data["text/plain"]


@pytest.mark.slow
def test_a_view_whose_kernel_is_gone_without_a_sign_says_since_when_it_stands(notebook: Book) -> None:
    book = notebook([SETUP, "job = q.submit(train, 1000); job"])
    wide(book)
    book.run_all()
    until(book, f"{WIDTH} > 0")
    assert (
        book.page.locator(".gigq-live .gigq-late").bounding_box() is None
        or not book.page.locator(".gigq-late").first.is_visible()
    )
    book.kernel("restart")  # through the server: the page is not told
    until(book, "getComputedStyle(document.querySelector('.gigq-live .gigq-late')).visibility == 'visible'")
    assert "no news since" in book.page.locator(".gigq-live").inner_text()
    book.screenshot("views-no-news")


def test_a_notebook_that_nobody_trusts_and_its_export_show_the_last_state(notebook: Book, lab: Lab, chromium: Browser) -> None:
    book = notebook(
        [SETUP, "job = q.submit(train, 5); job", "b = q.map(bad, [1, 1, 2]); b.wait(60); b", FLOW, "q", "job.wait(60)"]
    )
    book.run_all()
    until(book, "document.querySelector('.gigq-snapshot').textContent.includes('completed')")
    nb = book.save()
    book.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    nb.cells.append(nbformat.v4.new_markdown_cell("another notebook, so that the signature is not its own"))
    name = f"untrusted-{book.name}"
    nbformat.write(nb, lab.root / name)
    other = Notebook(lab, chromium.new_context(viewport={"width": 1000, "height": 1500}).new_page(), name)
    try:
        wide(other, 1500)
        until(other, "document.querySelectorAll('.gigq-snapshot').length == 4")
        shown = other.page.evaluate(SHOWN)
        assert "accuracy" in shown and "ValueError: no model for 1" in shown and "model not found" not in shown
        assert other.page.locator(".jp-mod-trusted").count() == 0
        until(other, "[...document.querySelectorAll('.gigq-snapshot img')].every(x => x.naturalWidth > 300)")
        assert other.page.locator(".gigq-snapshot img").count() == 1
        bars = "[...document.querySelectorAll('.gigq-part')].map(x => x.getBoundingClientRect().width)"
        assert max(other.page.evaluate(bars)) > 100
        other.screenshot("views-untrusted")
        assert other.external == []
    finally:
        other.page.context.close()
    made = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", book.name],
        cwd=lab.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "not able to be represented" not in made.stderr
    page = chromium.new_page(viewport={"width": 1000, "height": 1500})
    page.route("http*://**", lambda route: route.abort())  # no network: mathjax and require.js stay away
    page.goto((lab.root / book.name).with_suffix(".html").as_uri())
    text = page.inner_text("body")
    assert "accuracy" in text and "3 failed" in text and "nightly" in text and "as of" in text
    page.screenshot(path=SHOTS / "views-nbconvert.png", full_page=True)
    page.close()


def test_hostile_names_logs_and_errors_run_nothing(notebook: Book) -> None:
    hostile = (
        f"TEXTS = {json.dumps(TEXTS)!r}"
        """
import json
texts = json.loads(TEXTS)
names = [t.encode('utf-8', 'replace').decode().replace(chr(0), '0')[:180] for t in texts]
from gigq_nb import Job
def evil(text):
    print(text.encode('utf-8', 'replace').decode())
    progress(1, 2, text.encode('utf-8', 'replace').decode())
    raise ValueError(text.encode('utf-8', 'replace').decode())
jobs = [Job(n, evil, {'text': t}, max_attempts=1) for n, t in zip(names, texts)]
b = q.submit_many(jobs, name=names[0]); b.wait(60)
wf = Workflow(names[1])
first = wf.add_task(quick, {'x': 1}, name=names[2])
for n in names[3:]: wf.add_task(quick, {'x': 1}, depends_on=[first], name=n)
"""
    )
    parts = [f"for job in list(b)[{i}:{i + 20}]: display(job)" for i in range(0, len(TEXTS), 20)]  # a cell shows 50 outputs
    book = notebook([SETUP + hostile, "b", *parts, "wf", "f = wf.submit(q); f.wait(60); f", "q"])
    wide(book, 3000)
    book.run_all()
    n = len(TEXTS) + 3
    until(book, f"document.querySelectorAll('.gigq-live').length == {n}")
    for one in book.page.locator(".gigq-live summary").all():
        one.click()
    assert book.page.evaluate("window.__pwned") is None
    names = "[...document.querySelectorAll('.gigq-live *, .gigq-snapshot *')].flatMap(x => [...x.attributes].map(a => a.name))"
    assert {
        one
        for one in book.page.evaluate(names)
        if one.startswith("on") or "commandlinker" in one or one in ("id", "name", "href")
    } == set()
    assert (
        book.page.locator(
            ".gigq-live :is(script, iframe, a, form, link, base, object), .gigq-snapshot :is(script, iframe, a)"
        ).count()
        == 0
    )
    book.screenshot("views-hostile")
    book.save()
    book.reload()
    until(book, f"document.querySelectorAll('.gigq-live').length == {n}")
    assert book.page.evaluate("window.__pwned") is None
    assert book.external == []
