"""Requests on reserved topics and their replies: to the one connection that asked, and to nobody else."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.gateway import SCOPE, World, facts, settle

from handfast.core.mqtt.packets import PubAck, Publish, Will
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.topics.reserved import PayloadFormat, RequestKind, RequestTopic
from handfast.gateway.limits import GatewayLimits
from handfast.gateway.requests import REQUESTS_UNDER_WAY
from handfast.seam import Reply, Request, Unanswered

CREATE = "$aws/certificates/create/json"
PROVISION = "$aws/provisioning-templates/fleet/provision/cbor"
NOT_AUTHORIZED, TOPIC_NAME_INVALID, QUOTA_EXCEEDED = 0x87, 0x90, 0x97


class Service:
    """`seam.Requests`: keeps what is asked; answers with the client's id, at once or when the gate opens."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.refused: list[Unanswered] = []
        self.gate: asyncio.Event | None = None
        self.broken = False

    async def answer(self, request: Request) -> Reply | None:
        self.asked.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise RuntimeError("broken")
        return Reply(f"{request.topic}/accepted", request.client_id.encode())

    def refuse(self, request: Request, why: Unanswered) -> Reply:
        self.refused.append(why)
        return Reply(f"{request.topic}/rejected", why.value.encode())


class Desk(World):
    def __init__(self, *, limits: GatewayLimits | None = None) -> None:
        super().__init__(limits=limits)
        self.service = Service()
        self.gateway.serve_requests(self.service)


def ask(topic: str = CREATE, payload: bytes = b"{}", qos: int = 0, **changes: object) -> Publish:
    packet_id = 9 if qos else 0
    return Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [4, 5])
async def test_a_request_is_handed_on_and_its_reply_comes_unsubscribed_once(version: int) -> None:
    desk = Desk()
    device = await desk.client("lathe", version)
    device.send(ask(PROVISION, b"\xa0"))
    assert [(f"{PROVISION}/accepted", b"lathe", 0)] == await device.messages()
    (request,) = desk.service.asked
    assert (SCOPE, facts().certificate_id, "lathe", "127.0.0.1", PROVISION, b"\xa0") == (
        request.scope,
        request.certificate_id,
        request.client_id,
        request.address,
        request.topic,
        request.payload,
    )
    assert RequestTopic(RequestKind.REGISTER_THING, PayloadFormat.CBOR, "fleet") == request.wanted


@pytest.mark.parametrize("version", [4, 5])
async def test_no_other_subscriber_sees_request_or_reply(version: int) -> None:
    desk = Desk()
    spies = [await desk.client(f"spy-{each}", each, certificate="a") for each in (4, 5)]
    filters = ("#", "$aws/certificates/#", CREATE, f"{CREATE}/accepted", "$share/g/$aws/certificates/#")
    for spy in spies:
        for topic_filter in filters:
            await spy.subscribe(topic_filter, 1)
    device = await desk.client("lathe", version)
    for topic_filter in ("$share/g/$aws/certificates/#", "$aws/certificates/+/json/accepted", f"{CREATE}/accepted"):
        await device.subscribe(topic_filter, 0)
    device.send(ask(qos=1), ask(qos=0))
    acknowledged, *replies = await device.received()
    assert isinstance(acknowledged, PubAck)
    assert [b"lathe", b"lathe"] == [reply.payload for reply in replies if isinstance(reply, Publish)]
    for spy in spies:
        assert [] == await spy.received()


async def test_each_connection_of_a_claim_gets_its_own_reply() -> None:
    desk = Desk()
    one, other = await desk.client("one"), await desk.client("other", 5)
    for device in (one, other):
        await device.subscribe(f"{CREATE}/+", 1)
    one.send(ask())
    other.send(ask())
    assert [(f"{CREATE}/accepted", b"one", 1)] == await one.messages()
    assert [(f"{CREATE}/accepted", b"other", 1)] == await other.messages()


@pytest.mark.parametrize(("subscribed", "requested", "expected"), [(None, 0, 0), (None, 1, 1), (0, 1, 0), (1, 0, 1)])
async def test_qos_of_a_reply_is_the_subscriptions_else_the_requests(
    subscribed: int | None, requested: int, expected: int
) -> None:
    desk = Desk()
    device = await desk.client("lathe")
    if subscribed is not None:
        await device.subscribe(f"{CREATE}/accepted", subscribed)
    device.send(ask(qos=requested))
    packets = [packet for packet in await device.received() if isinstance(packet, Publish)]
    assert [expected] == [packet.qos for packet in packets]


async def test_correlation_data_comes_back_and_a_response_topic_is_not_followed() -> None:
    desk = Desk()
    device, victim = await desk.client("lathe", 5), await desk.client("victim", 5)
    await victim.subscribe("victim/inbox")
    properties = Properties({Property.CORRELATION_DATA: b"4711", Property.RESPONSE_TOPIC: "victim/inbox"})
    device.send(ask(properties=properties))
    (reply,) = await device.received()
    assert isinstance(reply, Publish)
    assert (f"{CREATE}/accepted", {Property.CORRELATION_DATA: b"4711"}) == (reply.topic, reply.properties.values)
    assert [] == await victim.received()


