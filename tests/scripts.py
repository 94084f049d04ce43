"""Python scripts that tests run in processes of their own, with this project importable and nothing else given."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60


def environment(**more: str) -> dict[str, str]:
    """This test's own folders, and what is given."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **more}


def start(code: str, *args: object, env: dict[str, str] | None = None, **options: Any) -> "subprocess.Popen[str]":
    """Start a script; its output can be read."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stdin", subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], text=True, env=environment(**(env or {})), **options
    )


def let_go(some: Sequence["subprocess.Popen[str]"]) -> None:
    """Scripts that say "ready" and then read a line, all at the same moment."""
    for one in some:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in some:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()


def run(code: str, *args: object, env: dict[str, str] | None = None, check: bool = True, **options: Any) -> Any:
    """Run a script to its end."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        text=True, capture_output=True, env=environment(**(env or {})), timeout=PATIENCE_S, **options,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"the script ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done
