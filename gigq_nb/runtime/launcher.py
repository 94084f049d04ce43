"""Starting and stopping worker processes from a kernel, and starting another when one died while work is open."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import logging.handlers
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import GigQError, WorkerFailed
from ..policies import whole_number
from ..signing import PYTHON, data_dir
from ..store import pausing, reads, workers
from . import processes
from .bell import Bell, now_ms, room_of

if TYPE_CHECKING:
    from ..queue import JobQueue

READY_S = 10.0
MOST_STARTS_PER_MINUTE = 5
_PASSED_ON = ("any_environment", "stop_grace", "polling_interval", "lease", "linger")
_ENTRY = "import sys; sys.path.append({path!r}); from gigq_nb.runtime.launcher import main; main(sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """A worker process that was started or found; ``paused_at``: since when its queue was paused then, if it was."""

    name: str
    pid: int
    started: bool
    concurrency: int
    log: str | None
    paused_at: int | None = None

    def __str__(self) -> str:
        what = "started" if self.started else "found, running"
        waits = "" if self.paused_at is None else f"; the queue is {pausing.words(self.paused_at)}"
        return f"worker {self.name} {what}: pid {self.pid}, {self.concurrency} at a time{waits}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        from ..notebook.display import mimebundle

        return mimebundle(self)


def log_dir() -> Path:
    """Where workers write their logs."""
    folder = data_dir() / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def start_worker(queue: JobQueue, concurrency: int | None = None, *, keep_alive: bool = True, **options: Any) -> WorkerHandle:
    """Start a worker, or find the one that can run this kernel's jobs; see :meth:`gigq_nb.JobQueue.start_worker`."""
    wanted = whole_number(os.cpu_count() or 2 if concurrency is None else concurrency, "concurrency", 1, 1000)
    with queue._database.write(durable=False) as db:
        workers.see_kernel(db, processes.me(), None, now_ms())
    with _one_at_a_time(queue.path):
        handle = find_worker(queue) or _launch(queue, wanted, options)
    if keep_alive:
        keeper_of(queue).watch(wanted, options)
    return dataclasses.replace(handle, paused_at=queue._paused_at())


def find_worker(queue: JobQueue) -> WorkerHandle | None:
    """A living worker that can and may run what this process submits."""
    with queue._database.read() as db:
        known = {peer.name: peer for peer in workers.peers(db)}
        able = set(workers.able(db, queue._submit.key_id, PYTHON, sys.prefix))
        rows = reads.workers(db)
    for row in rows:
        peer = known.get(row.name)
        if peer is None or row.name not in able:
            continue
        if processes.is_alive(peer.process) is True:
            return WorkerHandle(row.name, row.pid, False, row.concurrency, row.log)
    return None


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Any:
    """Two kernels that start the first worker at once: the second finds the first one's."""
    handle = os.open(room_of(path) / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _launch(queue: JobQueue, concurrency: int, options: dict[str, Any]) -> WorkerHandle:
    """Its own session, so that an interrupt or a restart of the kernel does not touch it; no descriptor of the kernel's."""
    environment = {**os.environ, **options.get("env", {})}
    for name in ("JPY_PARENT_PID", "JPY_INTERRUPT_EVENT", "PYDEVD_USE_FRAME_EVAL", "MPLBACKEND"):
        environment.pop(name, None)
    log = log_dir() / f"worker-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 100_000}.log"
    read_end, write_end = os.pipe()
    data = json.dumps(
        {"path": str(queue.path), "concurrency": concurrency, "log": str(log), **{k: v for k, v in options.items() if k != "env"}}
    )
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _ENTRY.format(path=package), str(write_end), data],
            start_new_session=True,
            pass_fds=(write_end,),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    finally:
        os.close(write_end)
        os.close(output)
    try:
        said = _first_words(read_end, process)
    finally:
        os.close(read_end)
    _reap_later(process)
    if not said.get("ok"):
        why = said.get("error") or "it ended before it was ready"
        with contextlib.suppress(OSError):
            tail = log.read_text(errors="replace").strip().splitlines()[-8:]
            why += "".join(f"\n  {line}" for line in tail)
        raise WorkerFailed(f"the worker could not start: {why}\n(its log: {log})")
    return WorkerHandle(said["name"], process.pid, True, concurrency, str(log))


