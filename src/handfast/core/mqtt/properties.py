"""MQTT 5 properties (§2.2.2): one table row each, decoded only where the standard allows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple

from handfast.core.mqtt.primitives import (
    Reader,
    encode_binary,
    encode_text,
    encode_variable,
    malformed,
    protocol_error,
)


class Property(IntEnum):
    """Property identifiers."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


class Where(IntEnum):
    """The packets that carry properties, by their type; the Will's own block is 0."""

    WILL = 0
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    DISCONNECT = 14


class _Kind(Enum):
    FLAG = 0  # one byte, 0 or 1
    TWO = 1
    TWO_NOT_ZERO = 2
    FOUR = 3
    FOUR_NOT_ZERO = 4
    VARIABLE = 5
    TEXT = 6
    BINARY = 7
    PAIR = 8


class _Row(NamedTuple):
    name: str
    kind: _Kind
    where: frozenset[int]


def _row(name: str, kind: _Kind, *where: Where) -> _Row:
    return _Row(name, kind, frozenset(int(w) for w in where))


_TABLE: dict[int, _Row] = {
    0x01: _row("Payload Format Indicator", _Kind.FLAG, Where.PUBLISH, Where.WILL),
    0x02: _row("Message Expiry Interval", _Kind.FOUR, Where.PUBLISH, Where.WILL),
    0x03: _row("Content Type", _Kind.TEXT, Where.PUBLISH, Where.WILL),
    0x08: _row("Response Topic", _Kind.TEXT, Where.PUBLISH, Where.WILL),
    0x09: _row("Correlation Data", _Kind.BINARY, Where.PUBLISH, Where.WILL),
    0x0B: _row("Subscription Identifier", _Kind.VARIABLE, Where.PUBLISH, Where.SUBSCRIBE),
    0x11: _row("Session Expiry Interval", _Kind.FOUR, Where.CONNECT, Where.CONNACK, Where.DISCONNECT),
    0x12: _row("Assigned Client Identifier", _Kind.TEXT, Where.CONNACK),
    0x13: _row("Server Keep Alive", _Kind.TWO, Where.CONNACK),
    0x15: _row("Authentication Method", _Kind.TEXT, Where.CONNECT, Where.CONNACK),
    0x16: _row("Authentication Data", _Kind.BINARY, Where.CONNECT, Where.CONNACK),
    0x17: _row("Request Problem Information", _Kind.FLAG, Where.CONNECT),
    0x18: _row("Will Delay Interval", _Kind.FOUR, Where.WILL),
    0x19: _row("Request Response Information", _Kind.FLAG, Where.CONNECT),
    0x1A: _row("Response Information", _Kind.TEXT, Where.CONNACK),
    0x1C: _row("Server Reference", _Kind.TEXT, Where.CONNACK, Where.DISCONNECT),
    0x1F: _row(
        "Reason String",
        _Kind.TEXT,
        Where.CONNACK,
        Where.PUBACK,
        Where.SUBACK,
        Where.UNSUBACK,
        Where.DISCONNECT,
    ),
    0x21: _row("Receive Maximum", _Kind.TWO_NOT_ZERO, Where.CONNECT, Where.CONNACK),
    0x22: _row("Topic Alias Maximum", _Kind.TWO, Where.CONNECT, Where.CONNACK),
    0x23: _row("Topic Alias", _Kind.TWO, Where.PUBLISH),
    0x24: _row("Maximum QoS", _Kind.FLAG, Where.CONNACK),
    0x25: _row("Retain Available", _Kind.FLAG, Where.CONNACK),
    0x26: _row("User Property", _Kind.PAIR, *Where),
    0x27: _row("Maximum Packet Size", _Kind.FOUR_NOT_ZERO, Where.CONNECT, Where.CONNACK),
    0x28: _row("Wildcard Subscription Available", _Kind.FLAG, Where.CONNACK),
    0x29: _row("Subscription Identifier Available", _Kind.FLAG, Where.CONNACK),
    0x2A: _row("Shared Subscription Available", _Kind.FLAG, Where.CONNACK),
}


