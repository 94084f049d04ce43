"""What every test has: folders of its own, and an end without processes left behind."""

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigq_nb import JobQueue
from tests import invariants
from tests.books import FOLDERS
from tests.leftovers import describe, kill, wait_until_gone

# A worker that was asked to stop gives what it runs a grace period of its own.
PATIENCE_S = 10.0

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started by a shell with `&`: Ctrl-C would reach no process of a test
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A private folder with a short path: a unix socket's name has 108 bytes at most, and tmp_path spends 80."""
    folder = Path(tempfile.mkdtemp(prefix="gq-", dir="/tmp" if Path("/tmp").is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def isolated(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Signing keys, sockets and settings of this test and of all processes that it starts live in its own folder."""
    for name in FOLDERS:
        folder = own_folder / name.lower()
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(name, str(folder))
    return own_folder


@pytest.fixture(autouse=True)
def nothing_left_behind(isolated: Path) -> Iterator[None]:
    """Fail a test that leaves processes behind. Autouse fixtures end last, so all other fixtures had their chance."""
    yield
    left = wait_until_gone(isolated, PATIENCE_S)
    if left:
        lines = "\n  ".join(describe(process) for process in left)
        kill(left)
        pytest.fail(f"{len(left)} processes were left behind:\n  {lines}", pytrace=False)


@pytest.fixture
def queue_path(tmp_path: Path) -> Path:
    """Where this test's queue is to be; the file does not exist yet."""
    return tmp_path / "jobs.db"


@pytest.fixture
def queue(queue_path: Path) -> Iterator[JobQueue]:
    """A queue that is sound at the end of the test."""
    one = JobQueue(queue_path)
    yield one
    with one._database.read() as db:
        assert invariants.broken(db) == []
        assert db.execute("pragma foreign_key_check").fetchall() == []
    one.close()


@pytest.fixture(scope="session")
def need() -> Callable[[bool, str], None]:
    """need(condition, what): skip on a machine that lacks it, but fail under CI=true, where nothing may be skipped."""

    def check(there: bool, what: str) -> None:
        if not there:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{what} is missing; `make test` installs it")

    return check


@pytest.fixture(scope="session")
def jupyterlab(need: Callable[[bool, str], None]) -> None:
    """For tests that need JupyterLab."""
    need(importlib.util.find_spec("jupyterlab") is not None, "jupyterlab")
