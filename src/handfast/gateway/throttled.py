"""
A connection under AWS IoT's rate quotas; without them `MQTTConnection` is used as it is.

A publish beyond the quota is discarded, or waits where QoS 1 promised it to a
receiver. Bytes beyond the quota wait: reading pauses, and writing goes on as
if the transport were full. The wheel's next tick looks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handfast.core.mqtt.packets import Publish
from handfast.core.mqtt.primitives import decode_header, protocol_error
from handfast.core.mqtt.reasons import Code
from handfast.gateway.connection import MQTTConnection
from handfast.gateway.messages import Message
from handfast.gateway.quotas import BYTES_PER_S, PUBLISHES_PER_S, TokenBucket
from handfast.gateway.receiver import OPEN
from handfast.gateway.router import Plan
from handfast.seam import TLSFacts

if TYPE_CHECKING:
    from handfast.gateway.gateway import Gateway


class ThrottledConnection(MQTTConnection):
    """
    `blocked` stays set, so that every flush comes by `flush_blocked`; `one_by_one`, so that messages come by `deliver`.
    """

    __slots__ = ("_bytes", "_delayed", "_full", "_publishes", "_release_due")

    def __init__(self, gateway: Gateway, facts: TLSFacts) -> None:
        super().__init__(gateway, facts)
        now = gateway.clock.monotonic()
        self.one_by_one = True
        self._publishes = TokenBucket(PUBLISHES_PER_S, now)
        self._bytes = TokenBucket(BYTES_PER_S, now)
        self._delayed = False  # more bytes than the quota allows: nothing is read or written
        self._full = False  # the transport is
        self._release_due = False  # `release` was called while delayed

    # inbound

    def data_received(self, data: bytes) -> None:
        """Bytes that are there are dealt with; whether more are read is a matter of the quota."""
        now = self._now()
        self._bytes.spend(len(data), now)
        super().data_received(data)
        if self.state == OPEN and self._bytes.available(now) < 0:
            self._delay()

    def publish(self, packet: Publish) -> None:
        """One PUBLISH, unless it is one too many."""
        if self._publishes.take(1, self._now()):
            super().publish(packet)
        else:
            self.discard(packet)

    def _end_run0(self, plan: Plan, raw: bytes, count: int) -> None:
        allowed = self._publishes.take(count, self._now())
        if allowed:
            super()._end_run0(plan, _first(raw, allowed), allowed)
        for _ in range(count - allowed):
            self.gateway.drop("quota")

    def _end_run1(self, plan: Plan, raw: bytes, ids: list[bytes]) -> None:
        if b"\0\0" in ids:
            raise protocol_error("the Packet Identifier is 0")
        allowed = self._publishes.take(len(ids), self._now())
        if allowed:
            super()._end_run1(plan, _first(raw, allowed), ids[:allowed])
        for packet_id in ids[allowed:]:
            self.gateway.drop("quota")
            if self.version == 5 and self.state == OPEN:
                self.acknowledge(int.from_bytes(packet_id, "big"), Code.QUOTA_EXCEEDED)

    def release(self) -> None:
        """Go on with what was held back, once the quota allows it."""
        if not self.held or self.state != OPEN:
            return
        if self._delayed:
            self._release_due = True
            return
        self._bytes.spend(-self._have, self._now())  # it is received a second time
        super().release()
        if self._delayed and self.transport is not None:
            self.transport.pause_reading()

    # outbound

    def deliver(self, message: Message, qos: int, retain: bool) -> None:
        """One message to this client: now, when there is room, or at QoS 0 not at all."""
        full = qos and (self.pending or len(self.inflight) >= self.window)
        if full or self._publishes.take(1, self._now()):
            super().deliver(message, qos, retain)
        elif qos:
            self._postpone(message, retain)
            self._wait()
        else:
            self.gateway.drop("quota")

    def drain(self) -> None:
        """Send what waited for room, as much as the quota allows."""
        if not self.pending:
            return
        now = self._now()
        before = len(self.inflight)
        window = self.window
        self.window = min(window, before + max(0, self._publishes.available(now)))
        super().drain()
        self.window = window
        self._publishes.spend(len(self.inflight) - before, now)
        if self.pending and len(self.inflight) < window:
            self._wait()

    def start_delivery(self, window: int) -> None:
        """Messages flow from here on."""
        super().start_delivery(window)
        self.blocked = True

    def pause_writing(self) -> None:
        """The transport is full."""
        self._full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """The transport takes more; whether the quota does is another matter."""
        self._full = False
        if not self._delayed:
            self._go_on_writing()

    def _go_on_writing(self) -> None:
        super().resume_writing()
        self.blocked = True

    def flush_blocked(self) -> None:
        """The end of a turn: write what the quota allows, keep the rest as for a transport that is full."""
        if self._full or self._delayed or self.state != OPEN:
            super().flush_blocked()
            return
        now = self._now()
        out = self.out
        written = 0
        while written < len(out) and self._bytes.available(now) >= 0:
            self._bytes.spend(len(out[written]), now)
            written += 1
        self.out = out[written:]
        # Of what goes out, a PUBACK is four octets, five with a Reason Code; those of a run are one piece.
        self.unflushed = sum(len(packet) // 4 for packet in self.out if packet[0] == 0x40)
        if written:
            self.send(b"".join(out[:written]))
        if self.out:
            self._delay()
            super().flush_blocked()

    # time

    def due(self, tick: int) -> int:
        """The wheel asks: has time run out, or come for what waits?"""
        deadline = super().due(tick)
        if self.state != OPEN:
            return deadline
        if self._delayed:
            if self._bytes.available(self._now()) < 0:
                self._wait()
                return deadline
            self._delayed = False
            if not self._full:
                self._go_on_writing()
            if self._release_due:
                self._release_due = False
                self.release()
            elif not self.held and self.transport is not None:
                self.transport.resume_reading()
        self.drain()
        return deadline

    def _delay(self) -> None:
        if not self._delayed and self.transport is not None:
            self._delayed = True
            self.window = 0
            self.transport.pause_reading()
            self._wait()

    def _wait(self) -> None:
        wheel = self.gateway.wheel
        wheel.add(self, wheel.tick + 1)

    def _now(self) -> float:
        return self.gateway.clock.monotonic()


def _first(raw: bytes, count: int) -> bytes:
    """The first packets of a run."""
    position = 0
    for _ in range(count):
        length, at = decode_header(raw, position, len(raw))
        position = at + length
    return raw[:position]
