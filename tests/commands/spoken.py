"""Words as they are spoken, and a second user with folders of his own."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from gigq_nb.commands import registry
from gigq_nb.commands.command import Answer, Door


class Listener(Door):
    """A door that remembers what was said, and answers as it was told."""

    def __init__(self, db: str | None = None, reply: str | None = None) -> None:
        super().__init__(db)
        self.reply = reply
        self.heard: list[str] = []
        self.asked: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)

    def ask(self, question: str) -> str | None:
        self.asked.append(question)
        return self.reply


def speak(*words: object, reply: str | None = None) -> Answer:
    """One word with its arguments."""
    args = registry.parse([str(word) for word in words])
    return registry.run(Listener(args.db, reply), args)


def as_another_user(home: Path, code: str, *arguments: object) -> str:
    """Run code with another home, and so with another key. Returns what it printed."""
    folders = {name: home / name.lower() for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    for folder in folders.values():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    script = home / "cell.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env={**os.environ, "HOME": str(home), **{name: str(folder) for name, folder in folders.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until(happened: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
