"""Clients that read too slowly."""

from __future__ import annotations

from tests.support.gateway import World, message, settle

from handfast.core.mqtt.packets import Disconnect, PingReq
from handfast.gateway.limits import GatewayLimits


async def test_a_slow_consumer_loses_qos_0_first() -> None:
    world = World(limits=GatewayLimits(queue_bytes=10_000))
    sender, taker = await world.client("s"), await world.client("t")
    await taker.subscribe("t", 1)
    taker.protocol.pause_writing()
    for _ in range(100):
        sender.send(message(payload=b"x" * 1000))
        await settle()
    sender.send(message(payload=b"important", qos=1))
    assert [] == await taker.received()
    assert not taker.closed
    taker.protocol.resume_writing()
    got = await taker.messages()
    assert 5 <= len(got) <= 11
    assert ("t", b"important", 1) == got[-1]
    world.pass_time(1.25)
    dropped = world.meter.counts["handfast_mqtt_messages_dropped_total", (("reason", "slow_consumer"),)]
    assert 101 == len(got) + dropped


async def test_a_consumer_that_lets_qos_1_pile_up_is_closed() -> None:
    world = World(limits=GatewayLimits(queue_bytes=10_000))
    sender, taker = await world.client("s"), await world.client("t", 5)
    await taker.subscribe("t", 1)
    taker.protocol.pause_writing()
    for number in range(20):
        sender.send(message(payload=b"x" * 1000, qos=1, packet_id=number + 1))
        await settle()
    assert [Disconnect(reason=0x97)] == await taker.received()
    assert taker.closed
    assert ["LIMIT_EXCEEDED"] == world.plane.refusal_codes
    assert not sender.closed


async def test_a_client_that_only_asks_and_never_reads_is_closed() -> None:
    world = World(limits=GatewayLimits(queue_bytes=100))
    device = await world.client("c")
    device.protocol.pause_writing()
    for _ in range(101):
        device.send(PingReq())
        await settle()
    assert device.closed


async def test_a_client_that_cannot_keep_up_with_itself_is_closed_in_the_middle_of_a_read() -> None:
    world = World(limits=GatewayLimits(queue_bytes=5_000))
    device = await world.client("c", 5)
    await device.subscribe("t", 1)
    device.send(message())
    device.protocol.pause_writing()
    packets = [message(payload=b"x" * 1000, qos=1, packet_id=n + 1) for n in range(20)]
    device.send(*packets, PingReq(), *packets)
    await settle()
    assert device.closed
