"""The HTTP doors: one ASGI application on connections that others accept."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from handfast.seam import TLSFacts
from handfast.wire.http_protocol import BoundedHttpProtocol

KEEP_ALIVE_S = 60


class _DatedHttpProtocol(BoundedHttpProtocol):
    """The bounded protocol, with a Date header that does not stand still on a long connection."""

    refresh_date: Callable[[], None]

    def on_message_begin(self) -> None:
        self.refresh_date()
        super().on_message_begin()


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

    def protocol(self, facts: TLSFacts | None = None) -> _DatedHttpProtocol:
        """The protocol of one new connection."""
        made = _DatedHttpProtocol(self._config, self._state, {} if facts is None else {"tls": facts})
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
