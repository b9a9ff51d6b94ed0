"""AWS IoT's rate quotas: what is discarded, what waits, what is refused, and that nothing is without the flag."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.gateway import OTHER_SCOPE, SCOPE, TRACE, Device, World, settle

from handfast.core.identity.refusal import Stage
from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import ConnAck, Connect, Disconnect, Packet, PubAck, Publish, Will
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.gateway.connection import MQTTConnection
from handfast.gateway.limits import GatewayLimits
from handfast.gateway.quotas import KeyedRate, TokenBucket
from handfast.gateway.throttled import ThrottledConnection

DROPPED = ("handfast_mqtt_messages_dropped_total", (("reason", "quota"),))


def world(**options: Any) -> World:
    return World(limits=GatewayLimits(quotas=True), **options)


def publish(number: int, *, qos: int = 0, topic: str = "t", size: int = 4, **fields: Any) -> Publish:
    payload = number.to_bytes(4, "big").rjust(size, b"\0")
    return Publish(topic=topic, payload=payload, qos=qos, packet_id=number + 1 if qos else 0, **fields)


def numbers(packets: list[Packet]) -> list[int]:
    return [int.from_bytes(packet.payload[-4:], "big") for packet in packets if isinstance(packet, Publish)]


def pubacks(packets: list[Packet]) -> list[tuple[int, int]]:
    return [(packet.packet_id, packet.reason) for packet in packets if isinstance(packet, PubAck)]


# the buckets


def test_a_bucket_holds_a_second_s_worth_and_fills_steadily() -> None:
    bucket = TokenBucket(100, 10.0)
    assert 100 == bucket.take(150, 10.0)
    assert 0 == bucket.take(1, 10.0)
    assert 25 == bucket.take(150, 10.25)
    assert 100 == bucket.available(1000.0)


def test_debt_is_paid_before_anything_is_taken() -> None:
    bucket = TokenBucket(100, 0.0)
    bucket.spend(150, 0.0)
    assert -50 == bucket.available(0.0)
    assert 0 == bucket.take(1, 0.5)
    assert 10 == bucket.take(50, 0.6 + 1e-9)


def test_a_key_is_admitted_once_a_second_and_a_refusal_costs_nothing() -> None:
    rate = KeyedRate(1)
    assert rate.admit("a", 0.0)
    assert rate.admit("b", 0.5)
    assert not rate.admit("a", 0.75)
    assert rate.admit("a", 1.0)
    assert not rate.admit("b", 1.25)


def test_keys_are_forgotten_when_their_second_is_over() -> None:
    rate = KeyedRate(1)
    for number in range(1000):
        assert rate.admit(number, 0.0)
    assert rate.admit("late", 1.0)
    assert 1 == len(rate)


# without the flag


async def test_without_the_flag_nothing_is_counted() -> None:
    free = World()
    device = await free.client("c", 5)
    assert MQTTConnection is type(device.protocol)
    assert ThrottledConnection is type((await world().client("c")).protocol)
    taker = await free.client("t")
    await taker.subscribe("t")
    device.send(*(publish(n) for n in range(500)))
    assert list(range(500)) == numbers(await taker.received())
    assert isinstance(await free.device(5).connect("c"), ConnAck)


# publishes


@pytest.mark.parametrize("version", [4, 5])
async def test_the_hundred_and_first_publish_of_a_second_is_discarded(version: int) -> None:
    w = world()
    sender, taker = await w.client("s", version), await w.client("t", version)
    await taker.subscribe("t")
    sender.send(*(publish(n) for n in range(120)))
    assert list(range(100)) == numbers(await taker.received())
    assert not sender.closed
    w.pass_time(1)
    assert 20 == w.meter.counts[DROPPED]
    sender.send(publish(500))
    assert [500] == numbers(await taker.received())


async def test_at_qos_1_mqtt_5_is_told_of_each_in_order() -> None:
    w = world()
    sender = await w.client("s", 5)
    sender.send(*(publish(n, qos=1) for n in range(60)))
    assert [(n + 1, 0) for n in range(60)] == pubacks(await sender.received())
    sender.send(*(publish(n, qos=1) for n in range(60)))
    expected = [(n + 1, 0 if n < 40 else 0x97) for n in range(60)]
    assert expected == pubacks(await sender.received())
    assert not sender.closed


async def test_at_qos_1_3_1_1_gets_no_puback() -> None:
    w = world()
    sender = await w.client("s", 4)
    sender.send(*(publish(n, qos=1) for n in range(120)))
    assert [(n + 1, 0) for n in range(100)] == pubacks(await sender.received())
    assert not sender.closed


async def test_publishes_on_ever_new_topics_are_counted_too() -> None:
    w = world()
    sender = await w.client("s", 5)
    sender.send(*(publish(n, qos=1, topic=f"t/{n}") for n in range(99)))
    await sender.received()
    sender.send(*(publish(n, qos=1, topic=f"u/{n}") for n in range(3)))
    assert [(1, 0), (2, 0x97), (3, 0x97)] == pubacks(await sender.received())


async def test_a_topic_alias_that_a_discarded_publish_made_is_known() -> None:
    w = world()
    sender, taker = await w.client("s", 5), await w.client("t", 5)
    await taker.subscribe("aliased")
    sender.send(*(publish(n) for n in range(100)))
    alias = Properties({Property.TOPIC_ALIAS: 1})
    sender.send(publish(1, topic="aliased", properties=alias))
    w.pass_time(1)
    sender.send(publish(2, topic="", properties=alias))
    assert [2] == numbers(await taker.received())


async def test_a_packet_identifier_of_zero_is_an_error_among_discarded_ones_too() -> None:
    w = world()
    sender = await w.client("s", 4)
    sender.send(*(publish(n) for n in range(100)))
    sender.send_raw(b"\x32\x06\0\x01t\0\0x" * 2)
    assert sender.closed


@pytest.mark.parametrize("version", [4, 5])
async def test_a_receiver_gets_a_hundred_a_second_and_loses_qos_0(version: int) -> None:
    w = world()
    senders = [await w.client(f"s{n}", version) for n in range(3)]
    taker = await w.client("t", version)
    await taker.subscribe("t")
    for sender in senders:
        sender.send(*(publish(n) for n in range(50)))
    assert 100 == len(numbers(await taker.received()))
    w.pass_time(2)
    assert [] == await taker.received()
    assert 50 == w.meter.counts[DROPPED]


@pytest.mark.parametrize("version", [4, 5])
async def test_qos_1_to_a_receiver_is_delayed_and_stays_in_order(version: int) -> None:
    w = world()
    one, other, taker = await w.client("s", version), await w.client("o", version), await w.client("t", version)
    await taker.subscribe("t", 1)
    one.send(*(publish(n, qos=1) for n in range(80)))
    first = await taker.received()
    assert list(range(80)) == numbers(first)
    taker.send(*(PubAck(packet_id=packet.packet_id) for packet in first if isinstance(packet, Publish)))
    other.send(*(publish(n, qos=1) for n in range(80, 150)))
    assert list(range(80, 100)) == numbers(await taker.received())
    w.pass_time(0.25)
    assert list(range(100, 125)) == numbers(await taker.received())
    w.pass_time(0.25)
    assert list(range(125, 150)) == numbers(await taker.received())


async def test_in_and_out_are_counted_together() -> None:
    w = world()
    echo = await w.client("e", 5)
    await echo.subscribe("t")
    echo.send(*(publish(n) for n in range(60)))
    assert list(range(40)) == numbers(await echo.received())


# throughput


async def test_reading_pauses_while_more_than_the_quota_came_in() -> None:
    w = world()
    sender, taker = await w.client("s"), await w.client("t")
    for n in range(5):
        sender.send(publish(n, size=125_000))
    await settle()
    assert not sender.transport.reading
    assert taker.transport.reading
    w.pass_time(0.25)
    assert sender.transport.reading
    assert not sender.closed


async def test_writing_beyond_the_quota_is_delayed_and_complete() -> None:
    w = world()
    taker = await w.client("t")
    await taker.subscribe("t")
    for n in range(4):  # each within its own quota
        sender = await w.client(f"s{n}")
        sender.send(*(publish(2 * n + k, size=100_000) for k in range(2)))
    # 600,000 bytes are 76,000 too many; a quarter of a second brings 131,072.
    assert list(range(6)) == numbers(await taker.received())
    assert not taker.transport.reading
    w.pass_time(0.25)
    assert [6] == numbers(await taker.received())
    w.pass_time(0.25)
    assert [7] == numbers(await taker.received())
    w.pass_time(1)
    assert taker.transport.reading
    assert [] == await taker.received()


async def test_qos_1_beyond_the_byte_quota_waits_too() -> None:
    w = world()
    taker = await w.client("t", 5)
    await taker.subscribe("t", 1)
    for n in range(10):
        sender = await w.client(f"s{n}", 5)
        sender.send(publish(n, qos=1, size=100_000))
        await settle()
    got = numbers(await taker.received())
    assert list(range(6)) == got
    for _ in range(8):
        w.pass_time(0.25)
        got += numbers(await taker.received())
    assert list(range(10)) == got


async def test_a_full_transport_is_not_written_to_when_the_delay_is_over() -> None:
    w = world()
    taker = await w.client("t")
    await taker.subscribe("t")
    for n in range(4):
        (await w.client(f"s{n}")).send(*(publish(2 * n + k, size=100_000) for k in range(2)))
    assert list(range(6)) == numbers(await taker.received())
    taker.protocol.pause_writing()
    w.pass_time(2)
    assert [] == await taker.received()
    taker.protocol.resume_writing()
    assert [6, 7] == numbers(await taker.received())


async def test_a_client_that_stays_within_its_puback_window_is_not_ended_by_a_delay() -> None:
    w = world()
    sender = await w.client("s", 5)
    for n in range(8):
        sender.send(publish(n, qos=1, size=100_000))
        await settle()
        w.pass_time(0.25)
    assert [(n + 1, 0) for n in range(8)] == pubacks(await sender.received())
    assert not sender.closed


async def test_what_was_held_while_it_becomes_durable_goes_on_when_the_delay_is_over() -> None:
    w = world()
    sender = await w.client("s", 4)
    gate = w.sessions.gate = asyncio.Event()
    sender.send(*(publish(n, qos=1, topic=f"r/{n}", size=6_000, retain=True) for n in range(100)))
    await settle()
    assert not sender.transport.reading  # for the quota of bytes, and because so much waits to become durable
    gate.set()
    assert 100 > len(pubacks(await sender.received()))
    w.pass_time(1)
    await settle()
    assert sender.transport.reading
    w.pass_time(1)
    sender.send(publish(200, qos=1))
    assert (201, 0) in pubacks(await sender.received())


# CONNECT


async def test_a_second_connect_within_the_second_is_refused_and_takes_over_nothing() -> None:
    w = world()
    older = await w.client("c", 5)
    hasty = w.device(5)
    answer = await hasty.connect("c")
    assert isinstance(answer, ConnAck)
    assert (Code.QUOTA_EXCEEDED, TRACE) == (answer.reason, answer.properties.text(Property.REASON_STRING))
    assert hasty.closed
    assert not older.closed
    ((stage, reasons, seen),) = w.plane.refusals
    assert (Stage.CONNECT, "LIMIT_EXCEEDED", "c") == (stage, reasons[0].code.value, seen["client_id"])
    assert ["THROTTLED"] == w.plane.gone  # the plane's authorizer is given back
    w.pass_time(1)
    assert not (await w.client("c", 5)).closed
    assert [Disconnect(reason=Code.SESSION_TAKEN_OVER)] == await older.received()


@pytest.mark.parametrize(("explain", "answer"), [(True, b"\x20\x02\x00\x03"), (False, b"")])
async def test_3_1_1_is_refused_with_server_unavailable(explain: bool, answer: bytes) -> None:
    w = world(explain=explain)
    await w.client("c", 4)
    hasty = w.device(4)
    hasty.send(Connect(version=4, client_id="c", keep_alive=60))
    await settle()
    assert answer == hasty.transport.written
    assert hasty.closed


async def test_another_client_id_or_account_has_its_own_second() -> None:
    w = world()
    await w.client("c")
    await w.client("d")
    w.plane.scope = OTHER_SCOPE
    await w.client("c")


async def test_a_connect_that_policy_refuses_takes_nothing_from_others() -> None:
    w = world()
    w.plane.refuse_connect = True
    await w.device(5).connect("c")
    w.plane.refuse_connect = False
    await w.client("c", 5)


async def test_the_will_of_a_refused_connect_is_not_published() -> None:
    w = world()
    taker = await w.client("t")
    await taker.subscribe("wills")
    await w.client("c")
    await w.device(4).connect("c", will=Will(topic="wills", payload=b"x"))
    assert [] == await taker.received()


# retained messages


async def test_a_topic_is_retained_once_a_second() -> None:
    w = world()
    sender, taker = await w.client("s", 5), await w.client("t", 5)
    await taker.subscribe("t")
    sender.send(*(publish(n, qos=1, retain=True) for n in range(2)))
    sender.send(publish(5, qos=1, retain=True, topic="other"))
    assert {(1, 0), (2, 0x97), (6, 0)} == set(pubacks(await sender.received()))
    assert [0] == numbers(await taker.received())
    assert {(SCOPE, "t"), (SCOPE, "other")} == set(w.sessions.stored)
    assert b"\0\0\0\0" == w.sessions.stored[SCOPE, "t"].payload
    w.pass_time(1)
    sender.send(publish(3, qos=1, retain=True))
    assert [(4, 0)] == pubacks(await sender.received())


async def test_publishing_by_the_api_is_bound_by_the_retained_quota_only() -> None:
    w = world()
    taker: Device = await w.client("t")
    await taker.subscribe("t")
    act = w.gateway.publish
    assert await act(SCOPE, "t", b"0001", qos=0, retain=True, properties=b"")
    assert not await act(SCOPE, "t", b"0002", qos=0, retain=True, properties=b"")
    assert await act(OTHER_SCOPE, "t", b"0003", qos=0, retain=True, properties=b"")
    for _ in range(300):
        assert await act(SCOPE, "elsewhere", b"", qos=0, retain=False, properties=b"")
    expected = codec.encode(4, Publish(topic="t", payload=b"0001"))
    await settle()
    assert expected == taker.transport.written
