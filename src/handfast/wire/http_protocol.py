"""
uvicorn's HTTP/1.1 protocol with the bounds that it lacks.

uvicorn's httptools protocol reads a request head of any size and waits for it
for ever. Here a head, and everything else around a body (chunk framing,
trailers), is bounded in bytes, headers are bounded in number, and a head must
be whole in time. For `uvicorn.Config(http=BoundedHttpProtocol)` and for the
HTTPS door alike.

A request that asks for WebSocket goes to the application as any other does: its
scope has an `Upgrade`, by which the application may end HTTP on the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_OVERHEAD_BYTES: Final = 64 * 1024
"""Request line, headers, chunk framing and trailers of one request; AWS's own endpoints take less."""
MAX_FRAMING_RATIO: Final = 8
"""Chunk framing may be this many times the body: room for bodies sent a byte at a time."""
MAX_HEADERS: Final = 128
HEAD_TIMEOUT_S: Final = 10.0
UPGRADE: Final = "handfast.upgrade"
"""The scope's extension that holds the `Upgrade`."""
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class _TooLarge(Exception):
    """The head is over a bound; raised out of a parser callback, which ends the parsing."""


class Upgrade:
    """
    The way from HTTP to WebSocket, of a GET without a body that asks for it.

    Whatever the application answers over HTTP instead is the connection's last
    answer. `sent_ahead`: the client did not wait for the answer, as RFC 6455 §4.1
    has it; what it sent is lost.
    """

    def __init__(self, http: BoundedHttpProtocol) -> None:
        self._http = http
        self.sent_ahead = False

    def switch(self, headers: Mapping[str, str], speaker: Callable[[], asyncio.Protocol]) -> None:
        """Answer 101 with these headers; from then on `speaker()` speaks. Nothing happens when the client is gone."""
        self._http.switch(headers, speaker)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. A head over a bound is answered with 431 and a late one with 408; both close."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._overhead = 0
        self._body = 0
        self._body_now = 0
        self._between = True  # no request is in progress
        self._in_head = False
        self._headers_seen = 0
        self._refused = False
        self._upgrade: Upgrade | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._upgrade is not None:
            self._upgrade.sent_ahead = True
            return
        if self._head_timer is None and (self._between or self._in_head):
            self._arm()
        self._body_now = 0
        self._feed(data)
        if self._between:
            self._overhead = 0
            return
        self._overhead += len(data) - self._body_now
        if self._overhead > MAX_OVERHEAD_BYTES + MAX_FRAMING_RATIO * self._body:
            self._refuse(431, "The request head, or the framing of the body, is too large.")

    def _feed(self, data: bytes) -> None:
        """As uvicorn does it, but for the warning that anybody could fill the log with by asking for an upgrade."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            if self._upgrade is not None and data[stopped.args[0] :]:
                self._upgrade.sent_ahead = True
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def switch(self, headers: Mapping[str, str], speaker: Callable[[], asyncio.Protocol]) -> None:
        """See `Upgrade.switch`."""
        transport, cycle = self.transport, self.cycle
        if cycle.disconnected or transport.is_closing():
            return
        cycle.disconnected = True  # nothing is answered over HTTP any more
        self._disarm()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.parser = None  # type: ignore[assignment] # breaks the cycle with it
        fields = [*self.server_state.default_headers, *((n.encode(), v.encode()) for n, v in headers.items())]
        lines = (b"%s: %s\r\n" % field for field in fields)
        try:
            transport.write(b"HTTP/1.1 101 Switching Protocols\r\n%s\r\n" % b"".join(lines))
            protocol = speaker()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
        except BaseException:
            transport.abort()  # nobody would speak on it
            raise
        self.flow.resume_reading()

    def on_message_begin(self) -> None:
        self._between = False
        self._in_head = True
        self._overhead = 0
        self._body = 0
        self._headers_seen = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_seen += 1
        if self._headers_seen > MAX_HEADERS:
            raise _TooLarge
        # Trailers come here too, after the application has read the headers: they are counted and dropped.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        if self._asks_for_websocket():
            upgrade = self._upgrade = Upgrade(self)
            self.scope["extensions"] = {UPGRADE: upgrade}  # type: ignore[dict-item]
            super().on_headers_complete()
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        super().on_headers_complete()

    def _asks_for_websocket(self) -> bool:
        return (
            self.parser.should_upgrade()
            and self.parser.get_method() == b"GET"
            and self._get_upgrade() == b"websocket"
            and not any(name in _BODY_HEADERS for name, _ in self.headers)
        )

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._body_now += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what its parser refused, in the form of the API's errors."""
        if self._headers_seen > MAX_HEADERS:
            self._refuse(431, f"The request has more than {MAX_HEADERS} headers.")
        else:
            self._refuse(400, msg)

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._late)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if self._between:
            self._refused = True
            self.transport.close()  # nothing was asked, so there is nothing to answer
        else:
            self._refuse(408, f"The request head did not arrive within {HEAD_TIMEOUT_S:.0f} seconds.")

    def _refuse(self, status: int, message: str) -> None:
        if self._refused:
            return
        self._refused = True
        self._disarm()
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and (self._in_head or self._between):
            # In the middle of the application's answer, ours would be taken for a part of it; after that answer,
            # while the body still comes, for the answer to another request.
            body = json.dumps({"message": message}).encode()
            phrase = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}[status]
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-amzn-errortype: InvalidRequestException\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (status, phrase.encode(), len(body), body)
            )
        self.transport.close()
