"""loky: a process pool. Not durable, no dependencies (whoever submits waits): the speed of pipes alone."""

from collections.abc import Sequence
from typing import Any

from loky import ProcessPoolExecutor

from tests.bench.contenders.base import PATIENCE_S, WORKERS, Contender


class Loky(Contender):
    bulk_chunks = (16, 64, 256)

    def open(self) -> None:
        self.pool = ProcessPoolExecutor(max_workers=WORKERS)

    def launch(self) -> None:
        """The pool starts its processes at the first submit."""

    def restart(self) -> None:
        """A broken pool stays broken: its jobs are gone."""

    def submit(self, function: str, x: Any) -> Any:
        return self.pool.submit(getattr(self.functions, function), x)

    def submit_bulk(self, function: str, xs: Sequence[Any], chunk: int | None = None) -> Any:
        return self.pool.map(getattr(self.functions, function), xs, chunksize=chunk or 1)

    def result(self, handle: Any) -> Any:
        return handle.result(timeout=PATIENCE_S)

    def results(self, handles: Any) -> list[Any]:
        if isinstance(handles, list):
            return super().results(handles)
        return list(handles)

    def chain(self, length: int) -> None:
        for _ in range(length):
            self.result(self.submit("noop", 1))

    def fan(self, width: int) -> None:
        self.result(self.submit("noop", 1))
        self.results(self.submit_bulk("noop", [1] * width, 16))
        self.result(self.submit("noop", 1))
