"""When a worker looks and writes, by a clock that the test moves."""

import pytest

from gigq_nb.runtime import pace
from gigq_nb.runtime.pace import GROUP_SHARE, LEAST_GROUP_S, MOST_GROUP_S, RETRY_S, Pace


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.wall_s = 5000.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.wall_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    monkeypatch.setattr(pace, "now_ms", lambda: int(made.wall_s * 1000))
    return made


def paced(clock: Clock, wrote_for_s: float = 0.0) -> Pace:
    one = Pace(polling_interval_s=5.0, lease_s=30.0)
    one.beaten(clock.now_s)
    one.looked()
    one.wrote(clock.now_s - wrote_for_s)
    one.look = False
    return one


@pytest.mark.parametrize(
    ("wrote_for_s", "group_s"),
    [(0.0, LEAST_GROUP_S), (0.001, GROUP_SHARE * 0.001), (0.5, MOST_GROUP_S)],
    ids=["quick", "usual", "slow"],
)
def test_while_others_submit_the_next_write_waits_by_what_the_last_one_took(
    clock: Clock, wrote_for_s: float, group_s: float
) -> None:
    one = paced(clock, wrote_for_s)
    one.look = one.rung = True
    assert one.group_s(clock.now_s, under_way=True) == pytest.approx(group_s)
    assert one.patience_s(clock.now_s, hungry=True, endings=True, under_way=True, others=[]) == pytest.approx(group_s)
    clock.now_s += group_s
    assert one.group_s(clock.now_s, under_way=True) <= 1e-9


def test_a_single_job_on_an_idle_queue_waits_for_no_group(clock: Clock) -> None:
    one = paced(clock)
    one.look = one.rung = True
    assert one.group_s(clock.now_s, under_way=False) == 0, "nothing was under way when it came"
    assert one.patience_s(clock.now_s, hungry=True, endings=False, under_way=False, others=[]) == 0
    one.wrote(clock.now_s)
    assert one.group_s(clock.now_s, under_way=True) == 0, "nobody rings when it ends"
    assert one.patience_s(clock.now_s, hungry=True, endings=True, under_way=True, others=[]) == 0


def test_after_a_write_that_failed_it_tries_again_a_little_later(clock: Clock) -> None:
    one = paced(clock)
    one.failed()
    assert one.look
    assert one.wait_s(clock.now_s, under_way=False) == pytest.approx(RETRY_S)
    assert one.patience_s(clock.now_s, hungry=False, endings=False, under_way=False, others=[0.01]) == pytest.approx(RETRY_S)
    clock.now_s += RETRY_S
    assert one.wait_s(clock.now_s, under_way=False) <= 1e-9


def test_it_sleeps_until_whatever_is_due_first(clock: Clock) -> None:
    def patience_s(*others: float) -> float:
        return one.patience_s(clock.now_s, hungry=True, endings=False, under_way=False, others=others)

    one = paced(clock)
    assert patience_s() == pytest.approx(pace.BEAT_S)
    assert patience_s(0.25) == 0.25
    one.next_due_ms = int(clock.wall_s * 1000) + 100
    assert patience_s(0.25) == pytest.approx(0.1)
    one.look_if_due(clock.now_s)
    assert not one.look
    clock.wall_s += 0.1
    one.look_if_due(clock.now_s)
    assert one.look, "a delayed job is due"
    one.look, one.next_due_ms = False, None
    clock.now_s += 5.0
    one.look_if_due(clock.now_s)
    assert one.look, "nobody rang, and it looks all the same"


def test_a_clock_that_was_set_is_noticed_once(clock: Clock) -> None:
    one = paced(clock)
    one.clock_stepped()
    clock.now_s, clock.wall_s = clock.now_s + 60, clock.wall_s + 60.2
    assert not one.clock_stepped()
    clock.wall_s -= 3600
    assert one.clock_stepped()
    assert not one.clock_stepped()
