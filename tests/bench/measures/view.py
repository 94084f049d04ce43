"""What one refresh of the live view costs a kernel, with a million jobs in the file and a worker that keeps changing
it.
"""

from tests.bench.measures import Figure

FIGURES = {"refresh": Figure(title="kernel ms a refresh, p50"), "worst": Figure(title="kernel ms a refresh, worst")}


def run(contender, spec) -> dict[str, float]:
    return contender.refresh_view(spec.size["jobs"])
