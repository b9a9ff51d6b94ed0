"""What is told in the event loop and written by a thread every few seconds: for records that must cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gathering(Generic[K, V]):
    """`pending` goes to `write`, which blocks and never raises. `run` until it is cancelled; `flush` writes now."""

    def __init__(self, write: Callable[[list[V]], None], interval_s: float) -> None:
        self.pending: dict[K, V] = {}
        self._write = write
        self._interval_s = interval_s

    async def run(self) -> None:
        """Writes what gathers, until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.flush()

    async def flush(self) -> None:
        """What has gathered is written."""
        pending, self.pending = list(self.pending.values()), {}
        if pending:
            await asyncio.to_thread(self._write, pending)
