"""Ways to use a contender. A measure module has `FIGURES`, which names what it yields, and `run(contender, spec) ->
figures`.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that a measure yields."""

    title: str
    more_is_better: bool = False


def load(name: str) -> ModuleType:
    return import_module(f"tests.bench.measures.{name}")
