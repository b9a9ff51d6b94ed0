"""The timer wheel asks in time, once, and forgets what is removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handfast.gateway.keepalive import SLOTS, Wheel, ticks


class Alarm:
    def __init__(self, deadline: int) -> None:
        self.slot = -1
        self.deadline = deadline
        self.rang: list[int] = []

    def due(self, tick: int) -> int:
        if tick < self.deadline:
            return self.deadline
        self.rang.append(tick)
        return 0


def test_seconds_become_ticks_that_last_at_least_as_long() -> None:
    assert [1, 1, 4, 5, 40] == [ticks(seconds) for seconds in (0, 0.1, 1.0, 1.01, 10.0)]


@given(st.lists(st.integers(2, 3 * SLOTS), min_size=1, max_size=20), st.integers(1, SLOTS + 50))
def test_every_deadline_is_noticed_at_the_first_look_after_it(deadlines: list[int], step: int) -> None:
    wheel = Wheel()
    alarms = [Alarm(deadline) for deadline in deadlines]
    for alarm in alarms:
        wheel.add(alarm, alarm.deadline)
    for tick in range(1, 4 * SLOTS + step, step):
        wheel.advance(tick)
    for alarm in alarms:
        first_look = next(tick for tick in range(1, 5 * SLOTS, step) if tick >= alarm.deadline)
        assert [first_look] == alarm.rang
        assert -1 == alarm.slot


def test_what_is_removed_is_not_asked() -> None:
    wheel = Wheel()
    alarm = Alarm(5)
    wheel.add(alarm, 5)
    wheel.remove(alarm)
    wheel.remove(alarm)
    wheel.advance(100)
    assert [] == alarm.rang


def test_a_new_deadline_replaces_the_old_one() -> None:
    wheel = Wheel()
    alarm = Alarm(50)
    wheel.add(alarm, 5)
    wheel.add(alarm, 50)
    for tick in range(2, 60):
        wheel.advance(tick)
    assert [50] == alarm.rang
