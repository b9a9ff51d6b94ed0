"""Wills: when they are published, and with what."""

from __future__ import annotations

import pytest
from tests.support.gateway import SCOPE, World, message

from handfast.core.mqtt.packets import Disconnect, Will
from handfast.core.mqtt.properties import Properties, Property


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
