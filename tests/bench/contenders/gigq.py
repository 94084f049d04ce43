"""gigq 0.5.1: two worker processes on one SQLite file. It has no bulk submit and no waiting: both are loops here."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import gigq

from tests.bench.contenders.base import PATIENCE_S, WORKERS, Contender

FAR = "2999-01-01T00:00:00"


class Gigq(Contender):
    """With a poll of 10 ms, which beats its default of 5 s everywhere but at idling."""

    functions_by_value = False
    poll_s = 0.01

    def open(self) -> None:
        self.path = str(self.folder / "gigq.db")
        self.queue = gigq.JobQueue(self.path)

    def launch(self) -> None:
        command = [sys.executable, "-m", "tests.bench.contenders.gigq", self.path, str(self.poll_s)]
        self.started = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(WORKERS)]

    def _job(self, function: str, x: Any, **options: Any) -> gigq.Job:
        return gigq.Job(name=function, function=getattr(self.functions, function), params={"x": x}, **options)

    def submit(self, function: str, x: Any) -> str:
        return self.queue.submit(self._job(function, x))

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> list[str]:
        return [self.submit(function, x) for x in xs]

    def result(self, handle: str) -> Any:
        give_up = time.monotonic() + PATIENCE_S
        while (result := self.queue.get_result(handle)) is None:
            if time.monotonic() > give_up:
                raise TimeoutError(handle)
            time.sleep(0.001)
        return result

    def chain(self, length: int) -> None:
        workflow = gigq.Workflow("chain")
        job = workflow.add_job(self._job("noop", 1))
        for _ in range(length - 1):
            job = workflow.add_job(self._job("noop", 1), depends_on=[job])
        workflow.submit_all(self.queue)
        self.result(job.id)

    def fan(self, width: int) -> None:
        workflow = gigq.Workflow("fan")
        first = workflow.add_job(self._job("noop", 1))
        middle = [workflow.add_job(self._job("noop", 1), depends_on=[first]) for _ in range(width)]
        last = workflow.add_job(self._job("noop", 1), depends_on=middle)
        workflow.submit_all(self.queue)
        self.result(last.id)

    def submit_probes(self, count: int) -> list[str]:
        return [self.queue.submit(self._job("stamp", i, priority=1)) for i in range(count)]

    def fill(self, kind: str, count: int) -> None:
        """One real job, made what is asked for, and copied in SQL: gigq itself would take hours."""
        parent = self.submit("noop", 0)
        model = self.queue.submit(self._job("noop", 0, dependencies=[parent] if kind == "blocked" else None))
        db = sqlite3.connect(self.path)
        with db:
            db.execute("update jobs set retry_after = ? where id = ?", (FAR, parent))
            if kind == "delayed":
                db.execute("update jobs set retry_after = ? where id = ?", (FAR, model))
            if kind == "finished":
                db.execute(
                    "update jobs set status = 'completed', attempts = 1, result = '0', completed_at = created_at where id = ?",
                    (model,),
                )
            names = ", ".join(row[1] for row in db.execute("pragma table_info(jobs)") if row[1] != "id")
            db.execute(
                f"""with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
                    insert into jobs (id, {names})
                    select lower(hex(randomblob(16))), {names} from n, jobs where id = ?""",
                (count - 1, model),
            )
            if kind == "finished":
                db.execute(
                    """insert into job_executions
                       select lower(hex(randomblob(16))), id, 'w', status, created_at, completed_at, result, null
                       from jobs where status = 'completed'"""
                )
        db.close()


class GigqShipped(Gigq):
    """As it comes: a worker looks every 5 seconds."""

    poll_s = 5


if __name__ == "__main__":
    gigq.Worker(sys.argv[1], polling_interval=float(sys.argv[2])).start()
