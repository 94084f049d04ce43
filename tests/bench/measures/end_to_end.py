"""From the first submit to the last result read, with the workers waiting or started after the last submit."""

import time

from tests.bench.measures import Figure

FIGURES = {"rate": Figure(title="jobs/s", more_is_better=True)} | {
    f"chunks of {size}": Figure(title=f"jobs/s in chunks of {size}", more_is_better=True) for size in (16, 64, 256)
}


def run(contender, spec) -> dict[str, float]:
    """A contender that takes chunks shows its best."""
    bulk, cold = spec.size["bulk"], spec.size.get("cold", False)
    if not cold:
        contender.start()
    chunks = contender.bulk_chunks if bulk and not cold else contender.bulk_chunks[:1]
    rates = {chunk: _once(contender, spec.size["jobs"], bulk, cold, chunk) for chunk in chunks}
    return {"rate": max(rates.values())} | {f"chunks of {chunk}": rate for chunk, rate in rates.items() if len(rates) > 1}


def _once(contender, count: int, bulk: bool, cold: bool, chunk: int | None) -> float:
    xs = list(range(1, count + 1))
    begin = time.perf_counter()
    handles = contender.submit_bulk("noop", xs, chunk) if bulk else [contender.submit("noop", x) for x in xs]
    if cold:
        contender.launch()
    results = contender.results(handles)
    seconds = time.perf_counter() - begin
    if list(results) != xs:
        raise AssertionError("results are missing, wrong or out of order")
    return count / seconds
