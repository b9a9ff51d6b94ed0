"""PUBLISH, SUBSCRIBE and UNSUBSCRIBE as they are judged: legality, policy, effect, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import Publish, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe
from handfast.core.mqtt.reasons import Code
from handfast.core.topics.filter import ParsedFilter, parse_filter
from handfast.core.topics.reserved import TopicClass, classify_topic, filter_reserved
from handfast.errors import ProtocolViolation
from handfast.gateway.messages import Message, forwarded_properties
from handfast.gateway.router import NO_LOCAL, QOS, RETAIN_AS_PUBLISHED
from handfast.printable import printable

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection

_RETAIN_IF_NEW = 1
_RETAIN_NEVER = 2


def publish(connection: MQTTConnection, packet: Publish) -> None:
    """One PUBLISH that the hot path did not know: judged, remembered, routed, acknowledged."""
    gateway = connection.gateway
    authorizer = connection.authorizer
    router = connection.router
    assert authorizer is not None
    assert router is not None
    topic = packet.topic
    if topic.startswith("$"):
        topic_class = classify_topic(topic)
        if topic_class is TopicClass.RESERVED or packet.retain:
            _refuse_reserved(connection, packet)
            return
        if topic_class is TopicClass.REQUEST:
            _request(connection, packet)
            return
    plan = connection.remembered(topic)
    if plan is None:
        if not authorizer.publish(topic):
            _refuse_publish(connection, packet, Code.NOT_AUTHORIZED)
            return
        plan = connection.remember(topic)
    if packet.retain and not authorizer.retain(topic):
        _refuse_publish(connection, packet, Code.NOT_AUTHORIZED)
        return
    if packet.retain and not gateway.may_retain(router.scope, topic):
        connection.discard(packet)
        return
    if packet.retain and packet.qos and not connection.await_durable(packet.packet_id):
        return  # the same PUBLISH again while the first is on its way to the store
    properties, expires_at = forwarded_properties(packet.properties, gateway.clock.monotonic())
    message = Message(topic.encode(), packet.payload, packet.qos, packet.retain, properties, expires_at)
    gateway.count_received(packet.qos)
    if packet.retain:
        gateway.retain(router, topic, message, connection if packet.qos else None, packet.packet_id)
    gateway.deliver(plan, message, connection)
    if packet.qos and not packet.retain:
        connection.acknowledge(packet.packet_id, Code.SUCCESS)


def _request(connection: MQTTConnection, packet: Publish) -> None:
    """A question to the service: never remembered, so that the hot path cannot know its topic; never routed."""
    gateway = connection.gateway
    desk = gateway.requests
    assert connection.authorizer is not None
    if desk is None:
        _refuse_reserved(connection, packet)
    elif not connection.authorizer.publish(packet.topic):
        _refuse_publish(connection, packet, Code.NOT_AUTHORIZED)
    else:
        gateway.count_received(packet.qos)
        if packet.qos:
            connection.acknowledge(packet.packet_id, Code.SUCCESS)  # taken; what comes of it is told in the reply
        desk.take(connection, packet)


def _refuse_reserved(connection: MQTTConnection, packet: Publish) -> None:
    what = "RETAIN on a reserved topic" if packet.retain else "a reserved topic that devices cannot publish to"
    connection.gateway.record(
        connection,
        Stage.PUBLISH,
        Reason(ReasonCode.TOPIC_NOT_VALID, what),
        resource=printable(packet.topic, limit=300),
    )
    _refuse_publish(connection, packet, Code.TOPIC_NAME_INVALID)


def _refuse_publish(connection: MQTTConnection, packet: Publish, reason: int) -> None:
    """At QoS 1 MQTT 5 is told and goes on; everything else can only be closed."""
    if connection.version == codec.MQTT_5 and packet.qos:
        connection.acknowledge(packet.packet_id, reason)
    else:
        connection.cut(reason, "AUTH_ERROR" if reason == Code.NOT_AUTHORIZED else "CLIENT_ERROR")


def subscribe(connection: MQTTConnection, packet: Subscribe) -> None:
    """One answer per filter; retained messages follow where a filter is exactly one topic."""
    reasons: list[int] = []
    wanted: list[tuple[str, int]] = []
    for item in packet.subscriptions:
        parsed = parse_filter(item.topic_filter)
        reason = _subscribe_one(connection, item, parsed)
        reasons.append(reason if connection.version == codec.MQTT_5 else _v311(reason))
        if reason > 1 or isinstance(parsed, str):
            continue
        new = parsed.text not in connection.subscriptions
        options = item.qos | item.no_local * NO_LOCAL | item.retain_as_published * RETAIN_AS_PUBLISHED
        connection.subscriptions[parsed.text] = (parsed, options)
        assert connection.router is not None
        connection.router.subscribe(connection, parsed, options)
        connection.gateway.subscription_count += new
        send_retained = item.retain_handling != _RETAIN_NEVER and (new or item.retain_handling != _RETAIN_IF_NEW)
        # Wildcard filters and Shared Subscriptions never get retained messages.
        if send_retained and not parsed.has_wildcard and parsed.share_name is None:
            wanted.append((parsed.plain, item.qos))
    connection.enqueue(codec.encode(connection.version, SubAck(packet_id=packet.packet_id, reasons=tuple(reasons))))
    if wanted:
        connection.gateway.send_retained(connection, wanted)


def _subscribe_one(connection: MQTTConnection, item: Subscription, parsed: ParsedFilter | str) -> int:
    """The granted QoS, or the Reason Code that refuses."""
    gateway = connection.gateway
    router = connection.router
    authorizer = connection.authorizer
    assert router is not None
    assert authorizer is not None
    refused = ""
    code = ReasonCode.TOPIC_NOT_VALID
    reason: int = Code.TOPIC_FILTER_INVALID
    if isinstance(parsed, str):
        refused = f"the Topic Filter is refused: {parsed}"
    elif filter_reserved(parsed.plain):
        refused = "nobody can subscribe to this reserved topic"
    elif parsed.text not in connection.subscriptions:
        code, reason = ReasonCode.LIMIT_EXCEEDED, Code.QUOTA_EXCEEDED
        limits = gateway.limits
        if len(connection.subscriptions) >= limits.subscriptions_per_connection:
            refused = f"the connection has {limits.subscriptions_per_connection} subscriptions"
        elif parsed.share_name is not None:
            group = router.group(parsed)
            if group is None and router.group_count >= limits.share_groups_per_scope:
                refused = f"the account has {limits.share_groups_per_scope} shared subscriptions"
            elif group is not None and len(group.members) >= limits.share_members_per_group:
                refused = f"the shared subscription has {limits.share_members_per_group} members"
    if refused:
        gateway.record(
            connection,
            Stage.SUBSCRIBE,
            Reason(code, refused),
            resource=printable(item.topic_filter, limit=300),
        )
        return reason
    if not authorizer.subscribe(item.topic_filter):
        return Code.NOT_AUTHORIZED
    return item.qos & QOS


def _v311(reason: int) -> int:
    """3.1.1 knows the granted QoS and 0x80."""
    return reason if reason < 2 else 0x80


def unsubscribe(connection: MQTTConnection, packet: Unsubscribe) -> None:
    """Every filter that is legal is gone afterwards, whether it was there or not."""
    assert connection.router is not None
    reasons: list[int] = []
    for text in packet.topic_filters:
        known = connection.subscriptions.pop(text, None)
        if known is not None:
            connection.router.unsubscribe(connection, known[0])
            connection.gateway.subscription_count -= 1
            reasons.append(Code.SUCCESS)
            continue
        legal = not isinstance(parse_filter(text), str)
        if not legal and connection.version != codec.MQTT_5:
            raise ProtocolViolation("UNSUBSCRIBE names an illegal Topic Filter", Code.TOPIC_FILTER_INVALID)
        # AWS IoT does not send 0x11 (no subscription existed).
        reasons.append(Code.SUCCESS if legal else Code.TOPIC_FILTER_INVALID)
    answer = UnsubAck(packet_id=packet.packet_id, reasons=tuple(reasons))
    connection.enqueue(codec.encode(connection.version, answer))
