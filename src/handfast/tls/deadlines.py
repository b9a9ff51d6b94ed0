"""Many timeouts of one length for the price of one timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Deadlines(Generic[T]):
    """
    Calls `expired(item)` for each item that stayed longer than `delay_s`; late by at most a quarter of it, or 0.25 s.

    All items wait equally long, so the order of arrival is the order of expiry and
    one timer serves them all: to add and to discard is a dictionary's work.
    """

    __slots__ = ("_at", "_delay_s", "_expired", "_loop", "_resolution_s", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_s: float, expired: Callable[[T], None]) -> None:
        self._loop = loop
        self._delay_s = delay_s
        self._expired = expired
        self._resolution_s = min(delay_s / 4, 0.25)
        self._at: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[T]:
        return iter(self._at)

    def __contains__(self, item: T) -> bool:
        return item in self._at

    def add(self, item: T) -> None:
        """From now on; an item that is in already keeps its first deadline."""
        if item not in self._at:
            self._at[item] = self._loop.time() + self._delay_s
            if self._timer is None:
                self._timer = self._loop.call_later(self._resolution_s, self._sweep)

    def age_s(self, item: T) -> float:
        """How long it has been in; 0 for one that is not."""
        deadline = self._at.get(item)
        return 0.0 if deadline is None else self._loop.time() - (deadline - self._delay_s)

    def discard(self, item: T) -> None:
        self._at.pop(item, None)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        due = []
        for item, deadline in self._at.items():
            if deadline > now:
                break
            due.append(item)
        for item in due:
            if self._at.pop(item, None) is None:
                continue  # settled by an earlier one of this sweep
            try:
                self._expired(item)
            except Exception:
                _log.exception("a timeout's action failed")
        if self._at and self._timer is None:
            self._timer = self._loop.call_later(self._resolution_s, self._sweep)
