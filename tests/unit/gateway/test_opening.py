"""CONNECT: the verdict, the CONNACK, takeover."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.gateway import SCOPE, TRACE, World, facts, settle

from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import ConnAck, Connect, Disconnect, PingReq, PingResp, Publish, Will
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.gateway.limits import GatewayLimits
from handfast.seam import Admitted, Refused


async def test_an_accepted_connect_of_the_old_version_is_answered_with_zero() -> None:
    device = World().device(4)
    assert ConnAck() == await device.connect()


async def test_the_connack_of_mqtt_5_says_what_the_connection_gets() -> None:
    answer = await World().device(5).connect(keep_alive=60)
    assert isinstance(answer, ConnAck)
    assert not answer.session_present
    assert {
        Property.RECEIVE_MAXIMUM: 100,
        Property.MAXIMUM_QOS: 1,
        Property.RETAIN_AVAILABLE: 1,
        Property.MAXIMUM_PACKET_SIZE: 149_504,
        Property.TOPIC_ALIAS_MAXIMUM: 8,
        Property.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
        Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
        Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
    } == answer.properties.values


async def test_what_differs_from_the_wish_is_told() -> None:
    device = World().device(5)
    wish = Properties({Property.SESSION_EXPIRY_INTERVAL: 3600})
    answer = await device.connect("", keep_alive=5, properties=wish)
    assert isinstance(answer, ConnAck)
    assert 0 == answer.properties.values[Property.SESSION_EXPIRY_INTERVAL]
    assert 30 == answer.properties.values[Property.SERVER_KEEP_ALIVE]
    assert str(answer.properties.text(Property.ASSIGNED_CLIENT_IDENTIFIER)).startswith("assigned-")


async def test_the_plane_judges_what_the_packet_says() -> None:
    world = World()
    will = Will(topic="w/t", payload=b"x", qos=1, retain=True)
    sdk_user = "?SDK=Python&Version=1.31.0"
    device = world.device(4)
    device.send(Connect(version=4, client_id="c", clean_start=False, will=will, username=sdk_user, password=b"secret"))
    assert [ConnAck()] == await device.received()
    (request,) = world.plane.requests
    assert ("c", 4, True, "w/t", True, sdk_user) == (
        request.client_id,
        request.protocol_version,
        request.persistent,
        request.will_topic,
        request.will_retain,
        request.username,
    )


@pytest.mark.parametrize("where", ["refuse_identity", "refuse_connect"])
@pytest.mark.parametrize(
    ("version", "explain", "problem_information", "answer"),
    [
        (4, True, 1, [ConnAck(reason=5)]),
        (4, False, 1, []),
        (5, True, 1, [ConnAck(reason=0x87, properties=Properties({Property.REASON_STRING: TRACE}))]),
        (5, True, 0, [ConnAck(reason=0x87)]),
        (5, False, 1, [ConnAck(reason=0x87)]),
    ],
)
async def test_every_refusal_of_the_verdict_looks_the_same(
    where: str, version: int, explain: bool, problem_information: int, answer: list[Any]
) -> None:
    world = World(explain=explain)
    setattr(world.plane, where, True)
    device = world.device(version)
    properties = Properties({Property.REQUEST_PROBLEM_INFORMATION: problem_information} if version == 5 else {})
    device.send(Connect(version=version, client_id="c", properties=properties))
    assert answer == await device.received()
    assert device.closed
    assert set() == world.gateway.live_principals()


async def test_a_plane_that_raises_refuses() -> None:
    for name in ("identify_now", "connect"):
        world = World()

        def broken(*_: Any) -> Any:
            raise RuntimeError("a bug")

        setattr(world.plane, name, broken)
        device = world.device(4)
        device.send(Connect(version=4, client_id="c"))
        assert [ConnAck(reason=5)] == await device.received()
        assert ["INTERNAL"] == world.plane.refusal_codes


async def test_the_connect_waits_for_the_identity_and_so_does_what_follows_it() -> None:
    world = World()
    world.plane.identifying = asyncio.get_running_loop().create_future()
    device = world.device(5)
    device.send(Connect(version=5, client_id="c"), PingReq())
    device.send(PingReq())
    assert [] == await device.received()
    assert not device.transport.reading
    world.plane.identifying.set_result(world.plane.verdict(facts()))
    answer, *pongs = await device.received()
    assert isinstance(answer, ConnAck)
    assert [PingResp(), PingResp()] == pongs
    assert device.transport.reading


async def test_the_identity_may_be_known_before_the_connect() -> None:
    world = World()
    world.plane.identifying = asyncio.get_running_loop().create_future()
    device = world.device(4)
    world.plane.identifying.set_result(Refused(TRACE))
    await settle()
    device.send(Connect(version=4, client_id="c"))
    assert [ConnAck(reason=5)] == await device.received()


async def test_an_identity_that_changed_while_it_was_looked_up_is_looked_up_again() -> None:
    world = World()
    loop = asyncio.get_running_loop()
    first = world.plane.identifying = loop.create_future()
    device = world.device(4)
    device.send(Connect(version=4, client_id="c"))
    await settle()
    world.gateway.disconnect_principal(SCOPE, facts().certificate_id, "AUTH_ERROR")
    second = world.plane.identifying = loop.create_future()
    first.set_result(world.plane.verdict(facts()))
    assert [] == await device.received()
    second.set_result(Refused(TRACE))
    assert [ConnAck(reason=5)] == await device.received()


async def test_a_connection_that_goes_while_its_identity_is_looked_up_leaves_nothing() -> None:
    world = World()
    world.plane.identifying = asyncio.get_running_loop().create_future()
    device = world.device(4)
    device.send(Connect(version=4, client_id="c"))
    await settle()
    device.protocol.connection_lost(None)
    world.plane.identifying.set_result(world.plane.verdict(facts()))
    await settle()
    assert set() == world.gateway.live_principals()
    assert [] == world.plane.requests


async def test_no_connect_within_ten_seconds_closes_and_is_recorded() -> None:
    world = World()
    device = world.device(4)
    device.send_raw(b"\x10")
    world.pass_time(9.5)
    assert not device.closed
    world.pass_time(1)
    assert device.closed
    assert ["CONNECT_TIMEOUT"] == world.plane.refusal_codes


@pytest.mark.parametrize("first", [b"\xc0\x00", b"\x30", b"GET / HTTP/1.1\r\n\r\n", b"\x82\x05\x00\x01\x00\x00\x00"])
async def test_a_first_packet_that_is_not_connect_closes_and_is_recorded(first: bytes) -> None:
    world = World()
    device = world.device(4)
    device.send_raw(first)
    assert [] == await device.received()
    assert device.closed
    assert ["FIRST_PACKET_NOT_CONNECT"] == world.plane.refusal_codes


async def test_a_connect_that_arrives_byte_by_byte_is_a_connect() -> None:
    for version in (4, 5):
        device = World().device(version)
        for byte in codec.encode(version, Connect(version=version, client_id="slow")):
            device.send_raw(bytes((byte,)))
        (answer,) = await device.received()
        assert isinstance(answer, ConnAck)


async def test_an_unknown_protocol_level_is_recorded_and_answered() -> None:
    world = World()
    device = world.device(4)
    device.send_raw(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a")
    assert [ConnAck(reason=1)] == await device.received()
    assert device.closed
    assert ["UNSUPPORTED_PROTOCOL_VERSION"] == world.plane.refusal_codes


async def test_terminal_escapes_in_a_client_id_are_refused_and_do_not_reach_the_record_raw() -> None:
    world = World()
    device = world.device(5)
    answer = await device.connect("\x1b]0;owned\x07")
    assert isinstance(answer, ConnAck)
    assert Code.CLIENT_IDENTIFIER_NOT_VALID == answer.reason
    ((_stage, reasons, seen),) = world.plane.refusals
    text = "".join(reason.detail for reason in reasons) + str(seen)
    assert "\x1b" not in text
    assert "\x07" not in text


async def test_the_newer_connection_takes_the_client_id_over() -> None:
    world = World()
    watcher = await world.client("watcher")
    await watcher.subscribe("wills")
    older = await world.client("same", 5, will=Will(topic="wills", payload=b"older is gone"))
    newer = await world.client("same", 4)
    assert [Disconnect(reason=0x8E)] == await older.received()
    assert older.closed
    assert not newer.closed
    assert [("wills", b"older is gone", 0)] == await watcher.messages()
    assert ["DUPLICATE_CLIENTID"] == world.plane.gone
    newer.send(PingReq())
    assert [PingResp()] == await newer.received()


async def test_the_same_client_id_in_another_account_is_another_client() -> None:
    world = World()
    ours = await world.client("same")
    world.plane.scope = SCOPE._replace(region="eu-west-1")
    await world.client("same")
    assert not ours.closed


async def test_a_will_on_a_reserved_topic_refuses_the_connect() -> None:
    for will in (
        Will(topic="$aws/things/x/shadow/update", payload=b""),
        Will(topic="$aws/rules/r/t", payload=b"", retain=True),
    ):
        world = World()
        answer = await world.device(5).connect(will=will)
        assert isinstance(answer, ConnAck)
        assert Code.TOPIC_NAME_INVALID == answer.reason
        assert ["TOPIC_NOT_VALID"] == world.plane.refusal_codes


async def test_the_certificates_last_instant_is_the_sessions_last_instant() -> None:
    world = World()
    world.plane.not_after = world.clock.now().timestamp() + 200
    device = await world.client("c", 5, keep_alive=1200)
    world.pass_time(199.5)
    assert not device.closed
    world.pass_time(1)
    assert [Disconnect(reason=0x87)] == await device.received()
    assert device.closed


async def test_keep_alive_is_one_and_a_half_times_what_was_agreed() -> None:
    world = World()
    device = await world.client("c", 5, keep_alive=40)
    world.pass_time(50)
    device.send(PingReq())
    await device.received()
    world.pass_time(59.5)
    assert not device.closed
    world.pass_time(1)
    assert [Disconnect(reason=0x8D)] == await device.received()
    assert ["MQTT_KEEP_ALIVE_TIMEOUT"] == world.plane.gone


async def test_half_a_packet_is_no_sign_of_life() -> None:
    world = World()
    device = await world.client("c", 4, keep_alive=30)
    packet = codec.encode(4, Publish(topic="t", payload=b"x" * 400))
    device.send_raw(packet[:2])
    for at in range(2, 300):
        world.pass_time(0.25)
        device.send_raw(packet[at : at + 1])
    assert device.closed


async def test_disconnecting_a_principal_reaches_connections_before_their_connect() -> None:
    world = World()
    open_one = await world.client("open", 5, certificate="a")
    other = await world.client("other", 5, certificate="b")
    early = world.device(5, "a")
    admitted = world.plane.verdict(facts("a"))
    assert isinstance(admitted, Admitted)
    assert 2 == world.gateway.disconnect_principal(SCOPE, admitted.certificate_id, "AUTH_ERROR")
    assert [Disconnect(reason=0x87)] == await open_one.received()
    assert early.closed
    assert not other.closed
    assert {(SCOPE, facts("b").certificate_id)} == world.gateway.live_principals()


async def test_a_stopping_gateway_says_so_and_waits_for_the_last_byte() -> None:
    world = World()
    five = await world.client("five", 5)
    four = await world.client("four", 4)
    await world.gateway.close()
    assert [Disconnect(reason=0x8B)] == await five.received()
    assert [] == await four.received()
    assert five.closed
    assert four.closed
    late = world.device(4)
    assert late.closed


async def test_a_client_that_does_not_take_its_last_bytes_is_aborted() -> None:
    world = World(limits=GatewayLimits(linger_s=2.0))
    device = await world.client("c")
    device.transport.lingers = True
    device.send(Disconnect())
    await settle()
    assert not device.transport.aborted
    world.pass_time(2.5)
    assert device.transport.aborted
