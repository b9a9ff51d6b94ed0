"""Messages under way at QoS 1: limits, packet identifiers, the sizes that a client takes."""

from __future__ import annotations

from tests.support.gateway import World, message

from handfast.core.mqtt.packets import PubAck, Publish
from handfast.core.mqtt.properties import Properties, Property


async def test_a_hundred_messages_are_under_way_and_the_rest_waits() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("t", 1)
    for number in range(150):
        sender.send(message(payload=bytes([number]), qos=1, packet_id=number + 1))
    first = await taker.received()
    assert 100 == len(first)
    ids = [p.packet_id for p in first if isinstance(p, Publish)]
    assert 100 == len(set(ids))
    taker.send(*(PubAck(packet_id=number) for number in ids[:30]))
    assert 30 == len(await taker.received())
    taker.send(*(PubAck(packet_id=number) for number in ids[30:]))
    rest = await taker.received()
    assert 20 == len(rest)
    assert bytes([149]) == [p.payload for p in rest if isinstance(p, Publish)][-1]


async def test_a_device_that_withholds_its_pubacks_gets_nothing_more_once_its_right_is_taken() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("t", 1)
    for number in range(150):
        sender.send(message(payload=bytes([number]), qos=1, packet_id=number + 1))
    ids = [p.packet_id for p in await taker.received() if isinstance(p, Publish)]
    assert 100 == len(ids)
    world.plane.denied.add(("receive", "t"))
    for authorizer in world.plane.authorizers:
        authorizer.version += 1
    world.gateway.authorizations_changed()
    taker.send(*(PubAck(packet_id=number) for number in ids))
    assert [] == await taker.received()


async def test_the_clients_receive_maximum_is_kept() -> None:
    world = World()
    sender = await world.client("s")
    taker = await world.client("t", 5, properties=Properties({Property.RECEIVE_MAXIMUM: 2}))
    await taker.subscribe("t", 1)
    sender.send(*(message(payload=bytes([n]), qos=1, packet_id=n + 1) for n in range(5)))
    got = await taker.received()
    assert 2 == len(got)
    assert isinstance(got[0], Publish)
    taker.send(PubAck(packet_id=got[0].packet_id, reason=0x80))  # a failure makes room as well
    assert [("t", bytes([2]), 1)] == await taker.messages()


async def test_packet_identifiers_of_several_publishers_do_not_collide() -> None:
    world = World()
    taker = await world.client("t")
    await taker.subscribe("#", 1)
    senders = [await world.client(f"s{n}", 4 + n % 2) for n in range(4)]
    for sender in senders:
        sender.send(message("a", qos=1), message("a", qos=1, packet_id=2))
    got = await taker.received()
    ids = [p.packet_id for p in got if isinstance(p, Publish)]
    assert 8 == len(ids)
    assert 8 == len(set(ids))


async def test_a_publisher_that_repeats_an_identifier_does_not_confuse_a_receiver() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("t", 1)
    sender.send(message(qos=1))
    sender.send(message(payload=b"a", qos=1, packet_id=7), message(payload=b"b", qos=1, packet_id=7))
    got = await taker.received()
    assert 3 == len({p.packet_id for p in got if isinstance(p, Publish)})


async def test_a_client_gets_no_packet_larger_than_it_takes() -> None:
    world = World()
    sender = await world.client("s")
    taker = await world.client("t", 5, properties=Properties({Property.MAXIMUM_PACKET_SIZE: 512}))
    await taker.subscribe("t", 1)
    sender.send(message(payload=b"x" * 600), message(payload=b"y" * 600, qos=1), message(payload=b"small", qos=1))
    assert [("t", b"small", 1)] == await taker.messages()
