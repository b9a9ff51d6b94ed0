"""The upgrade to WebSocket on a real HTTP connection, with keys of the test's and something that echoes for MQTT."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.gateway import FakeMeter
from tests.support.inprocess import (
    KEY_ID,
    OPERATOR_ID,
    SECRET,
    CountingEntropy,
    SystemClock,
    known_keys,
)
from tests.support.websocket import presigned, signed_headers, upgrade

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.refusal import Refusal
from handfast.data.websocket import WebSocketApplication
from handfast.errors import StoreUnavailable
from handfast.front import OwnHosts
from handfast.http_server import HttpServer
from handfast.seam import SignedBy, TLSFacts
from handfast.services.recording import Recorder
from handfast.wire.sigv4 import Authenticator, SigningKey

HOST = "localhost"
KEYS = (KEY_ID, SECRET)
LIMIT_S = 10


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Door:
    """A server with the application behind the Host rule of `--dev`."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.facts: list[TLSFacts] = []
        self.meter = FakeMeter()
        self.accepts = True
        self.lookup: asyncio.Event | None = None  # keys are found once it is set
        self.looked_up = asyncio.Event()
        self.http: list[weakref.ref[Any]] = []  # the connections that speak HTTP when a key is looked up
        self.port = 0
        application = WebSocketApplication(
            Authenticator(self._key, SystemClock()),
            self._accept,
            self._otherwise,
            recorder=Recorder(self, SystemClock()),  # type: ignore[arg-type]
            meter=self.meter,
            entropy=CountingEntropy(),  # type: ignore[arg-type]
        )
        self.server = HttpServer(OwnHosts(application, frozenset({HOST})))

    async def _key(self, access_key_id: str) -> SigningKey | None:
        self.looked_up.set()
        self.http = [weakref.ref(connection) for connection in self.server._state.connections]
        if self.lookup is not None:
            await self.lookup.wait()
        if access_key_id == "AKIDNOSTORE":
            raise StoreUnavailable("gone")
        return await known_keys(access_key_id)

    def _accept(self, facts: TLSFacts) -> asyncio.Protocol:
        if not self.accepts:
            raise RuntimeError("a bug")
        self.facts.append(facts)
        return Echo()

    async def _otherwise(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    # ports.RefusalSink

    def trace_id(self) -> str:
        return f"trace-{len(self.refusals)}"

    def suppressing(self, address: str) -> bool:
        return False

    def record(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    listener = await asyncio.get_running_loop().create_server(door.server.protocol, "127.0.0.1", 0)
    door.port = listener.sockets[0].getsockname()[1]
    yield door
    listener.close()
    await asyncio.wait_for(door.server.close(), LIMIT_S)


async def ask(door: Door, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    return reader, writer, head.decode()


async def status(door: Door, request: bytes) -> int:
    _, writer, head = await ask(door, request)
    writer.close()
    return int(head.split()[1])


async def test_the_connection_belongs_to_mqtt_afterwards(door: Door) -> None:
    reader, writer, head = await ask(door, upgrade(presigned(KEYS, HOST), HOST))
    assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"GET / HTTP/1.1\r\n\r\n" == await asyncio.wait_for(reader.readexactly(18), LIMIT_S)
    (facts,) = door.facts
    assert SignedBy(KEY_ID, Scope(AccountId("123456789012"), "us-east-1")) == facts.signed
    assert "127.0.0.1" == facts.peer_address
    gc.collect()
    assert [None] == [http() for http in door.http], "HTTP is still there"
    writer.close()


async def test_a_request_before_it_on_the_same_connection(door: Door) -> None:
    get = f"GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()
    reader, writer, head = await ask(door, get + upgrade(presigned(KEYS, HOST), HOST))
    assert "404" == head.split()[1]
    assert b"101" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    writer.close()


@pytest.mark.parametrize(
    ("headers", "host", "expected"),
    [
        ({"origin": "http://evil.example"}, HOST, 403),
        ({"sec_fetch_site": "cross-site"}, HOST, 403),
        ({"origin": f"http://{HOST}"}, HOST, 101),
        ({}, "evil.example", 403),
    ],
)
async def test_pages_of_other_sites_do_not_get_in(
    door: Door, headers: dict[str, str | None], host: str, expected: int
) -> None:
    assert expected == await status(door, upgrade(presigned(KEYS, host), host, **headers))
    assert (expected == 101) == bool(door.facts)


@pytest.mark.parametrize(
    ("key_id", "expected"),
    [("AKIDREVOKED", 403), ("AKIDDISABLED", 403), (OPERATOR_ID, 403), ("AKIDUNKNOWN", 403), ("AKIDNOSTORE", 503)],
)
async def test_keys_that_may_not(door: Door, key_id: str, expected: int) -> None:
    assert expected == await status(door, upgrade(presigned((key_id, SECRET), HOST), HOST))
    assert not door.facts
    assert {("handfast_websocket_upgrades_total", (("outcome", "refused"),)): 1} == door.meter.counts
    assert (expected == 403) == bool(door.refusals)


async def test_two_signatures_are_none(door: Door) -> None:
    signed = signed_headers(KEYS, HOST)
    request = upgrade(
        presigned(KEYS, HOST), HOST, Authorization=signed["Authorization"], X_Amz_Date=signed["X-Amz-Date"]
    )
    assert 403 == await status(door, request)


@pytest.mark.parametrize("twice", ["sec-websocket-key", "sec-websocket-version"])
async def test_headers_that_say_two_things(door: Door, twice: str) -> None:
    request = upgrade(presigned(KEYS, HOST), HOST)
    line = next(line for line in request.split(b"\r\n") if line.startswith(twice.encode()))
    assert 400 <= await status(door, request.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")) <= 426


async def test_a_client_that_is_gone_meanwhile_gets_no_connection(door: Door) -> None:
    door.lookup = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(upgrade(presigned(KEYS, HOST), HOST))
    await asyncio.wait_for(door.looked_up.wait(), LIMIT_S)
    (connection,) = door.server._state.connections
    connection.transport.abort()  # type: ignore[union-attr]
    await asyncio.sleep(0)
    door.lookup.set()
    await asyncio.wait_for(asyncio.gather(*door.server._state.tasks), LIMIT_S)
    assert not door.facts
    writer.close()


async def test_a_client_that_does_not_wait_for_the_verification(door: Door) -> None:
    door.lookup = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(upgrade(presigned(KEYS, HOST), HOST))
    await asyncio.wait_for(door.looked_up.wait(), LIMIT_S)
    (connection,) = door.server._state.connections
    connection.data_received(b"\x82")  # reading is paused; what is in hand already still comes
    door.lookup.set()
    assert b"400" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    writer.close()


async def test_nobody_waits_for_who_cannot_speak(door: Door) -> None:
    door.accepts = False
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(upgrade(presigned(KEYS, HOST), HOST))
    try:
        while await asyncio.wait_for(reader.read(1000), LIMIT_S):
            pass
    except ConnectionResetError:
        pass
    writer.close()
