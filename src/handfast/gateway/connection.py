"""
One MQTT connection on an asyncio transport: the hot path from a publisher's bytes to the receivers' queues.

`core.mqtt.connection.Connection` judges every packet; what is done over and over
(a PUBLISH to a topic that was judged before, a PUBACK) is recognised in the
buffer by index. Packets that follow each other on one topic form a *run*, which
receivers of the same version get as the bytes that came in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.mqtt.connection import FirstPacketNotConnect
from handfast.core.mqtt.packets import (
    Connect,
    Disconnect,
    PubAck,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
)
from handfast.core.mqtt.primitives import decode_header, encode_text, protocol_error
from handfast.core.mqtt.reasons import Code
from handfast.errors import ProtocolViolation
from handfast.gateway import answers, commands, opening
from handfast.gateway.holding import HOLD, Holder
from handfast.gateway.keepalive import ticks
from handfast.gateway.messages import messages_of_run
from handfast.gateway.receiver import CLOSED, JUDGING, OPEN, Receiver, nowhere
from handfast.gateway.router import Plan, ScopeRouter
from handfast.printable import printable
from handfast.seam import Admitted, Awaiting, Refused, TLSFacts

if TYPE_CHECKING:
    from handfast.core.topics.filter import ParsedFilter
    from handfast.gateway.gateway import Gateway

_PINGRESP = b"\xd0\x00"
_TOO_LONG = 0x100


class MQTTConnection(Holder, asyncio.Protocol):
    """One device. Everything that another module may touch has a public name."""

    __slots__ = (
        "_authorized_at",
        "_heard",
        "_opened_at",
        "_silence",
        "admitted",
        "cache",
        "client_id",
        "connect",
        "facts",
        "last_key",
        "last_plan",
        "router",
        "slot",
        "subscriptions",
        "verdict",
        "will",
    )

    def __init__(self, gateway: Gateway, facts: TLSFacts) -> None:
        super().__init__(gateway)
        self.facts = facts
        self.slot = -1  # of the wheel
        # identity
        self.verdict: Admitted | Awaiting | Refused | None = None
        self.admitted: Admitted | None = None
        self.router: ScopeRouter | None = None
        self.connect: Connect | None = None
        self.client_id = ""
        self.will: Will | None = None
        self.subscriptions: dict[str, tuple[ParsedFilter, int]] = {}
        # inbound
        self.cache: dict[bytes, Plan] = {}  # by Topic Name with its length, as it stands in a PUBLISH
        self.last_key = b""  # the latest of them, which is usually the next
        self.last_plan: Plan | None = None
        self._authorized_at = -1
        # time
        self._heard = 0
        self._silence = 0
        self._opened_at = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there; the CONNECT has ten seconds."""
        # uvloop's transports have the interface without the base class.
        self.transport = cast("asyncio.Transport", transport)
        # A turn's output is gathered here already: a transport that can encrypt it at once need not gather again.
        self.send = getattr(transport, "write_now", self.transport.write)
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
        self.send = nowhere
        self._chunks = []
        self.out = []

    def eof_received(self) -> bool:
        """Half-closed connections are not kept; what came before the end still counts."""
        self.finish_turns()
        return False

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer: whole packets are dealt with before this returns, those judged one by one 32 in a turn."""
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
        if len(data) == 4 and data[0] == 0x40 and data[1] == 2:  # one PUBACK: what a subscriber says most
            self.inflight.discard(data[2:])
            if self.pending:
                self.drain()
            return
        authorizer = self.authorizer
        assert authorizer is not None
        if authorizer.version != self._authorized_at:
            self._authorized_at = authorizer.version
            self.cache.clear()
            self.last_plan = None
        cache = self.cache
        last = self.last_plan
        five = self.version == 5
        end = len(data)
        position = 0
        # The run: packets of `kind` from `run` on, all beginning with `key`, the topic with its length.
        kind = -1  # none; 0 would be a first byte
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
                if kind > 0:
                    assert plan is not None
                    kind = -1
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
                    if last is not None and begins(self.last_key, at):
                        plan = last
                        key = self.last_key
                        body = at + len(key)
                    else:
                        body = at + 2 + (data[at] << 8 | data[at + 1])
                        key = data[at:body]
                        plan = cache.get(key)
                    if plan is not None:
                        if plan.stale:
                            plan = self._renew(plan, key)
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
                        if kind > 0:
                            run = position
                            key_length = body - at
                            position = stop
                            if plan is not last:
                                self.last_key = key
                                self.last_plan = last = plan
                            continue
                lead = data[position]
                position = stop
                self._packet(lead, data[at:stop])
                if self.state != OPEN:
                    return
                if self._need:  # held: too much waits to become durable
                    break
            if kind > 0:
                assert plan is not None
                raw = data[run:position]
                run = -1  # delivered, whatever comes of it
                if count:
                    self._end_run0(plan, raw, count)
                else:
                    self._end_run1(plan, raw, ids)
        except ProtocolViolation as violation:
            if kind > 0 and run >= 0 and plan is not None:
                self._last_run(plan, data[run:position], ids, count)
            self.violated(violation)
            return
        if position < end:
            self._keep(data, position, end)
        if acknowledged and self.pending:
            self.drain()
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
        late: list[Receiver] | None = None
        repeated = len(unique) != count
        for receiver in same:
            inflight = receiver.inflight
            if len(inflight) + count > receiver.window or repeated or not inflight.isdisjoint(unique):
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
            for message in messages_of_run(plan.topic, raw, 1, self.version):
                for receiver in late:
                    receiver.deliver(message, 1, False)
        if plan.odd or (plan.all4 or plan.zero5 if five else plan.all5 or plan.zero4):
            self._spread(plan, raw, 1)
        self.acknowledge_run(ids)
        if gateway.turn_bytes > gateway.turn_limit:
            gateway.flush()

    def _spread(self, plan: Plan, raw: bytes, qos: int) -> None:
        for message in messages_of_run(plan.topic, raw, qos, self.version):
            self.gateway.deliver(plan, message, self, self.version)

    def _renew(self, plan: Plan, key: bytes) -> Plan:
        assert self.router is not None
        fresh = self.cache[key] = self.router.plan(plan.topic)
        return fresh

    def remembered(self, topic: str) -> Plan | None:
        """The plan of a topic that this connection was found to may publish to; None when it was not asked yet."""
        plan = self.cache.get(encode_text(topic))
        return self.remember(topic) if plan is not None and plan.stale else plan

    def remember(self, topic: str) -> Plan:
        """The plan of a topic that this connection may publish to, kept for its next messages."""
        assert self.router is not None
        cache = self.cache
        if len(cache) >= self.gateway.limits.topics_remembered_per_connection:
            cache.clear()
        plan = cache[encode_text(topic)] = self.router.plan(topic)
        return plan

    # packets that are judged one by one

    def _packet(self, first: int, body: bytes) -> None:
        if first == 0xC0 and not body:
            self.enqueue(_PINGRESP)
            return
        packet = self.engine.judge(first, body)
        number = 1
        if isinstance(packet, Publish):
            self.publish(packet)
        elif isinstance(packet, PubAck):
            self.inflight.discard(packet.packet_id.to_bytes(2, "big"))
            self.drain()
        elif isinstance(packet, Subscribe):
            number += len(packet.subscriptions)
            commands.subscribe(self, packet)
        elif isinstance(packet, Unsubscribe):
            commands.unsubscribe(self, packet)
        elif isinstance(packet, Disconnect):
            if packet.reason != Code.DISCONNECT_WITH_WILL_MESSAGE:
                self.will = None  # [MQTT-3.14.4-3]
            self.close(b"", "CLIENT_INITIATED_DISCONNECT")
        self.count_judged(number)

    def publish(self, packet: Publish) -> None:
        """One PUBLISH that the hot path did not know."""
        commands.publish(self, packet)

    def discard(self, packet: Publish) -> None:
        """A PUBLISH beyond a quota goes nowhere; at QoS 1 MQTT 5 is told, 3.1.1 has no way to say no."""
        self.gateway.drop("quota")
        if packet.qos and self.version == 5:
            self.acknowledge(packet.packet_id, Code.QUOTA_EXCEEDED)

    def _early_data(self, data: bytes) -> None:
        """Before the connection is open: exactly one CONNECT, and what a hasty client sends behind it."""
        if self.state == CLOSED or not data:
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
        self._chunks, self._have, self._need = ([rest] if rest else []), len(rest), HOLD
        if self.verdict is None:
            assert self.transport is not None
            self.transport.pause_reading()  # what a hasty client sends stays bounded
            return
        opening.open_connection(self)
        self.release()

    def identified(self, verdict: Admitted | Awaiting | Refused) -> None:
        """Steps 2 and 3 of the verdict are done, or wait for the CONNECT."""
        if self.state == CLOSED:
            return
        self.verdict = verdict
        if isinstance(verdict, Admitted):
            self.admitted = verdict
            self.gateway.joined(self, verdict)
        if self.state == JUDGING:
            opening.open_connection(self)
            self.release()

    def opened(self, window: int) -> None:
        """CONNECT was accepted: messages flow from here on."""
        assert self.transport is not None
        self.state = OPEN
        self.gateway.sessions[self.version] += 1
        self.engine.connected = True
        wheel = self.gateway.wheel
        self._heard = wheel.tick
        self._silence = ticks(1.5 * self.engine.keep_alive_s)
        self.start_delivery(window)
        wheel.add(self, self._next_deadline(wheel.tick))

    # ending

    def too_slow(self) -> None:
        """The client does not read: what may wait for it has reached the bound."""
        slow = Reason(ReasonCode.LIMIT_EXCEEDED, "the client does not read what is sent to it")
        self.gateway.record(self, Stage.PROTOCOL, slow)
        self.close(answers.goodbye(self, Code.QUOTA_EXCEEDED), "SERVER_ERROR")

    def due(self, tick: int) -> int:
        """The wheel asks: has time run out?"""
        if self.state == CLOSED:
            if self.transport is not None:
                self.transport.abort()
            return 0
        if self.state != OPEN:
            if tick < self._heard + self._silence:
                return self._heard + self._silence
            waited = "no CONNECT was completed in time" if self.connect is None else "its CONNECT waited too long"
            self.gateway.record(self, Stage.PROTOCOL, Reason(ReasonCode.CONNECT_TIMEOUT, waited))
            self.close(b"", "CLIENT_ERROR")
            return 0
        admitted = self.admitted
        assert admitted is not None
        if self.gateway.seconds_until(admitted.not_after) <= 0:
            self.cut(answers.END_CODES[admitted.ends_with], admitted.ends_with)
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
        code = answers.REFUSAL_CODES.get(violation.reason, ReasonCode.PROTOCOL_ERROR)
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
        self.close(answers.goodbye(self, reason), disconnect_reason)

    def refuse_connect(self, trace_id: str, *, unsupported_version: bool = False) -> None:
        """Answer a refusal of the verdict: the same for every reason but one, at most the trace id is told."""
        code = Code.UNSUPPORTED_PROTOCOL_VERSION if unsupported_version else Code.NOT_AUTHORIZED
        self.close(answers.refusal(self, trace_id, code, 5), "AUTH_ERROR")

    def throttle_connect(self, trace_id: str) -> None:
        """Answer a CONNECT that came too soon after another one with its client id."""
        self.close(answers.refusal(self, trace_id, Code.QUOTA_EXCEEDED, 3), "THROTTLED")

    def close(self, last: bytes, reason: str) -> None:
        """Write `last`, close, and take leave of the router; aborted when it does not flush in time."""
        if self.state == CLOSED:
            return
        transport = self.transport
        out = self.take_out()
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
        self.stop_delivery()
        self._need = 0
        self._chunks = []
        self.cache = {}
        self.last_plan = None
        self.gateway.left(self, was_open, reason)
        self.connect = None
        self.will = None
        self.router = None
