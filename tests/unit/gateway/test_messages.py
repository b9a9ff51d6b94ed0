"""PUBLISH and SUBSCRIBE through the gateway: routing, versions, QoS, properties, limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gateway import SCOPE, World, settle

from handfast.core.mqtt import codec
from handfast.core.mqtt.connection import Connection
from handfast.core.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from handfast.core.mqtt.properties import Properties, Property, encode_block
from handfast.core.mqtt.reasons import Code
from handfast.gateway.limits import GatewayLimits

VERSIONS = [(publisher, receiver) for publisher in (4, 5) for receiver in (4, 5)]


def message(topic: str = "t", payload: bytes = b"x", qos: int = 0, packet_id: int = 1, **more: Any) -> Publish:
    return Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id if qos else 0, **more)


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


async def test_more_than_a_hundred_unacknowledged_messages_at_once_end_mqtt_5() -> None:
    world = World()
    sender = await world.client("s", 5)
    sender.send(*(message(qos=1, packet_id=n + 1) for n in range(101)))
    goodbye = (await sender.received())[-1]
    assert isinstance(goodbye, Disconnect)
    assert Code.RECEIVE_MAXIMUM_EXCEEDED == goodbye.reason
    assert ["LIMIT_EXCEEDED"] == world.plane.refusal_codes


@pytest.mark.parametrize("version", [4, 5])
async def test_qos_2_is_refused_as_aws_does(version: int) -> None:
    for packet in (
        Publish(topic="t", payload=b"", qos=2, packet_id=1),
        Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="t", qos=2),)),
    ):
        world = World(explain=False)
        device = await world.client("c", version)
        device.send(packet)
        assert ([Disconnect(reason=0x9B)] if version == 5 else []) == await device.received()
        assert device.closed
        assert ["QOS_NOT_SUPPORTED"] == world.plane.refusal_codes


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("raw", "reason", "recorded"),
    [
        (b"\x30\xff\xff\xff\x7f", 0x95, "PACKET_TOO_LARGE"),
        (b"\x82\xff\xff\xff\x7f", 0x95, "PACKET_TOO_LARGE"),
        (b"\xc0\xff\xff\xff\x7f", 0x95, "PACKET_TOO_LARGE"),
        (b"\x30\xff\xff\xff\xff", 0x81, "MALFORMED_PACKET"),
        (b"\x30\x03\x00\x01\xff", 0x81, "MALFORMED_PACKET"),
        (b"\x30\x03\x00\x09a", 0x81, "MALFORMED_PACKET"),
        (b"\x32\x02\x00\x00", 0x81, "MALFORMED_PACKET"),
        (b"\x36\x06\x00\x01a\x00\x01\x00", 0x81, "MALFORMED_PACKET"),
        (b"\x40\x02\x00\x00", 0, ""),
        (b"\x41\x02\x00\x01", 0x81, "MALFORMED_PACKET"),
        (b"\x80\x02\x00\x01", 0x81, "MALFORMED_PACKET"),
        (b"\x82\x02\x00\x01", None, None),
        (b"\xa2\x01\x00", 0x81, "MALFORMED_PACKET"),
        (b"\xc0\x01\x00", 0x81, "MALFORMED_PACKET"),
        (b"\xe1\x00", 0x81, "MALFORMED_PACKET"),
        (b"\x50\x02\x00\x01", 0x82, "PROTOCOL_ERROR"),
        (b"\x62\x02\x00\x01", 0x82, "PROTOCOL_ERROR"),
        (b"\x00\x00", 0x81, "MALFORMED_PACKET"),
        (b"\x20\x02\x00\x00", None, None),
    ],
)
async def test_a_bad_packet_ends_only_its_own_connection(
    version: int, raw: bytes, reason: int | None, recorded: str | None
) -> None:
    world = World(explain=False)
    watcher = await world.client("w")
    await watcher.subscribe("#")
    device = await world.client("c", version)
    device.send(message(payload=b"before"))
    device.send_raw(raw)
    answer = await device.received()
    assert [("t", b"before", 0)] == await watcher.messages()
    if reason == 0:
        assert not device.closed
        return
    assert device.closed
    assert 1 == len(world.plane.refusals)
    if reason is not None:
        assert [recorded] == world.plane.refusal_codes
        assert ([Disconnect(reason=reason)] if version == 5 else []) == answer
    other = await world.client("other")
    other.send(message(payload=b"after"))
    assert [("t", b"after", 0)] == await watcher.messages()


async def test_explained_violations_tell_mqtt_5_the_trace_id() -> None:
    world = World()
    device = await world.client("c", 5)
    device.send_raw(b"\x00\x00")
    (goodbye,) = await device.received()
    assert isinstance(goodbye, Disconnect)
    assert None is not goodbye.properties.text(Property.REASON_STRING)


async def test_messages_before_a_bad_packet_in_the_same_read_are_delivered() -> None:
    world = World()
    watcher, device = await world.client("w"), await world.client("c")
    await watcher.subscribe("t")
    device.send(message(payload=b"learn"))
    good = codec.encode(4, message(payload=b"good"))
    device.send_raw(good + good + b"\x30\xff\xff\xff\xff")
    assert [b"learn", b"good", b"good"] == [payload for _t, payload, _q in await watcher.messages()]
    assert device.closed


async def test_terminal_escapes_in_a_topic_are_refused_and_recorded_escaped() -> None:
    world = World()
    device = await world.client("c", 5)
    device.send(message("a\x1b[2Jb", qos=1))
    await settle()
    assert device.closed
    device = await world.client("d", 5)
    await device.subscribe("a\x1b[2Jb")
    for _stage, reasons, seen in world.plane.refusals:
        assert "\x1b" not in "".join(reason.detail for reason in reasons) + str(seen.values())
    assert ["TOPIC_NOT_VALID", "TOPIC_NOT_VALID"] == world.plane.refusal_codes


# Wills


@pytest.mark.parametrize(
    ("end", "published"),
    [
        ("disconnect", False),
        ("disconnect with will", True),
        ("lost", True),
        ("malformed", True),
        ("silence", True),
        ("cut", True),
    ],
)
async def test_when_a_will_is_published(end: str, published: bool) -> None:
    world = World()
    watcher = await world.client("w", keep_alive=1200, certificate="b")
    await watcher.subscribe("wills", 1)
    device = await world.client("c", 5, keep_alive=30, will=Will(topic="wills", payload=b"gone", qos=1))
    if end == "disconnect":
        device.send(Disconnect())
    elif end == "disconnect with will":
        device.send(Disconnect(reason=4))
    elif end == "lost":
        device.protocol.connection_lost(ConnectionResetError())
    elif end == "malformed":
        device.send_raw(b"\x00\x00")
    elif end == "silence":
        world.pass_time(46)
    else:
        world.gateway.disconnect_principal(SCOPE, device.protocol.facts.certificate_id, "AUTH_ERROR")  # type: ignore[attr-defined]
    assert ([("wills", b"gone", 1)] if published else []) == await watcher.messages()


async def test_a_will_that_policy_forbids_by_now_is_not_published() -> None:
    world = World()
    watcher = await world.client("w")
    await watcher.subscribe("wills")
    device = await world.client("c", will=Will(topic="wills", payload=b"gone"))
    world.plane.will_allowed = False
    device.protocol.connection_lost(None)
    assert [] == await watcher.messages()


async def test_a_will_carries_its_properties_and_can_be_retained() -> None:
    world = World()
    watcher = await world.client("w", 5)
    await watcher.subscribe("wills")
    properties = Properties({Property.CONTENT_TYPE: "text/plain", Property.WILL_DELAY_INTERVAL: 5}, [("why", "power")])
    device = await world.client("c", 5, will=Will(topic="wills", payload=b"gone", retain=True, properties=properties))
    device.protocol.connection_lost(None)
    expected = Properties({Property.CONTENT_TYPE: "text/plain"}, [("why", "power")])
    assert [message("wills", b"gone", properties=expected)] == await watcher.received()
    assert b"gone" == world.sessions.stored[SCOPE, "wills"].payload


# slow consumers


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


# from above


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
