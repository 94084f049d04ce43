"""Notebooks for tests, made from the sources of their cells."""

import nbformat

# What a variable must name for everything that a test's processes share to be the test's own: keys, sockets, settings.
FOLDERS = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
)


def make_nb(cells: list[str]) -> nbformat.NotebookNode:
    """A notebook for the python3 kernel; that is the interpreter which runs the tests."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return nb
