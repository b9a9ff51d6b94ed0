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


async def read_body(head: HttpRequest, receive: Receive, limit: int, *, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """
    The whole body.

    Raises:
        RequestEntityTooLargeError: Longer than `limit`. What is still coming was read and dropped, within
            bounds, so that the client sees the answer; the connection must be closed.
        RequestTimeoutError: It did not arrive in `timeout_s`; the connection must be closed.
        Disconnected: The client went away.
    """
    stated = head.header("content-length")
    expects = (head.header("expect") or "").lower() == "100-continue"
    too_large = RequestEntityTooLargeError(f"The body is longer than {limit} bytes.")
    if stated is not None and stated.isdigit() and int(stated[:20]) > limit:
        # A client that waits for "100 Continue" has sent nothing yet: asking for the rest would invite it.
        if not expects:
            await _drain(receive)
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    break
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise RequestTimeoutError(f"The body did not arrive within {timeout_s:.0f} seconds.") from None
    await _drain(receive)
    raise too_large


async def _drain(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while size <= DRAIN_LIMIT_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


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
