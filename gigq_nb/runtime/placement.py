"""Which child gets which job: what is claimed ahead is bounded by time, not by number."""

from __future__ import annotations

from ..policies import LONELY_AFTER_LOSSES
from ..store.transitions import Claim
from .childprocess import AHEAD_S, ChildProcess
from .runner import Assignment, LoadedTask

MOST_AHEAD = 256
COST_FLOOR_S = 0.00002
MOST_COSTS = 10_000


def wants_to_be_alone(claim: Claim, task: LoadedTask) -> bool:
    """Whether a job gets a process of its own: asked for, or after losses that it may have caused."""
    return task.options.fresh or claim.losses >= LONELY_AFTER_LOSSES


class Placement:
    """About 50 ms of work for each child, by how long jobs of a task took so far; one at a time until that is known."""

    def __init__(self, children: dict[int, ChildProcess]) -> None:
        self.children = children
        self.costs: dict[int, float] = {}
        self.usual_s: float | None = None

    def room(self) -> int:
        """How many jobs may be claimed now, if they are like the last ones."""
        total = 0
        ahead = 1 if self.usual_s is None else max(1, min(MOST_AHEAD, int(AHEAD_S / self.usual_s)))
        for child in self.children.values():
            if not child.is_open:
                continue
            waiting = len(child.queue) + len(child.reserved)
            if child.load_s() < AHEAD_S:
                total += max(0, ahead - waiting)
        return total

    def place(self, claim: Claim, task: LoadedTask) -> bool:
        """Reserve room for a claim: at the child with the least work, never behind something long or unknown."""
        cost_s = self.costs.get(task.id)
        alone = wants_to_be_alone(claim, task)
        best: ChildProcess | None = None
        best_s = AHEAD_S
        for child in self.children.values():
            if not child.is_open:
                continue
            waiting = len(child.queue) + len(child.reserved)
            if not waiting:
                best = child
                break
            if cost_s is None or alone or waiting >= MOST_AHEAD:
                continue
            load_s = child.load_s() + cost_s
            if load_s < best_s:
                best, best_s = child, load_s
        if best is None:
            return False
        best.reserve(claim, cost_s)
        if alone:
            best.lonely = True
        return True

    def unreserve(self) -> None:
        """Forget reservations: the claim was not committed."""
        for child in self.children.values():
            if child.reserved:
                child.unreserve()
                child.lonely = bool(child.queue) and child.lonely

    def learn(self, one: Assignment, took_s: float) -> None:
        """How long jobs of this task take: an exponentially weighted mean that believes a slow one at once."""
        before = self.costs.get(one.task.id)
        took_s = max(took_s, COST_FLOOR_S)
        self.costs[one.task.id] = took_s if before is None or took_s > 4 * before else 0.8 * before + 0.2 * took_s
        self.usual_s = self.costs[one.task.id]
        if len(self.costs) > MOST_COSTS:
            self.costs.clear()
