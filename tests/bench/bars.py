"""The bars: what gigq_nb must reach, as ratios within one run. Read by a person, asserted by nobody."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.numbers import show
from tests.bench.plan import GROWTH_KINDS, growth_name
from tests.bench.results import Results

Look = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`value` must be at least (or at most) `bound`; either is unknown where it was not measured."""

    what: str
    words: str
    value: Look
    bound: Look
    at_least: bool = False

    def verdict(self, results: Results) -> "Verdict":
        value, bound = self.value(results), self.bound(results)
        if value is None or bound is None:
            return Verdict(bar=self, value=value, bound=bound, passed=None)
        return Verdict(bar=self, value=value, bound=bound, passed=value >= bound if self.at_least else value <= bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    bar: Bar
    value: float | None
    bound: float | None
    passed: bool | None

    @property
    def word(self) -> str:
        return {True: "pass", False: "FAIL", None: "not measured"}[self.passed]

    def cells(self) -> list[str]:
        sign = "≥" if self.bar.at_least else "≤"
        return [self.bar.what, self.bar.words, show(self.value), f"{sign} {show(self.bound)}", self.word]


def ours(case: str, figure: str) -> Look:
    return lambda results: results.middle(case, figure)


def times(factor: float, case: str, figure: str, column: str) -> Look:
    return lambda results: _scaled(factor, results.middle(case, figure, column))


def times_best_peer(factor: float, case: str, figure: str) -> Look:
    return lambda results: _scaled(factor, results.row(case, figure).best_peer())


def fixed(bound: float) -> Look:
    return lambda results: bound


def _scaled(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _bulk_bound(results: Results) -> float | None:
    rows = results.middle("submit in bulk", "rate", "sqlite")
    return None if rows is None else min(60_000, 0.3 * rows)


def bars() -> Iterator[Bar]:
    one, bulk, fan = "end to end, one by one", "end to end, bulk", "fan 1 → 1000 → 1"
    yield Bar(
        what="submit one by one, fsync each, /s",
        words="1.0 x the better of huey and gigq",
        at_least=True,
        value=ours("submit one by one", "rate"),
        bound=times_best_peer(1.0, "submit one by one", "rate"),
    )
    yield Bar(
        what="submit in bulk, /s",
        words="60,000, or 30 % of executemany's rows",
        at_least=True,
        value=ours("submit in bulk", "rate"),
        bound=_bulk_bound,
    )
    yield Bar(
        what="end to end, one by one, /s",
        words="3 x the best durable peer",
        at_least=True,
        value=ours(one, "rate"),
        bound=times_best_peer(3, one, "rate"),
    )
    yield Bar(
        what="end to end, bulk, /s",
        words="20 x the best durable peer",
        at_least=True,
        value=ours(bulk, "rate"),
        bound=times_best_peer(20, bulk, "rate"),
    )
    yield Bar(
        what="end to end, bulk, /s",
        words="0.4 x loky in its best chunks",
        at_least=True,
        value=ours(bulk, "rate"),
        bound=times(0.4, bulk, "rate", "loky"),
    )
    yield Bar(
        what="latency p50, as shipped, ms",
        words="0.6 x huey with its fastest polling",
        value=ours("latency, as shipped", "p50"),
        bound=times(0.6, "latency", "p50", "huey"),
    )
    for kind in GROWTH_KINDS:
        yield Bar(
            what=f"a job with 1,000,000 others {kind}, ms",
            words="1.5 x its own at 1,000",
            value=ours(growth_name(kind, 1_000_000), "cost"),
            bound=times(1.5, growth_name(kind, 1_000), "cost", "gigq_nb"),
        )
    yield Bar(
        what="chain of 200, s",
        words="0.5 x gigq",
        value=ours("chain of 200", "seconds"),
        bound=times(0.5, "chain of 200", "seconds", "gigq"),
    )
    yield Bar(
        what="fan 1 → 1000 → 1, s",
        words="0.15 x gigq",
        value=ours(fan, "seconds"),
        bound=times(0.15, fan, "seconds", "gigq"),
    )
    yield Bar(
        what="idle: CPU s in 20 s",
        words="0.05 for a worker and two children",
        value=ours("idle", "cpu"),
        bound=fixed(0.05),
    )
    yield Bar(what="idle: MiB, sum of RSS", words="under 90", value=ours("idle", "rss"), bound=fixed(90))
    yield Bar(what="recovery after SIGKILL, p95, s", words="1", value=ours("recovery after SIGKILL", "p95"), bound=fixed(1))
    yield Bar(
        what="recovery after SIGKILL, worst, s",
        words="3",
        value=ours("recovery after SIGKILL", "worst"),
        bound=fixed(3),
    )
    for figure, what in (("seconds", "s"), ("peak", "peak MiB")):
        case = "1,000,000 jobs as a DataFrame"
        yield Bar(
            what=f"{case}, {what}",
            words="0.6 x pandas.read_sql_query",
            value=ours(case, figure),
            bound=times(0.6, case, figure, "pandas"),
        )
    yield Bar(
        what="100,000 jobs as a DataFrame, s",
        words="0.5",
        value=ours("100,000 jobs as a DataFrame", "seconds"),
        bound=fixed(0.5),
    )
    yield Bar(
        what="live view with 1,000,000 jobs, kernel ms",
        words="5",
        value=ours("live view, 1,000,000 jobs", "refresh"),
        bound=fixed(5),
    )
    for case in ("2 submitters at once", "4 submitters at once"):
        yield Bar(
            what=f"{case}, jobs/s in all",
            words="not below one's",
            at_least=True,
            value=ours(case, "rate"),
            bound=times(1.0, "one submitter", "rate", "gigq_nb"),
        )
        yield Bar(what=f"{case}, longest submit, ms", words="1,000", value=ours(case, "worst"), bound=fixed(1000))
