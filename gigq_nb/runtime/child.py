"""The process in which functions run: reads jobs from its worker, runs them, sends back what came out.

It never opens the queue's file, so it can be killed at any moment. It serves many jobs, one after the other, and
puts back between them what a job may have changed; what cannot be put back ends the process, and the worker starts
another. Running, packing the result and sending it fail differently and stand in three steps.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import gc
import inspect
import json
import linecache
import math
import mmap
import os
import signal
import socket
import sys
import time
import warnings
from typing import Any, NoReturn

from .. import payload
from ..errors import JobFailed, NotSerializable
from . import context, errortext, tqdm_report, wire
from .preview import arguments_preview, exact_json, preview
from .surroundings import KnownTask, Surroundings

MOST_EXCEPTION_BYTES = 1024 * 1024
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_F_SEAL_FUTURE_WRITE = 0x10  # Linux 5.1; the fcntl module does not name it


class _Changed(Exception):
    """What was sent is not what was signed: nothing of it was unpickled."""


class MemoryLimit(MemoryError):
    """The job asked for more than its ``memory=`` limit."""


class Child:
    """The loop of a child process."""

    def __init__(self, sock: socket.socket, log: int, page: mmap.mmap, nonce: bytes, key: bytes) -> None:
        self.sock, self.log, self.page, self.nonce, self.key = sock, log, page, nonce, key
        self.pid = os.getpid()
        self.functions: dict[int, bytes | memoryview] = {}
        self.tasks: dict[int, KnownTask] = {}
        self.bare: dict[int, Any] = {}
        self.bare_globals = 0
        self.around = Surroundings(log)
        self.token, self.about = 0, ""
        self.far_n, self.far_text, self.far_size = 0, "", 0

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
                self.tasks[a] = KnownTask(b, bytes(content[:32]), **data)
            elif kind == wire.FORGET:
                self.functions.clear()
                self.bare.clear()
                self.tasks.clear()

    def job(self, token: int, task: KnownTask, content: bytes | memoryview) -> None:
        """Run one job and report it."""
        size, attempt, packed_id, signature = wire.JOB_HEAD.unpack_from(content)
        job_id = packed_id.decode()
        self.token, self.about = token, f"{job_id} {token}"
        self.around.began_ns, started = time.time_ns(), time.monotonic_ns()
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
            self.around.prepare(task)
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
                self.around.restore_limits()  # to say what happened takes memory, too
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
        wire.NOW.pack_into(self.page, 0, 0, 0)
        self.token = 0
        context.state.end()
        payload.forget_classes()
        self.around.tidy(task)

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

    def failed(self, token: int, started: int, finished: int, error: BaseException, shown: str | None, task: KnownTask) -> None:
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

    def is_stale(self, number: int) -> bool:
        """Whether this process cannot run a task: because of a local module, or as the worker took back what was on its way."""
        task = self.tasks.get(number)
        return task is None or task.function not in self.functions or self.around.are_stale(task)

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

    def inject(self, function: Any, task: KnownTask, parents: dict[str, Any], kwargs: dict[str, Any]) -> None:
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
        self.around.flush()
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
