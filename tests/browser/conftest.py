"""A real JupyterLab on 127.0.0.1, and Debian's Chromium without a window."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.books import FOLDERS, make_nb
from tests.leftovers import dismiss, kill, wait_until_gone

CHROMIUM = os.environ.get("GIGQ_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",  # build machines run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
SHOTS = Path(__file__).parent / "shots"
QUIET = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"


class Lab:
    """One `jupyter lab` that reads and writes nothing outside its own folder, and answers only this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.token = folder, folder / "work", secrets.token_hex(16)
        self.log = folder / "lab.log"
        self.root.mkdir()
        # Kernels inherit these, and so do their workers.
        own = {name: folder / name.lower() for name in (*FOLDERS, "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
        for path in own.values():
            path.mkdir(mode=0o700)
        news = own["JUPYTERLAB_SETTINGS_DIR"] / QUIET
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
        command += [f"--ServerApp.root_dir={self.root}", "--LabApp.expose_app_in_browser=True"]
        command += ["--JupyterNotebookApp.expose_app_in_browser=True"]  # the same server has Notebook 7
        command += ["--LabApp.extension_manager=readonly", "--LabApp.news_url=None"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "JUPYTER_TOKEN": self.token, **{name: str(path) for name, path in own.items()}},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + 90
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()}")
            time.sleep(0.1)

    def is_up(self) -> bool:
        """Whether the server answers."""
        try:
            return bool(self.api("GET", "/api/status"))
        except OSError:
            return False

    def api(self, method: str, path: str) -> Any:
        """The server's REST API."""
        request = urllib.request.Request(self.url + path, method=method, headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        """Shut all kernels down, and the workers that would linger after them."""
        for session in self.api("GET", "/api/sessions"):
            with contextlib.suppress(OSError):  # a test may have ended it already
                self.api("DELETE", f"/api/sessions/{session['id']}")

    def stop(self) -> None:
        """The server shuts its kernels down, then exits."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        dismiss(self.folder)
        kill(wait_until_gone(self.folder, 10))


class Notebook:
    """A notebook open in JupyterLab; `page` is Playwright's, `external` are the requests that left this machine.

    With the `place` "/notebooks/" it is open in Notebook 7, which runs the same commands.
    """

    def __init__(self, lab: Lab, page: Page, name: str, place: str = "/lab/workspaces/test/tree/") -> None:
        self.lab, self.page, self.name = lab, page, name
        self.external: list[str] = []
        page.on("request", lambda r: None if r.url.startswith((lab.url, "data:", "blob:")) else self.external.append(r.url))
        page.goto(f"{lab.url}{place}{name}?reset&token={lab.token}")
        self.ready()

    def ready(self) -> None:
        """Wait until the notebook is drawn and its kernel has answered."""
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        self.page.evaluate(
            """async () => { await jupyterapp.restored; const w = jupyterapp.shell.currentWidget;
            await w.context.ready; await w.sessionContext.ready; await w.sessionContext.session.kernel.info }"""
        )

    def command(self, name: str, *, wait: bool = True) -> None:
        """Run a command of JupyterLab by its name; far steadier than clicking menus."""
        self.page.evaluate(
            "([n, w]) => { const p = jupyterapp.commands.execute(n).then(() => 0); return w ? p : 0 }", [name, wait]
        )

    def run_all(self, *, wait: bool = True) -> None:
        """Run all cells."""
        self.command("notebook:run-all-cells", wait=wait)

    def run(self, index: int) -> None:
        """Run one cell, as a person does, and wait until it is done."""
        self.page.evaluate(
            "i => { const n = jupyterapp.shell.currentWidget.content; n.activeCellIndex = i; n.deselectAll() }", index
        )
        self.command("notebook:run-cell")

    def save(self) -> nbformat.NotebookNode:
        """Save, and read what is on disk."""
        self.command("docmanager:save")
        return nbformat.read(self.lab.root / self.name, as_version=4)

    def reload(self) -> None:
        """What closing the tab and opening it again does."""
        self.page.reload()
        self.ready()

    def running(self) -> bool:
        """Whether a cell runs. Not kernel.status: with subshells that says idle meanwhile."""
        return self.page.locator(".jp-InputPrompt", has_text="[*]").count() > 0

    def sample(self, js: str, seconds: float, step: float = 0.1) -> list[Any]:
        """The values of a JavaScript expression over time, read inside the page."""
        return self.page.evaluate(
            """([js, n, ms]) => new Promise(done => { const f = new Function('return ' + js), v = [];
            const t = setInterval(() => { v.push(f()); if (v.length == n) { clearInterval(t); done(v) } }, ms) })""",
            [js, int(seconds / step), int(step * 1000)],
        )

    def kernel(self, what: str) -> None:
        """Do `restart` or `interrupt` to this notebook's kernel."""
        sessions = self.lab.api("GET", "/api/sessions")
        kernel_id = next(session["kernel"]["id"] for session in sessions if session["path"] == self.name)
        self.lab.api("POST", f"/api/kernels/{kernel_id}/{what}")

    def screenshot(self, name: str) -> Path:
        """Keep a picture in tests/browser/shots/, for a person to look at."""
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path)  # makes the folder
        return path


@pytest.fixture(scope="session")
def lab(jupyterlab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for all tests."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@pytest.fixture(scope="session")
def chromium(need: Callable[[bool, str], None]) -> Iterator[Browser]:
    """One Chromium for all tests; each page has a context of its own."""
    need(CHROMIUM is not None, "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def notebook(lab: Lab, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """notebook([cell, ...]) -> Notebook, open in a browser of its own; page, kernel and worker end with the test."""
    books: list[Notebook] = []
    failed = request.session.testsfailed

    def make(cells: list[str], **where: str) -> Notebook:
        name = f"{request.node.name.replace('/', '-')}-{len(books)}.ipynb"
        nbformat.write(make_nb(cells), lab.root / name)
        page = chromium.new_context(viewport={"width": 1200, "height": 800}).new_page()
        books.append(Notebook(lab, page, name, **where))
        return books[-1]

    yield make
    for book in books:
        if request.session.testsfailed > failed:
            book.screenshot(f"FAILED-{book.name}")
        book.page.context.close()
    lab.end_kernels()
