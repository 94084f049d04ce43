"""What a job costs while many others stand in the file: submitting it, and running it with two workers.

The probes are ahead of whatever else is pending, and each returns the moment at which it ran; so the run's cost needs
no polling, and the start of the workers is in nobody's account.
"""

import time

from tests.bench.measures import Figure

FIGURES = {"cost": Figure(title="ms/job")}


def run(contender, spec) -> dict[str, float]:
    size = spec.size
    contender.fill(size["kind"], size["others"])
    probes = size["probes"]
    begin = time.perf_counter()
    handles = contender.submit_probes(probes)
    submit_ms = 1000 * (time.perf_counter() - begin) / probes
    contender.launch()
    moments = contender.results(handles)
    run_ms = 1000 * (max(moments) - min(moments)) / (probes - 1)
    return {"cost": submit_ms + run_ms, "submit": submit_ms, "run": run_ms}
