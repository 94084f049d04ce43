"""Running cases in turns: every measurement in a fresh process and folder, with a hard time limit."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import processes
from tests.bench.cell import Spec
from tests.bench.plan import Case

ROOT = Path(__file__).resolve().parents[2]

# The line with which a traceback ends, also one that is quoted, indented, in another.
ERROR = re.compile(r"^\s*((?:\w+\.)*\w*(?:Error|Exception|Failed|NotFound|Timeout|Unable)\b(?:: .*)?)$", re.MULTILINE)

# What names the folders that a user's programs share: keys, sockets, profiles. Each measurement has its own.
USER_FOLDERS = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What came of one measurement: its figures, or why there are none."""

    case: str
    measure: str
    contender: str
    turn: int
    seconds: float
    figures: dict[str, float]
    problem: str | None = None

    def as_dict(self) -> dict:
        return asdict(self)


def run(
    cases: list[Case], turns: int, folder: Path, *, give_up_at: float = float("inf"), tell: Callable[[Record], None]
) -> list[Record]:
    """All cases, turn by turn. Within a case the contenders follow one another, and another one is first each turn."""
    records = []
    for turn in range(turns):
        for case, contender in _order(cases, turn):
            left_s = give_up_at - time.monotonic()
            if left_s < 1:
                records.append(_nothing(case, contender, turn, 0, "no time was left"))
            else:
                records.append(measure(case, contender, turn, folder, limit_s=min(case.limit_s, left_s)))
            tell(records[-1])
    return records


def _order(cases: list[Case], turn: int) -> Iterator[tuple[Case, str]]:
    for case in cases:
        if case.most_turns is not None and turn >= case.most_turns:
            continue
        first = turn % max(1, len(case.contenders))
        for contender in case.contenders[first:] + case.contenders[:first]:
            if turn == 0 or contender not in case.once:
                yield case, contender


def measure(case: Case, contender: str, turn: int, folder: Path, *, limit_s: float) -> Record:
    tag = uuid.uuid4().hex
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
    spec = Spec(
        measure=case.measure,
        contender=contender,
        size=case.size_for(contender),
        folder=str(home),
        figures_path=str(home / "figures.json"),
    )
    begin = time.monotonic()
    try:
        with open(home / "log", "w+b") as log:
            problem = _run_cell(spec, tag, log, limit_s)
        seconds = time.monotonic() - begin
        if problem:
            return _nothing(case, contender, turn, seconds, problem)
        figures = json.loads(Path(spec.figures_path).read_text())
        return Record(case=case.name, measure=case.measure, contender=contender, turn=turn, seconds=seconds, figures=figures)
    finally:
        processes.kill_tagged(tag)
        shutil.rmtree(home, ignore_errors=True)


def _run_cell(spec: Spec, tag: str, log, limit_s: float) -> str | None:
    """None when the figures are there, otherwise what went wrong."""
    command = [sys.executable, "-m", "tests.bench.jobs", spec.to_json()]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment(Path(spec.folder), tag),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        code = child.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        processes.kill_tagged(tag)
        child.wait()
        return f"not done in {limit_s:.0f} s"
    if code == 0:
        return None
    log.seek(0)
    return _reason(log.read().decode(errors="replace")) or f"ended with code {code}"


def _reason(log: str) -> str | None:
    """The last line of a log that names an error: a peer may say its farewells after it. Without this machine's paths."""
    errors = ERROR.findall(log)
    return errors[-1].removeprefix("tests.bench.contenders.base.").replace(f"{ROOT}/", "") if errors else None


def _environment(folder: Path, tag: str) -> dict[str, str]:
    own = {name: folder / name.lower() for name in USER_FOLDERS}
    for path in own.values():
        path.mkdir(mode=0o700)
    return os.environ | {name: str(path) for name, path in own.items()} | {processes.TAG: tag}


def _nothing(case: Case, contender: str, turn: int, seconds: float, problem: str) -> Record:
    return Record(
        case=case.name,
        measure=case.measure,
        contender=contender,
        turn=turn,
        seconds=seconds,
        figures={},
        problem=problem,
    )
