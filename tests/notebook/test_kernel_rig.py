"""That the rig itself stands: a real kernel, with the test's own folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_kernel_runs_cells_with_the_folders_of_its_test(run_nb: Callable[..., Any], isolated: Path) -> None:
    nb, _ = run_nb(["import os; print(os.environ['JUPYTER_DATA_DIR'])"])
    assert nb.cells[0].outputs[0].text.strip() == str(isolated / "jupyter_data_dir")
