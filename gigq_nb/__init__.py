"""Durable background jobs for notebooks: a function or a cell becomes a job in one SQLite file.

>>> from gigq_nb import JobQueue
>>> queue = JobQueue("jobs.db")          # doctest: +SKIP
>>> worker = queue.start_worker()        # doctest: +SKIP
>>> job = queue.submit(pow, 2, 10)       # doctest: +SKIP
>>> job.result()                         # doctest: +SKIP
1024

In a notebook: ``%load_ext gigq_nb``, then ``%gigq connect jobs.db``.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are loaded when they are used (PEP 562): a kernel that imports gigq_nb waits neither for pandas nor for widgets.
_HOMES = {
    "Batch": "handle",
    "GigQError": "errors",
    "Job": "job",
    "JobCancelled": "errors",
    "JobFailed": "errors",
    "JobHandle": "handle",
    "JobLost": "errors",
    "JobNotFound": "errors",
    "JobQueue": "queue",
    "JobStatus": "states",
    "JobTimeout": "errors",
    "NotSerializable": "errors",
    "Retry": "policies",
    "Secret": "payload",
    "Task": "task",
    "WaitTimeout": "errors",
    "Worker": "runtime.worker",
    "Workflow": "workflow",
    "as_completed": "waiting",
    "close_connections": "compat",
    "connect": "connected",
    "current_job": "runtime.context",
    "progress": "runtime.context",
    "setup_logging": "compat",
    "task": "task",
    "track": "runtime.context",
    "wait": "waiting",
}

__all__ = ["__version__", "load_ipython_extension", "unload_ipython_extension", *_HOMES]  # noqa: PLE0604

if TYPE_CHECKING:
    from .compat import close_connections as close_connections
    from .compat import setup_logging as setup_logging
    from .connected import connect as connect
    from .errors import GigQError as GigQError
    from .errors import JobCancelled as JobCancelled
    from .errors import JobFailed as JobFailed
    from .errors import JobLost as JobLost
    from .errors import JobNotFound as JobNotFound
    from .errors import JobTimeout as JobTimeout
    from .errors import NotSerializable as NotSerializable
    from .errors import WaitTimeout as WaitTimeout
    from .handle import Batch as Batch
    from .handle import JobHandle as JobHandle
    from .job import Job as Job
    from .payload import Secret as Secret
    from .policies import Retry as Retry
    from .queue import JobQueue as JobQueue
    from .runtime.context import current_job as current_job
    from .runtime.context import progress as progress
    from .runtime.context import track as track
    from .runtime.worker import Worker as Worker
    from .states import JobStatus as JobStatus
    from .task import Task as Task
    from .task import task as task
    from .waiting import as_completed as as_completed
    from .waiting import wait as wait
    from .workflow import Workflow as Workflow


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gigq_nb' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


class _Face(types.ModuleType):
    """``gigq_nb.task`` is the decorator. The import system would put the module of that name in its place."""

    @property
    def _decorator(self) -> Any:
        return importlib.import_module(".task", __name__).task

    @_decorator.setter
    def _decorator(self, module: types.ModuleType) -> None:
        """Whoever imports the module sets it here; it stays in ``sys.modules``."""


_Face.task = _Face._decorator  # type: ignore[attr-defined]
sys.modules[__name__].__class__ = _Face


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext gigq_nb``: the magics ``%gigq`` and ``%%gigq``."""
    from .notebook.magics import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext gigq_nb``."""
    from .notebook.magics import unload

    unload(ipython)
