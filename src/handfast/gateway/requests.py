"""
Requests that devices make on reserved topics, and the replies, which go to the one connection that asked.

Neither passes a router: no subscription, wildcard or shared group ever meets
them. A reply is delivered once, whether or not its topic is subscribed to; when
the connection is gone by then, it is dropped with all that it holds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from handfast.core.mqtt.packets import Publish
from handfast.core.mqtt.properties import Properties, Property, encode_block
from handfast.core.topics.filter import filter_matches
from handfast.core.topics.reserved import request_topic
from handfast.gateway.messages import Message
from handfast.gateway.receiver import OPEN
from handfast.gateway.router import QOS
from handfast.seam import Reply, Request, Requests, Unanswered

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection
    from handfast.gateway.gateway import Gateway

_log = logging.getLogger(__name__)

REQUESTS_UNDER_WAY = 4
"""Of one connection; a device has one, and its SDK may repeat it."""


class RequestDesk:
    """Hands requests to the service and its replies back. Belongs to the gateway's event loop."""

    __slots__ = ("_gateway", "_requests", "_under_way")

    def __init__(self, gateway: Gateway, requests: Requests) -> None:
        self._gateway = gateway
        self._requests = requests
        self._under_way: dict[MQTTConnection, int] = {}

    def take(self, connection: MQTTConnection, packet: Publish) -> None:
        """A PUBLISH on a request topic, allowed by policy: its reply comes by and by."""
        topic = packet.topic
        admitted = connection.admitted
        wanted = request_topic(topic)
        assert admitted is not None
        assert wanted is not None
        request = Request(
            scope=admitted.scope,
            certificate_id=admitted.certificate_id,
            client_id=connection.client_id,
            address=connection.facts.peer_address,
            topic=topic,
            wanted=wanted,
            payload=packet.payload,
            waiting=lambda: connection.state == OPEN,
            facts=connection.facts,
        )
        # MQTT 5 §4.10: Correlation Data tells the requester which request this answers. As on AWS IoT, the reply's
        # topic is fixed: a Response Topic is not followed, or a device could have replies sent to others' topics.
        correlation = packet.properties.values.get(Property.CORRELATION_DATA)
        block = b""
        if isinstance(correlation, bytes):
            block = encode_block(Properties({Property.CORRELATION_DATA: correlation}))
        under_way = self._under_way.get(connection, 0)
        if under_way >= REQUESTS_UNDER_WAY:
            self._deliver(connection, self._requests.refuse(request, Unanswered.CROWDED), packet.qos, block)
        elif not connection.may_receive(f"{topic}/accepted"):
            self._deliver(connection, self._requests.refuse(request, Unanswered.NOT_RECEIVABLE), packet.qos, block)
        else:
            self._under_way[connection] = under_way + 1
            self._gateway.spawn(self._answer(connection, request, packet.qos, block))

    async def _answer(self, connection: MQTTConnection, request: Request, qos: int, block: bytes) -> None:
        try:
            reply = await self._requests.answer(request)
            if reply is not None:
                self._deliver(connection, reply, qos, block)
        except Exception:
            _log.exception("a request on a reserved topic failed inside", extra={"kind": request.wanted.kind.value})
        finally:
            left = self._under_way[connection] - 1
            if left:
                self._under_way[connection] = left
            else:
                del self._under_way[connection]

    def _deliver(self, connection: MQTTConnection, reply: Reply, qos: int, block: bytes) -> None:
        """To this connection alone, if it is there and policy lets it receive the reply now."""
        gateway = self._gateway
        if connection.state != OPEN:
            gateway.drop("requester_gone")
        elif not connection.may_receive(reply.topic):
            gateway.drop("not_authorized")
        else:
            qos = _reply_qos(connection, reply.topic, qos)
            connection.deliver(Message(reply.topic.encode(), reply.payload, qos, properties=block), qos, False)
            gateway.count_sent(qos)


def _reply_qos(connection: MQTTConnection, topic: str, requested: int) -> int:
    """The highest QoS that a subscription to the reply's topic was granted, else the request's own."""
    granted = [
        options & QOS
        for parsed, options in connection.subscriptions.values()
        if parsed.share_name is None and filter_matches(parsed.plain, topic)
    ]
    return max(granted, default=requested)
