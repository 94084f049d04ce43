"""The arithmetic of the benchmark: medians, spreads, percentiles, ratios, and how a number is shown. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The turns of one figure: their median, and the range that says how far to trust it."""

    middle: float
    low: float
    high: float
    turns: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(middle=median(values), low=min(values), high=max(values), turns=len(values))

    def __str__(self) -> str:
        if self.turns == 1:
            return show(self.middle)
        return f"{show(self.middle)} ({show(self.low)}–{show(self.high)})"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)  # the ceiling, without a float's surprise at whole numbers
    return ordered[max(0, int(rank) - 1)]


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """`ours / theirs`, or None where one of them was not measured or is zero."""
    if ours is None or not theirs:
        return None
    return ours / theirs


def best(values: Sequence[float], *, more_is_better: bool) -> float | None:
    return None if not values else (max(values) if more_is_better else min(values))


def show(value: float | None) -> str:
    """Three digits that count: 12,345, 123, 12.3, 1.23, 0.0123."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"
