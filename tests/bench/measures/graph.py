"""Jobs that wait for jobs: from the first submit to the end of the last one, workers waiting."""

import time

from tests.bench.measures import Figure

FIGURES = {"seconds": Figure(title="s")}


def run(contender, spec) -> dict[str, float]:
    contender.start()
    begin = time.perf_counter()
    if spec.size["shape"] == "chain":
        contender.chain(spec.size["jobs"])
    else:
        contender.fan(spec.size["jobs"])
    return {"seconds": time.perf_counter() - begin}
