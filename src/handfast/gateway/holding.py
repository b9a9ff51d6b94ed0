"""Bytes of a client that wait: the beginning of a packet, or what is not dealt with yet for the sake of others."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from handfast.gateway.acknowledging import Acknowledger
from handfast.gateway.receiver import OPEN

if TYPE_CHECKING:
    from handfast.gateway.gateway import Gateway

_log = logging.getLogger(__name__)

HOLD = 1 << 60
JUDGED_IN_A_TURN = 32
"""Packets and Topic Filters judged one by one, some tenth of a millisecond each; then others have their turn."""


class Holder(Acknowledger):
    """A client whose packets can be made to wait. While they do, its transport reads no more."""

    __slots__ = ("_chunks", "_have", "_judged", "_need", "_turn_over")

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 0  # bytes that must be there before it is worth looking again; HOLD: what is there waits
        self._judged = 0  # since others had their turn
        self._turn_over = False  # held until they had it

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """True between `hold` and `release`."""
        return self._need == HOLD

    def hold(self) -> None:
        """Take no more packets for now."""
        if not self._need and self.transport is not None:
            self._need = HOLD
            self._have = 0
            self._chunks = []
            self.transport.pause_reading()

    def release(self) -> None:
        """Go on with what was held back."""
        if self._need != HOLD or self.state != OPEN:
            return
        data = b"".join(self._chunks)
        self._chunks, self._have, self._need = [], 0, 0
        if data:
            self.data_received(data)
        # Only now: a transport may hand over what it holds at once.
        if self.state == OPEN and self._need != HOLD and self.transport is not None:
            self.transport.resume_reading()

    def count_judged(self, number: int) -> None:
        """So many were judged one by one. After enough of them the rest waits for the next turn of the loop."""
        self._judged += number
        if self._judged >= JUDGED_IN_A_TURN and not self._need and self.state == OPEN:
            self._turn_over = True
            self.hold()
            asyncio.get_running_loop().call_soon(self._turn_came)

    def finish_turns(self) -> None:
        """Nothing waits for a next turn any more: the client is gone, and what it sent before counts."""
        while self._turn_over and self.state == OPEN:
            self._next_turn()

    def _turn_came(self) -> None:
        try:
            self._next_turn()
        except Exception:  # nobody else would end the connection over it: this turn is the loop's
            _log.exception("a packet that had waited for its turn failed")
            if self.transport is not None:
                self.transport.abort()

    def _next_turn(self) -> None:
        if self._turn_over:
            self._turn_over = False
            self._judged = 0
            self.release()
