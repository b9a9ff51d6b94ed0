"""
uvicorn's HTTP/1.1 protocol with the bounds that it lacks.

uvicorn's httptools protocol reads a request head of any size and waits for it
for ever. Here a head, and everything else around a body (chunk framing,
trailers), is bounded in bytes, headers are bounded in number, and a head must
be whole in time. For `uvicorn.Config(http=BoundedHttpProtocol)` and for the
HTTPS door alike.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_OVERHEAD_BYTES: Final = 64 * 1024
"""Request line, headers, chunk framing and trailers of one request; AWS's own endpoints take less."""
MAX_FRAMING_RATIO: Final = 8
"""Chunk framing may be this many times the body: room for bodies sent a byte at a time."""
MAX_HEADERS: Final = 128
HEAD_TIMEOUT_S: Final = 10.0


class _TooLarge(Exception):
    """The head is over a bound; raised out of a parser callback, which ends the parsing."""


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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._head_timer is None and (self._between or self._in_head):
            self._arm()
        self._body_now = 0
        super().data_received(data)
        if self._between:
            self._overhead = 0
            return
        self._overhead += len(data) - self._body_now
        if self._overhead > MAX_OVERHEAD_BYTES + MAX_FRAMING_RATIO * self._body:
            self._refuse(431, "The request head, or the framing of the body, is too large.")

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
        super().on_headers_complete()

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
