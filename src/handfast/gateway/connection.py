"""
One MQTT connection on an asyncio transport: the hot path from a publisher's bytes to the receivers' queues.

`core.mqtt.connection.Connection` judges every packet; what is done over and over
(a PUBLISH to a topic that was judged before, a PUBACK) is recognised in the
buffer by index. Packets that follow each other on one topic form a *run*, which
receivers of the same version get as the bytes that came in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.mqtt import codec
from handfast.core.mqtt.connection import Connection, FirstPacketNotConnect
from handfast.core.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
)
from handfast.core.mqtt.primitives import decode_header, protocol_error
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.errors import ProtocolViolation
from handfast.gateway import commands, opening
from handfast.gateway.keepalive import ticks
from handfast.gateway.messages import NO_ID, Message
from handfast.gateway.router import Plan, ScopeRouter
from handfast.printable import printable
from handfast.seam import Admitted, Authorizer, Refused, TLSFacts

if TYPE_CHECKING:
    from handfast.core.topics.filter import ParsedFilter
    from handfast.gateway.gateway import Gateway

AWAITING_CONNECT = 0
JUDGING = 1  # the CONNECT is read, the identity is not known yet
OPEN = 2
CLOSED = 3

_HOLD = 1 << 60
_PINGRESP = b"\xd0\x00"
_TOO_LONG = 0x100

REFUSAL_CODES: dict[int, ReasonCode] = {
    Code.MALFORMED_PACKET: ReasonCode.MALFORMED_PACKET,
    Code.UNSUPPORTED_PROTOCOL_VERSION: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    Code.CLIENT_IDENTIFIER_NOT_VALID: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    Code.TOPIC_FILTER_INVALID: ReasonCode.TOPIC_NOT_VALID,
    Code.TOPIC_NAME_INVALID: ReasonCode.TOPIC_NOT_VALID,
    Code.RECEIVE_MAXIMUM_EXCEEDED: ReasonCode.LIMIT_EXCEEDED,
    Code.TOPIC_ALIAS_INVALID: ReasonCode.LIMIT_EXCEEDED,
    Code.PACKET_TOO_LARGE: ReasonCode.PACKET_TOO_LARGE,
    Code.QUOTA_EXCEEDED: ReasonCode.LIMIT_EXCEEDED,
    Code.QOS_NOT_SUPPORTED: ReasonCode.QOS_NOT_SUPPORTED,
}


class MQTTConnection(asyncio.Protocol):
    """One device. Everything that another module may touch has a public name."""

    __slots__ = (
        "_authorized_at",
        "_backlog",
        "_backlog_bytes",
        "_chunks",
        "_have",
        "_heard",
        "_need",
        "_next_id",
        "_opened_at",
        "_pending",
        "_pending_bytes",
        "_silence",
        "_unsettled",
        "admitted",
        "authorizer",
        "blocked",
        "cache",
        "client_id",
        "connect",
        "engine",
        "facts",
        "gateway",
        "inflight",
        "inflight_limit",
        "max_packet",
        "out",
        "router",
        "slot",
        "small_packets",
        "state",
        "subscriptions",
        "transport",
        "unflushed",
        "verdict",
        "version",
        "will",
        "window",
    )

    def __init__(self, gateway: Gateway, facts: TLSFacts) -> None:
        self.gateway = gateway
        self.facts = facts
        self.engine = Connection(gateway.limits.mqtt)
        self.state = AWAITING_CONNECT
        self.version = 0
        self.transport: asyncio.Transport | None = None
        self.slot = -1  # of the wheel
        # identity
        self.verdict: Admitted | Refused | None = None
        self.admitted: Admitted | None = None
        self.authorizer: Authorizer | None = None
        self.router: ScopeRouter | None = None
        self.connect: Connect | None = None
        self.client_id = ""
        self.will: Will | None = None
        self.subscriptions: dict[str, tuple[ParsedFilter, int]] = {}
        # inbound
        self.cache: dict[bytes, Plan] = {}
        self._authorized_at = -1
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 0  # bytes that must be there before it is worth looking again
        self._unsettled: dict[bytes, int] = {}  # Packet Identifier -> Reason Code, -1 while it is not durable yet
        self.unflushed = 0  # PUBACKs not written yet
        # outbound
        self.out: list[bytes] = []
        self.blocked = True  # not open, or the transport is full: flush with care
        self.window = 0  # how many QoS 1 messages may be under way now; 0 while the transport is full
        self.inflight_limit = gateway.limits.outbound_inflight
        self.inflight: set[bytes] = set()
        self.max_packet = 0xFFFFFFFF
        self.small_packets = False
        self._next_id = 0
        self._pending: deque[tuple[Message, bool]] | None = None
        self._pending_bytes = 0
        self._backlog: list[bytes] | None = None
        self._backlog_bytes = 0
        # time
        self._heard = 0
        self._silence = 0
        self._opened_at = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there; the CONNECT has ten seconds."""
        # uvloop's transports have the interface without the base class.
        self.transport = cast("asyncio.Transport", transport)
        wheel = self.gateway.wheel
        self._heard = wheel.tick
        self._silence = ticks(self.gateway.limits.mqtt.connect_timeout_s)
        wheel.add(self, wheel.tick + self._silence)
        if self.gateway.closing:
            self.close(b"", "SERVER_INITIATED_DISCONNECT")

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        if self.state != CLOSED:
            self._leave("CONNECTION_LOST")
        self.gateway.forget(self)
        self.transport = None
        self._chunks = []
        self.out = []

    def eof_received(self) -> bool:
        """Half-closed connections are not kept."""
        return False

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
        self._drain()

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer: every whole packet is dealt with before this returns."""
        if self._need:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._chunks)
            self._chunks = []
            self._need = 0
        if self.state != OPEN:
            self._early_data(data)
            return
        gateway = self.gateway
        self._heard = gateway.wheel.tick
        authorizer = self.authorizer
        assert authorizer is not None
        if authorizer.version != self._authorized_at:
            self._authorized_at = authorizer.version
            self.cache.clear()
        cache = self.cache
        five = self.version == 5
        end = len(data)
        position = 0
        # The run: packets of `kind` from `run` on, all beginning with `key`, the topic with its length.
        kind = 0
        run = 0
        key = b""
        key_length = 0
        plan: Plan | None = None
        count = 0
        ids: list[bytes] = []
        acknowledged = False
        begins = data.startswith
        try:
            while end - position > 1:
                first = data[position]
                length = data[position + 1]
                at = position + 2
                if length > 127:
                    if at < end and 0 < data[at] < 128:
                        length = (length & 127) | data[at] << 7
                        at += 1
                    else:
                        length, at = decode_header(data, position, end)
                        if length < 0:
                            break
                        if length > 131_072:
                            self.engine.check_size(first, length)
                            first |= _TOO_LONG
                stop = at + length
                if stop > end:
                    break
                if first == kind and begins(key, at):
                    body = at + key_length
                    if first == 0x30:
                        if (body < stop and not data[body]) if five else body <= stop:
                            position = stop
                            count += 1
                            continue
                    else:
                        after = body + 2
                        if (after < stop and not data[after]) if five else after <= stop:
                            ids.append(data[body:after])
                            position = stop
                            continue
                if kind:
                    assert plan is not None
                    kind = 0
                    if ids:
                        given, ids = ids, []
                        self._end_run1(plan, data[run:position], given)
                    elif count:
                        self._end_run0(plan, data[run:position], count)
                        count = 0
                    if self.state != OPEN:  # it was its own slowest reader
                        return
                if first == 0x40 and length == 2:
                    self.inflight.discard(data[at:stop])
                    acknowledged = True
                    position = stop
                    continue
                if (first == 0x30 or first == 0x32) and length > 2:
                    body = at + 2 + (data[at] << 8 | data[at + 1])
                    plan = cache.get(data[at + 2 : body])
                    if plan is not None:
                        if plan.stale:
                            plan = self._renew(plan)
                        # Properties, or a topic that runs over the packet's end, are judged below.
                        if first == 0x30:
                            if (body < stop and not data[body]) if five else body <= stop:
                                count = 1
                                kind = 0x30
                        else:
                            after = body + 2
                            if (after < stop and not data[after]) if five else after <= stop:
                                ids.append(data[body:after])
                                kind = 0x32
                        if kind:
                            run = position
                            key = data[at:body]
                            key_length = body - at
                            position = stop
                            continue
                lead = data[position]
                position = stop
                self._packet(lead, data[at:stop])
                if self.state != OPEN:
                    return
                if self._need:  # held: too much waits to become durable
                    break
            if kind:
                assert plan is not None
                raw = data[run:position]
                run = -1  # delivered, whatever comes of it
                if count:
                    self._end_run0(plan, raw, count)
                else:
                    self._end_run1(plan, raw, ids)
        except ProtocolViolation as violation:
            if kind and run >= 0 and plan is not None:
                self._last_run(plan, data[run:position], ids, count)
            self.violated(violation)
            return
        if position < end:
            self._keep(data, position, end)
        if acknowledged and self._pending:
            self._drain()
        if gateway.dirty and not gateway.scheduled:
            gateway.schedule()

    def _keep(self, data: bytes, position: int, end: int) -> None:
        """The beginning of a packet, or what came while the connection was held, waits for more."""
        rest = data[position:]
        if self._need:
            self._chunks.insert(0, rest)
            self._have += len(rest)
            return
        need = end - position + 1
        try:
            length, at = decode_header(data, position, end)
            if length >= 0:
                self.engine.check_size(data[position], length)
                need = at + length - position
        except ProtocolViolation as violation:
            self.violated(violation)
            return
        self._chunks = [rest]
        self._have = len(rest)
        self._need = need

    # runs

    def _last_run(self, plan: Plan, raw: bytes, ids: list[bytes], count: int) -> None:
        """What came before the packet that broke the protocol is delivered; the connection ends anyhow."""
        try:
            if count:
                self._end_run0(plan, raw, count)
            else:
                self._end_run1(plan, raw, ids)
        except ProtocolViolation:
            pass

    def _end_run0(self, plan: Plan, raw: bytes, count: int) -> None:
        """Deliver `count` PUBLISH packets of QoS 0, as they came, to every receiver of this version."""
        gateway = self.gateway
        dirty = gateway.dirty
        five = self.version == 5
        same = plan.all5 if five else plan.all4
        for receiver in same:
            out = receiver.out
            if not out:
                dirty.append(receiver)
            out.append(raw)
        gateway.received0 += count
        gateway.sent0 += count * len(same)
        gateway.turn_bytes += len(raw) * len(same)
        if plan.odd or (plan.all4 if five else plan.all5):
            self._spread(plan, raw, 0)
        if gateway.turn_bytes > gateway.turn_limit:
            gateway.flush()

    def _end_run1(self, plan: Plan, raw: bytes, ids: list[bytes]) -> None:
        """
        Deliver PUBLISH packets of QoS 1 and acknowledge them.

        The Packet Identifiers that the publisher chose are as good as any others
        for a receiver that has none of them under way: it gets the bytes as they came.
        """
        gateway = self.gateway
        dirty = gateway.dirty
        five = self.version == 5
        count = len(ids)
        unique = set(ids)
        if b"\0\0" in unique:
            raise protocol_error("the Packet Identifier is 0")
        same = plan.one5 if five else plan.one4
        late: list[MQTTConnection] | None = None
        repeated = len(unique) != count
        for receiver in same:
            inflight = receiver.inflight
            if repeated or len(inflight) + count > receiver.window or not inflight.isdisjoint(unique):
                if late is None:
                    late = []
                late.append(receiver)
                continue
            inflight |= unique
            out = receiver.out
            if not out:
                dirty.append(receiver)
            out.append(raw)
        gateway.received1 += count
        gateway.sent1 += count * len(same)
        gateway.turn_bytes += len(raw) * len(same)
        if late is not None:
            for message in self._messages(plan, raw, 1):
                for receiver in late:
                    receiver.deliver(message, 1, False)
        if plan.odd or (plan.all4 or plan.zero5 if five else plan.all5 or plan.zero4):
            self._spread(plan, raw, 1)
        self._acknowledge(ids)
        if gateway.turn_bytes > gateway.turn_limit:
            gateway.flush()

    def _messages(self, plan: Plan, raw: bytes, qos: int) -> list[Message]:
        """The messages of a run, for receivers that cannot take it as it is."""
        topic = plan.topic.encode()
        skip = 2 + len(topic) + (2 if qos else 0) + (1 if self.version == 5 else 0)
        messages: list[Message] = []
        position = 0
        end = len(raw)
        while position < end:
            length, at = decode_header(raw, position, end)
            position = at + length
            messages.append(Message(topic, raw[at + skip : position], qos))
        return messages

    def _spread(self, plan: Plan, raw: bytes, qos: int) -> None:
        for message in self._messages(plan, raw, qos):
            self.gateway.deliver(plan, message, self, self.version)

    def _renew(self, plan: Plan) -> Plan:
        assert self.router is not None
        fresh = self.router.plan(plan.topic)
        self.cache[plan.topic.encode()] = fresh
        return fresh

    def remember(self, topic: str) -> Plan:
        """The plan of a topic that this connection may publish to, kept for its next messages."""
        assert self.router is not None
        cache = self.cache
        if len(cache) >= self.gateway.limits.topics_remembered_per_connection:
            cache.clear()
        plan = cache[topic.encode()] = self.router.plan(topic)
        return plan

    # packets that are judged one by one

    def _packet(self, first: int, body: bytes) -> None:
        if first == 0xC0 and not body:
            self.enqueue(_PINGRESP)
            return
        packet = self.engine.judge(first, body)
        if isinstance(packet, Publish):
            commands.publish(self, packet)
        elif isinstance(packet, PubAck):
            self.inflight.discard(packet.packet_id.to_bytes(2, "big"))
            self._drain()
        elif isinstance(packet, Subscribe):
            commands.subscribe(self, packet)
        elif isinstance(packet, Unsubscribe):
            commands.unsubscribe(self, packet)
        elif isinstance(packet, Disconnect):
            if packet.reason != Code.DISCONNECT_WITH_WILL_MESSAGE:
                self.will = None  # [MQTT-3.14.4-3]
            self.close(b"", "CLIENT_INITIATED_DISCONNECT")

    def _early_data(self, data: bytes) -> None:
        """Before the connection is open: exactly one CONNECT, and what a hasty client sends behind it."""
        if self.state == CLOSED:
            return
        engine = self.engine
        try:
            first = data[0]
            length, at = decode_header(data, 0, len(data))
            engine.check_size(first, max(length, 0))
            if length < 0:
                self._chunks, self._have, self._need = [data], len(data), len(data) + 1
                return
            if at + length > len(data):
                self._chunks, self._have, self._need = [data], len(data), at + length
                return
            packet = engine.judge(first, data[at : at + length])
        except ProtocolViolation as violation:
            self.version = engine.version
            self.violated(violation)
            return
        assert isinstance(packet, Connect)
        self.version = engine.version
        self.connect = packet
        self.state = JUDGING
        rest = data[at + length :]
        self._chunks, self._have, self._need = ([rest] if rest else []), len(rest), _HOLD
        if self.verdict is None:
            assert self.transport is not None
            self.transport.pause_reading()  # what a hasty client sends stays bounded
            return
        opening.open_connection(self)
        self._release()

    def identified(self, verdict: Admitted | Refused) -> None:
        """Steps 2 and 3 of the verdict are done."""
        if self.state == CLOSED:
            return
        self.verdict = verdict
        if isinstance(verdict, Admitted):
            self.admitted = verdict
            self.facts.offered = {}
            self.gateway.joined(self, verdict)
        if self.state == JUDGING:
            assert self.transport is not None
            opening.open_connection(self)
            if self.state == OPEN:
                self.transport.resume_reading()
            self._release()

    def hold(self) -> None:
        """Take no more packets for now."""
        if not self._need and self.transport is not None:
            self._need = _HOLD
            self._have = 0
            self._chunks = []
            self.transport.pause_reading()

    def _release(self) -> None:
        """Go on with what was held back."""
        if self._need != _HOLD or self.state != OPEN:
            return
        data = b"".join(self._chunks)
        self._chunks, self._have, self._need = [], 0, 0
        if data:
            self.data_received(data)

    def opened(self, window: int) -> None:
        """CONNECT was accepted: messages flow from here on."""
        assert self.transport is not None
        self.state = OPEN
        self.gateway.sessions[self.version] += 1
        self.engine.connected = True
        wheel = self.gateway.wheel
        self._heard = wheel.tick
        self._silence = ticks(1.5 * self.engine.keep_alive_s)
        self.inflight_limit = window
        # A transport that is full already calls resume_writing later.
        self.blocked = False
        self.window = window
        wheel.add(self, self._next_deadline(wheel.tick))

    # acknowledging

    def _acknowledge(self, ids: list[bytes]) -> None:
        """PUBACK for messages that need not become durable; behind those that do, in the order they came."""
        if self._unsettled:
            for packet_id in ids:
                self._unsettled.setdefault(packet_id, 0)
        else:
            self.unflushed += len(ids)
            self.enqueue(b"@\x02" + b"@\x02".join(ids))
        self._check_receive_maximum()

    def _check_receive_maximum(self) -> None:
        maximum = self.engine.limits.receive_maximum
        if self.version == 5:
            if self.unflushed + len(self._unsettled) > maximum:  # [MQTT-3.3.4-9]
                raise ProtocolViolation(
                    f"more than {maximum} PUBLISH packets wait for their PUBACK", Code.RECEIVE_MAXIMUM_EXCEEDED
                )
        elif len(self._unsettled) >= maximum:
            self.hold()

    def acknowledge(self, packet_id: int, reason: int) -> None:
        """PUBACK for one message, with its Reason Code."""
        raw = packet_id.to_bytes(2, "big")
        if self._unsettled:
            self._unsettled.setdefault(raw, reason)
        else:
            self.unflushed += 1
            self.enqueue(self._puback(raw, reason))
        self._check_receive_maximum()

    def _puback(self, packet_id: bytes, reason: int) -> bytes:
        return b"@\x02" + packet_id if not reason else b"@\x03" + packet_id + bytes((reason,))

    def await_durable(self, packet_id: int) -> bool:
        """The PUBACK of this message waits for `settled`; False when it waits already (a repeated PUBLISH)."""
        raw = packet_id.to_bytes(2, "big")
        if raw in self._unsettled:
            return False
        self._unsettled[raw] = -1
        self._check_receive_maximum()
        return True

    def settled(self, packet_id: int, reason: int) -> None:
        """The message is durable (0), or will never be (a Reason Code)."""
        unsettled = self._unsettled
        raw = packet_id.to_bytes(2, "big")
        if self.state != OPEN or raw not in unsettled:
            return
        if reason and self.version != 5:
            self.close(b"", "SERVER_ERROR")  # 3.1.1 has no way to say no: the client sends it again
            return
        unsettled[raw] = reason
        while unsettled:
            head = next(iter(unsettled))
            if unsettled[head] < 0:
                break
            self.unflushed += 1
            self.enqueue(self._puback(head, unsettled.pop(head)))
        if self._need == _HOLD and len(unsettled) < self.engine.limits.receive_maximum // 2:
            assert self.transport is not None
            self.transport.resume_reading()
            self._release()

    # delivering

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
        if qos and (len(self.inflight) >= self.window or self._pending):
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
        if self._pending is None:
            self._pending = deque()
        self._pending.append((message, retain))
        self._pending_bytes += message.size
        if self._pending_bytes > self.gateway.limits.queue_bytes:
            self._too_slow()

    def _drain(self) -> None:
        """Send what waited for room."""
        pending = self._pending
        if pending is None:
            return
        while pending and len(self.inflight) < self.window:
            message, retain = pending.popleft()
            self._pending_bytes -= message.size
            packet_id = self._take_id()
            packet = self._encode(message, 1, retain, packet_id)
            if packet is None:
                self.inflight.discard(packet_id)
            else:
                self.enqueue(packet)
        if not pending:
            self._pending = None
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
            self._too_slow()

    def _too_slow(self) -> None:
        self.gateway.record(
            self,
            Stage.PROTOCOL,
            Reason(ReasonCode.LIMIT_EXCEEDED, "the client does not read what is sent to it"),
        )
        self.close(self._goodbye(Code.QUOTA_EXCEEDED), "SERVER_ERROR")

    # ending

    def due(self, tick: int) -> int:
        """The wheel asks: has time run out?"""
        if self.state == CLOSED:
            if self.transport is not None:
                self.transport.abort()
            return 0
        if self.state != OPEN:
            if tick < self._heard + self._silence:
                return self._heard + self._silence
            self.gateway.record(
                self, Stage.PROTOCOL, Reason(ReasonCode.CONNECT_TIMEOUT, "no CONNECT was completed in time")
            )
            self.close(b"", "CLIENT_ERROR")
            return 0
        admitted = self.admitted
        assert admitted is not None
        if self.gateway.seconds_until(admitted.not_after) <= 0:
            self.cut(Code.NOT_AUTHORIZED, "AUTH_ERROR")
            return 0
        if tick >= self._heard + self._silence:  # [MQTT-3.1.2-22]
            self.cut(Code.KEEP_ALIVE_TIMEOUT, "MQTT_KEEP_ALIVE_TIMEOUT")
            return 0
        return self._next_deadline(tick)

    def _next_deadline(self, tick: int) -> int:
        assert self.admitted is not None
        left = self.gateway.seconds_until(self.admitted.not_after)
        return min(self._heard + self._silence, tick + ticks(min(left, 1e6)))

    def violated(self, violation: ProtocolViolation) -> None:
        """The peer broke the protocol: recorded, answered, closed."""
        if self.state == CLOSED:
            return
        code = REFUSAL_CODES.get(violation.reason, ReasonCode.PROTOCOL_ERROR)
        if isinstance(violation, FirstPacketNotConnect):
            code = ReasonCode.FIRST_PACKET_NOT_CONNECT
        trace_id = self.gateway.record(self, Stage.PROTOCOL, Reason(code, printable(str(violation), limit=300)))
        self.close(self.engine.fail(violation, self.spoken(trace_id)), "CLIENT_ERROR")

    def spoken(self, trace_id: str) -> str:
        """The trace id where this client may and wants to be told it."""
        if self.gateway.explain and self.engine.wants_problem_information:
            return trace_id
        return ""

    def denied(self) -> None:
        """An act that policy forbids and that the version cannot refuse singly: the connection ends."""
        self.cut(Code.NOT_AUTHORIZED, "AUTH_ERROR")

    def cut(self, reason: int, disconnect_reason: str) -> None:
        """End the connection from our side; MQTT 5 is told why, once it is connected."""
        self.close(self._goodbye(reason), disconnect_reason)

    def _goodbye(self, reason: int) -> bytes:
        if self.version == 5 and self.state == OPEN:
            return codec.encode(5, Disconnect(reason=reason))
        if self.version == 5 and self.state == JUDGING:
            return codec.encode(5, ConnAck(reason=reason))
        return b""

    def refuse_connect(self, trace_id: str) -> None:
        """Answer a refusal of the verdict: the same for every reason, at most the trace id is told."""
        packet = b""
        if self.version == 5:
            properties = Properties()
            spoken = self.spoken(trace_id)
            if spoken:
                properties.values[Property.REASON_STRING] = spoken
            packet = codec.encode(5, ConnAck(reason=Code.NOT_AUTHORIZED, properties=properties))
        elif self.gateway.explain:
            packet = codec.encode(4, ConnAck(reason=5))
        self.close(packet, "AUTH_ERROR")

    def close(self, last: bytes, reason: str) -> None:
        """Write `last`, close, and take leave of the router; aborted when it does not flush in time."""
        if self.state == CLOSED:
            return
        transport = self.transport
        out, self.out = self.out, []
        if self._backlog:
            out = self._backlog + out
            self._backlog = None
        if transport is not None:
            if last:
                out.append(last)
            if out:
                transport.write(b"".join(out))
            transport.close()
        self._leave(reason)
        self.gateway.linger(self)

    def _leave(self, reason: str) -> None:
        """Out of every table; the Will goes out unless the client took its leave."""
        was_open = self.state == OPEN
        self.state = CLOSED
        self.blocked = True
        self.window = 0
        self._pending = None
        self._backlog = None
        self._need = 0
        self._chunks = []
        self.cache = {}
        self.gateway.left(self, was_open, reason)
        self.connect = None
        self.will = None
        self.router = None
