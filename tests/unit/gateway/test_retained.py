"""Retained messages through the gateway: durable before the PUBACK, delivered on exact filters only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.gateway import OTHER_SCOPE, SCOPE, World, settle

from handfast.core.mqtt.packets import Disconnect, PubAck, Publish, SubAck, Subscribe, Subscription
from handfast.core.mqtt.properties import Properties, Property
from handfast.gateway.retained import PENDING_LIMIT_BYTES


def kept(payload: bytes = b"state", qos: int = 0, packet_id: int = 1, **more: Any) -> Publish:
    return Publish(topic="t", payload=payload, qos=qos, packet_id=packet_id if qos else 0, retain=True, **more)


@pytest.mark.parametrize("version", [4, 5])
async def test_a_retained_message_meets_a_new_subscriber_with_the_flag_set(version: int) -> None:
    world = World()
    live, sender = await world.client("live", version), await world.client("s", version)
    await live.subscribe("t", 1)
    properties = Properties({Property.CONTENT_TYPE: "a/b"} if version == 5 else {})
    sender.send(kept(qos=1, properties=properties))
    assert [PubAck(packet_id=1)] == await sender.received()
    (seen,) = await live.received()
    assert isinstance(seen, Publish)
    assert not seen.retain
    late = await world.client("late", version)
    late.send(Subscribe(packet_id=7, subscriptions=(Subscription(topic_filter="t", qos=1),)))
    suback, message = await late.received()
    assert SubAck(packet_id=7, reasons=(1,)) == suback
    assert kept(qos=1, properties=properties) == message


@pytest.mark.parametrize("topic_filter", ["+", "#", "$share/g/t"])
async def test_wildcards_and_shares_get_no_retained_messages(topic_filter: str) -> None:
    world = World()
    sender = await world.client("s")
    sender.send(kept())
    await settle()
    assert (0,) == (await sender.subscribe(topic_filter)).reasons


async def test_an_empty_payload_clears_and_is_delivered() -> None:
    world = World()
    live, sender = await world.client("live"), await world.client("s")
    await live.subscribe("t")
    sender.send(kept())
    await settle()
    assert {(SCOPE, "t")} == set(world.sessions.stored)
    sender.send(kept(b"", qos=1))
    assert [PubAck(packet_id=1)] == await sender.received()
    assert {} == world.sessions.stored
    assert [("t", b"state", 0), ("t", b"", 0)] == await live.messages()
    late = await world.client("late")
    await late.subscribe("t")


async def test_the_puback_waits_for_the_store_and_later_ones_queue_behind_it() -> None:
    world = World()
    world.sessions.gate = asyncio.Event()
    sender = await world.client("s", 5)
    plain = Publish(topic="u", payload=b"", qos=1, packet_id=2)
    sender.send(kept(qos=1), plain, Publish(topic="u", payload=b"", qos=1, packet_id=3))
    assert [] == await sender.received()
    world.sessions.gate.set()
    assert [PubAck(packet_id=n) for n in (1, 2, 3)] == await sender.received()


async def test_what_one_read_brings_is_one_commit() -> None:
    world = World()
    senders = [await world.client(f"s{n}") for n in range(3)]
    for sender in senders:
        sender.send(kept(qos=1), kept(b"2", qos=1, packet_id=2))
    await settle()
    assert [6] == world.sessions.commits


async def test_the_same_publish_again_while_it_is_stored_is_not_delivered_again() -> None:
    world = World()
    world.sessions.gate = asyncio.Event()
    live, sender = await world.client("live"), await world.client("s")
    await live.subscribe("t")
    sender.send(kept(qos=1), kept(qos=1, dup=True))
    assert 1 == len(await live.messages())
    world.sessions.gate.set()
    assert [PubAck(packet_id=1)] == await sender.received()


async def test_a_full_store_is_a_quota_and_a_broken_one_an_error() -> None:
    for broken, reason in ((False, 0x97), (True, 0x80)):
        world = World()
        world.sessions.full = not broken
        world.sessions.broken = broken
        five, four = await world.client("5", 5), await world.client("4", 4)
        five.send(kept(qos=1))
        assert [PubAck(packet_id=1, reason=reason)] == await five.received()
        assert not five.closed
        four.send(kept(qos=1))
        assert [] == await four.received()
        assert four.closed


async def test_a_hundred_waiting_messages_pause_the_old_version_and_end_the_new_one() -> None:
    world = World(explain=False)
    world.sessions.gate = asyncio.Event()
    four, five = await world.client("4", 4), await world.client("5", 5)
    messages = [kept(qos=1, packet_id=n + 1) for n in range(130)]
    four.send(*messages)
    await settle()
    assert not four.transport.reading
    four.send(kept(qos=1, packet_id=131))  # already on its way when reading was paused
    five.send(*messages)
    assert Disconnect(reason=0x93) == (await five.received())[-1]
    world.sessions.gate.set()
    assert [PubAck(packet_id=n + 1) for n in range(131)] == await four.received()
    assert four.transport.reading


async def test_retain_handling() -> None:
    world = World()
    sender = await world.client("s")
    sender.send(kept())
    device = await world.client("d", 5)

    async def count(handling: int) -> int:
        wanted = Subscription(topic_filter="t", retain_handling=handling)
        device.send(Subscribe(packet_id=1, subscriptions=(wanted,)))
        return len(await device.received()) - 1

    assert 0 == await count(2)
    assert 0 == await count(1)  # no new subscription
    assert 1 == await count(0)
    other = await world.client("o", 5)
    other.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="t", retain_handling=1),)))
    assert 2 == len(await other.received())


async def test_a_retained_message_needs_the_right_to_receive() -> None:
    world = World()
    sender = await world.client("s")
    sender.send(kept())
    world.plane.denied = {("receive", "t")}
    device = await world.client("d")
    assert (0,) == (await device.subscribe("t")).reasons


async def test_retained_messages_stay_in_their_scope() -> None:
    world = World()
    (await world.client("s")).send(kept())
    world.plane.scope = OTHER_SCOPE
    device = await world.client("d")
    await device.subscribe("t")


async def test_a_newer_live_message_overtakes_the_one_that_is_being_read() -> None:
    world = World()
    sender, device = await world.client("s"), await world.client("d")
    sender.send(kept(b"old"))
    await settle()
    world.sessions.reads = asyncio.Event()
    await device.subscribe("t")
    sender.send(kept(b"new"))
    assert [("t", b"new", 0)] == await device.messages()
    world.sessions.reads.set()
    assert [] == await device.messages()


async def test_unsubscribing_or_leaving_while_it_is_read_ends_it() -> None:
    world = World()
    sender, device = await world.client("s"), await world.client("d")
    sender.send(kept())
    await settle()
    world.sessions.reads = asyncio.Event()
    await device.subscribe("t")
    device.send(Disconnect())
    await settle()
    world.sessions.reads.set()
    assert [] == await device.received()


async def test_the_time_that_is_left_is_told_and_kept() -> None:
    world = World()
    sender = await world.client("s", 5)
    sender.send(kept(properties=Properties({Property.MESSAGE_EXPIRY_INTERVAL: 100})))
    await settle()
    stored = world.sessions.stored[SCOPE, "t"]
    assert world.clock.now().timestamp() + 100 == stored.expires_at
    assert b"" == stored.properties
    world.pass_time(40)
    device = await world.client("d", 5)
    device.send(Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="t"),)))
    _suback, message = await device.received()
    assert isinstance(message, Publish)
    assert 60 == message.properties.number(Property.MESSAGE_EXPIRY_INTERVAL)


async def test_services_wait_for_durability_and_hear_of_a_full_store() -> None:
    world = World()
    world.sessions.gate = asyncio.Event()
    publishing = asyncio.ensure_future(world.gateway.publish(SCOPE, "t", b"x", qos=1, retain=True, properties=b""))
    await settle()
    assert not publishing.done()
    world.sessions.gate.set()
    assert True is await publishing
    world.sessions.full = True
    assert False is await world.gateway.publish(SCOPE, "u", b"x", qos=1, retain=True, properties=b"")


async def test_a_stopping_gateway_waits_until_retained_messages_are_durable() -> None:
    world = World()
    sender = await world.client("s")
    sender.send(kept())
    await world.gateway.close()
    assert {(SCOPE, "t")} == set(world.sessions.stored)


async def test_a_device_whose_right_is_taken_while_the_message_is_read_does_not_get_it() -> None:
    world = World()
    sender, device = await world.client("s"), await world.client("d")
    sender.send(kept(b"secret"))
    await settle()
    world.sessions.reads = asyncio.Event()
    await device.subscribe("t")
    world.plane.denied.add(("receive", "t"))
    for authorizer in world.plane.authorizers:
        authorizer.version += 1
    world.gateway.authorizations_changed()
    world.sessions.reads.set()
    assert [] == await device.messages()


async def test_a_store_that_is_behind_holds_a_bounded_number_of_bytes() -> None:
    world = World()
    world.sessions.gate = asyncio.Event()
    sender = await world.client("s")
    payload = b"x" * 100_000
    total = PENDING_LIMIT_BYTES // len(payload) + 40
    for number in range(total):
        sender.send(Publish(topic=f"t/{number}", payload=payload, qos=0, packet_id=0, retain=True))
        await settle()
    world.sessions.gate.set()
    await settle()
    held = sum(len(message.payload) for message in world.sessions.stored.values())
    assert PENDING_LIMIT_BYTES <= held <= PENDING_LIMIT_BYTES + len(payload)
    sender.send(Publish(topic="t/after", payload=payload, qos=0, packet_id=0, retain=True))
    await settle()
    assert (SCOPE, "t/after") in world.sessions.stored
