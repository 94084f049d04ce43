"""The process in which functions run: reads jobs from its worker, runs them, sends back what came out.

It never opens the queue's file, so it can be killed at any moment. It serves many jobs, one after the other, and
puts back between them what a job may have changed; what cannot be put back ends the process, and the worker starts
another. Running, packing the result and sending it fail differently and stand in three steps.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.getsignal wraps each answer in an enum: dearer than the question
import contextlib
import ctypes
import faulthandler
import fcntl
import functools
import gc
import inspect
import io
import json
import linecache
import math
import mmap
import os
import random
import signal
import socket
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any, NoReturn

from .. import payload
from ..errors import JobFailed, NotSerializable
from . import context, errortext, tqdm_report, wire
from .preview import arguments_preview, exact_json, preview

MOST_EXCEPTION_BYTES = 1024 * 1024
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_F_SEAL_FUTURE_WRITE = 0x10  # Linux 5.1; the fcntl module does not name it
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(slots=True)
class _Task:
    function: int
    digest: bytes
    name: str
    folder: str
    sys_path: list[str]
    env: dict[str, str]
    memory_bytes: int | None
    pass_parent_results: bool | None
    accepts_parents: bool | None = None


class _Changed(Exception):
    """What was sent is not what was signed: nothing of it was unpickled."""


class MemoryLimit(MemoryError):
    """The job asked for more than its ``memory=`` limit."""


class Child:
    """The loop of a child process, and the state that is put back between two jobs."""

    def __init__(self, sock: socket.socket, log: int, page: mmap.mmap, nonce: bytes, key: bytes) -> None:
        self.sock, self.log, self.page, self.nonce, self.key = sock, log, page, nonce, key
        self.pid = os.getpid()
        self.functions: dict[int, bytes | memoryview] = {}
        self.tasks: dict[int, _Task] = {}
        self.bare: dict[int, Any] = {}
        self.bare_globals = 0
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
        self.token, self.about = 0, ""
        self.far_n, self.far_text, self.far_size = 0, "", 0
        self.streams()

    # ------------------------------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Read and run until the worker is gone or asks to stop."""
        while True:
            packet, body = wire.receive(self.sock)
            if not packet:
                return
            kind, a, b, size = wire.TO_CHILD.unpack_from(packet)
            content = packet[wire.TO_CHILD.size : wire.TO_CHILD.size + size] if body is None else body
            if kind == wire.JOB:
                if self.is_stale(b):
                    self.sock.send(wire.TO_WORKER.pack(wire.STALE, a, 0, 0, 0, 0, 0, 0, 0))
                    return
                self.job(a, self.tasks[b], content)
            elif kind == wire.FUNCTION:
                cells = bytes(content[:b])
                self.functions[a] = content[b:]
                for name, text in json.loads(cells).items():
                    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            elif kind == wire.TASK:
                data = json.loads(bytes(content[32:]))
                self.tasks[a] = _Task(b, bytes(content[:32]), **data)
            elif kind == wire.FORGET:
                self.functions.clear()
                self.bare.clear()
                self.tasks.clear()

    def job(self, token: int, task: _Task, content: bytes | memoryview) -> None:
        """Run one job and report it."""
        size, attempt, packed_id, signature = wire.JOB_HEAD.unpack_from(content)
        job_id = packed_id.decode()
        self.token, self.about = token, f"{job_id} {token}"
        self.began_ns, started = time.time_ns(), time.monotonic_ns()
        wire.NOW.pack_into(self.page, 0, token, started)
        context.state.begin(context.CurrentJob(job_id, task.name, attempt), self.note, self.report)
        value: Any = None
        shown: str | None = None
        try:
            at = wire.JOB_HEAD.size + size
            arguments = content[wire.JOB_HEAD.size : at]
            if not payload.verify(self.key, signature, payload.SLOT_JOB, job_id, task.digest, arguments):
                raise _Changed(payload.CHANGED)
            parents = self.parents(content[at:]) if len(content) > at else {}
            self.prepare(task)
            payload.ParentRef.resolve = lambda one: _parent(parents, one)
            args, kwargs = payload.unpack(arguments)
            shown = arguments_preview(args, kwargs)
            function = self.function(task.function)
            if parents:
                self.inject(function, task, parents, kwargs)
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                import asyncio  # late: it is a third of what a child would load

                value = asyncio.run(value)
        except BaseException as error:
            if os.getpid() != self.pid:
                os._exit(1)
            finished = time.monotonic_ns()
            if task.memory_bytes:
                self.restore_limits()  # to say what happened takes memory, too
            if isinstance(error, _Changed):
                kind = "gigq_nb.errors.PayloadDamaged"
                self.close_log(token)
                self.send_error(token, 0, 0, kind, str(error), "", [], b"", None, "damaged")
            else:
                self.failed(token, started, finished, error, shown, task)
        else:
            if os.getpid() != self.pid:  # the job forked, and this is the copy: one result is enough
                os._exit(0)
            finished = time.monotonic_ns()
            self.succeeded(token, started, finished, value, shown)
        del value
        self.tidy(task)

    def function(self, number: int) -> Any:
        """The function, made anew for each job, so that none sees what another did to its globals; one that has none is kept."""
        kept = self.bare.get(number)
        if kept is not None and not kept.__dict__ and len(kept.__globals__) == self.bare_globals:
            return kept
        function = payload.unpack(self.functions[number])
        if payload.is_bare(function):
            self.bare[number] = function
            self.bare_globals = len(function.__globals__)
        return function

    def succeeded(self, token: int, started: int, finished: int, value: object, shown: str | None) -> None:
        """Pack the result and send it; what cannot be packed fails the job once."""
        try:
            packed = payload.pack_value(value)
            if len(packed) > payload.MOST_BYTES:
                raise NotSerializable(f"it takes {len(packed) / 1e9:.1f} GB, more than 2 GiB")
        except BaseException as error:
            text = f"the result ({type(value).__qualname__}) cannot be stored: {errortext.line_of(error)}. It is {preview(value, 500)}"
            self.close_log(token)
            self.send_error(
                token, started, finished, "gigq_nb.errors.NotSerializable", text, "", [], b"", shown, "unserializable"
            )
            return
        text_json = exact_json(value)
        text = "" if text_json is not None else preview(value)
        self.close_log(token)
        signature = payload.sign(self.key, payload.SLOT_RESULT, self.about, packed)
        self.send(
            wire.RESULT,
            token,
            started,
            finished,
            packed,
            errortext.as_bytes(text),
            errortext.as_bytes(text_json or ""),
            errortext.as_bytes(shown or ""),
            signature,
        )

    def failed(self, token: int, started: int, finished: int, error: BaseException, shown: str | None, task: _Task) -> None:
        """Make the exception readable, and loadable where that is possible."""
        if isinstance(error, SystemExit):
            message = f"exited with code {error.code!r} before returning; sys.exit() in a job is a failure, also with 0"
        elif isinstance(error, MemoryError) and task.memory_bytes:
            message = f"over its memory limit of {task.memory_bytes / 1e6:,.0f} MB: {errortext.line_of(error) or 'MemoryError'}"
        else:
            message = errortext.line_of(error)
        trace = errortext.trace_of(error)
        names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__[:-1]]
        packed = b""
        with contextlib.suppress(BaseException):
            bare = error.with_traceback(None)
            candidate = payload.pack_value(bare)
            if len(candidate) <= MOST_EXCEPTION_BYTES:
                payload.unpack(candidate)  # what cannot be loaded here cannot be loaded in a kernel
                packed = candidate
        self.close_log(token)
        self.send_error(token, started, finished, names[0], message, trace, names, packed, shown, "error")

    def send_error(
        self,
        token: int,
        started: int,
        finished: int,
        kind: str,
        message: str,
        trace: str,
        names: list[str],
        packed: bytes,
        shown: str | None,
        reason: str,
    ) -> None:
        kind, message, *names = [errortext.clean(one)[: errortext.MOST_TEXT] for one in (kind, message, *names)]
        about = {"type": kind, "message": message, "traceback": errortext.middle_out(trace), "types": names, "reason": reason}
        signature = payload.sign(self.key, payload.SLOT_ERROR, self.about, packed) if packed else b""
        self.send(
            wire.ERROR,
            token,
            started,
            finished,
            json.dumps(about).encode(),
            packed,
            errortext.as_bytes(shown or ""),
            b"",
            signature,
        )

    # ------------------------------------------------------------------------------------------ before and after

    def prepare(self, task: _Task) -> None:
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

    def tidy(self, task: _Task) -> None:
        """Put back what a job may have changed in this process; leave, if that cannot be done."""
        wire.NOW.pack_into(self.page, 0, 0, 0)
        self.token = 0
        context.state.end()
        payload.forget_classes()
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

    def see_modules(self, task: _Task) -> None:
        """After a job: which local modules it imported. A file that changed since the job began may have been read before."""
        self.modules_seen = len(sys.modules)
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file not in self.local_files and _is_local(file):
                self.local_path = task.sys_path
                with contextlib.suppress(OSError):
                    changed = os.stat(file).st_mtime_ns
                    self.local_files[file] = changed if changed < self.began_ns else 0

    def is_stale(self, number: int) -> bool:
        """Whether this process cannot run a task: a local module that was imported here has changed on disk since, or
        would be found elsewhere by this submitter; or the worker took back what was on its way."""
        task = self.tasks.get(number)
        if task is None or task.function not in self.functions:
            return True
        if self.local_files and task.sys_path != self.local_path:
            return True
        for file, seen in self.local_files.items():
            try:
                if os.stat(file).st_mtime_ns != seen:
                    return True
            except OSError:
                return True
        return False

    # ------------------------------------------------------------------------------------------ parents

    def parents(self, content: bytes | memoryview) -> dict[str, bytes | memoryview | None]:
        """The results of the parents, each checked, none unpickled yet."""
        found: dict[str, bytes | memoryview | None] = {}
        at = 0
        while at < len(content):
            packed_id, has, execution, size, signature = wire.PARENT_HEAD.unpack_from(content, at)
            job_id = packed_id.decode()
            at += wire.PARENT_HEAD.size
            result = content[at : at + size] if has else None
            if result is not None and not payload.verify(
                self.key, signature, payload.SLOT_RESULT, f"{job_id} {execution}", result
            ):
                raise _Changed(payload.PARENT_CHANGED.format(job_id))
            found[job_id] = result
            at += size
        return found

    def inject(self, function: Any, task: _Task, parents: dict[str, Any], kwargs: dict[str, Any]) -> None:
        """GigQ's ``parent_results``: {parent id: result}, for functions that take it."""
        wanted = task.pass_parent_results
        if wanted is None:
            if task.accepts_parents is None:
                task.accepts_parents = accepts_parent_results(function)
            wanted = task.accepts_parents
        if wanted and "parent_results" not in kwargs:
            kwargs["parent_results"] = {one: None if parents[one] is None else _parent(parents, one) for one in parents}

    # ------------------------------------------------------------------------------------------ sending

    def close_log(self, token: int) -> None:
        """Flush what the job showed and printed, and mark its end in the log pipe, before the job is reported."""
        if context.state.shown is not None:
            context.state.shown.flush()
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
        os.write(self.log, wire.MARK.pack(self.nonce, token))

    def send(self, kind: bytes, token: int, started: int, finished: int, *sections: bytes) -> None:
        sizes = [len(one) for one in sections]
        try:
            wire.send(self.sock, wire.TO_WORKER.pack(kind, token, started, finished, *sizes), b"".join(sections))
        except OSError:
            os._exit(1)  # without its worker a child has nobody to work for

    def report(self, place: int, body: bytes) -> None:
        """An output of the running job, for its place; an empty one ends the list there."""
        if os.getpid() == self.pid:
            with contextlib.suppress(OSError):
                signature = payload.sign(self.key, payload.SLOT_OUTPUT, f"{self.about} {place}", body) if body else b""
                head = wire.TO_WORKER.pack(wire.OUTPUT, self.token, place, 0, len(body), len(signature), 0, 0, 0)
                wire.send(self.sock, head, body + signature)

    def note(self, done: float, total: float | None, text: str) -> None:
        """How far the running job is, on the page that the worker looks at."""
        if os.getpid() != self.pid:  # a copy of this process, made by the job, has other numbers
            return
        if text is not self.far_text:
            data = str(text)[: context.MOST_TEXT].encode("utf-8", "replace")[: wire.FAR_TEXT_BYTES]
            self.page[wire.FAR_TEXT_AT : wire.FAR_TEXT_AT + len(data)] = data
            self.far_text, self.far_size = text, len(data)
        self.far_n += 1
        wire.FAR.pack_into(
            self.page, wire.FAR_AT, self.far_n, self.token, done, math.nan if total is None else total, self.far_size, self.far_n
        )


