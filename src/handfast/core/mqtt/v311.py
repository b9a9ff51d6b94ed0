"""MQTT 3.1.1: every packet but CONNECT."""

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


def publish_flags(packet: Publish) -> int:
    """The first byte of a PUBLISH."""
    return 0x30 | (8 if packet.dup else 0) | packet.qos << 1 | (1 if packet.retain else 0)


def check_flags(kind: int, flags: int) -> None:
    """The lower four bits are fixed for every type but PUBLISH [MQTT-2.1.3-1] (2.2.2-1 in 3.1.1)."""
    wanted = 2 if kind in (PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE, PacketType.PUBREL) else 0
    if kind != PacketType.PUBLISH and flags != wanted:
        raise malformed(f"the flags of packet type {kind} are {flags}, not {wanted}")


def read_packet_id(reader: Reader) -> int:
    """A Packet Identifier, which is never 0 [MQTT-2.2.1-3]."""
    packet_id = reader.two("Packet Identifier")
    if packet_id == 0:
        raise protocol_error("the Packet Identifier is 0")
    return packet_id


def read_publish_start(first: int, reader: Reader) -> tuple[str, int, int]:
    """Topic Name, QoS and Packet Identifier of a PUBLISH: the same in both versions."""
    qos = first >> 1 & 3
    if qos == 3:
        raise malformed("the QoS of a PUBLISH is 3")  # [MQTT-3.3.1-4]
    if qos == 0 and first & 8:
        raise malformed("DUP is set at QoS 0")  # [MQTT-3.3.1-2]
    topic = reader.text("Topic Name")
    return topic, qos, read_packet_id(reader) if qos else 0


def encode_body(packet: Packet) -> tuple[int, bytes]:
    """First byte and body of a packet other than CONNECT."""
    if isinstance(packet, Publish):
        packet_id = packet.packet_id.to_bytes(2, "big") if packet.qos else b""
        return publish_flags(packet), encode_text(packet.topic) + packet_id + packet.payload
    if isinstance(packet, PubAck):
        return PacketType.PUBACK << 4, packet.packet_id.to_bytes(2, "big")
    if isinstance(packet, PingReq):
        return PacketType.PINGREQ << 4, b""
    if isinstance(packet, PingResp):
        return PacketType.PINGRESP << 4, b""
    if isinstance(packet, ConnAck):
        return PacketType.CONNACK << 4, bytes((packet.session_present, packet.reason))
    if isinstance(packet, Subscribe):
        out = [packet.packet_id.to_bytes(2, "big")]
        for subscription in packet.subscriptions:
            out.append(encode_text(subscription.topic_filter) + bytes((subscription.qos,)))
        return PacketType.SUBSCRIBE << 4 | 2, b"".join(out)
    if isinstance(packet, SubAck):
        return PacketType.SUBACK << 4, packet.packet_id.to_bytes(2, "big") + bytes(packet.reasons)
    if isinstance(packet, Unsubscribe):
        body = packet.packet_id.to_bytes(2, "big") + b"".join(encode_text(name) for name in packet.topic_filters)
        return PacketType.UNSUBSCRIBE << 4 | 2, body
    if isinstance(packet, UnsubAck):
        return PacketType.UNSUBACK << 4, packet.packet_id.to_bytes(2, "big")
    if isinstance(packet, Disconnect):
        return PacketType.DISCONNECT << 4, b""
    raise ValueError(f"{type(packet).__name__} is not encoded here")


def decode_body(first: int, body: bytes) -> Packet:
    """The packet of these bytes, which is no CONNECT; raises ProtocolViolation only."""
    kind = first >> 4
    check_flags(kind, first & 15)
    reader = Reader(body)
    packet: Packet
    if kind == PacketType.PUBLISH:
        topic, qos, packet_id = read_publish_start(first, reader)
        return Publish(
            topic=topic,
            payload=reader.rest(),
            qos=qos,
            retain=bool(first & 1),
            dup=bool(first & 8),
            packet_id=packet_id,
        )
    if kind == PacketType.PUBACK:
        packet = PubAck(packet_id=read_packet_id(reader))
    elif kind == PacketType.PINGREQ:
        packet = PingReq()
    elif kind == PacketType.PINGRESP:
        packet = PingResp()
    elif kind == PacketType.DISCONNECT:
        packet = Disconnect()
    elif kind == PacketType.SUBSCRIBE:
        packet = _decode_subscribe(reader)
    elif kind == PacketType.UNSUBSCRIBE:
        packet_id = read_packet_id(reader)
        names: list[str] = []
        while not reader.at_end:
            names.append(reader.text("Topic Filter"))
        if not names:
            raise protocol_error("UNSUBSCRIBE without a Topic Filter")  # [MQTT-3.10.3-2]
        packet = Unsubscribe(packet_id=packet_id, topic_filters=tuple(names))
    elif kind == PacketType.CONNACK:
        flags = reader.byte("Connect Acknowledge Flags")
        if flags > 1:
            raise malformed("reserved Connect Acknowledge Flags are set")
        packet = ConnAck(session_present=bool(flags), reason=reader.byte("return code"))
    elif kind == PacketType.SUBACK:
        packet_id = read_packet_id(reader)
        packet = SubAck(packet_id=packet_id, reasons=tuple(reader.rest()))
        if not packet.reasons:
            raise malformed("SUBACK without a return code")
    elif kind == PacketType.UNSUBACK:
        packet = UnsubAck(packet_id=read_packet_id(reader))
    elif kind in (PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP):
        raise protocol_error("packets of QoS 2 are not spoken here")
    else:
        raise malformed(f"the packet type {kind} is reserved")
    reader.finish("packet")
    return packet


def _decode_subscribe(reader: Reader) -> Subscribe:
    packet_id = read_packet_id(reader)
    subscriptions: list[Subscription] = []
    while not reader.at_end:
        topic_filter = reader.text("Topic Filter")
        qos = reader.byte("Requested QoS")
        if qos > 2:
            raise malformed("reserved bits of a Requested QoS are set")  # [MQTT-3-8.3-4]
        subscriptions.append(Subscription(topic_filter=topic_filter, qos=qos))
    if not subscriptions:
        raise protocol_error("SUBSCRIBE without a Topic Filter")  # [MQTT-3.8.3-2]
    return Subscribe(packet_id=packet_id, subscriptions=tuple(subscriptions))
