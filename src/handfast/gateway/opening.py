"""CONNECT: step 4 of the verdict, and the CONNACK that says honestly what this connection gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import ConnAck, Connect
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.core.topics.reserved import TopicClass, classify_topic
from handfast.errors import ProtocolViolation
from handfast.gateway import awaiting
from handfast.seam import Awaiting, ConnectRequest, Refused

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection


def open_connection(connection: MQTTConnection) -> None:
    """Identity and CONNECT are both there: refuse, or take over the client id and answer."""
    gateway = connection.gateway
    packet = connection.connect
    verdict = connection.verdict
    assert packet is not None
    assert verdict is not None
    connection.client_id = packet.client_id or connection.client_id or gateway.assigned_client_id()
    if isinstance(verdict, Refused):
        gateway.plane.refused_client(verdict, connection.client_id)
        connection.refuse_connect(verdict.trace_id)
        return
    will = packet.will
    if will is not None:
        topic_class = classify_topic(will.topic)
        if not topic_class.is_routed or (will.retain and topic_class is not TopicClass.ORDINARY):
            connection.violated(
                ProtocolViolation(f"the Will Topic {will.topic!r} is reserved", Code.TOPIC_NAME_INVALID)
            )
            return
    persistent = wants_session(packet)
    request = ConnectRequest(
        client_id=connection.client_id,
        protocol_version=packet.version,
        persistent=persistent,
        will_topic=will.topic if will is not None else None,
        will_retain=will is not None and will.retain,
        username=packet.username,
    )
    if isinstance(verdict, Awaiting):
        awaiting.provision(connection, verdict, request)
        return
    answer = gateway.ask_connect(connection, verdict, request)
    if isinstance(answer, Refused):
        connection.refuse_connect(answer.trace_id, unsupported_version=answer.unsupported_version)
        return
    # Only now: a certificate that may not use the client id cannot keep others from it.
    if not gateway.may_connect(verdict.scope, connection.client_id):
        gateway.withdraw(verdict, answer, "THROTTLED")
        reason = Reason(ReasonCode.LIMIT_EXCEEDED, "more than one CONNECT per second with this client id")
        connection.throttle_connect(gateway.record(connection, Stage.CONNECT, reason))
        return
    connection.authorizer = answer
    connection.will = will
    window = gateway.limits.outbound_inflight
    if packet.version == codec.MQTT_5:
        window = min(window, packet.properties.number(Property.RECEIVE_MAXIMUM, 65_535))
        connection.max_packet = packet.properties.number(Property.MAXIMUM_PACKET_SIZE, 0xFFFFFFFF)
        if connection.max_packet < gateway.limits.mqtt.packet_bytes:
            connection.one_by_one = True
    connection.connect = None
    gateway.take_over(connection, verdict)
    connection.opened(window)
    connection.enqueue(codec.encode(packet.version, _connack(connection, packet, persistent)))


def wants_session(packet: Connect) -> bool:
    """True when the client asks for a session that outlives the connection."""
    if packet.version == codec.MQTT_5:
        return packet.properties.number(Property.SESSION_EXPIRY_INTERVAL) > 0
    return not packet.clean_start


def _connack(connection: MQTTConnection, packet: Connect, persistent: bool) -> ConnAck:
    if packet.version != codec.MQTT_5:
        return ConnAck()
    limits = connection.gateway.limits.mqtt
    values: dict[int, int | str | bytes] = {
        Property.RECEIVE_MAXIMUM: limits.receive_maximum,
        Property.MAXIMUM_QOS: 1,
        Property.RETAIN_AVAILABLE: 1,
        Property.MAXIMUM_PACKET_SIZE: limits.packet_bytes,
        Property.TOPIC_ALIAS_MAXIMUM: limits.topic_alias_maximum,
        Property.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
        Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
        Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
    }
    if persistent:
        values[Property.SESSION_EXPIRY_INTERVAL] = 0  # sessions end with their connection
    if not packet.client_id:
        values[Property.ASSIGNED_CLIENT_IDENTIFIER] = connection.client_id
    if connection.engine.keep_alive_s != packet.keep_alive:
        values[Property.SERVER_KEEP_ALIVE] = connection.engine.keep_alive_s
    return ConnAck(properties=Properties(values))
