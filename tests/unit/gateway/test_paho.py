"""The gateway on a real socket, without TLS, with a client that we did not write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from tests.support.gateway import World, facts

LIMIT_S = 10.0


@pytest.fixture
async def port() -> AsyncIterator[int]:
    world = World()
    server = await asyncio.get_running_loop().create_server(lambda: world.gateway.accept(facts()), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    await world.gateway.close()
    server.close()
    await server.wait_closed()


class Paho:
    """A paho client on its own thread; what it hears comes to queues of this loop."""

    def __init__(self, client_id: str, version: int) -> None:
        loop = asyncio.get_running_loop()
        self.heard: dict[str, asyncio.Queue[Any]] = {}
        self.raw = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
        for name in ("connect", "message", "subscribe", "publish", "disconnect"):
            queue = self.heard[name] = asyncio.Queue()

            def callback(*arguments: Any, queue: asyncio.Queue[Any] = queue) -> None:
                loop.call_soon_threadsafe(queue.put_nowait, arguments[2:])

            setattr(self.raw, f"on_{name}", callback)

    async def wait(self, name: str) -> Any:
        return await asyncio.wait_for(self.heard[name].get(), LIMIT_S)

    async def connect(self, port: int) -> None:
        await asyncio.to_thread(self.raw.connect, "127.0.0.1", port)
        self.raw.loop_start()
        _flags, reason, _properties = await self.wait("connect")
        assert not reason.is_failure

    async def disconnect(self) -> None:
        self.raw.disconnect()
        await self.wait("disconnect")
        await asyncio.to_thread(self.raw.loop_stop)


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
async def test_paho_publishes_and_receives_at_both_qos(port: int, version: int) -> None:
    sender, taker = Paho("sender", version), Paho("taker", version)
    await sender.connect(port)
    await taker.connect(port)
    taker.raw.subscribe("a/+", qos=1)
    await taker.wait("subscribe")
    for number in range(300):
        sender.raw.publish("a/b", b"%d" % number * 40, qos=number % 2)
    got = [(await taker.wait("message"))[0] for _ in range(300)]
    assert sorted(b"%d" % number * 40 for number in range(300)) == sorted(message.payload for message in got)
    await sender.disconnect()
    await taker.disconnect()


async def test_paho_keeps_properties_retained_messages_and_wills(port: int) -> None:
    sender, taker = Paho("sender", paho.MQTTv5), Paho("taker", paho.MQTTv5)
    will = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
    will.ContentType = "text/plain"
    sender.raw.will_set("wills", b"gone", qos=1, properties=will)
    await sender.connect(port)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = [("k", "v"), ("k", "w")]
    properties.TopicAlias = 3
    sender.raw.publish("state", b"on", qos=1, retain=True, properties=properties)
    await sender.wait("publish")
    await taker.connect(port)
    taker.raw.subscribe([("state", 1), ("wills", 1)])  # type: ignore[list-item]
    (message,) = await taker.wait("message")
    assert (b"on", True, [("k", "v"), ("k", "w")]) == (message.payload, message.retain, message.properties.UserProperty)
    await asyncio.to_thread(sender.raw.loop_stop)
    sender.raw.socket().close()  # type: ignore[union-attr]
    (message,) = await taker.wait("message")
    assert (b"gone", "text/plain") == (message.payload, message.properties.ContentType)
    await taker.disconnect()
