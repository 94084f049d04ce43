"""The command line as a real process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gigq_nb import JobQueue

JOBS = """
import sys, time

def add(a, b=1):
    print("adding", a, b)
    return a + b

def fail(text="no"):
    raise ValueError(text)

def talk(text):
    print(text)

def sleep(s):
    time.sleep(s)

def box(x):
    return {x}

class Kitchen:
    @staticmethod
    def cook(what="egg"):
        return f"boiled {what}"
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def workshop(tmp_path: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of functions, which is the current one."""
    (tmp_path / "jobs_of_mine.py").write_text(JOBS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GIGQ_NB_DB", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def gigq(workshop: Path) -> Callable[..., Said]:
    """gigq("list", "--json", env={…}): python -m gigq_nb in the workshop."""

    def run(*words: str, env: dict[str, str] | None = None, timeout: float = 60) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "gigq_nb", *words],
            cwd=workshop,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def queue(workshop: Path) -> JobQueue:
    """The queue that the command line means without --db."""
    return JobQueue("gigq.db")
