"""What the ASGI applications of the API and of the HTTPS data plane share: reading a request, writing a response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from handfast.errors import InvalidRequestError
from handfast.wire.errors import RequestEntityTooLargeError, RequestTimeoutError, Response
from handfast.wire.parser import HttpRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_TIMEOUT_S: Final = 30.0
DRAIN_LIMIT_BYTES: Final = 16 * 1024 * 1024
DRAIN_TIMEOUT_S: Final = 5.0


class Disconnected(Exception):
    """The client went away; nobody waits for an answer."""


def read_head(scope: Scope) -> HttpRequest:
    """
    The request without its body, as it was received.

    Raises:
        InvalidRequestError: Not exactly one Host header, or a target that is not ASCII.
    """
    headers = [(name.decode("latin-1").lower(), _text(value)) for name, value in scope["headers"]]
    raw_path = scope.get("raw_path")
    try:
        # Servers that keep no raw path (test clients) give the decoded one; encoding it again is the best guess.
        path = raw_path.decode("ascii") if raw_path else quote(scope["path"], safe="/!$&'()*+,;=:@-._~")
        query = bytes(scope.get("query_string", b"")).decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidRequestError("the request target holds bytes that must be percent-encoded") from error
    if sum(1 for name, _ in headers if name == "host") > 1:
        raise InvalidRequestError("the request has more than one Host header")
    return HttpRequest(
        method=scope["method"], raw_path=path or "/", query=query, headers=headers, secure=scope["scheme"] == "https"
    )


def _text(value: bytes) -> str:
    """UTF-8 where it is, else Latin-1: botocore sends Latin-1 and signs UTF-8, others send UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class RequestBody:
    """The body of one request: read once within bounds, or dropped so that the client gets to see the answer."""

    def __init__(self, head: HttpRequest, receive: Receive) -> None:
        self._receive = receive
        length = head.header("content-length") or ""
        # The parser below us has refused anything but digits; an absurd number of them is too long in any case.
        self._stated = int(length) if length.isdigit() and len(length) < 20 else None
        self._awaits_go = (head.header("expect") or "").lower() == "100-continue"
        self._finished = False

    async def read(self, limit: int, *, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
        """
        The whole body.

        Raises:
            RequestEntityTooLargeError: Longer than `limit`; the rest was dropped, and the connection must be closed.
            RequestTimeoutError: It did not arrive in `timeout_s`; the connection must be closed.
            Disconnected: The client went away.
        """
        too_large = RequestEntityTooLargeError(f"The body is longer than {limit} bytes.")
        if self._stated is not None and self._stated > limit:
            await self.drop()
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(timeout_s):
                while not self._finished:
                    chunk = await self._next()
                    size += len(chunk)
                    if size > limit:
                        break
                    chunks.append(chunk)
        except TimeoutError:
            raise RequestTimeoutError(f"The body did not arrive within {timeout_s:.0f} seconds.") from None
        if size > limit:
            await self.drop()
            raise too_large
        return b"".join(chunks)

    async def drop(self) -> None:
        """
        Read what is still coming and forget it, up to `DRAIN_LIMIT_BYTES` and `DRAIN_TIMEOUT_S`.

        Closing a socket with unread data resets it, and the client would see the reset instead of the answer.
        """
        if self._awaits_go:
            # Nothing was sent yet: the client waits for "100 Continue", which asking for the rest would send.
            return
        size = 0
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while not self._finished and size <= DRAIN_LIMIT_BYTES:
                    size += len(await self._next())
        except TimeoutError:
            return

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self._awaits_go = False
        self._finished = not message.get("more_body", False)
        return bytes(message.get("body", b""))


async def send_response(
    send: Send, response: Response, headers: Mapping[str, str], *, close: bool = False, head_only: bool = False
) -> None:
    """Send a whole response with further `headers`; `close` ends the connection after it."""
    fields = {**response.headers, **headers, "content-length": str(len(response.body))}
    if close:
        fields["connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()],
        }
    )
    await send({"type": "http.response.body", "body": b"" if head_only else response.body})


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Acknowledge the server's start and stop; the application itself has nothing to do at either."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
