"""What ``import gigq_nb`` offers is what it says, in whatever order it is imported."""

import subprocess
import sys

import pytest

import gigq_nb


@pytest.mark.parametrize(
    "first", ["task", "JobQueue, task", "Worker, task, Task", "Workflow; import gigq_nb.task; from gigq_nb import task"]
)
def test_task_is_the_decorator_whatever_was_imported_before(first: str) -> None:
    code = f"from gigq_nb import {first}\nprint(type(task(lambda: 1)).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Task"]


@pytest.mark.parametrize("name", gigq_nb.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert type(getattr(gigq_nb, name)).__name__ != "module"
