"""uvicorn's HTTP/1.1 protocol on our own transports, with the bounds that it leaves to others."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from handfast.seam import TLSFacts

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together; the body is bounded by the application."""
HEAD_LIMIT_S = 20.0
"""From the first byte of a request, or the start of a connection, to the end of its headers."""
KEEP_ALIVE_S = 60


class BoundedHttpProtocol(HttpToolsProtocol):
    """An HTTP connection whose request head is bounded in bytes and in time."""

    refresh_date: Callable[[], None]
    """Set by `HttpServer`: the Date header of a long connection must not stand still."""
    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # The body may ride with the head; what counts is that the head has not ended within its bound.
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def on_message_begin(self) -> None:
        self.refresh_date()
        self._in_head = True
        self._head_bytes = 0
        if self._head_timer is None:
            self._watch_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unwatch_head()
        super().on_headers_complete()

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_LIMIT_S, self._head_late)

    def _unwatch_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


class HttpServer:
    """
    Serves one ASGI application on connections that others accept.

    `protocol` is a factory for `loop.create_server`, or gives the protocol for a
    TLS connection whose facts the application finds in `scope["state"]["tls"]`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._config.load()
        self._state = ServerState()
        self._date_at = 0.0
        self._closing = False

    def protocol(self, facts: TLSFacts | None = None) -> BoundedHttpProtocol:
        """The protocol of one new connection."""
        made = BoundedHttpProtocol(self._config, self._state, {} if facts is None else {"tls": facts})
        made.refresh_date = self._refresh_date
        return made

    async def close(self) -> None:
        """Idle connections are closed; requests in progress are answered first. Cancel it to give up waiting."""
        self._closing = True
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._state.connections or self._state.tasks:  # noqa: ASYNC110
            # uvicorn tells nobody when the last connection is gone; shutdown may take a twentieth of a second.
            await asyncio.sleep(0.05)

    def _refresh_date(self) -> None:
        now = time.time()
        if now - self._date_at >= 1.0:
            self._date_at = now
            self._state.default_headers = [(b"date", email.utils.formatdate(now, usegmt=True).encode())]
