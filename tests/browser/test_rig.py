"""That the rig itself stands: when this fails, no other browser test means anything."""

from collections.abc import Callable
from typing import Any


def test_a_notebook_runs_in_jupyterlab_and_stays_on_this_machine(notebook: Callable[[list[str]], Any]) -> None:
    book = notebook(["print(1)"])
    book.run_all()
    book.page.wait_for_selector(".jp-OutputArea-output")
    assert book.page.locator(".jp-OutputArea-output").inner_text().strip() == "1"
    assert [output.text for output in book.save().cells[0].outputs] == ["1\n"]
    assert book.external == []
