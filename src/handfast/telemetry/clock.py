"""`ports.Clock` over the machine's clocks."""

from __future__ import annotations

import datetime as dt
import time


class SystemClock:
    """
    The machine's time, shifted by a constant.

    `shift` moves wall-clock time only; `monotonic` never goes back and counts
    seconds from an arbitrary start, whatever happens to the wall clock.
    """

    def __init__(self, shift: dt.timedelta = dt.timedelta(0)) -> None:
        self._shift = shift

    def now(self) -> dt.datetime:
        """The current instant, aware UTC."""
        return dt.datetime.now(dt.UTC) + self._shift

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()
