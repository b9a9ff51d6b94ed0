"""SUBSCRIBE and UNSUBSCRIBE through the gateway: what is granted, options, shared subscriptions."""

from __future__ import annotations

from tests.support.gateway import World, message

from handfast.core.mqtt.packets import Disconnect, Publish, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe
from handfast.gateway.limits import GatewayLimits


async def test_subscribing_and_unsubscribing_take_effect_with_the_next_packet() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    seen = []
    for topic_filter in ("t", "+", "#"):
        sender.send(message(payload=b"before"))
        await taker.subscribe(topic_filter)
        sender.send(message(payload=b"during"))
        seen += await taker.messages()
        taker.send(Unsubscribe(packet_id=3, topic_filters=(topic_filter,)))
        assert [UnsubAck(packet_id=3)] == await taker.received()
        sender.send(message(payload=b"after"))
        seen += await taker.messages()
    assert [("t", b"during", 0)] * 3 == seen


async def test_unsubscribing_answers_every_filter() -> None:
    world = World()
    device = await world.client("c", 5)
    await device.subscribe("a/+")
    device.send(Unsubscribe(packet_id=9, topic_filters=("a/+", "never/there", "a/#/b")))
    assert [UnsubAck(packet_id=9, reasons=(0, 0, 0x8F))] == await device.received()


async def test_no_local_and_retain_as_published() -> None:
    world = World()
    device = await world.client("d", 5)
    other = await world.client("o", 5)
    await device.subscribe("t", no_local=True)
    await other.subscribe("t", retain_as_published=True)
    device.send(message(payload=b"mine", retain=True))
    other.send(message(payload=b"yours"))
    assert [("t", b"yours", 0)] == await device.messages()
    kept, plain = await other.received()
    assert isinstance(kept, Publish)
    assert isinstance(plain, Publish)
    assert (True, False) == (kept.retain, plain.retain)


async def test_a_shared_subscription_gives_each_message_to_one_member() -> None:
    world = World()
    members = [await world.client(f"m{n}", 4 + n % 2) for n in range(3)]
    watcher, sender = await world.client("w"), await world.client("s")
    for member in members:
        assert (1,) == (await member.subscribe("$share/g/t/+", 1)).reasons
    await watcher.subscribe("t/1")
    for number in range(60):
        sender.send(message("t/1", bytes([number])))
    shares = [[payload[0] for _t, payload, _q in await member.messages()] for member in members]
    assert list(range(60)) == sorted(number for share in shares for number in share)
    assert all(shares)
    assert 60 == len(await watcher.messages())
    members[0].send(Disconnect())
    members[1].send(Unsubscribe(packet_id=1, topic_filters=("$share/g/t/+",)))
    await members[1].received()
    sender.send(message("t/1", b"last"))
    assert [("t/1", b"last", 0)] == await members[2].messages()


async def test_two_groups_get_a_copy_each() -> None:
    world = World()
    one, two, sender = await world.client("1"), await world.client("2"), await world.client("s")
    await one.subscribe("$share/g/t")
    await two.subscribe("$share/h/t")
    sender.send(message())
    assert 1 == len(await one.messages())
    assert 1 == len(await two.messages())


async def test_granted_filters_refused_filters_and_too_many() -> None:
    world = World(limits=GatewayLimits(subscriptions_per_connection=3))
    world.plane.denied = {("subscribe", "no"), ("subscribe", "$share/g/no")}
    filters = ("a", "no", "b/#/c", "$aws/rules/r/t", "$share/g/no", "b", "c", "d")
    for version, reasons in (
        (5, (1, 0x87, 0x8F, 0x8F, 0x87, 1, 1, 0x97)),
        (4, (1, 0x80, 0x80, 0x80, 0x80, 1, 1, 0x80)),
    ):
        device = await world.client(f"c{version}", version)
        device.send(Subscribe(packet_id=1, subscriptions=tuple(Subscription(topic_filter=f, qos=1) for f in filters)))
        assert [SubAck(packet_id=1, reasons=reasons)] == await device.received()
        assert not device.closed
    assert ["TOPIC_NOT_VALID", "TOPIC_NOT_VALID", "LIMIT_EXCEEDED"] * 2 == world.plane.refusal_codes


async def test_subscribing_again_takes_no_second_place() -> None:
    world = World(limits=GatewayLimits(subscriptions_per_connection=1))
    device = await world.client("c", 5)
    assert (1,) == (await device.subscribe("a", 1)).reasons
    assert (0,) == (await device.subscribe("a", 0)).reasons
    assert (0x97,) == (await device.subscribe("b", 0)).reasons
