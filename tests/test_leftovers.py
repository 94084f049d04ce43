"""That a process left behind is found, however it was started; the whole suite relies on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leftovers import describe, dismiss, kill, left_behind, wait_until_gone

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.mark.parametrize("how", ["its environment", "its descent"])
def test_a_process_left_behind_is_found_and_sent_home(isolated: Path, tmp_path: Path, how: str) -> None:
    by_descent = {name: value for name, value in os.environ.items() if str(isolated) not in value}
    env, arguments = (None, SLEEPS) if how == "its environment" else (by_descent, [*SLEEPS, "gigq_nb"])
    with subprocess.Popen(arguments, env=env, cwd=tmp_path, start_new_session=True) as process:
        assert [found.pid for found in left_behind(isolated)] == [process.pid]
        assert "time.sleep(600)" in describe(left_behind(isolated)[0])
        dismiss(isolated)
        assert wait_until_gone(isolated, 30) == []


def test_a_process_of_somebody_else_is_left_alone(isolated: Path) -> None:
    env = {name: value for name, value in os.environ.items() if str(isolated) not in value}
    with subprocess.Popen(SLEEPS, env=env) as process:
        assert left_behind(isolated) == []
        process.kill()


def test_what_does_not_stop_when_asked_is_killed(isolated: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        dismiss(isolated)
        left = wait_until_gone(isolated, 0.2)
        assert [found.pid for found in left] == [process.pid]
        kill(left)
        assert left_behind(isolated) == []
