"""The worker, as its users know it: started, stopped, or asked for one job. What it does is a :class:`.shift.Shift`."""

from __future__ import annotations

import gc
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import payload
from ..errors import QueueBusy, QueueFull
from ..policies import duration_s, whole_number
from ..store.db import Database
from .enrolment import Terms
from .pace import RETRY_S
from .peers import LEASE_S
from .shift import Shift
from .signals import StopRequest, StopSignals

LINGER_S = 5.0
STOP_GRACE_S = 10.0
log = logging.getLogger("gigq_nb.worker")


class Worker:
    """Runs the jobs of a queue until it is told to stop.

    Args:
        path: The queue's file (GigQ's name for it, ``db_path``, is the first parameter there, too).
        worker_id: What to call it; new at each start if not given.
        polling_interval: Seconds between looks at the file when nobody rings; a safety net, not the way jobs start.
        concurrency: How many children run jobs at the same time.
        any_environment: Also run jobs that were submitted from another environment (same Python version).
        terminal: Stay until told to stop; False: leave when no kernel is alive and nothing is open.
        stop_grace: Seconds that running jobs get when the worker is asked to stop.
        lease: Seconds of silence after which another worker whose process cannot be seen, or is frozen, loses its jobs;
            the same for all workers of a queue.
        linger: Seconds to wait for a new kernel before leaving.
        log_file: Where its log goes, for those who look for it.
        alone: This process is a worker and nothing else: whatever it inherits was started by a job, and ends with it.

    Raises:
        InvalidArgument, InvalidType: naming the argument.
        NotAQueue, QueueReadOnly, …: the file cannot be worked with; it was left untouched.
    """

    def __init__(
        self,
        path: Any,
        worker_id: str | None = None,
        polling_interval: float = 5,
        concurrency: int = 1,
        *,
        any_environment: bool = False,
        terminal: bool = True,
        stop_grace: Any = STOP_GRACE_S,
        lease: Any = LEASE_S,
        linger: Any = LINGER_S,
        log_file: str | None = None,
        alone: bool = False,
    ) -> None:
        self.terms = Terms(
            worker_id=worker_id or f"worker-{uuid.uuid4().hex[:12]}",
            concurrency=whole_number(concurrency, "concurrency", 1, 1000),
            polling_interval_s=duration_s(polling_interval, "polling_interval", least=0.01, most=3600),
            any_environment=any_environment,
            terminal=terminal,
            stop_grace_s=duration_s(stop_grace, "stop_grace", least=0.0, most=86_400),
            lease_s=duration_s(lease, "lease", least=1.0, most=86_400),
            linger_s=duration_s(linger, "linger", least=0.0, most=86_400),
            log_file=log_file,
            alone=alone,
        )
        self.database = Database(path, keep=True)
        self.ready: Callable[[], None] | None = None  # called once, when its children stand in the file
        self._key = payload.load_key()
        self._request = StopRequest()
        self._shift: Shift | None = None

    @property
    def path(self) -> Path:
        """The absolute path of the queue's file."""
        return self.database.path

    @property
    def worker_id(self) -> str:
        """What it is called."""
        return self.terms.worker_id

    @property
    def polling_interval(self) -> float:
        """Seconds between looks when nobody rings."""
        return self.terms.polling_interval_s

    @property
    def concurrency(self) -> int:
        """How many children run jobs at the same time."""
        return self.terms.concurrency

    def start(self) -> None:
        """Work until stopped (Ctrl-C, SIGTERM, :meth:`stop`, ``%gigq worker stop``). Blocks."""
        if self.terms.alone:  # its objects are many, and none of them stands in a circle
            gc.freeze()
            gc.set_threshold(20_000)
        with StopSignals(self):
            self._work(None)

    def stop(self) -> None:
        """Ask the worker to stop: from a signal handler or another thread. The second time: at once."""
        self._request.make()
        shift = self._shift  # it may end meanwhile, in another thread
        if shift is not None:
            shift.ring()

    def process_one(self) -> bool:
        """Run at most one job to its end, in a child. Returns whether there was one."""
        return self._work(1) > 0

    def close(self) -> None:
        """Give the file back."""
        self.database.close()

    def _work(self, limit: int | None) -> int:
        """One shift; another one after one that had to be abandoned. Returns how many jobs were claimed."""
        claimed = 0
        try:
            shift = self._begin(limit)
            while True:
                self._shift = shift
                try:
                    shift.work()
                except Exception as error:
                    self._request.why = f"ended by an error: {error}"
                    raise
                finally:
                    self._shift, self.ready = None, shift.ready
                    shift.close()
                claimed += shift.claimed
                if not shift.abandoned or (limit is not None and claimed >= limit):
                    return claimed
                shift = self._begin_again(limit)
        finally:
            self._request = StopRequest()  # it may be started again, as GigQ's can

    def _begin(self, limit: int | None) -> Shift:
        return Shift(self.database, self.terms, self._key, self._request, limit, self.ready)

    def _begin_again(self, limit: int | None) -> Shift:
        """With what stands in the file's place now; while that cannot be written, as long as it takes.

        Raises:
            NotAQueue, …: nothing stands there, or something else.
        """
        while True:
            try:
                self.database = Database(self.path, create=False, keep=True)
                return self._begin(limit)
            except (QueueBusy, QueueFull) as error:
                log.warning("%s", error)
                if self._request.how:
                    raise
                time.sleep(RETRY_S)
