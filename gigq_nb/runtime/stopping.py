"""How an attempt is stopped before its time, and what it means for a job that its process ended."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..states import Outcome
from . import processes
from .runner import Assignment, Finished

if TYPE_CHECKING:
    from .childprocess import ChildProcess


@dataclass(slots=True)
class Doom:
    """An attempt that is being stopped: interrupt, then TERM, then KILL of the whole tree."""

    token: int
    outcome: Outcome
    why: str
    grace_s: float
    deadline_ns: int
    stage: int = 0
    next_s: float = 0.0
    finished: Finished | None = None

    def advance(self, child: ChildProcess) -> None:
        """The next of the three signals; without a grace the last one at once."""
        now_s = time.monotonic()
        self.stage += 1
        if self.stage == 1 and self.grace_s > 0:
            processes.send_signal(child.pid, signal.SIGCONT, child.birth)
            processes.send_signal(child.pid, signal.SIGINT, child.birth)
            self.next_s = now_s + self.grace_s * 0.6
        elif self.stage == 2 and self.grace_s > 0:
            processes.kill_tree(child.pid, child.birth, number=signal.SIGTERM)
            self.next_s = now_s + self.grace_s * 0.4
        else:
            child.kill()
            self.next_s = now_s + 0.5

    def hasten(self, outcome: Outcome, grace_s: float) -> None:
        """Somebody else wants it stopped, too. A worker that stops must not make a timeout undone; a cancel may."""
        if outcome is Outcome.CANCELLED:
            self.outcome = outcome
        if not grace_s:
            self.grace_s, self.next_s = 0.0, 0.0

    def reported(self, over: Finished) -> None:
        """The attempt ended by itself meanwhile. Completed in time, or although its worker was to stop: then it counts."""
        on_time = over.finished_ns <= self.deadline_ns if self.outcome is Outcome.TIMEOUT else self.outcome is Outcome.RETURNED
        if over.outcome is not Outcome.COMPLETED or not on_time:
            over.outcome, over.error, over.payload = self.outcome, error_of("", self.why), b""
        self.finished = over


def died(doom: Doom | None, token: int, victim: Assignment, since_ns: int, code: int, *, closing: bool) -> Finished:
    """What it means for the attempt that a process ran when it ended.

    Args:
        doom: What was being stopped there, if anything was.
        token: What ran.
        victim: The same.
        since_ns: When it began (monotonic; 0: it had not).
        code: How the process ended, as :attr:`subprocess.Popen.returncode` says it.
        closing: Its worker ended it, and itself.
    """
    now_ns = time.monotonic_ns()
    if doom is not None and doom.token == token:
        return Finished(victim, doom.outcome, since_ns, now_ns, error=error_of("", doom.why))
    if closing:
        return Finished(victim, Outcome.RETURNED, since_ns, now_ns)
    error = error_of("gigq_nb.errors.JobFailed", death(code), "error")
    return Finished(victim, Outcome.FAILED, since_ns, now_ns, error=error)


def error_of(kind: str, message: str, reason: str = "") -> dict[str, Any]:
    """An error that no child could tell, in the form in which they tell theirs."""
    return {"type": kind, "message": message, "traceback": "", "types": [], "reason": reason}


def death(code: int) -> str:
    """What the end of a process says, in words."""
    if code >= 0:
        return f"its process exited with code {code} before the function returned"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    text = f"its process was killed by signal {-code} ({name})"
    if -code == signal.SIGKILL:
        text += ", as the system does when memory runs out"
    elif -code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
        text += ": a crash in native code; its log shows where, if anything does"
    return text
