"""An MQTT client of packets over mutual TLS: sends what it is told, shows every answer, waits for nothing else."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any

from tests.support.device import Device
from tests.support.raw import connect_tls
from tests.support.server import Server

from handfast.core.mqtt import codec
from handfast.core.mqtt.connection import frames
from handfast.core.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    Will,
)
from handfast.core.mqtt.properties import Properties, Property


class PacketClient:
    """One connection. The first bytes on it are those of `connect`."""

    def __init__(self, server: Server, device: Device, version: int) -> None:
        self.version = version
        self._sock = connect_tls(server, device, server.endpoint)
        self._rest = b""
        self._packets: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        """All of them in one write; a connection that is gone already shows in what is read."""
        try:
            self._sock.sendall(b"".join(codec.encode(self.version, packet) for packet in packets))
        except (ConnectionError, ssl.SSLError):
            pass

    def next(self) -> Packet | None:
        """The next packet; None: the connection was closed."""
        while not self._packets:
            try:
                data = self._sock.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return None
            whole, self._rest = frames(self._rest + data)
            self._packets = [codec.decode(self.version, first, body) for first, body in whole]
        return self._packets.pop(0)

    def connect(self, client_id: str, *, will: Will | None = None, persistent: bool = False) -> int | None:
        """CONNECT; the CONNACK's reason code, None when there was none."""
        properties = Properties()
        if persistent and self.version == codec.MQTT_5:
            properties.values[Property.SESSION_EXPIRY_INTERVAL] = 3600
        self.send(
            Connect(
                version=self.version,
                client_id=client_id,
                clean_start=not persistent,
                keep_alive=60,
                will=will,
                properties=properties,
            )
        )
        answer = self.next()
        assert answer is None or isinstance(answer, ConnAck), answer
        return None if answer is None else answer.reason

    def publish(self, topic: str, payload: bytes = b"x", *, qos: int = 1, retain: bool = False) -> list[Packet | None]:
        """PUBLISH, at QoS 1 its answer, and a ping: what came up to the ping's answer, or up to the end (None)."""
        packet = Publish(topic=topic, payload=payload, qos=qos, retain=retain, packet_id=1 if qos else 0)
        if not qos:
            return self.ask(packet)
        self.send(packet)
        answer = self.next()
        return [None] if answer is None else [answer, *self.ask()]

    def may_publish(self, topic: str) -> bool:
        """Whether policy allows a PUBLISH of QoS 1 (MQTT 5)."""
        (answer,) = self.publish(topic)
        assert isinstance(answer, PubAck), answer
        assert answer.reason in (0, 0x87), answer
        return answer.reason == 0

    def subscribe(self, *filters: str) -> tuple[int, ...]:
        """SUBSCRIBE with QoS 1; the SUBACK's reason codes."""
        wanted = tuple(Subscription(topic_filter=each, qos=1) for each in filters)
        self.send(Subscribe(packet_id=9, subscriptions=wanted))
        answer = self.next()
        assert isinstance(answer, SubAck), answer
        return answer.reasons

    def ask(self, *packets: Packet) -> list[Packet | None]:
        """The packets and a ping: what came up to the ping's answer, or up to the end (None)."""
        self.send(*packets, PingReq())
        answers: list[Packet | None] = []
        while not isinstance(answer := self.next(), PingResp):
            answers.append(answer)
            if answer is None:
                break
        return answers

    def delivered(self) -> list[tuple[str, bytes]]:
        """
        Topic and payload of what was delivered up to now, acknowledged.

        What another client's PUBACK acknowledges was routed before: it is
        written ahead of the answer to a ping that follows.
        """
        got = []
        for packet in self.ask():
            assert isinstance(packet, Publish), packet
            got.append((packet.topic, packet.payload))
            if packet.qos:
                self.send(PubAck(packet_id=packet.packet_id))
        return got

    def message(self) -> tuple[str, bytes]:
        """Topic and payload of the next message, which is waited for."""
        packet = self.next()
        assert isinstance(packet, Publish), packet
        if packet.qos:
            self.send(PubAck(packet_id=packet.packet_id))
        return packet.topic, packet.payload

    def close(self, *, politely: bool = True) -> None:
        """Politely: with DISCONNECT, so that no Will is published; returns when the server has closed too."""
        if politely:
            self.send(Disconnect())
            while self.next() is not None:
                pass
        self._sock.close()

    def __enter__(self) -> PacketClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        self.close(politely=kind is None)
