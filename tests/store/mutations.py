"""Is the state machine strong enough? Each mutation takes one safety out; the machine must find it.

`python -m tests.store.mutations` prints after how many examples each was found.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import textwrap
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from gigq_nb.runtime import peers
from gigq_nb.store import transitions
from tests.store.machine import QueueMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def rewritten(function: Any, old: str, new: str) -> Any:
    """The function with a piece of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{function.__name__} was rewritten: say anew what to take out"
    names: dict[str, Any] = {}
    exec(compile(source.replace(old, new), inspect.getfile(function), "exec"), function.__globals__, names)
    return names[function.__name__]


@contextlib.contextmanager
def an_open_attempt_asked_for_at_the_end() -> Iterator[None]:
    """settle() ends whatever it is told, also what somebody else has ended."""
    careless = rewritten(transitions.settle, "where worker = ? and outcome is null", "where ? is not null")
    with mock.patch.object(transitions, "settle", careless):
        yield


@contextlib.contextmanager
def the_kill_before_a_rescue() -> Iterator[None]:
    """What a dead or silent worker had started goes on running while its jobs are given to others."""
    with mock.patch.object(peers.Neighbours, "end_children", return_value=True):
        yield


@contextlib.contextmanager
def the_observers_own_clock() -> Iterator[None]:
    """Silence is measured by the wall clock."""
    begin = QueueMachine.__init__

    def with_wall_clock(self: QueueMachine) -> None:
        begin(self)
        wall = mock.Mock(monotonic=lambda: self.clock.wall_ms / 1000)
        self.patches.append(mock.patch.object(peers, "time", wall))
        self.patches[-1].start()
        self.patches.reverse()

    with mock.patch.object(QueueMachine, "__init__", with_wall_clock):
        yield


@contextlib.contextmanager
def the_pause_asked_for_in_the_claim() -> Iterator[None]:
    """A claim takes what is ready, paused or not."""
    asked = " and not exists (select 1 from settings where name = 'paused')"
    assert transitions._READY.count(asked) == 1, "the claim was rewritten: say anew what to take out"
    with mock.patch.object(transitions, "_READY", transitions._READY.replace(asked, "")):
        yield


MUTATIONS: dict[str, Callable[[], Any]] = {
    "an open attempt asked for at the end": an_open_attempt_asked_for_at_the_end,
    "the kill before a rescue": the_kill_before_a_rescue,
    "the observer's own clock": the_observers_own_clock,
    "the pause asked for in the claim": the_pause_asked_for_in_the_claim,
}


def examples_until_found(name: str, most: int, *, show: bool = False) -> int | None:
    """After how many examples the machine fails with this mutation; None: not within ``most``."""
    counted = 0
    begin = QueueMachine.__init__

    def counting(self: QueueMachine) -> None:
        nonlocal counted
        counted += 1
        begin(self)

    rules = settings(
        max_examples=most, stateful_step_count=40, deadline=None, phases=[Phase.generate], database=None, print_blob=False,
        report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with mock.patch.object(QueueMachine, "__init__", counting), MUTATIONS[name]():
        try:
            with contextlib.redirect_stdout(None if show else _Nowhere()):
                run_state_machine_as_test(seed(1)(QueueMachine), settings=rules)
        except Exception as error:
            if show:
                print(f"  {type(error).__name__}: {str(error)[:200]}")
            return counted
    return None


class _Nowhere:
    def write(self, _text: str) -> int:
        return 0

    def flush(self) -> None: ...


def main() -> int:
    """Print the table; 1 when a mutation was not found."""
    missed = 0
    for name in MUTATIONS:
        found = examples_until_found(name, 300)
        print(
            f"without {name:40} {'NOT FOUND in 300 examples' if found is None else f'found after {found} examples'}", flush=True
        )
        missed += found is None
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
