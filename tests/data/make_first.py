"""Make tests/data/first.db: a queue of this version with a row of every kind in it, signed with the key of 32 zeros.

Run it once before a release that changes the schema, under a new name: `python -m tests.data.make_first NAME.db`. The
files of earlier releases are never made again: that they still open is what they are for.
"""

import os
import socket
import sys
import tempfile
import warnings
from pathlib import Path

FOLDER = Path(__file__).parent


def double(x: int) -> int:
    print("doubling", x)
    return 2 * x


def fail() -> None:
    raise ValueError("no")


def main(name: str = "first.db") -> None:
    """Make the file anew."""
    with tempfile.TemporaryDirectory() as data:
        os.environ["JUPYTER_DATA_DIR"] = data
        os.environ["JUPYTER_RUNTIME_DIR"] = data
        # Nothing of this machine: neither its name nor its folders.
        socket.gethostname = lambda: "here"
        sys.prefix = "/usr"
        for function in (double, fail):
            function.__code__ = function.__code__.replace(co_filename="make_first.py")
        from gigq_nb import JobQueue, signing, submission
        from gigq_nb.runtime.worker import Worker

        submission._place = lambda: ("/", "[]")

        signing.import_key(bytes(32))
        made = Path(data) / "made.db"
        queue = JobQueue(made)
        results = [queue.submit(double, x) for x in range(3)]
        queue.submit(double, results[0])
        bad = queue.submit(fail)
        queue.submit(len, bad)
        worker = Worker(made)
        while worker.process_one():
            pass
        queue.map(double, range(5), batch_name="waiting")
        queue.cancel(queue.submit(double, 9))
        (FOLDER / name).unlink(missing_ok=True)
        queue.backup(FOLDER / name)
        queue.close()
        print(FOLDER / name, queue.stats())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
