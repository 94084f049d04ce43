"""What a job finds around it, and may change, in the process that it shares with other jobs: put back between two of them."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.getsignal wraps each answer in an enum: dearer than the question
import contextlib
import functools
import gc
import io
import os
import random
import signal
import sys
import threading
import warnings
from dataclasses import dataclass
from typing import Any

from ..errors import JobFailed
from . import errortext

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(slots=True)
class KnownTask:
    """What a child knows of a task: where a job of it starts, and with what."""

    function: int
    digest: bytes
    name: str
    folder: str
    sys_path: list[str]
    env: dict[str, str]
    memory_bytes: int | None
    pass_parent_results: bool | None
    accepts_parents: bool | None = None


class Surroundings:
    """Folder, environment, limits, signals, streams, random numbers and local modules of one child process."""

    def __init__(self, log: int) -> None:
        self.log = log
        self.began_ns = 0
        self.modules_seen = 0
        self.local_files: dict[str, int] = {}
        self.local_path: list[str] = []
        self.environment = dict(os.environ)
        self.raw_environment = dict(os.environ._data)  # type: ignore[attr-defined]
        self.umask = os.umask(0o077)
        os.umask(self.umask)
        self.null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.log_inode, self.null_inode = os.fstat(log).st_ino, os.fstat(self.null).st_ino
        self.handlers = [(int(number), _signal.getsignal(number)) for number in _SIGNALS]
        self.blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self.tracing, self.profiling = sys.gettrace(), sys.getprofile()
        self.limits = _limits()
        self.recursion = sys.getrecursionlimit()
        self.reseed = False
        self.watch_random()
        self.streams()

    def prepare(self, task: KnownTask) -> None:
        """The folder, path, environment and limits in which the job starts."""
        try:
            os.chdir(task.folder)
        except OSError as error:
            raise JobFailed(f"the folder {task.folder}, from which the job was submitted, is gone: {error.strerror}") from None
        if sys.path != task.sys_path:
            sys.path[:] = task.sys_path
        if task.env:
            os.environ.update(task.env)
        if task.memory_bytes:
            import resource

            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (task.memory_bytes, hard))

    def tidy(self, task: KnownTask) -> None:
        """Put back what a job may have changed in this process; leave, if that cannot be done."""
        if os.environ._data != self.raw_environment:  # type: ignore[attr-defined]
            os.environ.clear()
            os.environ.update(self.environment)
        os.umask(self.umask)
        self.restore_hooks()
        if "resource" in sys.modules:
            self.restore_limits()
        if self.reseed or "numpy.random" in sys.modules:
            self.seed()
        if sys.getrecursionlimit() != self.recursion:
            sys.setrecursionlimit(self.recursion)
        if not self.streams_in_place():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a file that it left open: that would stand in the log of the next job
                self.streams()
        if task.memory_bytes:
            gc.collect()
        if len(sys.modules) != self.modules_seen:
            self.see_modules(task)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:  # orphans of the job that were handed to this sub-reaper
                pass
            os._exit(0)  # it left processes that live: they would print into the log of the next one
        except ChildProcessError:
            pass
        if len(threading._active) > 1 and any(_goes_on(one) for one in threading.enumerate()):  # type: ignore[attr-defined]
            os._exit(0)  # so would its threads; the worker starts another child

    def restore_hooks(self) -> None:
        """Signals, timers, trace functions: what would break into the next job."""
        for number, handler in self.handlers:
            if _signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.blocked)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if sys.gettrace() is not self.tracing:
            sys.settrace(self.tracing)
        if sys.getprofile() is not self.profiling:
            sys.setprofile(self.profiling)

    def watch_random(self) -> None:
        """A seed that a job sets is its own: the next one must not get the same numbers."""
        for name in ("seed", "setstate"):
            setattr(random, name, self._seeding(getattr(random, name)))

    def _seeding(self, inner: Any) -> Any:
        @functools.wraps(inner)
        def seeding(*args: Any, **kwargs: Any) -> Any:
            self.reseed = True
            return inner(*args, **kwargs)

        return seeding

    def seed(self) -> None:
        random.seed()
        self.reseed = False
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()

    def restore_limits(self) -> None:
        import resource

        for number, before in self.limits.items():
            if resource.getrlimit(number) != before:
                try:
                    resource.setrlimit(number, before)
                except (ValueError, OSError):
                    os._exit(0)  # a hard limit was lowered: this process is spoilt for the next job

    def streams(self) -> None:
        """Descriptors 0 to 2 and the streams on top of them, as they are at the start of a job."""
        os.dup2(self.null, 0)
        os.dup2(self.log, 1)
        os.dup2(self.log, 2)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
        self.out = _stream(1)
        self.err = _stream(2)
        sys.stdout, sys.stderr = self.out, self.err
        sys.__stdout__, sys.__stderr__, sys.__stdin__ = self.out, self.err, sys.stdin  # type: ignore[misc]

    def streams_in_place(self) -> bool:
        try:
            if sys.stdout is not self.out or sys.stderr is not self.err or self.out.closed or self.err.closed:
                return False
            return os.fstat(1).st_ino == self.log_inode == os.fstat(2).st_ino and os.fstat(0).st_ino == self.null_inode
        except (OSError, ValueError):  # closed; detached
            return False

    def see_modules(self, task: KnownTask) -> None:
        """After a job: which local modules it imported. A file that changed since the job began may have been read before."""
        self.modules_seen = len(sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file not in self.local_files and _is_local(file):
                self.local_path = task.sys_path
                with contextlib.suppress(OSError):
                    changed = os.stat(file).st_mtime_ns
                    self.local_files[file] = changed if changed < self.began_ns else 0

    def are_stale(self, task: KnownTask) -> bool:
        """Whether a local module that was imported here has changed on disk since, or would be found elsewhere by this submitter."""
        if self.local_files and task.sys_path != self.local_path:
            return True
        for file, seen in self.local_files.items():
            try:
                if os.stat(file).st_mtime_ns != seen:
                    return True
            except OSError:
                return True
        return False

    def flush(self) -> None:
        """All that was printed is in the log."""
        try:
            self.out.flush()
            self.err.flush()
            if sys.stdout is not self.out or sys.stderr is not self.err:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
        except Exception:
            pass  # the job closed or replaced them
        if os.fstat(self.log).st_ino != self.log_inode:  # the job closed it and opened another file at its number
            os._exit(1)


def _limits() -> dict[int, tuple[int, int]]:
    """The limits of this process before any job. The module is forgotten again: that it is there says that a job asked for it."""
    import resource

    names = ("DATA", "AS", "CPU", "FSIZE", "NOFILE", "STACK", "NPROC", "CORE")
    found = {number: resource.getrlimit(number) for number in (getattr(resource, f"RLIMIT_{name}") for name in names)}
    del sys.modules["resource"]
    return found


def _goes_on(thread: threading.Thread) -> bool:
    """Whether a thread is what a job left running; tqdm's and IPython's own threads print nothing."""
    return thread is not threading.main_thread() and type(thread).__name__ not in ("TMonitor", "HistorySavingThread")


def _is_local(file: str) -> bool:
    return (
        not file.startswith((sys.prefix, sys.base_prefix, errortext.OWN)) and "site-packages" not in file and os.path.isabs(file)
    )


def _stream(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False), 65_536),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
