"""One job at a time on a queue that has been idle: from submit to its result in the caller's hands."""

import random
import time

from tests.bench.measures import Figure
from tests.bench.numbers import percentile

FIGURES = {
    "p50": Figure(title="p50, ms"),
    "p95": Figure(title="p95, ms"),
    "p99": Figure(title="p99, ms"),
}


def run(contender, spec) -> dict[str, float]:
    contender.start()
    pauses = random.Random(1)
    spent_ms: list[float] = []
    give_up = time.monotonic() + spec.size["seconds"]
    for x in range(1, spec.size["jobs"] + 1):
        time.sleep(pauses.uniform(0.025, 0.050))  # long enough that nothing of the job before is still warm by accident
        begin = time.perf_counter()
        contender.result(contender.submit("noop", x))
        spent_ms.append(1000 * (time.perf_counter() - begin))
        if time.monotonic() > give_up:
            break
    return {name: percentile(spent_ms, int(name[1:]) / 100) for name in FIGURES} | {"round trips": len(spent_ms)}
