"""The Control Packets, shared by 3.1.1 and 5: only the encoding differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from handfast.core.mqtt.properties import Properties


class PacketType(IntEnum):
    """Control Packet types (§2.1.2), the upper four bits of the first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """The Will Message of a CONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """CONNECT. `version` is the Protocol Level: 4 (3.1.1) or 5. `clean_start` is 3.1.1's Clean Session."""

    version: int
    client_id: str
    clean_start: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnAck:
    """CONNACK. `reason` is a Reason Code in 5 and a Connect Return Code in 3.1.1."""

    reason: int = 0
    session_present: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """PUBLISH. `packet_id` is 0 at QoS 0; `topic` is empty where a Topic Alias stands for it."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class PubAck:
    """PUBACK."""

    packet_id: int
    reason: int = 0
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One Topic Filter of a SUBSCRIBE with its options; 3.1.1 knows only the QoS."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """SUBSCRIBE."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubAck:
    """SUBACK; one Reason Code (5) or return code (3.1.1) per filter, in order."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubAck:
    """UNSUBACK; 3.1.1 sends no reasons."""

    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class PingReq:
    """PINGREQ."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """PINGRESP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """DISCONNECT; 3.1.1 has neither reason nor properties, and only clients send it."""

    reason: int = 0
    properties: Properties = field(default_factory=Properties)


Packet = (
    Connect | ConnAck | Publish | PubAck | Subscribe | SubAck | Unsubscribe | UnsubAck | PingReq | PingResp | Disconnect
)
