"""Jobs that take a while: what a queue adds to each, with two workers kept busy.

Each job returns how long it really slept, so a sleep's own inexactness is in nobody's account.
"""

import time

from tests.bench.contenders.base import WORKERS
from tests.bench.measures import Figure

FIGURES = {"overhead": Figure(title="ms/job on top")}


def run(contender, spec) -> dict[str, float]:
    contender.start()
    jobs, length_ms = spec.size["jobs"], spec.size["ms"]
    begin = time.perf_counter()
    slept_s = sum(contender.results(contender.submit_bulk("pause", [length_ms] * jobs)))
    wall_s = time.perf_counter() - begin
    return {"overhead": 1000 * (wall_s * WORKERS - slept_s) / jobs, "seconds": wall_s}
