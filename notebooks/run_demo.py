"""Executes the quickstart in a real kernel, restarts that kernel half-way, and prints what happened: ``make demo``.

The notebook is executed as a person would: cell by cell up to the sweep; then the kernel is killed and started again
while the jobs go on; then from the cell that connects again to the end. Ends with 1 if anything is missing.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from gigq_nb import JobQueue
from gigq_nb.errors import GigQError

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE / "01_quickstart.ipynb"
HALF_WAY_S = 150.0


class Failed(Exception):
    """The demonstration did not show what it promises; the message says what is missing."""


def tagged(book: nbformat.NotebookNode, tag: str) -> int:
    """The position of the cell with a tag."""
    for at, cell in enumerate(book.cells):
        if tag in cell.metadata.get("tags", []):
            return at
    raise Failed(f"no cell of the notebook has the tag {tag!r}")


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


class Demonstration:
    """One run in a folder of its own."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.book = nbformat.read(QUICKSTART, as_version=4)
        self.kernel = KernelManager(kernel_name="python3")
        self.client = NotebookClient(
            self.book,
            km=self.kernel,
            timeout=170,
            resources={"metadata": {"path": str(out)}},
            extra_arguments=["--log-level=ERROR"],  # a new kernel has opinions about TCP that do not belong here
        )

    def run(self) -> None:
        """Execute the notebook with a kernel restart in the middle; save it whatever happens."""
        sweep, again = tagged(self.book, "sweep"), tagged(self.book, "after-restart")
        with self.client.setup_kernel(cleanup_kc=True):
            try:
                self.execute(0, sweep + 1)
                self.restart_half_way()
                self.execute(again, len(self.book.cells))
            finally:
                nbformat.write(self.book, self.out / QUICKSTART.name)
        self.report()

    def execute(self, first: int, last: int) -> None:
        """Run the cells from one to before another."""
        for at in range(first, last):
            self.client.execute_cell(self.book.cells[at], at)

    def restart_half_way(self) -> None:
        """Kill the kernel in the middle of the sweep, start a new one, and see whether jobs ended without it."""
        batch = self.queue.batch()
        total = len(batch)
        say(f"{total} jobs submitted by the notebook; waiting until a third of them are done")
        end_s = time.monotonic() + HALF_WAY_S
        while batch.counts.done < total // 3:
            if time.monotonic() > end_s:
                raise Failed(f"after {HALF_WAY_S:g} s only {batch.counts.done} of {total} jobs were done")
            time.sleep(0.05)
        self.before = batch.counts.done
        say(f"{self.before} of {total} are done: killing the kernel")
        self.kernel.signal_kernel(signal.SIGKILL)
        while batch.counts.done < self.before + 3:  # nobody but the worker is left to end a job
            if time.monotonic() > end_s:
                raise Failed(
                    f"jobs stood still after the kernel was killed: {self.before} done before, {batch.counts.done} after"
                )
            time.sleep(0.05)
        self.meanwhile = batch.counts.done
        self.kernel.restart_kernel(now=True)
        self.client.kc.stop_channels()
        self.client.start_new_kernel_client()
        self.after = batch.counts.done
        say(f"{self.meanwhile} with no kernel at all, {self.after} when the new kernel was ready")

    @property
    def queue(self) -> JobQueue:
        """The notebook's queue, read from outside."""
        return JobQueue(self.out / "digits.db", False)

    def report(self) -> None:
        """Print what happened, and refuse to call it a success when something is missing."""
        batch = self.queue.batch()
        row = batch.row()
        counts = row.counts
        seconds = ((row.finished_at or 0) - row.created_at) / 1000
        say(f"{counts.completed} of {counts.total} jobs completed, {seconds:.1f} s from the submit to the last result")
        say(f"finished before the restart {self.before}, after it {self.after}, at the end {counts.done}\n")
        say(self.text_of("results"))
        missing = []
        if counts.completed != counts.total or counts.total < 24:
            missing.append(f"{counts.total - counts.completed} jobs without a result")
        if not self.before < self.meanwhile <= self.after <= counts.total:
            missing.append("jobs that ended while the kernel was away")
        if any(one.attempts != 1 for one in batch):
            missing.append("exactly one attempt for each job")
        if self.picture_of("plot") is None:
            missing.append("the plot")
        if missing:
            raise Failed(f"missing: {', '.join(missing)}")

    def text_of(self, tag: str) -> str:
        """What a cell shows as text."""
        for output in self.book.cells[tagged(self.book, tag)].outputs:
            if text := output.get("data", {}).get("text/plain"):
                return str(text)
        raise Failed(f"the cell {tag!r} shows nothing")

    def picture_of(self, tag: str) -> str | None:
        """The picture that a cell shows."""
        outputs: list[Any] = self.book.cells[tagged(self.book, tag)].outputs
        return next((one.data["image/png"] for one in outputs if "image/png" in one.get("data", {})), None)

    def stop(self) -> None:
        """Stop the worker that the notebook started."""
        if (self.out / "digits.db").exists():
            self.queue.stop_worker(timeout=30)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "demo", help="folder for the queue and the notebook")
    out: Path = parser.parse_args(arguments).out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start_s = time.monotonic()
    say(f"executing {QUICKSTART.name} in a real kernel")
    show = Demonstration(out)
    try:
        show.run()
    except (Failed, CellExecutionError, DeadKernelError, GigQError, TimeoutError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    finally:
        show.stop()
    say(f"\nthe executed notebook: {out / QUICKSTART.name}")
    say(f"{time.monotonic() - start_s:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
