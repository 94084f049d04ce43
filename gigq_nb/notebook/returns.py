"""How the variables of ``--out`` come back: between cells, never in the middle of one, and never over what was rebound since.

A thread hears that a job is done and asks the kernel's event loop to look; the loop looks when no cell runs. Where there
is no loop (plain IPython), the beginning and the end of each cell look. Who waits for a job gets its variables at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import handle, submission
from ..commands.terminal import visible
from ..errors import GigQError
from ..handle import JobHandle
from ..states import FINAL
from ..store import outs, reads

if TYPE_CHECKING:
    from ..queue import JobQueue

_FINAL = frozenset(status.value for status in FINAL)
_LOOK_S = 5.0
_MISSING = object()


class _Binding:
    """What a name stood for at one moment, without keeping large things alive where that can be avoided."""

    def __init__(self, value: object) -> None:
        self.strong: object = None
        self.weak: weakref.ref[Any] | None = None
        try:
            self.weak = weakref.ref(value)
        except TypeError:
            self.strong = value

    def is_still(self, value: object) -> bool:
        """Whether it is the same object."""
        if self.weak is None:
            return self.strong is value
        before = self.weak()
        return before is not None and before is value


@dataclass(eq=False)
class _Promise:
    """A job whose variables are awaited."""

    job: JobHandle
    title: str
    before: dict[str, _Binding]
    line: str | None  # the display id of the line below its cell
    superseded: dict[str, str] = field(default_factory=dict)


class Returns:
    """The awaited variables of one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._promises: dict[str, _Promise] = {}
        self._done: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._depth = 1  # a cell runs: the one that made this
        self._unsaid: list[str] = []
        self._unheard: list[tuple[str, str]] = []
        self._givers: dict[str, tuple[str, ...]] = {}
        self._closed = False
        for event in ("pre_execute", "post_execute", "pre_run_cell", "post_run_cell"):
            shell.events.register(event, getattr(self, f"_{event}"))
        handle.arrived = self._arrived

    # ------------------------------------------------------------------------------------------ awaiting

    def expect(self, job: JobHandle, title: str, names: Sequence[str], line: str | None) -> None:
        """Bring these variables back when the job is done."""
        notebook = submission.whereabouts()[0]
        if notebook is not None:
            with contextlib.suppress(GigQError), job.queue._database.write(durable=False) as db:
                outs.promise(db, str(job), notebook, names)
        self._await(job, title, names, line)

    def gave(self, job: JobHandle, givers: Sequence[str]) -> None:
        """These jobs bring what ``job`` takes along: who waits for it gets their variables, too."""
        if givers:
            self._givers[str(job)] = tuple(givers)

    def resume(self, queue: JobQueue) -> None:
        """After a restart: await what the cells of this notebook promised before."""
        notebook = submission.whereabouts()[0]
        if notebook is None:
            return
        with contextlib.suppress(GigQError), queue._database.write(durable=False) as db:
            outs.forget_pruned(db)
            awaited = outs.promised(db, notebook)
            for job_id, title, names in awaited:
                if job_id not in self._promises:
                    self._await(JobHandle(job_id, queue), title, names, None)

    def promised(self, queue: JobQueue) -> dict[str, JobHandle]:
        """Names that jobs which are not done yet will bring back, unless the name was bound anew since."""
        self._look()
        return {
            name: one.job
            for one in self._promises.values()
            for name, before in one.before.items()
            if str(one.job) not in self._done
            and one.job.queue.path == queue.path
            and name not in one.superseded
            and before.is_still(self.shell.user_ns.get(name, _MISSING))
        }

    def _await(self, job: JobHandle, title: str, names: Sequence[str], line: str | None) -> None:
        for other in self._promises.values():  # the newest job wins, whichever ends first
            for name in names:
                if name in other.before:
                    other.superseded[name] = title
        before = {name: _Binding(self.shell.user_ns.get(name, _MISSING)) for name in names}
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        with self._lock:
            self._promises[str(job)] = _Promise(job, title, before, line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="gigq_nb returns", daemon=True)
                self._thread.start()

    def _listen(self) -> None:
        """In a thread of its own: hear that a job is done, and have the loop look. Ends when nothing is awaited."""
        while True:
            with self._lock:
                open_ = {key: one for key, one in self._promises.items() if key not in self._done}
                if not open_ or self._closed:
                    self._thread = None
                    return
            try:
                if self._listen_once(next(iter(open_.values())).job.queue) and self._loop is not None:
                    self._loop.call_soon_threadsafe(self._when_idle)
            except GigQError:  # the file cannot be read now: look again later
                time.sleep(_LOOK_S)
            except RuntimeError:  # the loop is closed: the kernel ends
                return

    def _listen_once(self, queue: JobQueue) -> bool:
        with queue._waiting.bell.listen("k") as ear:
            if self._look():
                return True
            ear.wait(_LOOK_S)
            return self._look()

    def _look(self) -> bool:
        """Note which awaited jobs are done. Returns whether there is a new one."""
        with self._lock:
            open_ = [one.job for key, one in self._promises.items() if key not in self._done]
        before = len(self._done)
        for queue in {job.queue for job in open_}:
            ids = [str(job) for job in open_ if job.queue is queue]
            with queue._database.read() as db:
                statuses = reads.statuses(db, ids)
            self._done |= {job_id for job_id in ids if statuses.get(job_id, "gone") in (*_FINAL, "gone")}
        return len(self._done) > before

    # ------------------------------------------------------------------------------------------ between cells

    def _pre_execute(self) -> None:
        self._depth += 1

    def _post_execute(self) -> None:
        self._depth = max(0, self._depth - 1)

    def _pre_run_cell(self, _info: Any = None) -> None:
        if self._depth == 1:  # only this cell, which has not begun
            unheard, self._unheard = self._unheard, []
            for text, line in unheard:
                tell(text, line)
            self._between()

    def _post_run_cell(self, _result: Any = None) -> None:
        if self._depth == 0:
            self._between()

    def _between(self) -> None:
        if self._promises:
            with contextlib.suppress(GigQError):
                self._look()
            self._bring_back(list(self._done))
        unsaid, self._unsaid = self._unsaid, []
        for line in unsaid:
            _say(line)

    def _when_idle(self) -> None:
        if self._depth == 0:
            self._bring_back(list(self._done))

    def _arrived(self, job: JobHandle) -> None:
        """Somebody waited for this job: its variables come at once, also in the middle of a cell."""
        if threading.current_thread() is threading.main_thread():
            self._bring_back([one for one in (*self._givers.pop(str(job), ()), str(job)) if one in self._promises])
            unsaid, self._unsaid = self._unsaid, []
            for line in unsaid:
                _say(line)

    # ------------------------------------------------------------------------------------------ bringing back

    def _bring_back(self, ids: list[str]) -> None:
        for job_id in ids:
            with self._lock:
                promise = self._promises.pop(job_id, None)
                self._done.discard(job_id)
            if promise is not None:
                self._bring(promise)

    def _bring(self, promise: _Promise) -> None:
        names = ", ".join(promise.before)
        try:
            status = promise.job.status
            values = promise.job.queue.get_result(str(promise.job)) if status == "completed" else None
        except GigQError as error:
            self._announce(promise, f"{names} did not come back: {error}")
            self._forget(promise)
            return
        if not isinstance(values, dict):
            why = _first_line(promise.job.error)
            self._announce(
                promise, f"{status}{': ' + why if why else ''}; {names} not set, %gigq show {_word(promise.title)} has all of it"
            )
            self._forget(promise)
            return
        back, left = {}, []
        for name, before in promise.before.items():
            if name not in values:
                left.append(f"{name} is none of the variables that it brings")
            elif name in promise.superseded:
                left.append(f"{name} was left alone: a later run brings it")
            elif name not in self.shell.user_ns or before.is_still(self.shell.user_ns[name]):
                back[name] = values[name]
            else:
                left.append(
                    f"{name} was changed here meanwhile and was left alone; %gigq result {_word(promise.title)} has the job's"
                )
        said = left
        if back:
            self.shell.push(back)
            said = [f"{' and '.join(back)} came back at {time.strftime('%H:%M:%S')}", *left]
        self._announce(promise, "; ".join(said), aloud=bool(left) or promise.line is None)
        self._forget(promise)

    def _announce(self, promise: _Promise, text: str, *, aloud: bool = True) -> None:
        """Say it below the cell of the job, and ``aloud`` in the next one that ends or begins."""
        if promise.line is not None:
            tell(f"{promise.title}: {text}", promise.line)
            if self._depth == 0:  # nbclient and papermill only listen while a cell runs: tell them again when one does
                self._unheard.append((f"{promise.title}: {text}", promise.line))
        if aloud:
            self._unsaid.append(f"{promise.title}: {text}")

    def _forget(self, promise: _Promise) -> None:
        with contextlib.suppress(GigQError), promise.job.queue._database.write(durable=False) as db:
            outs.keep_promise(db, str(promise.job))

    def close(self) -> None:
        """Stop."""
        self._closed = True
        self._promises.clear()
        for event in ("pre_execute", "post_execute", "pre_run_cell", "post_run_cell"):
            with contextlib.suppress(ValueError):
                self.shell.events.unregister(event, getattr(self, f"_{event}"))
        handle.arrived = lambda _job: None


_returns: Returns | None = None


def of(shell: Any) -> Returns:
    """The one of this shell."""
    global _returns
    if _returns is None or _returns.shell is not shell:
        forget(None)
        _returns = Returns(shell)
    return _returns


def forget(_shell: Any) -> None:
    """Stop bringing variables back."""
    global _returns
    if _returns is not None:
        _returns.close()
        _returns = None


def tell(text: str, display_id: str | None = None) -> str:
    """A line below the cell; with its ``display_id``, in place of what stood there. Returns the display id."""
    from IPython.display import display

    update, display_id = display_id is not None, display_id or f"gigq-line-{uuid.uuid4().hex}"
    display({"text/plain": visible(text)}, raw=True, display_id=display_id, update=update)  # type: ignore[no-untyped-call]
    return display_id


def _say(line: str) -> None:
    sys.stdout.write(visible(line) + "\n")


def _word(title: str) -> str:
    """A job's name as it is written behind ``%gigq``."""
    return title if title.replace("-", "").replace("_", "").isalnum() else '"' + title.replace('"', '\\"') + '"'


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0][:200]
