"""How fast jobs are taken in while nobody runs them; a pool has no such state, its workers wait."""

import time

from tests.bench.measures import Figure

FIGURES = {"rate": Figure(title="jobs/s", more_is_better=True)}


def run(contender, spec) -> dict[str, float]:
    count = spec.size["jobs"]
    if spec.size.get("running"):
        contender.start()
    if spec.size["bulk"]:
        xs = list(range(1, count + 1))
        begin = time.perf_counter()
        contender.submit_bulk("noop", xs)
    else:
        contender.submit("noop", 0)  # the first one pickles the function and creates what is created once
        begin = time.perf_counter()
        for x in range(1, count + 1):
            contender.submit("noop", x)
    return {"rate": count / (time.perf_counter() - begin)}
