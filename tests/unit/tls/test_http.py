"""uvicorn's HTTP protocol on a TLSTransport, with curl and the stdlib at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from tests.support.tls_ca import device
from tests.support.tls_door import RecordingPlane, RunningDoor, contexts, running_door
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from handfast.seam import ListenerKind, TLSFacts
from handfast.tls.openssl.engine import Engine
from handfast.tls.transport import TLSTransport


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with who asks and the SHA-256 of what was sent; `/big` with 3 MB."""
    digest = hashlib.sha256()
    more = True
    while more:
        event = await receive()
        digest.update(event.get("body", b""))
        more = event.get("more_body", False)
    if scope["path"] == "/big":
        body = b"z" * 3_000_000
    else:
        identity = scope["state"]["tls"].certificate_id or "nobody"
        body = f"{scope['method']} {scope['scheme']} {scope['client'][0]} {identity} {digest.hexdigest()}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class HttpPlane(RecordingPlane):
    def __init__(self) -> None:
        super().__init__()
        self.config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
        self.config.load()
        self.state = ServerState()

    def opened(self, facts: TLSFacts, transport: TLSTransport) -> asyncio.Protocol:
        self.facts.append(facts)
        return HttpToolsProtocol(self.config, self.state, {"tls": facts})


@contextlib.asynccontextmanager
async def https(engine: type[Engine], listener: ListenerKind = ListenerKind.HTTPS) -> AsyncIterator[RunningDoor]:
    plane = HttpPlane()
    async with running_door(contexts(engine), plane, listener) as door:
        yield door
        for connection in list(plane.state.connections):
            connection.shutdown()


async def curl(door: RunningDoor, *options: str, certificate: bool = True) -> tuple[int, str]:
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", str(door.roots)]
    if certificate:
        path, key = device().write(door.directory, "curl")
        command += ["--cert", path, "--key", key]
    return await door.run(*command, "--resolve", f"localhost:{door.port}:127.0.0.1", *options)


def url(door: RunningDoor, path: str = "/") -> str:
    return f"https://localhost:{door.port}{path}"


def expected(method: str, body: bytes = b"", identity: str | None = None) -> str:
    identity = identity or hashlib.sha256(device().der).hexdigest()
    return f"{method} https 127.0.0.1 {identity} {hashlib.sha256(body).hexdigest()}"


async def test_curl_is_answered_with_its_own_identity(engine: type[Engine]) -> None:
    async with https(engine) as door:
        assert (0, expected("GET")) == await curl(door, url(door))
        assert "http/1.1" == door.plane.facts[0].alpn  # curl offers h2 first


@pytest.mark.parametrize("expect", ["", "100-continue"])
async def test_five_megabytes_are_taken(engine: type[Engine], expect: str) -> None:
    async with https(engine) as door:
        body = bytes(range(256)) * (5 * 4096)
        upload = door.directory / "upload"
        upload.write_bytes(body)
        status, output = await curl(door, "--data-binary", f"@{upload}", "-H", f"Expect: {expect}", url(door))
        assert (0, expected("POST", body)) == (status, output)


async def test_a_large_answer_comes_whole(engine: type[Engine]) -> None:
    async with https(engine) as door:
        status, output = await curl(door, "--limit-rate", "20M", url(door, "/big"))
        assert (0, 3_000_000) == (status, len(output))


async def test_a_connection_is_kept_for_the_next_request(engine: type[Engine]) -> None:
    async with https(engine) as door:
        status, output = await curl(door, url(door), url(door, "/other"), "--request", "PUT")
        assert (0, expected("PUT") * 2) == (status, output)
        assert 1 == len(door.plane.facts)


async def test_requests_one_after_the_other_with_the_stdlib(engine: type[Engine]) -> None:
    async with https(engine) as door:

        def requests() -> list[str]:
            connection = http.client.HTTPSConnection("localhost", door.port, context=door.client_context(), timeout=20)
            answers = []
            for body in (b"", b"one", b"x" * 200_000):
                connection.request("POST", "/", body)
                answers.append(connection.getresponse().read().decode())
            connection.close()
            return answers

        answers = await asyncio.to_thread(requests)
        assert [expected("POST", body) for body in (b"", b"one", b"x" * 200_000)] == answers
        assert 1 == len(door.plane.facts)


async def test_a_client_without_a_certificate_is_refused(engine: type[Engine]) -> None:
    async with https(engine) as door:
        status, _ = await curl(door, url(door), certificate=False)
        assert status == 56  # curl: failure in receiving network data; the alert comes after its handshake
        assert not door.plane.facts


@pytest.mark.parametrize("certificate", [True, False])
async def test_the_api_port_asks_for_none(engine: type[Engine], certificate: bool) -> None:
    async with https(engine, ListenerKind.API) as door:
        status, output = await curl(door, url(door), certificate=certificate)
        assert (0, expected("GET", identity="nobody")) == (status, output)
        assert b"" == door.plane.facts[0].certificate_der
        assert "" == door.plane.facts[0].certificate_id
