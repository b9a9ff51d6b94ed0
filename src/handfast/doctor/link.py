"""MQTT 5 packets over a TLS socket, from a client's side."""

from __future__ import annotations

import ssl

from handfast.core.mqtt.codec import MQTT_5, decode, encode
from handfast.core.mqtt.packets import Packet
from handfast.errors import HandfastError

MAX_PACKET_BYTES = 1 << 20


class NotMQTT(HandfastError):
    """The server sent what no MQTT server sends."""


class Link:
    """Packets over a socket, each bounded in size. Both calls raise OSError, `receive` EOFError at the end too."""

    def __init__(self, stream: ssl.SSLSocket) -> None:
        self._stream = stream
        self._reader = stream.makefile("rb")

    def send(self, packet: Packet) -> None:
        """The packet is on its way."""
        self._stream.sendall(encode(MQTT_5, packet))

    def receive(self) -> Packet:
        """The next packet; `NotMQTT`, or ProtocolViolation, for anything else."""
        first = self._exactly(1)[0]
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 21:
                raise NotMQTT("the server sent a length that is not MQTT")
        if length > MAX_PACKET_BYTES:
            raise NotMQTT(f"the server sent a packet of {length} bytes, more than {MAX_PACKET_BYTES}")
        return decode(MQTT_5, first, self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        data = self._reader.read(count)
        if len(data) < count:
            raise EOFError("the server closed the connection")
        return data
