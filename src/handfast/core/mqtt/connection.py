"""
The server's end of one MQTT connection, without I/O: bytes and time in, events and bytes out.

The engine frames, decodes and judges what belongs to the connection alone:
order of packets, sizes, QoS, Topic Aliases, Receive Maximum, Keep Alive. Who
may do what, and where a message goes, is decided by its user. Malformed input
ends in one place, `fail`, with one Reason Code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
)
from handfast.core.mqtt.primitives import decode_header, protocol_error
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code, v311_form
from handfast.core.topics.name import MAX_TOPIC_BYTES, forbidden_character, name_problem
from handfast.errors import ProtocolViolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may ask for; AWS IoT's figures."""

    packet_bytes: int = 149_504  # 146 KB, announced as Maximum Packet Size
    payload_bytes: int = 131_072  # 128 KB
    content_type_bytes: int = 256
    correlation_data_bytes: int = 8_192
    user_property_bytes: int = 8_192
    client_id_bytes: int = 128
    topic_alias_maximum: int = 8
    receive_maximum: int = 100
    filters_per_subscribe: int = 8
    filters_per_unsubscribe: int = 50
    smallest_client_packet_bytes: int = 512
    connect_timeout_s: float = 10.0
    keep_alive_min_s: int = 30
    keep_alive_max_s: int = 1_200


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFailed:
    """The peer broke the protocol; `violation` says how. What answers it lies in `data_to_send`; then close."""

    violation: ProtocolViolation


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The peer closed without DISCONNECT."""


Event = Packet | ConnectionFailed | ConnectionLost


class FirstPacketNotConnect(ProtocolViolation):
    """[MQTT-3.1.0-1]: something else came first."""


def clamp_keep_alive(seconds: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """The Keep Alive that holds: 0 and everything above the maximum become the maximum, as on AWS IoT."""
    if seconds == 0 or seconds > limits.keep_alive_max_s:
        return limits.keep_alive_max_s
    return max(seconds, limits.keep_alive_min_s)


class Connection:
    """
    One connection. `version` is 0 until a CONNECT was read, then 4 or 5.

    `receive_data` never raises; a violation becomes the last event. A shell that
    frames by itself calls `judge` and `fail` instead.
    """

    __slots__ = (
        "_buffer",
        "_events",
        "_heard_at",
        "_out",
        "_unacknowledged",
        "aliases",
        "connected",
        "ended",
        "keep_alive_s",
        "limits",
        "version",
        "wants_problem_information",
    )

    def __init__(self, limits: Limits = DEFAULT_LIMITS, now: float = 0.0) -> None:
        self.limits = limits
        self.version = 0
        self.connected = False  # a CONNACK with success was sent
        self.ended = False
        self.keep_alive_s = 0
        self.wants_problem_information = True
        self.aliases: dict[int, str] | None = None
        self._heard_at = now
        self._unacknowledged = 0
        self._buffer = b""
        self._events: list[Event] = []
        self._out: list[bytes] = []

    # bytes in, events out

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what arrived. Nothing is read any more after the connection ended."""
        if self.ended:
            return
        self._heard_at = now
        data = self._buffer + data if self._buffer else data
        position = 0
        end = len(data)
        try:
            while position < end and not self.ended:
                length, body_at = decode_header(data, position, end)
                if length < 0:
                    break
                self.check_size(data[position], length)
                if body_at + length > end:
                    break
                packet = self.judge(data[position], data[body_at : body_at + length])
                position = body_at + length
                self._react(packet)
        except ProtocolViolation as violation:
            self._out.append(self.fail(violation))
            self._events.append(ConnectionFailed(violation=violation))
        self._buffer = b"" if self.ended else data[position:]

    def receive_eof(self) -> None:
        """The peer closed its side."""
        if not self.ended:
            self.ended = True
            self._events.append(ConnectionLost())

    def events_received(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """What is to be written now."""
        out, self._out = self._out, []
        return b"".join(out)

    def send(self, packet: Packet) -> None:
        """Queue a packet; a ConnAck with success opens the connection, a Disconnect or another ConnAck ends it."""
        self._out.append(codec.encode(self.version or codec.MQTT_3_1_1, packet))
        if isinstance(packet, ConnAck):
            if packet.reason == 0:
                self.connected = True
            else:
                self.ended = True
        elif isinstance(packet, Disconnect):
            self.ended = True
        elif isinstance(packet, PubAck) and self._unacknowledged:
            self._unacknowledged -= 1

    def deadline(self) -> float | None:
        """When `expire` is to be called unless data comes first; None once the connection has ended."""
        if self.ended:
            return None
        if not self.connected:
            return self._heard_at + self.limits.connect_timeout_s
        return self._heard_at + 1.5 * self.keep_alive_s

    def expire(self, now: float) -> None:
        """[MQTT-3.1.2-22]: nothing was heard for one and a half times the Keep Alive, or no CONNECT came."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        violation = ProtocolViolation("nothing was heard for 1.5 x Keep Alive", Code.KEEP_ALIVE_TIMEOUT)
        self._out.append(self.fail(violation))
        self._events.append(ConnectionFailed(violation=violation))

    def _react(self, packet: Packet) -> None:
        if isinstance(packet, PingReq):
            self.send(PingResp())
            return
        if isinstance(packet, Publish) and packet.qos:
            self._unacknowledged += 1
            # [MQTT-3.3.4-9]; 3.1.1 has no such limit: its shell stops reading instead.
            if self.version == codec.MQTT_5 and self._unacknowledged > self.limits.receive_maximum:
                raise ProtocolViolation(
                    f"more than {self.limits.receive_maximum} PUBLISH packets wait for their PUBACK",
                    Code.RECEIVE_MAXIMUM_EXCEEDED,
                )
        elif isinstance(packet, Disconnect):
            self.ended = True
        self._events.append(packet)

    # one packet at a time

    def check_size(self, first: int, length: int) -> None:
        """Raise before a packet that is too large is collected; `length` is its Remaining Length."""
        if self.version == 0 and first >> 4 != PacketType.CONNECT:
            raise FirstPacketNotConnect(
                f"the first packet has the type {first >> 4}, not 1 (CONNECT)", Code.PROTOCOL_ERROR
            )
        if length + 4 > self.limits.packet_bytes:
            raise ProtocolViolation(
                f"a packet of {length} bytes is longer than {self.limits.packet_bytes}", Code.PACKET_TOO_LARGE
            )

    def judge(self, first: int, body: bytes) -> Packet:
        """
        The packet, if this connection may receive it now; a PUBLISH comes with its Topic Alias resolved.

        Raises ProtocolViolation for everything else.
        """
        kind = first >> 4
        if kind == PacketType.CONNECT:
            if self.version:
                raise protocol_error("a second CONNECT")  # [MQTT-3.1.0-2]
            return self._judge_connect(first, body)
        self.check_size(first, len(body))
        packet = codec.decode(self.version, first, body)
        if isinstance(packet, Publish):
            return self._judge_publish(packet)
        if isinstance(packet, Subscribe):
            self._judge_subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            if len(packet.topic_filters) > self.limits.filters_per_unsubscribe:
                raise ProtocolViolation(
                    f"{len(packet.topic_filters)} Topic Filters in one UNSUBSCRIBE", Code.QUOTA_EXCEEDED
                )
            self._check_user_properties(packet.properties)
        elif isinstance(packet, Disconnect):
            # [MQTT-3.14.2-2]: 0 in CONNECT, as every session here has it, cannot be raised.
            if packet.properties.number(Property.SESSION_EXPIRY_INTERVAL):
                raise protocol_error("DISCONNECT raises a Session Expiry Interval of 0")
            self._check_user_properties(packet.properties)
        elif not isinstance(packet, PubAck | PingReq):
            raise protocol_error(f"the packet type {kind} comes from servers only")
        return packet

    def fail(self, violation: ProtocolViolation, reason_string: str = "") -> bytes:
        """
        End the connection; what still goes out to say why: CONNACK, DISCONNECT or nothing.

        `reason_string` goes along in MQTT 5 unless the client wants no problem information.
        """
        self.ended = True
        reason = violation.reason
        properties = Properties()
        if reason_string and self.wants_problem_information:
            properties.values[Property.REASON_STRING] = reason_string
        if isinstance(violation, codec.UnsupportedVersion) and violation.level <= codec.MQTT_3_1_1:
            return codec.encode(codec.MQTT_3_1_1, ConnAck(reason=1))
        if isinstance(violation, codec.UnsupportedVersion):
            return codec.encode(codec.MQTT_5, ConnAck(reason=reason, properties=properties))
        if self.version == codec.MQTT_5:
            if self.connected:
                return codec.encode(codec.MQTT_5, Disconnect(reason=reason, properties=properties))
            return codec.encode(codec.MQTT_5, ConnAck(reason=reason, properties=properties))
        if self.version == codec.MQTT_3_1_1 and not self.connected:
            code = v311_form(reason)
            if code is not None and 0 < code < 6:
                return codec.encode(codec.MQTT_3_1_1, ConnAck(reason=code))
        return b""

    def _judge_connect(self, first: int, body: bytes) -> Connect:
        level = codec.peek_version(body)
        if level in (codec.MQTT_3_1_1, codec.MQTT_5):
            self.version = level  # known from here on, so that a violation is answered in the right form
        packet = codec.decode(level, first, body)
        if not isinstance(packet, Connect):
            raise protocol_error("the first packet is not CONNECT")
        limits = self.limits
        properties = packet.properties
        self.wants_problem_information = bool(properties.number(Property.REQUEST_PROBLEM_INFORMATION, 1))
        self.keep_alive_s = clamp_keep_alive(packet.keep_alive, limits)
        if Property.AUTHENTICATION_METHOD in properties.values:
            raise ProtocolViolation("enhanced authentication is not offered", Code.BAD_AUTHENTICATION_METHOD)
        if properties.number(Property.MAXIMUM_PACKET_SIZE, limits.packet_bytes) < limits.smallest_client_packet_bytes:
            raise ProtocolViolation("the client's Maximum Packet Size is below 512", Code.UNSPECIFIED_ERROR)
        self._check_user_properties(properties)
        self._judge_client_id(packet)
        if packet.will is not None:
            self._judge_will(packet.will)
        return packet

    def _judge_client_id(self, packet: Connect) -> None:
        client_id = packet.client_id
        problem: str | None = None
        if not client_id:
            # [MQTT-3.1.3-8]: 3.1.1 may leave the name to the server only with Clean Session.
            if packet.version == codec.MQTT_3_1_1 and not packet.clean_start:
                problem = "it is empty and Clean Session is 0"
        elif len(client_id.encode()) > self.limits.client_id_bytes:
            problem = f"it is longer than {self.limits.client_id_bytes} bytes"
        else:
            bad = forbidden_character(client_id)
            if bad is not None:
                problem = f"it holds the character U+{ord(bad):04X}"
        if problem is not None:
            raise ProtocolViolation(f"the Client Identifier is refused: {problem}", Code.CLIENT_IDENTIFIER_NOT_VALID)

    def _judge_will(self, will: Will) -> None:
        if will.qos > 1:
            raise ProtocolViolation("the Will has QoS 2", Code.QOS_NOT_SUPPORTED)
        problem = name_problem(will.topic)
        if problem is not None:
            raise ProtocolViolation(f"the Will Topic is refused: {problem}", Code.TOPIC_NAME_INVALID)
        if len(will.payload) > self.limits.payload_bytes:
            raise ProtocolViolation("the Will Payload is too large", Code.PACKET_TOO_LARGE)
        self._check_message_properties(will.properties)

    def _judge_publish(self, packet: Publish) -> Publish:
        if packet.qos > 1:
            raise ProtocolViolation("a PUBLISH has QoS 2", Code.QOS_NOT_SUPPORTED)
        if len(packet.payload) > self.limits.payload_bytes:
            raise ProtocolViolation(
                f"a payload of {len(packet.payload)} bytes is longer than {self.limits.payload_bytes}",
                Code.PACKET_TOO_LARGE,
            )
        properties = packet.properties
        if properties:
            if properties.subscription_identifiers:
                raise protocol_error("a client sent a Subscription Identifier")  # [MQTT-3.3.4-6]
            self._check_message_properties(properties)
        topic = packet.topic
        alias = properties.values.get(Property.TOPIC_ALIAS)
        if alias is not None:
            assert isinstance(alias, int)
            if not 0 < alias <= self.limits.topic_alias_maximum:
                raise ProtocolViolation(f"the Topic Alias is {alias}", Code.TOPIC_ALIAS_INVALID)  # [MQTT-3.3.2-9]
            if self.aliases is None:
                self.aliases = {}
            if not topic:
                known = self.aliases.get(alias)
                if known is None:
                    raise protocol_error(f"the Topic Alias {alias} stands for no topic yet")
                del properties.values[Property.TOPIC_ALIAS]
                return Publish(
                    topic=known,
                    payload=packet.payload,
                    qos=packet.qos,
                    retain=packet.retain,
                    dup=packet.dup,
                    packet_id=packet.packet_id,
                    properties=properties,
                )
        problem = name_problem(topic)
        if problem is not None:
            raise ProtocolViolation(f"a Topic Name is refused: {problem}", Code.TOPIC_NAME_INVALID)
        if alias is not None and self.aliases is not None:
            self.aliases[alias] = topic
            del properties.values[Property.TOPIC_ALIAS]
        return packet

    def _judge_subscribe(self, packet: Subscribe) -> None:
        if packet.properties.subscription_identifiers:
            raise ProtocolViolation(
                "Subscription Identifiers are not supported", Code.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
            )
        if len(packet.subscriptions) > self.limits.filters_per_subscribe:
            raise ProtocolViolation(f"{len(packet.subscriptions)} Topic Filters in one SUBSCRIBE", Code.QUOTA_EXCEEDED)
        self._check_user_properties(packet.properties)
        for item in packet.subscriptions:
            if item.qos > 1:
                raise ProtocolViolation("a subscription asks for QoS 2", Code.QOS_NOT_SUPPORTED)
            if item.no_local and item.topic_filter.startswith("$share/"):
                raise protocol_error("No Local on a Shared Subscription")  # [MQTT-3.8.3-4]

    def _check_message_properties(self, properties: Properties) -> None:
        limits = self.limits
        content_type = properties.text(Property.CONTENT_TYPE)
        if content_type is not None and len(content_type.encode()) > limits.content_type_bytes:
            raise ProtocolViolation("the Content Type is too long", Code.QUOTA_EXCEEDED)
        correlation = properties.binary(Property.CORRELATION_DATA)
        if correlation is not None and len(correlation) > limits.correlation_data_bytes:
            raise ProtocolViolation("the Correlation Data is too long", Code.QUOTA_EXCEEDED)
        response_topic = properties.text(Property.RESPONSE_TOPIC)
        if response_topic is not None:
            # [MQTT-3.3.2-14]: no wildcards
            if "+" in response_topic or "#" in response_topic:
                raise protocol_error("the Response Topic holds a wildcard character")
            if not response_topic or len(response_topic.encode()) > MAX_TOPIC_BYTES * 2:
                raise protocol_error("the Response Topic is empty or too long")
        self._check_user_properties(properties)

    def _check_user_properties(self, properties: Properties) -> None:
        if properties.user and properties.user_bytes() > self.limits.user_property_bytes:
            raise ProtocolViolation("the User Properties are too long", Code.QUOTA_EXCEEDED)


def frames(data: bytes) -> tuple[Sequence[tuple[int, bytes]], bytes]:
    """(first byte, body) of every whole packet in `data`, and what is left over: for clients and tools."""
    out: list[tuple[int, bytes]] = []
    position = 0
    while True:
        length, body_at = decode_header(data, position, len(data))
        if length < 0 or body_at + length > len(data):
            return out, data[position:]
        out.append((data[position], data[body_at : body_at + length]))
        position = body_at + length
