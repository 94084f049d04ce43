"""What two workers cost while there is nothing to do: every process of the contender other than the caller's."""

import time

from tests.bench import processes
from tests.bench.contenders import Unable
from tests.bench.measures import Figure

FIGURES = {
    "cpu": Figure(title="CPU s in 20 s"),
    "rss": Figure(title="RSS MiB, sum"),
    "pss": Figure(title="PSS MiB, sum"),
}
STANDARD_S = 20


def run(contender, spec) -> dict[str, float]:
    contender.start()
    time.sleep(spec.size["settle_s"])
    pids = processes.workers()
    if not pids:
        raise Unable("has no processes of its own")
    before = processes.cpu_s(pids)
    time.sleep(spec.size["seconds"])
    spent = processes.cpu_s(pids) - before
    memory = processes.memory(pids)
    return {
        "cpu": spent * STANDARD_S / spec.size["seconds"],
        "rss": memory.rss,
        "pss": memory.pss,
        "uss": memory.uss,
        "processes": len(pids),
    }
