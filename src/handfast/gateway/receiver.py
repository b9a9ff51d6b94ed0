"""The outbound half of a connection: what goes out now, what waits for room, what is shed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from handfast.gateway.messages import NO_ID, Message
from handfast.seam import Authorizer

if TYPE_CHECKING:
    from handfast.gateway.gateway import Gateway


def nowhere(_: bytes) -> None:
    """Where output goes while there is no transport."""


AWAITING_CONNECT = 0
JUDGING = 1  # the CONNECT is read, the identity is not known yet
OPEN = 2
CLOSED = 3


class Receiver:
    """
    A client as those who send to it see it.

    `out` holds whole packets for the end of this turn, `window` how many QoS 1
    messages may be under way just now: 0 while the transport is full, so that one
    comparison tells both. QoS 1 messages beyond it wait, bounded by bytes.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_next_id",
        "_pending_bytes",
        "authorizer",
        "blocked",
        "gateway",
        "inflight",
        "inflight_limit",
        "max_packet",
        "one_by_one",
        "out",
        "pending",
        "send",
        "state",
        "transport",
        "unflushed",
        "version",
        "window",
    )

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.state = AWAITING_CONNECT
        self.version = 0
        self.transport: asyncio.Transport | None = None
        self.send: Callable[[bytes], None] = nowhere  # a turn's output
        self.authorizer: Authorizer | None = None
        self.unflushed = 0  # PUBACKs in `out`
        self.out: list[bytes] = []
        self.blocked = True  # not open, or the transport is full: flush with care
        self.window = 0  # how many QoS 1 messages may be under way now; 0 while the transport is full
        self.inflight_limit = gateway.limits.outbound_inflight
        self.inflight: set[bytes] = set()
        self.max_packet = 0xFFFFFFFF
        self.one_by_one = False  # never gets a run of messages as it came: each one is looked at
        self._next_id = 0
        self.pending: deque[tuple[Message, bool]] | None = None
        self._pending_bytes = 0
        self._backlog: list[bytes] | None = None
        self._backlog_bytes = 0

    def start_delivery(self, window: int) -> None:
        """Messages flow from here on."""
        self.inflight_limit = window
        # A transport that is full already says so again, or calls resume_writing.
        self.blocked = False
        self.window = window

    def stop_delivery(self) -> None:
        """Nothing is sent any more, nothing waits."""
        self.blocked = True
        self.window = 0
        self.pending = None
        self._backlog = None

    def take_out(self) -> list[bytes]:
        """All packets that are not written yet, no longer kept here."""
        out, self.out = self.out, []
        if self._backlog:
            out = self._backlog + out
            self._backlog = None
        return out

    def too_slow(self) -> None:
        """What may wait for the client has reached the bound."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """The transport is full: QoS 1 waits, QoS 0 gathers up to a bound."""
        self.blocked = True
        self.window = 0

    def resume_writing(self) -> None:
        """The transport takes more."""
        if self.state != OPEN or self.transport is None:
            return
        self.blocked = False
        self.window = self.inflight_limit
        backlog, self._backlog, self._backlog_bytes = self._backlog, None, 0
        if backlog:
            self.out[:0] = backlog
            self.gateway.wake(self)
        self.drain()

    def may_receive(self, topic: str) -> bool:
        """`iot:Receive`; remembered by the plan that asks."""
        return self.authorizer is not None and self.authorizer.receive(topic)

    def enqueue(self, packet: bytes) -> None:
        """One whole packet goes out at the end of this turn."""
        out = self.out
        if not out:
            self.gateway.wake(self)
        out.append(packet)

    def deliver(self, message: Message, qos: int, retain: bool) -> None:
        """One message to this client at the given QoS, now or when there is room."""
        if qos and (len(self.inflight) >= self.window or self.pending):
            self._postpone(message, retain)
            return
        packet_id = self._take_id() if qos else NO_ID
        packet = self._encode(message, qos, retain, packet_id)
        if packet is None:
            self.inflight.discard(packet_id)
            return
        self.gateway.turn_bytes += len(packet)
        self.enqueue(packet)

    def _encode(self, message: Message, qos: int, retain: bool, packet_id: bytes) -> bytes | None:
        """The PUBLISH; None when it has expired or is larger than the client takes [MQTT-3.1.2-24]."""
        now = 0.0
        if message.expires_at is not None:
            now = self.gateway.clock.monotonic()
            if now >= message.expires_at:
                self.gateway.drop("expired")
                return None
        if not qos and not retain:
            packet = message.plain_packet(self.version, now)
        else:
            packet = message.packet(self.version, 0x30 | qos << 1 | retain, packet_id, now)
        if len(packet) > self.max_packet:
            self.gateway.drop("too_large")
            return None
        return packet

    def _take_id(self) -> bytes:
        """A Packet Identifier that is not under way, now under way."""
        inflight = self.inflight
        while True:
            self._next_id = self._next_id % 0xFFFF + 1
            packet_id = self._next_id.to_bytes(2, "big")
            if packet_id not in inflight:
                inflight.add(packet_id)
                return packet_id

    def _postpone(self, message: Message, retain: bool) -> None:
        if self.state != OPEN:
            return
        if self.pending is None:
            self.pending = deque()
        self.pending.append((message, retain))
        self._pending_bytes += message.size
        if self._pending_bytes > self.gateway.limits.queue_bytes:
            self.too_slow()

    def drain(self) -> None:
        """Send what waited for room."""
        pending = self.pending
        if pending is None:
            return
        while pending and len(self.inflight) < self.window:
            message, retain = pending.popleft()
            self._pending_bytes -= message.size
            if not self.may_receive(message.topic.decode()):  # the right may have gone while it waited
                self.gateway.drop("not_authorized")
                continue
            packet_id = self._take_id()
            packet = self._encode(message, 1, retain, packet_id)
            if packet is None:
                self.inflight.discard(packet_id)
            else:
                self.enqueue(packet)
        if not pending:
            self.pending = None
            self._pending_bytes = 0

    def flush_blocked(self) -> None:
        """The end of a turn while the transport is full: keep what must be kept, shed QoS 0 beyond the bound."""
        out, self.out = self.out, []
        if self.state != OPEN:
            return
        limit = self.gateway.limits.queue_bytes
        if self._backlog is None:
            self._backlog = []
        for packet in out:
            size = len(packet)
            # Whole packets: the first byte tells a QoS 0 PUBLISH (or a run of them) from the rest.
            if self._backlog_bytes + size > limit and packet[0] & 0xF6 == 0x30:
                self.gateway.drop("slow_consumer")
                continue
            self._backlog.append(packet)
            self._backlog_bytes += size
        if self._backlog_bytes > 2 * limit:
            self.too_slow()
