"""One of the kernels of `submitters`: submit for some seconds from a given moment on."""

import time

from tests.bench.measures import Figure

FIGURES: dict[str, Figure] = {}


def run(contender, spec) -> dict[str, float]:
    contender.submit("noop", 0)
    begin_at = spec.size["begin_at"]
    if time.monotonic() > begin_at:
        raise RuntimeError("the head start was too short for this machine")
    time.sleep(begin_at - time.monotonic())
    end_at = begin_at + spec.size["seconds"]
    count, worst_s, now = 0, 0.0, time.monotonic()
    while now < end_at:
        contender.submit("noop", count)
        after = time.monotonic()
        worst_s = max(worst_s, after - now)
        count, now = count + 1, after
    return {"jobs": count, "worst": 1000 * worst_s}
