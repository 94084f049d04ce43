"""dask.distributed: a LocalCluster of two processes. Not durable: the jobs die with this process."""

from collections.abc import Sequence
from typing import Any

from distributed import Client, LocalCluster

from tests.bench.contenders.base import PATIENCE_S, WORKERS, Contender


class Dask(Contender):
    heals_itself = True

    def launch(self) -> None:
        self.cluster = LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(self.folder),
        )
        self.client = Client(self.cluster)
        self.client.wait_for_workers(WORKERS)

    def submit(self, function: str, x: Any) -> Any:
        return self.client.submit(getattr(self.functions, function), x, pure=False)

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> Any:
        return self.client.map(getattr(self.functions, function), list(xs), pure=False)

    def result(self, handle: Any) -> Any:
        return handle.result(timeout=PATIENCE_S)

    def results(self, handles: Any) -> list[Any]:
        return self.client.gather(handles)

    def chain(self, length: int) -> None:
        future = self.submit("noop", 1)
        for _ in range(length - 1):
            future = self.submit("noop", future)
        self.result(future)

    def fan(self, width: int) -> None:
        first = self.submit("noop", 1)
        middle = [self.submit("noop", first) for _ in range(width)]
        self.result(self.submit("total", middle))
