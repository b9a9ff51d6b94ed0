"""Deadlines on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from handfast.tls.deadlines import Deadlines


class FakeLoop:
    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        self.timers.append((self.now + delay, callback))
        return object()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, callback = self.timers.pop(0)
            callback()
        self.now = end


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


def deadlines(loop: FakeLoop, delay_s: float, expired: Callable[[Any], None]) -> Deadlines[Any]:
    return Deadlines(cast(asyncio.AbstractEventLoop, loop), delay_s, expired)


def test_what_stays_expires_in_the_order_it_came(loop: FakeLoop) -> None:
    expired: list[str] = []
    line = deadlines(loop, 2.0, expired.append)
    line.add("first")
    loop.advance(1.0)
    line.add("second")
    loop.advance(0.9)
    assert [] == expired
    loop.advance(0.4)
    assert ["first"] == expired
    loop.advance(1.0)
    assert ["first", "second"] == expired
    assert 0 == len(line)
    assert [] == loop.timers  # nobody waits: no timer


def test_what_leaves_does_not(loop: FakeLoop) -> None:
    expired: list[str] = []
    line = deadlines(loop, 1.0, expired.append)
    line.add("a")
    line.add("b")
    line.discard("a")
    line.discard("never there")
    assert "a" not in line
    loop.advance(5.0)
    assert ["b"] == expired


def test_adding_again_does_not_prolong(loop: FakeLoop) -> None:
    expired: list[str] = []
    line = deadlines(loop, 1.0, expired.append)
    line.add("a")
    loop.advance(0.9)
    line.add("a")
    loop.advance(0.4)
    assert ["a"] == expired


def test_one_that_fails_does_not_hold_up_the_others(loop: FakeLoop) -> None:
    expired: list[str] = []

    def fail_first(item: str) -> None:
        expired.append(item)
        if item == "bad":
            raise RuntimeError

    line = deadlines(loop, 1.0, fail_first)
    line.add("bad")
    line.add("good")
    loop.advance(2.0)
    assert ["bad", "good"] == expired


def test_an_expired_item_may_come_back_and_may_settle_others(loop: FakeLoop) -> None:
    expired: list[str] = []

    def again(item: str) -> None:
        expired.append(item)
        if len(expired) == 1:
            line.add(item)
            line.discard("other")

    line = deadlines(loop, 1.0, again)
    line.add("it")
    line.add("other")
    loop.advance(1.5)
    assert ["it"] == expired
    loop.advance(1.5)
    assert ["it", "it"] == expired