def _first_words(read_end: int, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    text = b""
    end_s = time.monotonic() + READY_S
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([read_end], [], [], left_s)[0]:
            part = os.read(read_end, 65_536)
            text += part
            if not part or text.endswith(b"\n"):
                break
    if text:
        found: dict[str, Any] = json.loads(text)
        return found
    with contextlib.suppress(subprocess.TimeoutExpired):
        return {"error": f"it ended with code {process.wait(0.5)}"}  # the pipe closes a moment before the process is gone
    return {"error": f"it said nothing for {READY_S:g} s"}


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """A worker that ends before its kernel must not stay as a zombie."""
    threading.Thread(target=process.wait, name="gigq_nb reaper", daemon=True).start()


def stop_workers(queue: JobQueue, *, now: bool = False, timeout_s: float = 30.0, name: str | None = None) -> int:
    """Ask workers to stop and wait until they did. Returns how many stopped."""
    keeper = _keepers.get(queue._database)
    if keeper is not None:
        keeper.close()
    with queue._database.write() as db:
        asked = workers.ask_to_stop(db, "now" if now else "gently", name)
        living = [peer for peer in workers.peers(db) if peer.process.pid in asked]
    with Bell(queue.path).listen("k") as ear:
        Bell(queue.path).ring("w")
        end_s = time.monotonic() + timeout_s
        while True:
            left = [peer for peer in living if processes.is_alive(peer.process) is True]
            if not left or time.monotonic() > end_s:
                return len(living) - len(left)
            ear.wait(0.05)


# ----------------------------------------------------------------------------------------------- while work is open


class Keeper:
    """In a kernel: notices at once when the worker dies, and starts another within a second while work is open.

    At most five starts a minute; then :attr:`why_not` says why there is none.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = weakref.ref(queue)
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._starts: deque[float] = deque(maxlen=MOST_STARTS_PER_MINUTE)
        self.why_not: str | None = None
        self._watched: str | None = None
        self._concurrency = 1
        self._options: dict[str, Any] = {}

    def watch(self, concurrency: int, options: dict[str, Any]) -> None:
        """Begin to watch; a thread that ends with :meth:`close` or with the process."""
        self._concurrency, self._options = concurrency, options
        if self._thread is None or not self._thread.is_alive():
            self._closing.clear()
            self._thread = threading.Thread(target=self._run, name="gigq_nb keeper", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)
        self._thread = None

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._sleep_until_death()
                if not self._closing.is_set():
                    self._start_again()
            except GigQError as error:
                self.why_not = str(error)
                self._closing.wait(1.0)
            except Exception:  # the kernel is going down under this thread
                return

    def _sleep_until_death(self) -> None:
        queue = self._queue()
        if queue is None:
            self._closing.set()
            return
        found = find_worker(queue)
        del queue
        if found is None:
            self._closing.wait(0.2)
            return
        self._watched, self.why_not = found.name, None
        try:
            pidfd = os.pidfd_open(found.pid)
        except OSError:
            return
        try:
            select.select([pidfd, self._wake_read], [], [], 30.0)
        finally:
            os.close(pidfd)
        if not self._closing.is_set() and processes.birth_of(found.pid) is not None:
            return

    def _start_again(self) -> None:
        queue = self._queue()
        if queue is None or find_worker(queue) is not None:
            return
        with queue._database.read() as db:
            open_work = workers.has_open_work(db)
            stopped = workers.was_stopped(db, self._watched)
        if stopped:  # by a person, maybe in another notebook: that is not a death
            self.why_not = "the worker was asked to stop; start one with %gigq worker start"
        if stopped or not open_work:
            self._closing.wait(0.5)
            return
        now_s = time.monotonic()
        if len(self._starts) == MOST_STARTS_PER_MINUTE and now_s - self._starts[0] < 60:
            self.why_not = (
                f"{MOST_STARTS_PER_MINUTE} workers died within a minute; look at the log, then start one with %gigq worker start"
            )
            self._closing.wait(1.0)
            return
        self._starts.append(now_s)
        with _one_at_a_time(queue.path):
            if find_worker(queue) is None:
                _launch(queue, self._concurrency, dict(self._options))
                self.why_not = None


_keepers: weakref.WeakKeyDictionary[Any, Keeper] = weakref.WeakKeyDictionary()


def keeper_of(queue: JobQueue) -> Keeper:
    """The keeper of a queue in this process."""
    if queue._database not in _keepers:
        _keepers[queue._database] = Keeper(queue)
    return _keepers[queue._database]


def why_not(queue: JobQueue) -> str | None:
    """Why this process has given up starting workers for a queue; None when it has not."""
    keeper = next((one for database, one in _keepers.items() if database.path == queue.path), None)
    return keeper.why_not if keeper is not None else None


# ----------------------------------------------------------------------------------------------- the worker's process


def main(arguments: list[str]) -> NoReturn:
    """Entry of a worker's process that a kernel started: ``main([pipe for the first words, options as JSON])``."""
    handle, options = int(arguments[0]), json.loads(arguments[1])
    try:
        from .worker import Worker

        set_up_logging(options["log"])
        worker = Worker(
            options["path"],
            concurrency=options["concurrency"],
            terminal=bool(options.get("terminal", False)),
            log_file=options["log"],
            alone=True,
            **{name: options[name] for name in _PASSED_ON if name in options},
        )
        worker.ready = lambda: _say(handle, {"ok": True, "name": worker.worker_id})
    except BaseException as error:
        _say(handle, {"ok": False, "error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        worker.start()
    except BaseException:
        logging.getLogger("gigq_nb.worker").exception("the worker ended by an error")
        _say(handle, {"ok": False, "error": "see its log"})
        os._exit(3)
    os._exit(0)


def _say(handle: int, words: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(handle, json.dumps(words).encode() + b"\n")
        os.close(handle)


def set_up_logging(path: str | None, level: int = logging.INFO) -> None:
    """The worker's own log: to a rotated file (three of 1 MB), or to the terminal."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler()
    else:
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=1_000_000, backupCount=2, encoding="utf-8")
        _remove_old_logs()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("gigq_nb")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def _remove_old_logs(keep: int = 50) -> None:
    with contextlib.suppress(OSError):
        logs = sorted(log_dir().glob("worker-*.log*"), key=lambda one: one.stat().st_mtime, reverse=True)
        for one in logs[keep:]:
            one.unlink()
