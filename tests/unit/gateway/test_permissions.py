"""What policies and reserved topics forbid a connection, and when a change of policy is obeyed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.gateway import World, message

from handfast.core.mqtt.packets import Disconnect, PubAck, Publish


@pytest.mark.parametrize(
    ("version", "qos", "answer", "closed"),
    [
        (4, 0, [], True),
        (4, 1, [], True),
        (5, 0, [Disconnect(reason=0x87)], True),
        (5, 1, [PubAck(packet_id=1, reason=0x87)], False),
    ],
)
@pytest.mark.parametrize("action", ["publish", "retain"])
async def test_a_denied_publish(version: int, qos: int, answer: list[Any], closed: bool, action: str) -> None:
    world = World()
    world.plane.denied = {(action, "t")}
    watcher = await world.client("w")
    await watcher.subscribe("#")
    device = await world.client("c", version)
    device.send(message(qos=qos, retain=action == "retain"))
    assert answer == await device.received()
    assert closed is device.closed
    assert [] == await watcher.messages()
    assert {} == world.sessions.stored
    if closed:
        assert ["AUTH_ERROR"] == world.plane.gone


@pytest.mark.parametrize(
    ("version", "qos", "answer", "closed"),
    [
        (4, 0, [], True),
        (4, 1, [], True),
        (5, 0, [Disconnect(reason=0x90)], True),
        (5, 1, [PubAck(packet_id=1, reason=0x90)], False),
    ],
)
@pytest.mark.parametrize(
    "bad", [message("$SYS/x"), message("$aws/things/t/shadow/update"), message("$aws/rules/r/t", retain=True)]
)
async def test_reserved_topics_are_refused(
    version: int, qos: int, answer: list[Any], closed: bool, bad: Publish
) -> None:
    world = World()
    device = await world.client("c", version)
    device.send(message(bad.topic, qos=qos, retain=bad.retain))
    assert answer == await device.received()
    assert closed is device.closed
    assert ["TOPIC_NOT_VALID"] == world.plane.refusal_codes


async def test_basic_ingest_is_accepted_and_nobody_gets_it() -> None:
    world = World()
    device = await world.client("c", 5)
    await device.subscribe("#")
    device.send(message("$aws/rules/r/t", qos=1), message("$aws/rules/r/t"))
    assert [PubAck(packet_id=1)] == await device.received()
    assert ("publish", "$aws/rules/r/t") in world.plane.authorizers[0].asked


async def test_a_receiver_without_the_right_gets_nothing_and_stays() -> None:
    world = World()
    world.plane.denied = {("receive", "secret")}
    taker, sender = await world.client("t"), await world.client("s")
    await taker.subscribe("#")
    sender.send(message("secret"), message("secret"), message("open"))
    assert [("open", b"x", 0)] == await taker.messages()
    assert 1 == world.plane.authorizers[0].asked.count(("receive", "secret"))
    assert not taker.closed


async def test_a_policy_change_is_obeyed_by_the_next_packet() -> None:
    world = World()
    taker, sender = await world.client("t"), await world.client("s", 5)
    await taker.subscribe("t")
    sender.send(message(), message())
    assert 2 == len(await taker.messages())
    world.plane.denied.add(("receive", "t"))
    for authorizer in world.plane.authorizers:
        authorizer.version += 1
    world.gateway.authorizations_changed()
    sender.send(message())
    assert [] == await taker.messages()
    world.plane.denied.add(("publish", "t"))
    world.plane.authorizers[1].version += 1
    sender.send(message())
    assert [Disconnect(reason=0x87)] == await sender.received()


async def test_policy_is_asked_once_per_topic() -> None:
    world = World()
    sender = await world.client("s")
    for _ in range(5):
        sender.send(message(), message(qos=1), message("u"))
    await sender.received()
    asked = world.plane.authorizers[0].asked
    assert [("publish", "t"), ("publish", "u")] == asked
