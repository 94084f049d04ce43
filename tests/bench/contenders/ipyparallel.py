"""ipyparallel: two engines behind a load-balanced view. Not durable: results live in the hub and in this process."""

from collections.abc import Sequence
from typing import Any

import ipyparallel

from tests.bench.contenders.base import PATIENCE_S, WORKERS, Contender


class IPyParallel(Contender):
    def launch(self) -> None:
        self.cluster = ipyparallel.Cluster(n=WORKERS, log_level=40)
        self.client = self.cluster.start_and_connect_sync()
        self.client[:].use_cloudpickle()  # its own pickling leaves a function's globals behind
        self.view = self.client.load_balanced_view()

    def restart(self) -> None:
        """Nothing starts an engine again by itself, and a second cluster would not know these jobs."""

    def submit(self, function: str, x: Any) -> Any:
        return self.view.apply_async(getattr(self.functions, function), x)

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> Any:
        return self.view.map_async(getattr(self.functions, function), list(xs))

    def result(self, handle: Any) -> Any:
        return handle.get(timeout=PATIENCE_S)

    def results(self, handles: Any) -> list[Any]:
        if isinstance(handles, list):
            return super().results(handles)
        return list(handles.get(timeout=PATIENCE_S))

    def chain(self, length: int) -> None:
        job = self.submit("noop", 1)
        for _ in range(length - 1):
            with self.view.temp_flags(after=[job]):
                job = self.submit("noop", 1)
        self.result(job)

    def fan(self, width: int) -> None:
        first = self.submit("noop", 1)
        with self.view.temp_flags(after=[first]):
            middle = [self.submit("noop", 1) for _ in range(width)]
        with self.view.temp_flags(after=middle):
            last = self.submit("noop", 1)
        self.result(last)
