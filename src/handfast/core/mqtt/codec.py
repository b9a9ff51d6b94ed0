"""Packets to bytes and back, in either version; CONNECT, which itself says the version, is decoded here."""

from __future__ import annotations

from handfast.core.mqtt import v5, v311
from handfast.core.mqtt.packets import Connect, Packet, PacketType, Will
from handfast.core.mqtt.primitives import (
    Reader,
    encode_binary,
    encode_text,
    encode_variable,
    malformed,
    protocol_error,
)
from handfast.core.mqtt.properties import Properties, Where, encode_properties, read_properties
from handfast.core.mqtt.reasons import Code
from handfast.errors import ProtocolViolation

MQTT_3_1_1 = 4
MQTT_5 = 5
_PROTOCOL_NAME = b"MQTT"


class UnsupportedVersion(ProtocolViolation):
    """A CONNECT of a version that is not spoken here; `level` is its Protocol Level."""

    def __init__(self, name: bytes, level: int) -> None:
        super().__init__(
            f"protocol {name[:16]!r} level {level} is not spoken here, 3.1.1 (4) and 5 are",
            Code.UNSUPPORTED_PROTOCOL_VERSION,
        )
        self.level = level


def frame(first: int, body: bytes) -> bytes:
    """A whole Control Packet: the fixed header before `body`."""
    return bytes((first,)) + encode_variable(len(body)) + body


def encode(version: int, packet: Packet) -> bytes:
    """The packet in the given Protocol Level; ValueError for what that version cannot say."""
    if isinstance(packet, Connect):
        return frame(PacketType.CONNECT << 4, _encode_connect(packet))
    first, body = v5.encode_body(packet) if version == MQTT_5 else v311.encode_body(packet)
    return frame(first, body)


def decode(version: int, first: int, body: bytes) -> Packet:
    """
    The packet whose first byte and body these are; `version` is ignored for a CONNECT.

    Raises ProtocolViolation, and nothing else, whatever the bytes are.
    """
    if first >> 4 == PacketType.CONNECT:
        if first & 15:
            raise malformed("the reserved flags of CONNECT are not 0")
        return decode_connect(body)
    if version == MQTT_5:
        return v5.decode_body(first, body)
    return v311.decode_body(first, body)


def peek_version(body: bytes) -> int:
    """The Protocol Level in the body of a CONNECT; 0 when it is not readable."""
    if len(body) < 7 or body[:6] != b"\x00\x04MQTT":
        return 0
    return body[6]


def decode_connect(body: bytes) -> Connect:
    """
    A CONNECT of either version.

    Raises UnsupportedVersion for another one, ProtocolViolation for anything else that is wrong.
    """
    reader = Reader(body)
    name = reader.binary("protocol name")
    level = reader.byte("protocol level")
    if name != _PROTOCOL_NAME or level not in (MQTT_3_1_1, MQTT_5):
        raise UnsupportedVersion(name, level)
    flags = reader.byte("Connect Flags")
    if flags & 1:
        raise malformed("the reserved Connect Flag is set")  # [MQTT-3.1.2-3]
    has_will = bool(flags & 0x04)
    will_qos = flags >> 3 & 3
    will_retain = bool(flags & 0x20)
    if (not has_will and (will_qos or will_retain)) or will_qos == 3:
        raise malformed("the Will flags contradict each other")  # [MQTT-3.1.2-11], [MQTT-3.1.2-13]
    has_password = bool(flags & 0x40)
    has_username = bool(flags & 0x80)
    if has_password and not has_username and level == MQTT_3_1_1:
        raise malformed("a password comes without a user name")  # [MQTT-3.1.2-22] of 3.1.1
    keep_alive = reader.two("Keep Alive")
    properties = read_properties(reader, Where.CONNECT) if level == MQTT_5 else Properties()
    client_id = reader.text("Client Identifier")
    will: Will | None = None
    if has_will:
        will_properties = read_properties(reader, Where.WILL) if level == MQTT_5 else Properties()
        will_topic = reader.text("Will Topic")
        will_payload = reader.binary("Will Payload")
        will = Will(
            topic=will_topic, payload=will_payload, qos=will_qos, retain=will_retain, properties=will_properties
        )
    username = reader.text("User Name") if has_username else None
    password = reader.binary("Password") if has_password else None
    reader.finish("CONNECT packet")
    if level == MQTT_5 and 0x16 in properties.values and 0x15 not in properties.values:
        raise protocol_error("Authentication Data comes without an Authentication Method")
    return Connect(
        version=level,
        client_id=client_id,
        clean_start=bool(flags & 2),
        keep_alive=keep_alive,
        will=will,
        username=username,
        password=password,
        properties=properties,
    )


def _encode_connect(packet: Connect) -> bytes:
    will = packet.will
    flags = 2 if packet.clean_start else 0
    if will is not None:
        flags |= 4 | will.qos << 3 | (0x20 if will.retain else 0)
    if packet.password is not None:
        flags |= 0x40
    if packet.username is not None:
        flags |= 0x80
    five = packet.version == MQTT_5
    out = [
        encode_binary(_PROTOCOL_NAME),
        bytes((packet.version, flags)),
        packet.keep_alive.to_bytes(2, "big"),
    ]
    if five:
        out.append(encode_properties(packet.properties))
    out.append(encode_text(packet.client_id))
    if will is not None:
        if five:
            out.append(encode_properties(will.properties))
        out.append(encode_text(will.topic))
        out.append(encode_binary(will.payload))
    if packet.username is not None:
        out.append(encode_text(packet.username))
    if packet.password is not None:
        out.append(encode_binary(packet.password))
    return b"".join(out)
