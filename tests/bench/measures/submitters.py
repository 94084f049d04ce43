"""Several kernels submit one by one to the same file at the same time."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.bench.measures import Figure

FIGURES = {
    "rate": Figure(title="jobs/s in all", more_is_better=True),
    "worst": Figure(title="longest submit, ms"),
}
HEAD_START_S = 2.0


def run(contender, spec) -> dict[str, float]:
    """Each submitter is a program of its own, as a kernel is, and begins at the same moment."""
    import json

    begin_at = time.monotonic() + HEAD_START_S
    children, paths = [], []
    for number in range(spec.size["submitters"]):
        paths.append(Path(spec.folder) / f"submitter-{number}.json")
        one = replace(spec, measure="one_submitter", figures_path=str(paths[-1]), size={**spec.size, "begin_at": begin_at})
        children.append(subprocess.Popen([sys.executable, "-m", "tests.bench.jobs", one.to_json()], env=os.environ.copy()))
    for child in children:
        if child.wait() != 0:
            raise RuntimeError("a submitter failed; its traceback stands above")
    figures = [json.loads(path.read_text()) for path in paths]
    return {
        "rate": sum(each["jobs"] for each in figures) / spec.size["seconds"],
        "worst": max(each["worst"] for each in figures),
        "smallest share": min(each["jobs"] for each in figures) / max(1, sum(each["jobs"] for each in figures)),
    }
