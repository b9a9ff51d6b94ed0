"""PUBLISH through the gateway: routing, versions, properties, expiry, what the services publish."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gateway import SCOPE, World, message, settle

from handfast.core.mqtt import codec
from handfast.core.mqtt.connection import Connection
from handfast.core.mqtt.packets import ConnAck, Connect, Disconnect, PingReq, PingResp, PubAck, Publish
from handfast.core.mqtt.properties import Properties, Property, encode_block
from handfast.gateway.limits import GatewayLimits

VERSIONS = [(publisher, receiver) for publisher in (4, 5) for receiver in (4, 5)]


@pytest.mark.parametrize(("publisher", "receiver"), VERSIONS)
@pytest.mark.parametrize("granted", [0, 1])
async def test_a_stream_of_messages_reaches_a_subscriber_whole_and_in_order(
    publisher: int, receiver: int, granted: int
) -> None:
    world = World()
    sender = await world.client("sender", publisher)
    taker = await world.client("taker", receiver)
    await taker.subscribe("a/+", granted)
    sent = [
        message("a/x", b"0"),
        message("a/x", b"1" * 200),
        message("a/x", b"2" * 20_000),
        message("a/y", b"3"),
        message("a/y", b"", qos=1, packet_id=1),
        message("a/y", b"5", qos=1, packet_id=2),
        message("a/y", b"6" * 300, qos=1, packet_id=3),
        message("b/y", b"not for it"),
        message("a/y", b"7"),
    ]
    sender.send(*sent, PingReq(), *sent)
    expected = [(m.topic, m.payload, min(m.qos, granted)) for m in sent if m.topic != "b/y"]
    assert expected * 2 == await taker.messages()
    acks = [PubAck(packet_id=1), PubAck(packet_id=2), PubAck(packet_id=3)]
    assert [*acks, PingResp(), *acks] == await sender.received()


@pytest.mark.parametrize("version", [4, 5])
async def test_the_bytes_of_a_plain_message_are_forwarded_as_they_came(version: int) -> None:
    world = World()
    sender, taker = await world.client("s", version), await world.client("t", version)
    await taker.subscribe("t", 1)
    sender.send(message())  # learns the topic
    await taker.received()
    raw = codec.encode(version, message(payload=b"one")) + codec.encode(version, message(payload=b"two"))
    writes = taker.transport.writes
    sender.send_raw(raw)
    await settle()
    assert raw == taker.transport.written
    assert writes + 1 == taker.transport.writes


@pytest.mark.parametrize("version", [4, 5])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
async def test_the_hot_path_agrees_with_the_engine(version: int, data: st.DataObject) -> None:
    topics = st.sampled_from(["a", "a/b", "long/" + "x" * 120])
    payloads = st.sampled_from([b"", b"p", b"q" * 125, b"r" * 17_000])
    packets: list[Any] = []
    for number in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(["publish", "publish", "publish", "ping", "props"]))
        if kind == "ping":
            packets.append(PingReq())
            continue
        properties = Properties({Property.CONTENT_TYPE: "t"}) if kind == "props" and version == 5 else Properties()
        qos = data.draw(st.integers(0, 1))
        packets.append(
            message(
                data.draw(topics),
                data.draw(payloads),
                qos,
                number + 1,
                dup=bool(qos and data.draw(st.booleans())),
                properties=properties,
            )
        )
    stream = b"".join(codec.encode(version, packet) for packet in packets)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, min(len(stream) - 1, 200)))
        stream = stream[:at] + bytes((data.draw(st.integers(0, 255)),)) + stream[at + 1 :]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]

    engine = Connection()
    engine.receive_data(codec.encode(version, Connect(version=version, client_id="s")), 0.0)
    engine.events_received()
    engine.send(ConnAck())
    engine.data_to_send()
    world = World()
    sender, taker = await world.client("s", version), await world.client("t", version)
    await taker.subscribe("#", 1)
    for piece in pieces:
        engine.receive_data(piece, 0.0)
        sender.send_raw(piece)
        if sender.closed:
            break
    events = engine.events_received()
    judged = [event for event in events if isinstance(event, Publish) and not event.retain]
    expected = [(p.topic, p.payload, p.qos) for p in judged if not p.topic.startswith("$")]
    if not any(event.topic.startswith("$") or event.retain for event in events if isinstance(event, Publish)):
        assert expected == await taker.messages()
        assert engine.ended == sender.closed


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
async def test_a_stream_cut_anywhere_is_the_same_stream(version: int, step: int) -> None:
    world = World()
    sender, taker = await world.client("s", version), await world.client("t", version)
    await taker.subscribe("#", 1)
    packets = [message("a", bytes([n]) * (n * 40), n % 2, n + 1) for n in range(8)]
    stream = b"".join(codec.encode(version, packet) for packet in packets)
    for at in range(0, len(stream), step):
        sender.send_raw(stream[at : at + step])
    assert [("a", p.payload, p.qos) for p in packets] == await taker.messages()


async def test_overlapping_filters_bring_one_copy_at_the_highest_qos() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t")
    for topic_filter, qos in (("a/b", 0), ("a/+", 1), ("#", 0)):
        await taker.subscribe(topic_filter, qos)
    sender.send(message("a/b", b"once", qos=1))
    assert [("a/b", b"once", 1)] == await taker.messages()


async def test_messages_stay_in_their_account_and_region() -> None:
    world = World()
    taker = await world.client("t")
    await taker.subscribe("#")
    world.plane.scope = SCOPE._replace(region="eu-west-1")
    sender = await world.client("s")
    sender.send(message())
    assert [] == await taker.received()


async def test_properties_are_carried_through() -> None:
    world = World()
    sender, five, four = await world.client("s", 5), await world.client("5", 5), await world.client("4", 4)
    await five.subscribe("t")
    await four.subscribe("t")
    properties = Properties(
        {
            Property.PAYLOAD_FORMAT_INDICATOR: 1,
            Property.CONTENT_TYPE: "text/plain",
            Property.RESPONSE_TOPIC: "answers/here",
            Property.CORRELATION_DATA: b"\x00\x01",
            Property.MESSAGE_EXPIRY_INTERVAL: 30,
        },
        [("k", "1"), ("a", "2"), ("k", "3")],
    )
    sender.send(message(properties=properties))
    assert [message(properties=properties)] == await five.received()
    assert [message()] == await four.received()


@pytest.mark.parametrize(("asked", "forwarded"), [(0, 1), (1, 1), (604_800, 604_800), (2**32 - 1, 604_800)])
async def test_message_expiry_is_clamped(asked: int, forwarded: int) -> None:
    world = World()
    sender, taker = await world.client("s", 5), await world.client("t", 5)
    await taker.subscribe("t")
    sender.send(message(properties=Properties({Property.MESSAGE_EXPIRY_INTERVAL: asked})))
    (received,) = await taker.received()
    assert isinstance(received, Publish)
    assert forwarded == received.properties.values[Property.MESSAGE_EXPIRY_INTERVAL]


async def test_a_waiting_message_tells_the_time_that_is_left_and_expires_for_both_versions() -> None:
    world = World(limits=GatewayLimits(outbound_inflight=1))
    sender = await world.client("s", 5)
    five, four = await world.client("5", 5), await world.client("4", 4)
    for taker in (five, four):
        await taker.subscribe("t", 1)
    sender.send(
        message(payload=b"1", qos=1, packet_id=1),
        message(payload=b"2", qos=1, packet_id=2, properties=Properties({Property.MESSAGE_EXPIRY_INTERVAL: 60})),
        message(payload=b"3", qos=1, packet_id=3, properties=Properties({Property.MESSAGE_EXPIRY_INTERVAL: 20})),
        message(payload=b"4", qos=1, packet_id=4),
    )
    (first,) = await five.received()
    (first4,) = await four.received()
    assert isinstance(first, Publish)
    assert isinstance(first4, Publish)
    world.pass_time(25)
    five.send(PubAck(packet_id=first.packet_id))
    four.send(PubAck(packet_id=first4.packet_id))
    (second,) = await five.received()
    assert isinstance(second, Publish)
    assert (b"2", 35) == (second.payload, second.properties.number(Property.MESSAGE_EXPIRY_INTERVAL))
    five.send(PubAck(packet_id=second.packet_id))
    assert [("t", b"4", 1)] == await five.messages()
    (second4,) = await four.received()
    assert isinstance(second4, Publish)
    four.send(PubAck(packet_id=second4.packet_id))
    assert [("t", b"4", 1)] == await four.messages()


async def test_messages_from_the_services_reach_subscribers() -> None:
    world = World()
    four, five = await world.client("4", 4), await world.client("5", 5)
    await four.subscribe("t", 1)
    await five.subscribe("t", 0)
    properties = Properties({Property.CONTENT_TYPE: "a/b"}, [("k", "v")])
    block = encode_block(properties)
    assert True is await world.gateway.publish(SCOPE, "t", b"hello", qos=1, retain=False, properties=block)
    assert [("t", b"hello", 1)] == await four.messages()
    assert [message(payload=b"hello", properties=properties)] == await five.received()


async def test_an_illegal_topic_from_the_services_is_a_mistake_of_theirs() -> None:
    with pytest.raises(ValueError, match="wildcard"):
        await World().gateway.publish(SCOPE, "a/#", b"", qos=0, retain=False, properties=b"")


async def test_counts_are_kept() -> None:
    world = World()
    sender, taker = await world.client("s"), await world.client("t", 5)
    await taker.subscribe("t", 1)
    sender.send(message(), message(), message(qos=1))
    await settle()
    world.pass_time(1.25)
    name = "handfast_mqtt_messages_total"
    assert {("in", "0"): 2, ("in", "1"): 1, ("out", "0"): 2, ("out", "1"): 1} == {
        (labels[0][1], labels[1][1]): count for (metric, labels), count in world.meter.counts.items() if metric == name
    }
    assert 1 == world.meter.gauges["handfast_mqtt_sessions", (("protocol", "4"),)]
    assert 1 == world.meter.gauges["handfast_mqtt_subscriptions", ()]
    taker.send(Disconnect())
    world.pass_time(1.25)
    assert 0 == world.meter.gauges["handfast_mqtt_subscriptions", ()]
    assert 0 == world.meter.gauges["handfast_mqtt_sessions", (("protocol", "5"),)]
