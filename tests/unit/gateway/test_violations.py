"""What a connection may not send: how it ends, what the device is told, what is recorded."""

from __future__ import annotations

import pytest
from tests.support.gateway import World, message, settle

from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import Disconnect, Publish, Subscribe, Subscription
from handfast.core.mqtt.properties import Property
from handfast.core.mqtt.reasons import Code


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
