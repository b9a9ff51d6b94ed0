"""One client's flood of packets that have to be judged one by one takes many turns of the loop, not one long one."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.gateway import World, message
from tests.support.raw import packet

from handfast.core.mqtt.packets import PingReq, PingResp, PubAck, Publish, SubAck, Subscribe, Subscription, Unsubscribe
from handfast.gateway import commands
from handfast.gateway.holding import JUDGED_IN_A_TURN

MANY = 5 * JUDGED_IN_A_TURN


async def test_subscriptions_are_judged_a_few_in_a_turn_and_all_of_them_in_order() -> None:
    world = World()
    device, other = await world.client("s"), await world.client("o")
    asked = world.plane.authorizers[0].asked
    asked.clear()
    names = [f"t/{number % 40}" for number in range(MANY)]
    wanted = [Subscription(topic_filter=name, qos=0) for name in names]
    device.send(*(Subscribe(packet_id=1 + n, subscriptions=(each,)) for n, each in enumerate(wanted)))
    assert JUDGED_IN_A_TURN // 2 == sum(action == "subscribe" for action, _ in asked)
    assert not device.transport.reading
    other.send(PingReq())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"\xd0\x00" == other.transport.written
    assert sum(action == "subscribe" for action, _ in asked) < MANY
    answers = await device.received()
    assert [SubAck(packet_id=1 + n, reasons=(0,)) for n in range(MANY)] == answers
    assert names == [name for action, name in asked if action == "subscribe"]
    assert device.transport.reading


async def test_new_topics_and_what_follows_them_are_published_in_order() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("#")
    topics = [f"t/{number}" for number in range(MANY)]
    sender.send(*(message(topic=topic, qos=1, packet_id=1 + n) for n, topic in enumerate(topics)))
    assert len(world.plane.authorizers[0].asked) == JUDGED_IN_A_TURN
    sender.send(message(topic="t/0", payload=b"again"), Unsubscribe(packet_id=9, topic_filters=("none",)))
    got = await taker.messages()
    assert [*topics, "t/0"] == [topic for topic, _, _ in got]
    assert [PubAck(packet_id=1 + n) for n in range(MANY)] == (await sender.received())[:MANY]


async def test_packets_that_are_cheap_wait_for_nothing() -> None:
    world = World()
    device = await world.client("s")
    device.send(*(PingReq() for _ in range(MANY)))
    assert device.transport.reading
    assert [PingResp()] * MANY == await device.received()


async def test_what_came_before_the_end_counts_although_it_waited() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("#")
    sender.send(*(message(topic=f"t/{number}") for number in range(MANY)))
    assert not sender.protocol.eof_received()
    sender.transport.close()
    assert [f"t/{number}" for number in range(MANY)] == [topic for topic, _, _ in await taker.messages()]


async def test_a_violation_in_a_later_turn_ends_the_connection() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("#")
    flood = [message(topic=f"t/{number}") for number in range(MANY)]
    sender.send(*flood[:-1])
    sender.send_raw(packet(0xF0, b""))
    sender.send(flood[-1])
    got = [each.topic for each in await taker.received() if isinstance(each, Publish)]
    assert [each.topic for each in flood[:-1]] == got
    assert sender.closed


async def test_an_error_in_a_later_turn_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("#")
    sender.send(*(message(topic=f"t/{number}") for number in range(MANY)))
    monkeypatch.setattr(commands, "publish", fail)
    assert JUDGED_IN_A_TURN == len(await taker.messages())
    assert sender.transport.aborted
    assert "a bug" in caplog.text


async def test_a_client_that_is_cut_while_it_waits_is_heard_no_more() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("#")
    sender.send(*(message(topic=f"t/{number}") for number in range(MANY)))
    sender.protocol.cut(0x87, "FORBIDDEN")
    assert JUDGED_IN_A_TURN == len(await taker.messages())
    assert sender.closed
