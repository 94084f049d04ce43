"""A real kernel without a browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.books import make_nb
from tests.leftovers import dismiss

WIDGETS = "application/vnd.jupyter.widget-state+json"


@pytest.fixture
def run_nb(isolated: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[nbformat.NotebookNode, dict[str, Any]]]]:
    """run_nb([cell, ...]) -> (executed notebook, {model id: widget model}); the kernel runs in tmp_path.

    The widgets' state holds what had arrived when the last cell ended: end with a wait for it, not with a sleep.
    """

    def run(
        cells: list[str], *, cwd: Path = tmp_path, timeout: int = 120, **options: Any
    ) -> tuple[nbformat.NotebookNode, dict[str, Any]]:
        nb = make_nb(cells)
        resources = {"metadata": {"path": str(cwd)}}
        NotebookClient(nb, kernel_name="python3", timeout=timeout, resources=resources, **options).execute()
        return nb, nb.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})

    yield run
    dismiss(isolated)  # a worker lingers after its kernel; that it ends by itself has tests of its own
