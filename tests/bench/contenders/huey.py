"""huey with SqliteHuey: a consumer with two worker processes. It has no bulk submit: `map` enqueues one by one."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import huey
from huey.consumer import Consumer

from tests.bench.contenders.base import PATIENCE_S, WORKERS, Contender, Unable

QUEUE = "bench"
NAMES = ("noop", "stamp", "pause", "total", "beat")


def open_queue(path: str, functions: Any) -> tuple[huey.SqliteHuey, dict[str, Any]]:
    """The queue and its tasks; its default `fsync` leaves SQLite at synchronous=FULL."""
    queue = huey.SqliteHuey(name=QUEUE, filename=path)
    tasks = {name: queue.task()(getattr(functions, name)) for name in NAMES}
    return queue, tasks


class Huey(Contender):
    """Polling as fast as its consumer can be told to: every millisecond, by the workers and by whoever waits.

    All else is as documented: reading a result removes it, which is a write (`preserve=True`: a quarter faster).
    """

    functions_by_value = False
    polling = {"initial_delay": 0.001, "max_delay": 0.001, "backoff": 1.0}
    waiting = {"max_delay": 0.001, "backoff": 1.0}

    def open(self) -> None:
        self.path = str(self.folder / "huey.db")
        self.queue, self.tasks = open_queue(self.path, self.functions)

    def launch(self) -> None:
        command = [sys.executable, "-m", "tests.bench.contenders.huey", self.path, type(self).__name__]
        self.started = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def submit(self, function: str, x: Any) -> Any:
        return self.tasks[function](x)

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> Any:
        return list(self.tasks[function].map(xs))

    def result(self, handle: Any) -> Any:
        return handle.get(blocking=True, timeout=PATIENCE_S, **self.waiting)

    def chain(self, length: int) -> None:
        pipeline = self.tasks["noop"].s(1)
        for _ in range(length - 1):
            pipeline = pipeline.then(self.tasks["noop"])
        self.result(list(self.queue.enqueue(pipeline))[-1])

    def fan(self, width: int) -> None:
        """A chord has no parent: whoever submits waits for the first job."""
        self.result(self.submit("noop", 1))
        members = huey.group([self.tasks["noop"].s(1) for _ in range(width)])
        self.result(self.queue.enqueue(members.then(self.tasks["total"])).callback)

    def submit_probes(self, count: int) -> Any:
        return [self.tasks["stamp"](i, priority=1) for i in range(count)]

    def fill(self, kind: str, count: int) -> None:
        """One real task, copied in SQL."""
        if kind == "blocked":
            raise Unable("a task does not wait for others; a pipeline enqueues the next one")
        task = self.tasks["noop"].s(0)
        data = self.queue.serialize_task(task)
        numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)"
        db = sqlite3.connect(self.path)
        with db:
            if kind == "pending":
                db.execute(f"{numbers} insert into task (queue, data, priority) select ?, ?, -1 from n", (count, QUEUE, data))
            if kind == "delayed":
                db.execute(
                    f"{numbers} insert into schedule (queue, data, timestamp) select ?, ?, ? from n",
                    (count, QUEUE, data, time.time() + 1e8),
                )
            if kind == "finished":
                db.execute(
                    f"{numbers} insert into kv select ?, lower(hex(randomblob(16))), ? from n",
                    (count, QUEUE, self.queue.serializer.serialize(1)),
                )
        db.close()


class HueyShipped(Huey):
    """As it comes: workers look after 0.1 s and ever more rarely, up to 10 s; who waits after 50 ms, up to 1 s."""

    polling: dict[str, float] = {}
    waiting: dict[str, Any] = {}


if __name__ == "__main__":
    from tests.bench import jobs

    kind = {"Huey": Huey, "HueyShipped": HueyShipped}[sys.argv[2]]
    Consumer(open_queue(sys.argv[1], jobs)[0], workers=WORKERS, worker_type="process", **kind.polling).run()
