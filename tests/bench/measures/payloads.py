"""Arguments and results of some size: one job at a time goes there and comes back."""

import os
import time
from statistics import median

from tests.bench.measures import Figure

FIGURES = {"ms": Figure(title="ms there and back")}


def run(contender, spec) -> dict[str, float]:
    contender.start()
    value = os.urandom(spec.size["bytes"] // 2).hex()  # text, because one of the peers speaks JSON only
    spent_ms = []
    for _ in range(spec.size["jobs"]):
        begin = time.perf_counter()
        answer = contender.result(contender.submit("noop", value))
        spent_ms.append(1000 * (time.perf_counter() - begin))
        if answer != value:
            raise AssertionError("the value came back changed")
    return {"ms": median(spent_ms)}
