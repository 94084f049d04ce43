"""The records of a run as one table: case and figure down, contenders across."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench import contenders, measures
from tests.bench.numbers import Spread, best, ratio
from tests.bench.turns import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of one case, for everybody who was measured."""

    case: str
    figure: measures.Figure
    cells: dict[str, Spread]

    def middle(self, column: str) -> float | None:
        spread = self.cells.get(column)
        return None if spread is None else spread.middle

    def best_peer(self) -> float | None:
        peers = [self.cells[name].middle for name in contenders.DURABLE_PEERS if name in self.cells]
        return best(peers, more_is_better=self.figure.more_is_better)

    def to_best_peer(self) -> float | None:
        return ratio(self.middle("gigq_nb"), self.best_peer())

    def to_limit(self) -> float | None:
        return ratio(self.middle("gigq_nb"), self.middle("sqlite"))


class Results:
    """All rows, in the order in which they were first measured. A figure `name@column` belongs to that other column."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._measures = {record.case: record.measure for record in records}
        for record in records:
            for name, value in record.figures.items():
                figure, _, elsewhere = name.partition("@")
                values[record.case, figure, elsewhere or contenders.column(record.contender)].append(value)
        self._spreads = {key: Spread.of(list_) for key, list_ in values.items()}

    def row(self, case: str, name: str) -> Row:
        figure = measures.load(self._measures[case]).FIGURES[name] if case in self._measures else measures.Figure(title=name)
        cells = {column: spread for (c, n, column), spread in self._spreads.items() if (c, n) == (case, name)}
        return Row(case=case, figure=figure, cells=cells)

    def middle(self, case: str, name: str, column: str = "gigq_nb") -> float | None:
        return self.row(case, name).middle(column)

    def rows(self) -> Iterator[Row]:
        for case, measure in self._measures.items():
            for name in measures.load(measure).FIGURES:
                if (row := self.row(case, name)).cells:
                    yield row

    def columns(self) -> list[str]:
        present = {column for _, _, column in self._spreads}
        return [name for name in contenders.COLUMNS if name in present]

    def problems(self) -> dict[str, list[str]]:
        """What was not measured, and why: problem -> where."""
        found: dict[str, list[str]] = defaultdict(list)
        for record in self.records:
            where = f"{record.contender}: {record.case}"
            if record.problem and where not in found[record.problem]:
                found[record.problem].append(where)
        return dict(found)
