"""The growth curve: what a job costs against how many others stand in the file."""

from pathlib import Path

from tests.bench.contenders import COLUMNS
from tests.bench.plan import GROWTH_KINDS, GROWTH_SIZES, growth_name
from tests.bench.results import Results

COLOURS = {"gigq_nb": "#d9480f", "gigq": "#1971c2", "huey": "#2f9e44", "sqlite": "#868e96"}


def growth(results: Results, path: Path) -> bool:
    """Draw it to `path`; False where nothing of it was measured."""
    curves = {kind: _curves(results, kind) for kind in GROWTH_KINDS}
    if not any(curves.values()):
        return False
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(GROWTH_KINDS), figsize=(12, 3.4), sharey=True, layout="constrained")
    for axis, kind in zip(axes, GROWTH_KINDS, strict=True):
        for column, points in curves[kind].items():
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=COLUMNS[column][0], color=COLOURS[column])
        axis.set(xscale="log", yscale="log", title=f"others {kind}", xlabel="others")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("ms per job")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    return True


def _curves(results: Results, kind: str) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for column in COLOURS:
        costs = [(others, results.middle(growth_name(kind, others), "cost", column)) for others in GROWTH_SIZES]
        if points := [(others, cost) for others, cost in costs if cost is not None]:
            curves[column] = points
    return curves