async def test_policy_decides_on_the_request() -> None:
    desk = Desk()
    desk.plane.denied = {("publish", CREATE)}
    new, old = await desk.client("new", 5), await desk.client("old", 4)
    new.send(ask(qos=1))
    (answer,) = await new.received()
    assert isinstance(answer, PubAck)
    assert NOT_AUTHORIZED == answer.reason
    old.send(ask())
    await settle()
    assert old.closed
    assert [] == desk.service.asked


async def test_what_could_not_be_received_is_not_done() -> None:
    desk = Desk()
    desk.plane.denied = {("receive", f"{CREATE}/accepted")}
    device = await desk.client("lathe")
    device.send(ask())
    assert [(f"{CREATE}/rejected", b"not receivable", 0)] == await device.messages()
    desk.plane.denied.add(("receive", f"{CREATE}/rejected"))
    device.send(ask())
    assert [] == await device.messages()
    assert [] == desk.service.asked


async def test_a_right_that_goes_while_the_request_is_under_way_holds_the_reply_back() -> None:
    desk = Desk()
    desk.service.gate = asyncio.Event()
    device = await desk.client("lathe")
    device.send(ask())
    await settle()
    desk.plane.denied.add(("receive", f"{CREATE}/accepted"))
    desk.service.gate.set()
    assert [] == await device.messages()


async def test_the_reply_to_a_connection_that_is_gone_is_dropped_even_if_the_client_is_back() -> None:
    desk = Desk()
    desk.service.gate = asyncio.Event()
    device = await desk.client("lathe")
    device.send(ask())
    await settle()
    (request,) = desk.service.asked
    assert request.waiting()
    again = await desk.client("lathe")
    await again.subscribe(f"{CREATE}/accepted")
    assert not request.waiting()
    desk.service.gate.set()
    assert [] == await again.messages()


async def test_requests_of_one_connection_are_bounded() -> None:
    desk = Desk()
    desk.service.gate = asyncio.Event()
    device = await desk.client("lathe")
    device.send(*[ask() for _ in range(REQUESTS_UNDER_WAY + 1)])
    assert [(f"{CREATE}/rejected", b"crowded", 0)] == await device.messages()
    desk.service.gate.set()
    assert REQUESTS_UNDER_WAY == len(await device.messages())
    device.send(ask())
    assert [(f"{CREATE}/accepted", b"lathe", 0)] == await device.messages()


async def test_a_service_that_breaks_leaves_the_connection_open() -> None:
    desk = Desk()
    desk.service.broken = True
    device = await desk.client("lathe")
    device.send(*[ask() for _ in range(REQUESTS_UNDER_WAY)])
    assert [] == await device.messages()
    desk.service.broken = False
    device.send(ask())
    assert [(f"{CREATE}/accepted", b"lathe", 0)] == await device.messages()


@pytest.mark.parametrize(
    "topic",
    [
        f"{CREATE}/accepted",
        "$aws/certificates/create",
        "$aws/certificates/create/xml",
        "$aws/certificates/revoke/json",
        "$aws/provisioning-templates/a.b/provision/json",
        f"$aws/provisioning-templates/{'x' * 37}/provision/json",
        "$aws/provisioning-templates//provision/json",
    ],
)
async def test_other_names_there_stay_reserved(topic: str) -> None:
    desk = Desk()
    device = await desk.client("lathe", 5)
    device.send(ask(topic, qos=1))
    (answer,) = await device.received()
    assert isinstance(answer, PubAck)
    assert TOPIC_NAME_INVALID == answer.reason


async def test_retain_a_will_and_a_gateway_without_the_service_refuse_them() -> None:
    desk = Desk()
    device = await desk.client("lathe", 5)
    device.send(ask(qos=1, retain=True))
    (answer,) = await device.received()
    assert isinstance(answer, PubAck)
    assert TOPIC_NAME_INVALID == answer.reason
    willing = desk.device(5)
    refused = await willing.connect("willing", will=Will(topic=CREATE, payload=b"", qos=0, retain=False))
    assert TOPIC_NAME_INVALID == refused.reason  # type: ignore[union-attr]
    bare = World()
    device = await bare.client("lathe", 5)
    device.send(ask(qos=1))
    (answer,) = await device.received()
    assert isinstance(answer, PubAck)
    assert TOPIC_NAME_INVALID == answer.reason
    assert [] == desk.service.asked


async def test_requests_count_against_the_quotas() -> None:
    desk = Desk(limits=GatewayLimits(quotas=True))
    desk.service.gate = asyncio.Event()
    device = await desk.client("lathe", 5)
    device.send(*[Publish(topic=CREATE, payload=b"", qos=1, packet_id=number) for number in range(1, 100)])
    acknowledged = [packet.reason for packet in await device.received() if isinstance(packet, PubAck)]
    # 100 publishes a second, both directions together: the replies of those that were too many count as well.
    assert (REQUESTS_UNDER_WAY, {0, QUOTA_EXCEEDED}) == (len(desk.service.asked), set(acknowledged))
    assert 100 - REQUESTS_UNDER_WAY == 2 * (acknowledged.count(0) - REQUESTS_UNDER_WAY)
