"""The protocol between a measure and whatever it measures."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

WORKERS = 2
PATIENCE_S = 300.0


class Unable(Exception):
    """This contender has no such thing; the text says why. The table shows a dash."""


class Contender:
    """A queue or pool with two workers. Functions are named; each takes one argument (jobs.py).

    A handle is whatever the contender gives for a submitted job. Bulk handles are whatever it gives for many.
    """

    functions_by_value = True  # can it run what __main__ defines?
    heals_itself = False  # does something start its workers again after a kill?
    bulk_chunks: Sequence[int | None] = (None,)  # sizes to try where a bulk submit takes one; the best counts

    def __init__(self, *, folder: Path, functions: ModuleType) -> None:
        self.folder = folder
        self.functions = functions

    def open(self) -> None:
        """Create the queue, or find it where another process created it."""

    def launch(self) -> None:
        """Start two workers."""
        raise NotImplementedError

    def restart(self) -> None:
        """Start the workers again, after all of them were killed."""
        self.launch()

    def start(self) -> None:
        """Start two workers and make each run something, so that imports and first connections are behind them."""
        self.launch()
        self.results(self.submit_bulk("pause", [50] * 2 * WORKERS))

    def submit(self, function: str, x: Any) -> Any:
        raise NotImplementedError

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> Any:
        """The quickest way it offers for many jobs of one function."""
        raise NotImplementedError

    def result(self, handle: Any) -> Any:
        """Wait for one job; its result."""
        raise NotImplementedError

    def results(self, handles: Any) -> list[Any]:
        """Wait for all; their results in the order of submission."""
        return [self.result(handle) for handle in handles]

    def chain(self, length: int) -> None:
        """`length` jobs, each after the one before it; returns when the last has ended."""
        raise Unable("no dependencies")

    def fan(self, width: int) -> None:
        """One job, then `width` jobs, then one that waits for all of them."""
        raise Unable("no dependencies")

    def fill(self, kind: str, count: int) -> None:
        """`count` jobs that are pending (behind any probe), blocked, delayed or finished; no worker runs yet."""
        raise Unable("not durable")

    def refresh_view(self, jobs: int) -> dict[str, float]:
        """Kernel milliseconds of a refresh of the live view, with `jobs` jobs in the file and a worker at work."""
        raise Unable("no live view")

    def submit_probes(self, count: int) -> Any:
        """`count` jobs of `stamp`, ahead of whatever `fill` left pending."""
        return self.submit_bulk("stamp", range(count))
