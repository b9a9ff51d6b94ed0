"""MQTT 5: every packet but CONNECT."""

from __future__ import annotations

from handfast.core.mqtt.packets import (
    ConnAck,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from handfast.core.mqtt.primitives import Reader, encode_text, malformed, protocol_error
from handfast.core.mqtt.properties import Properties, Where, encode_properties, read_properties
from handfast.core.mqtt.v311 import check_flags, publish_flags, read_packet_id, read_publish_start


def _reason_tail(reason: int, properties: Properties) -> bytes:
    """Reason Code and properties, each left out where the standard allows it (§3.4.2.1)."""
    if properties:
        return bytes((reason,)) + encode_properties(properties)
    return bytes((reason,)) if reason else b""


def encode_body(packet: Packet) -> tuple[int, bytes]:
    """First byte and body of a packet other than CONNECT."""
    if isinstance(packet, Publish):
        packet_id = packet.packet_id.to_bytes(2, "big") if packet.qos else b""
        body = encode_text(packet.topic) + packet_id + encode_properties(packet.properties) + packet.payload
        return publish_flags(packet), body
    if isinstance(packet, PubAck):
        tail = _reason_tail(packet.reason, packet.properties)
        return PacketType.PUBACK << 4, packet.packet_id.to_bytes(2, "big") + tail
    if isinstance(packet, PingReq):
        return PacketType.PINGREQ << 4, b""
    if isinstance(packet, PingResp):
        return PacketType.PINGRESP << 4, b""
    if isinstance(packet, ConnAck):
        body = bytes((packet.session_present, packet.reason)) + encode_properties(packet.properties)
        return PacketType.CONNACK << 4, body
    if isinstance(packet, Disconnect):
        return PacketType.DISCONNECT << 4, _reason_tail(packet.reason, packet.properties)
    if isinstance(packet, Subscribe):
        out = [packet.packet_id.to_bytes(2, "big"), encode_properties(packet.properties)]
        for item in packet.subscriptions:
            options = item.qos | item.no_local << 2 | item.retain_as_published << 3 | item.retain_handling << 4
            out.append(encode_text(item.topic_filter) + bytes((options,)))
        return PacketType.SUBSCRIBE << 4 | 2, b"".join(out)
    head = b""
    if isinstance(packet, SubAck | Unsubscribe | UnsubAck):
        head = packet.packet_id.to_bytes(2, "big") + encode_properties(packet.properties)
    if isinstance(packet, SubAck):
        return PacketType.SUBACK << 4, head + bytes(packet.reasons)
    if isinstance(packet, Unsubscribe):
        return PacketType.UNSUBSCRIBE << 4 | 2, head + b"".join(encode_text(name) for name in packet.topic_filters)
    if isinstance(packet, UnsubAck):
        return PacketType.UNSUBACK << 4, head + bytes(packet.reasons)
    raise ValueError(f"{type(packet).__name__} is not encoded here")


def decode_body(first: int, body: bytes) -> Packet:
    """The packet of these bytes, which is no CONNECT; raises ProtocolViolation only."""
    kind = first >> 4
    check_flags(kind, first & 15)
    reader = Reader(body)
    packet: Packet
    if kind == PacketType.PUBLISH:
        topic, qos, packet_id = read_publish_start(first, reader)
        properties = read_properties(reader, Where.PUBLISH)
        return Publish(
            topic=topic,
            payload=reader.rest(),
            qos=qos,
            retain=bool(first & 1),
            dup=bool(first & 8),
            packet_id=packet_id,
            properties=properties,
        )
    if kind == PacketType.PUBACK:
        packet_id = read_packet_id(reader)
        reason, properties = _read_reason_tail(reader, Where.PUBACK)
        packet = PubAck(packet_id=packet_id, reason=reason, properties=properties)
    elif kind == PacketType.PINGREQ:
        packet = PingReq()
    elif kind == PacketType.PINGRESP:
        packet = PingResp()
    elif kind == PacketType.DISCONNECT:
        reason, properties = _read_reason_tail(reader, Where.DISCONNECT)
        packet = Disconnect(reason=reason, properties=properties)
    elif kind == PacketType.SUBSCRIBE:
        packet = _decode_subscribe(reader)
    elif kind == PacketType.UNSUBSCRIBE:
        packet_id = read_packet_id(reader)
        properties = read_properties(reader, Where.UNSUBSCRIBE)
        names: list[str] = []
        while not reader.at_end:
            names.append(reader.text("Topic Filter"))
        if not names:
            raise protocol_error("UNSUBSCRIBE without a Topic Filter")  # [MQTT-3.10.3-2]
        packet = Unsubscribe(packet_id=packet_id, topic_filters=tuple(names), properties=properties)
    elif kind == PacketType.CONNACK:
        flags = reader.byte("Connect Acknowledge Flags")
        if flags > 1:
            raise malformed("reserved Connect Acknowledge Flags are set")
        reason = reader.byte("Reason Code")
        packet = ConnAck(session_present=bool(flags), reason=reason, properties=read_properties(reader, Where.CONNACK))
    elif kind in (PacketType.SUBACK, PacketType.UNSUBACK):
        packet_id = read_packet_id(reader)
        sub = kind == PacketType.SUBACK
        properties = read_properties(reader, Where.SUBACK if sub else Where.UNSUBACK)
        reasons = tuple(reader.rest())
        if not reasons:
            raise malformed("an acknowledgement without a Reason Code")
        if sub:
            packet = SubAck(packet_id=packet_id, reasons=reasons, properties=properties)
        else:
            packet = UnsubAck(packet_id=packet_id, reasons=reasons, properties=properties)
    elif kind in (PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP):
        raise protocol_error("packets of QoS 2 are not spoken here")
    elif kind == PacketType.AUTH:
        raise protocol_error("AUTH is not spoken here")
    else:
        raise malformed("the packet type 0 is reserved")
    reader.finish("packet")
    return packet


def _read_reason_tail(reader: Reader, where: Where) -> tuple[int, Properties]:
    if reader.at_end:
        return 0, Properties()
    reason = reader.byte("Reason Code")
    if reader.at_end:
        return reason, Properties()
    return reason, read_properties(reader, where)


def _decode_subscribe(reader: Reader) -> Subscribe:
    packet_id = read_packet_id(reader)
    properties = read_properties(reader, Where.SUBSCRIBE)
    subscriptions: list[Subscription] = []
    while not reader.at_end:
        topic_filter = reader.text("Topic Filter")
        options = reader.byte("Subscription Options")
        qos = options & 3
        retain_handling = options >> 4 & 3
        if options & 0xC0:
            raise malformed("reserved Subscription Options are set")  # [MQTT-3.8.3-5]
        if qos == 3 or retain_handling == 3:
            raise protocol_error("QoS or Retain Handling is 3")
        subscriptions.append(
            Subscription(
                topic_filter=topic_filter,
                qos=qos,
                no_local=bool(options & 4),
                retain_as_published=bool(options & 8),
                retain_handling=retain_handling,
            )
        )
    if not subscriptions:
        raise protocol_error("SUBSCRIBE without a Topic Filter")  # [MQTT-3.8.3-2]
    return Subscribe(packet_id=packet_id, subscriptions=tuple(subscriptions), properties=properties)
