"""What a client is told of a refusal, and when its connection is ended from our side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handfast.core.identity.refusal import ReasonCode
from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import ConnAck, Disconnect
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.gateway.receiver import JUDGING, OPEN

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection

REFUSAL_CODES: dict[int, ReasonCode] = {
    Code.MALFORMED_PACKET: ReasonCode.MALFORMED_PACKET,
    Code.UNSUPPORTED_PROTOCOL_VERSION: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    Code.CLIENT_IDENTIFIER_NOT_VALID: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    Code.TOPIC_FILTER_INVALID: ReasonCode.TOPIC_NOT_VALID,
    Code.TOPIC_NAME_INVALID: ReasonCode.TOPIC_NOT_VALID,
    Code.RECEIVE_MAXIMUM_EXCEEDED: ReasonCode.LIMIT_EXCEEDED,
    Code.TOPIC_ALIAS_INVALID: ReasonCode.LIMIT_EXCEEDED,
    Code.PACKET_TOO_LARGE: ReasonCode.PACKET_TOO_LARGE,
    Code.QUOTA_EXCEEDED: ReasonCode.LIMIT_EXCEEDED,
    Code.QOS_NOT_SUPPORTED: ReasonCode.QOS_NOT_SUPPORTED,
}
"""What the record calls a violation that is answered with this Reason Code; others are PROTOCOL_ERROR."""

END_CODES: dict[str, int] = {
    "AUTH_ERROR": Code.NOT_AUTHORIZED,
    "WEBSOCKET_TTL_EXPIRATION": Code.ADMINISTRATIVE_ACTION,
}
"""What MQTT 5 is told when the time of a connection is over, by `Admitted.ends_with`."""


def goodbye(connection: MQTTConnection, reason: int) -> bytes:
    """The last packet to an MQTT 5 client; earlier versions have none."""
    if connection.version == 5 and connection.state == OPEN:
        return codec.encode(5, Disconnect(reason=reason))
    if connection.version == 5 and connection.state == JUDGING:
        return codec.encode(5, ConnAck(reason=reason))
    return b""


def refusal(connection: MQTTConnection, trace_id: str, reason: int, v311: int) -> bytes:
    """The CONNACK that refuses; with the trace id where the client may and wants to be told it."""
    if connection.version == 5:
        properties = Properties()
        spoken = connection.spoken(trace_id)
        if spoken:
            properties.values[Property.REASON_STRING] = spoken
        return codec.encode(5, ConnAck(reason=reason, properties=properties))
    return codec.encode(4, ConnAck(reason=v311)) if connection.gateway.explain else b""