def accepts_parent_results(function: Any) -> bool:
    """Whether a function takes a parameter ``parent_results`` (or ``**kwargs``), as GigQ decides it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "parent_results" or p.kind is p.VAR_KEYWORD for p in parameters)


def _parent(parents: dict[str, bytes | memoryview | None], job_id: str) -> Any:
    packed = parents.get(job_id)
    if packed is None:
        raise JobFailed(f"the parent {job_id} has no result")
    try:
        return payload.unpack(packed)
    except Exception as error:
        raise JobFailed(f"the result of the parent {job_id} cannot be loaded here: {errortext.line_of(error)}") from error


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


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main(arguments: list[str]) -> NoReturn:
    """Entry of the process: ``child.main([socket fd, log fd, page fd, worker pid, nonce])``."""
    handles, worker, nonce = [int(one) for one in arguments[:3]], int(arguments[3]), bytes.fromhex(arguments[4])
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # a daemon that a job leaves stays findable
    if os.getppid() != worker:
        os._exit(0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # when memory runs out, the job is the victim, not the worker
    for handle in handles:
        os.set_inheritable(handle, False)
    with contextlib.suppress(Exception):
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 2, 0)  # C's own buffer: none, so nothing is left in it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    page = mmap.mmap(handles[2], mmap.PAGESIZE)
    key = page[wire.KEY_AT : wire.KEY_AT + wire.KEY_BYTES]
    page[wire.KEY_AT : wire.KEY_AT + wire.KEY_BYTES] = bytes(wire.KEY_BYTES)
    with contextlib.suppress(OSError):  # from here on only this mapping writes: a job's write() to any descriptor does not
        fcntl.fcntl(handles[2], fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
    os.close(handles[2])
    child = Child(socket.socket(fileno=handles[0]), handles[1], page, nonce, key)
    faulthandler.enable(file=handles[1], all_threads=False)
    warnings.simplefilter("default")
    sys.argv = [""]
    tqdm_report.install()
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt, ConnectionError):
        child.run()
    os._exit(0)  # threads that a job left must not keep the process
