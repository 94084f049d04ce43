"""A run as text: the bars and the table, for the terminal and for RESULTS.md."""

from collections.abc import Sequence

from tests.bench import contenders
from tests.bench.bars import bars
from tests.bench.measures import steps
from tests.bench.numbers import show
from tests.bench.plan import STEPS
from tests.bench.results import Results, Row

READING = """\
Median of all turns (lowest–highest). The `x` columns are gigq_nb divided by the best durable peer of that row, and
by the plain statements: more is better for jobs/s, less for everything else. *: not durable, the jobs die with
their submitter.

gigq and huey poll as fast as they can be told to (10 ms and 1 ms) except in the rows "as shipped"; gigq_nb runs as
shipped in all. "plain SQLite" is one process, one table, and one fsync'd transaction for each submit and for each
group of 64 jobs run: no worker, no wake-up, no signature, no log. The throughput of gigq, huey, dask and
ipyparallel is that of a fifth of the jobs; all of them would take minutes.
"""


def bar_rows(results: Results) -> list[list[str]]:
    verdicts = [bar.verdict(results) for bar in bars()]
    return [["what", "bar", "gigq_nb", "bound in this run", ""]] + [verdict.cells() for verdict in verdicts]


def figure_rows(results: Results, *, spreads: bool = True) -> list[list[str]]:
    columns = results.columns()
    titles = [contenders.COLUMNS[name][0] for name in columns]
    head = ["case", "figure", *titles, "x best durable", "x plain SQLite"]
    return [head] + [_figure_row(row, columns, spreads) for row in results.rows() if row.case not in STEPS.values()]


def step_rows(results: Results) -> list[list[str]]:
    """Where a job's time goes; empty when that was not measured."""
    rows = [
        [figure.title, *(show(results.middle(case, name)) for case in STEPS.values())] for name, figure in steps.FIGURES.items()
    ]
    measured = {row.case for row in results.rows()} & set(STEPS.values())
    return [["us a job", *STEPS], *rows] if measured else []


def _figure_row(row: Row, columns: Sequence[str], spreads: bool) -> list[str]:
    cells = [row.cells.get(name) for name in columns]
    shown = ["-" if cell is None else str(cell) if spreads else show(cell.middle) for cell in cells]
    return [row.case, row.figure.title, *shown, show(row.to_best_peer()), show(row.to_limit())]


def terminal(rows: list[list[str]]) -> str:
    """Columns padded to their widest cell; numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def markdown_table(rows: list[list[str]], *, texts: int = 2) -> str:
    rule = [*["---"] * texts, *["---:"] * (len(rows[0]) - texts)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


PROFILE = """\
## Where a job's microseconds go

Of gigq_nb, two children, workers waiting; each figure is that of all jobs divided by their number. The steps are wall
time: one that waits for the disk or for a lock has that in it. A step has nothing in it of the steps it calls.
"""


def _profile(results: Results) -> list[str]:
    rows = step_rows(results)
    return [PROFILE.strip(), markdown_table(rows, texts=1)] if rows else []


def markdown(results: Results, about: dict[str, str], turns: int) -> str:
    parts = [
        "# Benchmark results",
        "Written by `python -m tests.bench`; do not edit. How each figure comes about: the docstring of its measure.",
        "\n".join(f"- **{name}**: {value}" for name, value in about.items() if value) + f"\n- **turns**: {turns}, interleaved",
        "## Bars\n\nRatios of this run's medians.",
        markdown_table(bar_rows(results)),
        "## Figures",
        READING.strip(),
        markdown_table(figure_rows(results)),
        *_profile(results),
        "## Growth\n\nThe cost of one job, submit and run, while many others stand in the file.",
        "![Cost of a job against the number of others](growth.svg)",
    ]
    if problems := results.problems():
        lines = [f"- {problem}: {'; '.join(where)}" for problem, where in problems.items()]
        parts.append("## Not measured\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