@dataclass(slots=True)
class Properties:
    """
    The properties of one packet.

    `values` holds what may stand once, by identifier (int for the integer
    kinds, str for text, bytes for binary data); `user` the User Properties in
    their order; `subscription_identifiers` those of a PUBLISH or SUBSCRIBE.
    """

    values: dict[int, int | str | bytes] = field(default_factory=dict)
    user: list[tuple[str, str]] = field(default_factory=list)
    subscription_identifiers: list[int] = field(default_factory=list)

    def number(self, which: Property, default: int = 0) -> int:
        """An integer property, or `default` where it is absent."""
        value = self.values.get(which)
        return value if isinstance(value, int) else default

    def text(self, which: Property) -> str | None:
        """A text property, or None."""
        value = self.values.get(which)
        return value if isinstance(value, str) else None

    def binary(self, which: Property) -> bytes | None:
        """A binary property, or None."""
        value = self.values.get(which)
        return value if isinstance(value, bytes) else None

    def user_bytes(self) -> int:
        """UTF-8 bytes of all User Properties together."""
        return sum(len(name.encode()) + len(value.encode()) for name, value in self.user)

    def __bool__(self) -> bool:
        return bool(self.values or self.user or self.subscription_identifiers)


def encode_block(properties: Properties) -> bytes:
    """The properties in ascending order of identifier, User Properties last and in order; without the length."""
    out: list[bytes] = []
    for which in sorted(properties.values):
        kind = _TABLE[which].kind
        value = properties.values[which]
        out.append(bytes((which,)))
        if isinstance(value, int):
            if kind is _Kind.FLAG:
                out.append(value.to_bytes(1, "big"))
            elif kind is _Kind.TWO or kind is _Kind.TWO_NOT_ZERO:
                out.append(value.to_bytes(2, "big"))
            else:
                out.append(value.to_bytes(4, "big"))
        elif isinstance(value, str):
            out.append(encode_text(value))
        else:
            out.append(encode_binary(value))
    for identifier in properties.subscription_identifiers:
        out.append(b"\x0b" + encode_variable(identifier))
    for name, text in properties.user:
        out.append(b"\x26" + encode_text(name) + encode_text(text))
    return b"".join(out)


def encode_properties(properties: Properties) -> bytes:
    """The block of `encode_block` behind its length."""
    if not properties:
        return b"\0"
    block = encode_block(properties)
    return encode_variable(len(block)) + block


def decode_block(block: bytes, where: Where) -> Properties:
    """
    The properties of a block without its length.

    Raises ProtocolViolation: Malformed Packet for a property that is unknown or
    does not belong into this packet, Protocol Error for one that stands twice
    or holds a value that the standard forbids.
    """
    properties = Properties()
    values = properties.values
    reader = Reader(block)
    while reader.position < reader.end:
        which = reader.variable("Property Identifier")
        row = _TABLE.get(which)
        if row is None or where not in row.where:
            raise malformed(f"the property 0x{which:02X} does not belong into this packet")
        kind = row.kind
        if kind is _Kind.PAIR:
            properties.user.append((reader.text("User Property"), reader.text("User Property")))
            continue
        if kind is _Kind.VARIABLE:
            identifier = reader.variable(row.name)
            if identifier == 0:
                raise protocol_error("the Subscription Identifier is 0")
            if where == Where.SUBSCRIBE and properties.subscription_identifiers:
                raise protocol_error("the Subscription Identifier stands twice")
            properties.subscription_identifiers.append(identifier)
            continue
        if which in values:
            raise protocol_error(f"the {row.name} stands twice")
        if kind is _Kind.TEXT:
            values[which] = reader.text(row.name)
        elif kind is _Kind.BINARY:
            values[which] = reader.binary(row.name)
        else:
            if kind is _Kind.FLAG:
                number = reader.byte(row.name)
                if number > 1:
                    raise protocol_error(f"the {row.name} is {number}, neither 0 nor 1")
            elif kind is _Kind.TWO or kind is _Kind.TWO_NOT_ZERO:
                number = reader.two(row.name)
            else:
                number = reader.four(row.name)
            if number == 0 and (kind is _Kind.TWO_NOT_ZERO or kind is _Kind.FOUR_NOT_ZERO):
                raise protocol_error(f"the {row.name} is 0")
            values[which] = number
    return properties


def read_properties(reader: Reader, where: Where) -> Properties:
    """The properties at the reader's position, length first."""
    size = reader.variable("Property Length")
    if size == 0:
        return Properties()
    return decode_block(reader.take(size, "properties"), where)
