"""The harness' arithmetic. Nothing is timed here."""

import pytest

from tests.bench import bars, measures, report
from tests.bench.measures import Figure
from tests.bench.numbers import Spread, best, percentile, ratio, show
from tests.bench.plan import full, quick
from tests.bench.results import Results
from tests.bench.stopwatch import Stopwatch
from tests.bench.turns import Record, _order, _reason


def record(
    contender: str, turn: int = 0, *, case: str = "end to end, bulk", measure: str = "end_to_end", **figures: float
) -> Record:
    return Record(case=case, measure=measure, contender=contender, turn=turn, seconds=1.0, figures=figures)


def test_a_step_has_nothing_in_it_of_the_steps_that_it_calls(monkeypatch):
    class Worker:
        def turn(self):
            clock.append(5)
            return self.write() + self.write()

        def write(self):
            clock.append(20)
            return 1

    clock: list[int] = []
    monkeypatch.setattr("tests.bench.stopwatch.time.perf_counter_ns", lambda: sum(clock))
    watch = Stopwatch()
    watch.wrap(Worker, "turn", "turn")
    watch.wrap(Worker, "write", "write")
    assert Worker().turn() == 2
    Worker().write()
    assert watch.ns == {"turn": 5, "write": 60}


def test_a_spread_is_the_median_and_the_range_of_the_turns():
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(middle=3.0, low=1.0, high=10.0, turns=3)
    assert str(Spread.of([3.0, 1.0, 10.0])) == "3.00 (1.00–10.0)"
    assert str(Spread.of([12345.6])) == "12,346"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_nearest_rank(share, expected):
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_a_percentile_of_one_value_is_that_value():
    assert percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize("share", [0, -1, 1.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        percentile([1.0], share)


def test_a_ratio_to_nothing_is_unknown():
    assert ratio(6.0, 3.0) == 2.0
    assert ratio(None, 3.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None


def test_best_depends_on_what_is_better():
    assert best([1.0, 5.0], more_is_better=True) == 5.0
    assert best([1.0, 5.0], more_is_better=False) == 1.0
    assert best([], more_is_better=True) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (12345.6, "12,346"), (45.67, "45.7"), (4.567, "4.57"), (0.012345, "0.0123")],
)
def test_a_number_is_shown_with_three_digits_that_count(value, text):
    assert show(value) == text


def test_a_row_compares_the_medians_with_the_best_durable_peer_and_the_limit():
    rates = {
        "gigq_nb": [900, 1000, 1100],
        "gigq": [40, 60, 50],
        "huey": [100, 90, 110],
        "loky": [5000],
        "sqlite": [2000],
    }
    results = Results([record(name, turn, rate=rate) for name, turns in rates.items() for turn, rate in enumerate(turns)])
    (row,) = results.rows()
    assert (row.best_peer(), row.to_best_peer(), row.to_limit()) == (100, 10.0, 0.5)


def test_a_figure_can_belong_to_another_column():
    case = {"case": "100,000 jobs as a DataFrame", "measure": "frame"}
    results = Results([record("gigq_nb", **case, **{"seconds": 1.0, "seconds@pandas": 4.0})])
    assert results.middle(case["case"], "seconds") == 1.0
    assert results.middle(case["case"], "seconds", "pandas") == 4.0


def test_as_shipped_stands_in_the_column_of_its_contender():
    assert Results([record("huey-shipped", rate=5.0)]).columns() == ["huey"]


def test_bars_pass_fail_or_say_that_they_were_not_measured():
    bar = bars.Bar(
        what="rate",
        words="3 x huey",
        at_least=True,
        value=bars.ours("end to end, bulk", "rate"),
        bound=bars.times_best_peer(3, "end to end, bulk", "rate"),
    )
    huey = record("huey", rate=100.0)
    assert bar.verdict(Results([record("gigq_nb", rate=300.0), huey])).word == "pass"
    assert bar.verdict(Results([record("gigq_nb", rate=299.0), huey])).word == "FAIL"
    assert bar.verdict(Results([huey])).word == "not measured"


def test_the_bulk_bar_is_the_lesser_of_its_two_bounds():
    def bound(rows_per_s: float) -> float | None:
        return bars._bulk_bound(Results([record("sqlite", case="submit in bulk", measure="submit", rate=rows_per_s)]))

    assert bound(100_000) == 30_000
    assert bound(500_000) == 60_000


def test_every_bar_names_a_case_and_a_figure_of_the_full_plan():
    everything = [
        record(name, case=case.name, measure=case.measure, **{f"{figure}{elsewhere}": 1.0})
        for case in full()
        for name in case.contenders
        for figure in measures.load(case.measure).FIGURES
        for elsewhere in ("", "@pandas")
    ]
    unknown = [bar.what for bar in bars.bars() if bar.verdict(Results(everything)).passed is None]
    assert unknown == []


def test_another_contender_is_first_each_turn():
    case = full()[0]
    firsts = {next(_order([case], turn))[1] for turn in range(len(case.contenders))}
    assert firsts == set(case.contenders)


def test_the_quick_plan_is_a_part_of_the_full_one():
    names = {case.name for case in full()}
    assert [case.name for case in quick() if case.name not in names] == []


def test_the_reason_is_the_last_error_that_the_log_names():
    traceback = "Traceback (most recent call last):\n  File x\n"
    log = f"noise\n{traceback}ValueError: one\n\n{traceback}KeyError: 'two'\nStopping the cluster"
    assert _reason(log) == "KeyError: 'two'"
    assert _reason(f"{traceback}WorkerFailed: it ended with\n    OSError: no space\n(its log)") == "OSError: no space"
    assert _reason("nothing of the kind") is None


def test_a_table_has_a_cell_for_every_column():
    rows = report.figure_rows(Results([record("gigq_nb", rate=2.0), record("loky", rate=4.0)]))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert Figure(title="jobs/s", more_is_better=True).title in rows[1]
