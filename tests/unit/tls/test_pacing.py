"""Handshakes in slices: in order, and the loop turns in between."""

from __future__ import annotations

import asyncio

import pytest

from handfast.tls import pacing
from handfast.tls.pacing import SLICE_S, Pace


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def perf_counter(self) -> float:
        return self.time


class Step:
    """Takes as long as the clock is told."""

    def __init__(self, name: str, clock: Clock, done: list[str], seconds: float) -> None:
        self.name, self.clock, self.done, self.seconds = name, clock, done, seconds

    def take_turn(self) -> None:
        self.clock.time += self.seconds
        self.done.append(self.name)
        if self.name == "bad":
            raise ZeroDivisionError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pacing, "time", made)
    return made


async def test_a_few_go_on_at_once_and_the_others_in_order_while_the_loop_turns(clock: Clock) -> None:
    pace, done = Pace(asyncio.get_running_loop()), []  # type: ignore[var-annotated]
    for number in range(6):
        pace.ask(Step(str(number), clock, done, SLICE_S / 2))
    assert ["0", "1"] == done
    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(len(done))
    assert [4, 6, 6, 6] == seen
    assert ["0", "1", "2", "3", "4", "5"] == done


async def test_a_new_turn_has_a_slice_of_its_own(clock: Clock) -> None:
    pace, done = Pace(asyncio.get_running_loop()), []  # type: ignore[var-annotated]
    pace.ask(Step("0", clock, done, SLICE_S))
    await asyncio.sleep(0)
    pace.ask(Step("1", clock, done, SLICE_S))
    assert ["0", "1"] == done


async def test_one_that_fails_takes_nobody_along(clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    failures: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    pace, done = Pace(loop), []  # type: ignore[var-annotated]
    pace.ask(Step("0", clock, done, SLICE_S))
    for name in ("bad", "2"):
        pace.ask(Step(name, clock, done, SLICE_S / 4))
    for _ in range(3):
        await asyncio.sleep(0)
    assert ["0", "bad", "2"] == done
    assert 1 == len(failures)
