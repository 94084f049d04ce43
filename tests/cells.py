"""What a cell of a notebook defines, without a kernel."""

import builtins
from typing import Any


def cell(code: str, **known: Any) -> dict[str, Any]:
    """The namespace of a notebook after a cell: what it defines belongs to ``__main__``."""
    namespace = {"__name__": "__main__", "__builtins__": builtins, **known}
    exec(compile(code, "<cell>", "exec"), namespace)
    return namespace
