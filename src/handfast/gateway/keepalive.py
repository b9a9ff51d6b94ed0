"""One timer for all connections: a wheel of slots, a quarter of a second each."""

from __future__ import annotations

from typing import Protocol

TICKS_PER_SECOND = 4
SLOTS = 512
"""A power of two; a deadline further away is looked at every 128 s until it is near."""


class Timed(Protocol):
    """What lies on the wheel; `slot` belongs to the wheel, -1 when it is not on it."""

    slot: int

    def due(self, tick: int) -> int:
        """Called when the deadline, or the end of the wheel, is reached; the next deadline, or 0 for none."""
        ...


def ticks(seconds: float) -> int:
    """Ticks that last at least so long."""
    return max(1, -int(-seconds * TICKS_PER_SECOND // 1))


class Wheel:
    """
    Deadlines in ticks. Hearing from a connection costs nothing here: the
    connection notes the tick, and the wheel asks it when the old deadline comes.
    """

    __slots__ = ("_slots", "tick")

    def __init__(self) -> None:
        self.tick = 1  # never 0, which means "no deadline"
        self._slots: list[set[Timed]] = [set() for _ in range(SLOTS)]

    def add(self, timed: Timed, deadline: int) -> None:
        """Have `timed.due` called at `deadline` at the latest, in place of its older deadline."""
        if timed.slot >= 0:
            self._slots[timed.slot].discard(timed)
        slot = min(max(deadline, self.tick + 1), self.tick + SLOTS - 1) & (SLOTS - 1)
        timed.slot = slot
        self._slots[slot].add(timed)

    def remove(self, timed: Timed) -> None:
        """Forget it."""
        if timed.slot >= 0:
            self._slots[timed.slot].discard(timed)
            timed.slot = -1

    def advance(self, tick: int) -> None:
        """Time has come to `tick`: ask everything whose slot was passed."""
        last = self.tick
        if tick <= last:
            return
        # After a pause of more than one revolution every slot is asked once.
        first = max(last + 1, tick - SLOTS + 1)
        self.tick = tick
        for passed in range(first, tick + 1):
            at = passed & (SLOTS - 1)
            waiting = self._slots[at]
            if not waiting:
                continue
            self._slots[at] = set()
            for timed in waiting:
                timed.slot = -1
            for timed in waiting:
                deadline = timed.due(tick)
                if deadline and timed.slot < 0:
                    self.add(timed, deadline)
