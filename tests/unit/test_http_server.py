"""What an attacker without credentials may make the HTTP ports hold: raw sockets against `http_server` itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handfast.http_server import HttpServer

FLOOD_BYTES = 8 * 1024 * 1024


async def _refuses_at_once(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers before the body is there, as the API does without a signature."""
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = HttpServer(_refuses_at_once)
    listener = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await server.close()


async def _sent_until_closed(port: int, head: bytes, flood: bytes) -> int:
    """How much of an endless flood the server took before it closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    await reader.readuntil(b"\r\n\r\nno")
    sent = 0
    try:
        while sent < FLOOD_BYTES and not reader.at_eof():
            writer.write(flood)
            await writer.drain()
            await asyncio.sleep(0)
            sent += len(flood)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return sent


_CHUNKED = b"POST /things/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "flood"),
    [
        pytest.param(b"0\r\n", b"x: y\r\n" * 10_000, id="trailers"),
        pytest.param(b"0\r\nx: ", b"y" * 60_000, id="one trailer without an end"),
        pytest.param(b"1;", b"y" * 60_000, id="a chunk extension without an end"),
    ],
)
async def test_trailers_without_end_after_a_refusal_are_not_kept(port: int, begin: bytes, flood: bytes) -> None:
    # What the parser holds of them grows with every byte; a megabyte covers the buffers on the way.
    assert await _sent_until_closed(port, _CHUNKED + begin, flood) < 2 * 1024 * 1024
