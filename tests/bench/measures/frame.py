"""All finished jobs as a DataFrame, against `pandas.read_sql_query` of the same columns and against sqlite3's bare
`fetchall`.

Each way reads the same file in a fresh process, in turns; its clock and its memory begin after the imports, its peak
does not.
"""

import json
import subprocess
import sys
import time
from statistics import median

from tests.bench.measures import Figure

FIGURES = {
    "seconds": Figure(title="s"),
    "peak": Figure(title="peak MiB"),
    "added": Figure(title="MiB above the imports"),
}
WAYS = ("gigq_nb", "pandas", "sqlite")
TIMES = 3


def run(contender, spec) -> dict[str, float]:
    contender.fill("finished", spec.size["rows"])
    readings: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(TIMES):
        for way in WAYS:
            readings[way].append(_read_in_fresh_process(way, contender.path, spec.size["rows"]))
    return {
        figure if way == "gigq_nb" else f"{figure}@{way}": median(reading[figure] for reading in readings[way])
        for way in WAYS
        for figure in FIGURES
    }


def _read_in_fresh_process(way: str, path: str, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.measures.frame", way, path]
    reader = subprocess.run(command, stdout=subprocess.PIPE)
    if reader.returncode != 0:
        raise SystemExit(reader.returncode)  # its own traceback is the last one in the log
    answer = json.loads(reader.stdout)
    if answer["rows"] < rows:
        raise AssertionError(f"{way} read {answer['rows']} rows of {rows}")
    return answer


def main(way: str, path: str) -> None:
    """One way, in this process."""
    import pandas as pd  # noqa: F401  in all three, so that their memory begins at the same point

    from tests.bench import processes
    from tests.bench.contenders import gigq_nb as adapter

    read = {"gigq_nb": adapter.read_frame, "pandas": adapter.read_frame_by_pandas, "sqlite": adapter.fetch_rows}[way]
    before = processes.peak_mib()
    begin = time.perf_counter()
    rows = read(path)
    seconds = time.perf_counter() - begin
    peak = processes.peak_mib()
    print(json.dumps({"seconds": seconds, "peak": peak, "added": peak - before, "rows": len(rows)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
