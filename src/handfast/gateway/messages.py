"""A message on its way from one publisher to many receivers, encoded once per version."""

from __future__ import annotations

from handfast.core.mqtt.primitives import decode_header, encode_variable
from handfast.core.mqtt.properties import Properties, Property, encode_block

MAX_EXPIRY_S = 604_800
"""Message Expiry Interval: AWS IoT takes 0 as 1 and everything above seven days as seven days."""
NO_ID = b""


class Message:
    """
    One Application Message.

    `properties` is the MQTT 5 block to send on, without its length and without
    the Message Expiry Interval; `expires_at` is on the monotonic clock. `retain`
    says how it was published, not how it is delivered.
    """

    __slots__ = ("_packet4", "_packet5", "expires_at", "payload", "properties", "qos", "retain", "topic")

    def __init__(
        self,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: bytes = b"",
        expires_at: float | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires_at = expires_at
        self._packet4 = b""
        self._packet5 = b""

    @property
    def size(self) -> int:
        """About what it takes in a queue."""
        return len(self.payload) + len(self.properties) + len(self.topic) + 200

    def packet(self, version: int, first: int, packet_id: bytes, now: float) -> bytes:
        """The whole PUBLISH with the given first byte; `packet_id` is empty at QoS 0."""
        topic = self.topic
        payload = self.payload
        if version == 4:
            length = 2 + len(topic) + len(packet_id) + len(payload)
            return b"".join(
                (bytes((first,)), encode_variable(length), len(topic).to_bytes(2, "big"), topic, packet_id, payload)
            )
        block = self.properties
        if self.expires_at is not None:
            # The time that is left, which may be 0.
            left = min(max(0, int(self.expires_at - now + 0.999)), MAX_EXPIRY_S)
            block = b"\x02" + left.to_bytes(4, "big") + block
        size = encode_variable(len(block))
        length = 2 + len(topic) + len(packet_id) + len(size) + len(block) + len(payload)
        return b"".join(
            (
                bytes((first,)),
                encode_variable(length),
                len(topic).to_bytes(2, "big"),
                topic,
                packet_id,
                size,
                block,
                payload,
            )
        )

    def plain_packet(self, version: int, now: float) -> bytes:
        """The PUBLISH at QoS 0 without RETAIN, built once per version: what most receivers get."""
        if version == 4:
            if not self._packet4:
                self._packet4 = self.packet(4, 0x30, NO_ID, now)
            return self._packet4
        if not self._packet5:
            self._packet5 = self.packet(5, 0x30, NO_ID, now)
        return self._packet5


def forwarded_properties(properties: Properties, now: float) -> tuple[bytes, float | None]:
    """The block to send on and the instant of expiry, from a publisher's properties."""
    if not properties:
        return b"", None
    values = dict(properties.values)
    interval = values.pop(Property.MESSAGE_EXPIRY_INTERVAL, None)
    values.pop(Property.TOPIC_ALIAS, None)
    values.pop(Property.WILL_DELAY_INTERVAL, None)
    expires_at = None
    if isinstance(interval, int):
        expires_at = now + min(max(interval, 1), MAX_EXPIRY_S)
    return encode_block(Properties(values, properties.user)), expires_at


def messages_of_run(topic_name: str, raw: bytes, qos: int, version: int) -> list[Message]:
    """The messages of PUBLISH packets that follow each other on one topic, for receivers that cannot take them so."""
    topic = topic_name.encode()
    skip = 2 + len(topic) + (2 if qos else 0) + (1 if version == 5 else 0)
    messages: list[Message] = []
    position = 0
    end = len(raw)
    while position < end:
        length, at = decode_header(raw, position, end)
        position = at + length
        messages.append(Message(topic, raw[at + skip : position], qos))
    return messages
