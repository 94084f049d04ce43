"""One measurement in its own process: one contender, one measure, one fresh folder.

The process reads its `Spec`, measures, writes its figures as JSON, and leaves without clean-up: whoever started it
(turns.py) kills what is left by its tag and removes the folder. So no contender's slow shutdown is anybody's cost.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from tests.bench import contenders, measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to measure, and where."""

    measure: str
    contender: str
    size: dict
    folder: str
    figures_path: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Spec":
        return cls(**json.loads(text))


def open_contender(spec: Spec, program: ModuleType) -> contenders.Contender:
    """The contender with an open queue, its functions taken from `__main__` where it can run those."""
    kind = contenders.load(spec.contender)
    functions = program if kind.functions_by_value else import_module("tests.bench.jobs")
    contender = kind(folder=Path(spec.folder), functions=functions)
    contender.open()
    return contender


def main(text: str, program: ModuleType) -> None:
    spec = Spec.from_json(text)
    figures = measures.load(spec.measure).run(open_contender(spec, program), spec)
    Path(spec.figures_path).write_text(json.dumps(figures))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
