"""A device's first message: over mutual TLS, published, and seen to arrive."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handfast.cli.kit import Kit
from handfast.core.mqtt.codec import MQTT_5
from handfast.core.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
)
from handfast.core.mqtt.properties import Properties, Property
from handfast.doctor.link import Link
from handfast.errors import ConfigurationError, HandfastError
from handfast.printable import printable

TIMEOUT_S = 10.0


class DeviceFailed(HandfastError):
    """The device did not get through; the message says where it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What happened. `round_trip_s` runs from the PUBLISH being sent to its arrival."""

    endpoint: str
    tls_version: str
    cipher: str
    topic: str
    payload: bytes
    round_trip_s: float


def send_first_message(folder: Path, kit: Kit, *, topic: str, payload: bytes) -> Arrived:
    """
    The device of the kit connected, subscribed to `topic`, published there at QoS 1, and got its message back.

    TCP goes to the kit's host; the server must prove that it is the endpoint, under the kit's roots.
    """
    context = ssl.create_default_context(cafile=_existing(folder / "root-ca.pem"))
    try:
        context.load_cert_chain(_existing(folder / "certificate.pem"), _existing(folder / "private.key"))
    except ssl.SSLError as error:
        raise ConfigurationError(f"certificate.pem and private.key in {folder} do not fit: {error.reason}") from None
    where = f"{kit.host}:{kit.mqtt_port}"
    try:
        with (
            socket.create_connection((kit.host, kit.mqtt_port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=kit.endpoint) as tls,
        ):
            return _exchange(Link(tls), tls, kit, topic, payload)
    except ssl.SSLCertVerificationError as error:
        raise DeviceFailed(
            f"the server at {where} did not prove to be {kit.endpoint}: {error.verify_message}; "
            "is root-ca.pem that server's?"
        ) from None
    except TimeoutError:
        raise DeviceFailed(f"{where} did not answer within {TIMEOUT_S:.0f} s") from None
    except (OSError, EOFError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise DeviceFailed(
            f"the connection to {where} failed: {said}; is the server running? "
            f"If it is, 'handfast explain {kit.certificate_id}' may know why"
        ) from None


def _exchange(link: Link, tls: ssl.SSLSocket, kit: Kit, topic: str, payload: bytes) -> Arrived:
    link.send(Connect(version=MQTT_5, client_id=kit.client_id, keep_alive=30))
    connected = link.receive()
    if not isinstance(connected, ConnAck):
        raise DeviceFailed(f"the server answered CONNECT with {type(connected).__name__}")
    if connected.reason:
        raise DeviceFailed(f"the server refused to connect: {_why(connected)}")
    link.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter=topic, qos=1),)))
    granted = link.receive()
    if not isinstance(granted, SubAck) or any(code >= 0x80 for code in granted.reasons):
        raise DeviceFailed(f"the server refused the subscription to {topic}: {_why(granted)}")
    mark = payload or secrets.token_bytes(8)
    sent = time.monotonic()
    link.send(Publish(topic=topic, payload=mark, qos=1, packet_id=2))
    acknowledged, arrived = False, None
    while not acknowledged or arrived is None:
        packet = link.receive()
        if isinstance(packet, PubAck):
            if packet.reason >= 0x80:
                raise DeviceFailed(f"the server refused the message: {_why(packet)}")
            acknowledged = True
        elif isinstance(packet, Publish) and packet.topic == topic:
            if packet.qos:
                link.send(PubAck(packet_id=packet.packet_id))
            if packet.payload == mark and not packet.retain:
                arrived = time.monotonic() - sent
        elif isinstance(packet, Disconnect):
            raise DeviceFailed(f"the server ended the connection: {_why(packet)}")
    link.send(Disconnect())
    cipher = tls.cipher()
    return Arrived(
        endpoint=kit.endpoint,
        tls_version=tls.version() or "",
        cipher=cipher[0] if cipher else "",
        topic=topic,
        payload=mark,
        round_trip_s=arrived,
    )


def _why(packet: Any) -> str:
    codes = getattr(packet, "reasons", None) or (getattr(packet, "reason", 0),)
    text = ", ".join(f"0x{code:02X}" for code in codes)
    properties = getattr(packet, "properties", None) or Properties()
    said = properties.text(Property.REASON_STRING)
    if not said:
        return f"reason code {text}; see 'handfast explain'"
    return f"reason code {text}, {printable(said, limit=300)}; see 'handfast explain {printable(said, limit=300)}'"


def _existing(path: Path) -> str:
    if not path.is_file():
        raise ConfigurationError(f"{path} is not there: give the folder that 'handfast device create' made")
    return str(path)
