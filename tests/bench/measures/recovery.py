"""All worker processes are killed in the middle of a job: how long until that job runs again?

Who does not heal itself is started again right after the kill, as a supervisor would. A job that does not run again
within the limit counts as infinite; the figure is then absent and `lost` says how many.
"""

import threading
import time
from pathlib import Path

from tests.bench import processes
from tests.bench.contenders import Unable
from tests.bench.measures import Figure
from tests.bench.numbers import percentile

FIGURES = {
    "p50": Figure(title="p50, s"),
    "p95": Figure(title="p95, s"),
    "worst": Figure(title="worst, s"),
    "lost": Figure(title="not again in time"),
}


def run(contender, spec) -> dict[str, float]:
    contender.start()
    if not processes.workers():
        raise Unable("has no processes of its own")
    waits = [_kill_once(contender, spec.folder, i, spec.size["limit_s"]) for i in range(spec.size["kills"])]
    again = [wait for wait in waits if wait is not None]
    figures: dict[str, float] = {"lost": len(waits) - len(again), "kills": len(waits)}
    if len(again) == len(waits):
        figures |= {"p50": percentile(again, 0.5), "p95": percentile(again, 0.95), "worst": max(again)}
    return figures


def _kill_once(contender, folder: str, number: int, limit_s: float) -> float | None:
    path = Path(folder) / f"beat-{number}"
    handle = contender.submit("beat", str(path))  # kept: dask forgets a job whose handle is gone
    if not _starts(path, count=1, limit_s=limit_s):
        return None  # the kill before this one was never recovered from
    time.sleep(0.05)
    killed_at = time.monotonic()
    processes.kill(processes.workers())
    if not contender.heals_itself:
        threading.Thread(target=contender.restart, daemon=True).start()
    moments = _starts(path, count=2, limit_s=limit_s)
    del handle
    return moments[1] - killed_at if moments else None


def _starts(path: Path, *, count: int, limit_s: float) -> list[float] | None:
    """The moments at which the job started, once there are `count` of them."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        if path.exists() and len(lines := path.read_text().splitlines()) >= count:
            return [float(line.split()[0]) for line in lines]
        time.sleep(0.005)
    return None
