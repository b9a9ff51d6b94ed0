"""
Handshakes in slices: a few milliseconds of them in one turn of the loop.

A fleet that comes back at once brings hundreds of ClientHellos in one turn, each worth a millisecond of a processor.
Connections that are open are served between the slices, and do not wait for all of that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, Protocol

SLICE_S: Final = 0.004


class Paced(Protocol):
    """Has something to do that takes a while."""

    def take_turn(self) -> None: ...


class Pace:
    """Gives turns in the order in which they were asked for, at once while the slice of this turn of the loop lasts."""

    __slots__ = ("_loop", "_scheduled", "_spent_s", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Paced] = deque()
        self._spent_s = 0.0
        self._scheduled = False

    def ask(self, who: Paced) -> None:
        """Its `take_turn` is called, now or in one of the next turns of the loop."""
        if self._waiting or self._spent_s >= SLICE_S:
            self._waiting.append(who)
        else:
            self._give(who)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _give(self, who: Paced) -> None:
        began = time.perf_counter()
        try:
            who.take_turn()
        finally:
            self._spent_s += time.perf_counter() - began

    def _next(self) -> None:
        """A turn of the loop has passed."""
        self._spent_s = 0.0
        self._scheduled = False
        waiting = self._waiting
        if not waiting:
            return
        self._scheduled = True
        self._loop.call_soon(self._next)
        while waiting and self._spent_s < SLICE_S:
            self._give(waiting.popleft())
