"""Certificates that are awaited: the CONNECT packet settles them, and nothing before it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.gateway import SCOPE, TRACE, Device, World, facts, settle

from handfast.core.identity.ids import CertificateId
from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import ConnAck, Connect, PingReq, PingResp, Will
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.seam import Admitted, Awaiting, Refused

WHO = facts().certificate_id
AWAITING = Awaiting(SCOPE, WHO, "localhost", CertificateId("ca" * 32))
ADMITTED = Admitted(SCOPE, WHO, "localhost", 4e9)


async def awaited(version: int = 4) -> tuple[World, Device]:
    """A connection whose certificate is awaited, before its CONNECT."""
    world = World()
    world.plane.identifying = asyncio.get_running_loop().create_future()
    world.plane.provisioning = asyncio.get_running_loop().create_future()
    device = world.device(version)
    await settle()
    world.plane.identifying.set_result(AWAITING)
    await settle()
    assert [] == world.plane.provisioned
    return world, device


@pytest.mark.parametrize("version", [4, 5])
async def test_the_connect_settles_it_and_the_connection_opens(version: int) -> None:
    world, device = await awaited(version)
    device.send(Connect(version=version, client_id="lamp"), PingReq())
    assert [] == await device.received()
    assert not device.transport.reading, "what a hasty client sends stays with the kernel"
    ((awaiting, request),) = world.plane.provisioned
    assert (AWAITING, "lamp") == (awaiting, request.client_id)
    assert world.plane.provisioning is not None
    world.plane.provisioning.set_result(ADMITTED)
    answer, pong = await device.received()
    assert isinstance(answer, ConnAck)
    assert (0, PingResp()) == (answer.reason, pong)
    assert device.transport.reading
    assert ["lamp"] == [each.client_id for each in world.plane.requests], "iot:Connect is asked as ever"


async def test_a_refusal_is_answered_and_closes() -> None:
    world, device = await awaited(5)
    device.send(Connect(version=5, client_id="lamp"))
    await settle()
    assert world.plane.provisioning is not None
    world.plane.provisioning.set_result(Refused(TRACE))
    properties = Properties({Property.REASON_STRING: TRACE})
    assert [ConnAck(reason=Code.NOT_AUTHORIZED, properties=properties)] == await device.received()
    assert device.closed
    assert [] == world.plane.requests


async def test_a_connect_that_comes_before_the_verdict_is_settled_too() -> None:
    world = World()
    world.plane.identifying = asyncio.get_running_loop().create_future()
    world.plane.provisioning = asyncio.get_running_loop().create_future()
    device = world.device()
    device.send(Connect(version=4, client_id=""))
    await settle()
    world.plane.identifying.set_result(AWAITING)
    await settle()
    ((_, request),) = world.plane.provisioned
    world.plane.provisioning.set_result(ADMITTED)
    assert [ConnAck()] == await device.received()
    assert [request.client_id] == [each.client_id for each in world.plane.requests], "the id stays the same"


async def test_what_would_be_refused_anyhow_registers_nothing() -> None:
    world, device = await awaited()
    device.send(Connect(version=4, client_id="lamp", will=Will(topic="$aws/x", payload=b"")))
    await settle()
    assert device.closed
    assert [] == world.plane.provisioned
    world, device = await awaited()
    device.send_raw(codec.encode(4, PingReq()))
    await settle()
    assert device.closed
    assert [] == world.plane.provisioned


async def test_a_connection_that_is_gone_opens_nothing() -> None:
    world, device = await awaited()
    device.send(Connect(version=4, client_id="lamp"))
    await settle()
    device.protocol.connection_lost(None)
    assert world.plane.provisioning is not None
    world.plane.provisioning.set_result(ADMITTED)
    await settle()
    assert [] == world.plane.requests
    assert set() == world.gateway.live_principals()


async def test_one_that_takes_too_long_is_closed() -> None:
    world, device = await awaited()
    device.send(Connect(version=4, client_id="lamp"))
    await settle()
    world.pass_time(11)
    assert ["CONNECT_TIMEOUT"] == world.plane.refusal_codes
    assert device.closed


async def test_a_change_in_the_meantime_asks_again() -> None:
    world, device = await awaited()
    device.send(Connect(version=4, client_id="lamp"))
    await settle()
    world.gateway.authorizations_changed()
    world.plane.identifying = asyncio.get_running_loop().create_future()
    world.plane.identifying.set_result(Refused(TRACE))
    assert world.plane.provisioning is not None
    world.plane.provisioning.set_result(ADMITTED)
    assert [ConnAck(reason=5)] == await device.received()
    assert [] == world.plane.requests


async def test_a_raise_refuses() -> None:
    world, device = await awaited()
    assert world.plane.provisioning is not None
    world.plane.provisioning.set_exception(ZeroDivisionError())
    device.send(Connect(version=4, client_id="lamp"))
    assert [ConnAck(reason=5)] == await device.received()
    assert ["INTERNAL"] == world.plane.refusal_codes
