"""
One question to an OCSP responder (RFC 6960 appendix A): HTTP on a connection of its own, on the event loop.

No redirects, no proxies of the environment, no retries, no compression; bytes and time are bounded as a whole. The
connection goes to the very address that was judged, so that a name cannot mean another one meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httptools

from handfast import __version__
from handfast.core.pki.ocsp import MAX_RESPONSE_BYTES, AskResult, ResponderFailed
from handfast.printable import printable
from handfast.responders.addresses import may_be_called

LIMIT_S: Final = 10.0
MAX_URL_CHARACTERS: Final = 2048
MAX_ANSWER_BYTES: Final = MAX_RESPONSE_BYTES + 16 * 1024
"""All that is read of an answer: the response, and the HTTP around it."""
MAX_GET_PATH: Final = 255
"""RFC 5019 §5: shorter requests go by GET, which caches understand."""

_ADDRESSES: Final = 4
"""Addresses of a host that are tried."""
_HOST: Final = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_MEDIA_TYPE: Final = "application/ocsp-response"


class HttpResponders:
    """`ports.ocsp.Responders`. For one event loop."""

    def __init__(self, *, limit_s: float = LIMIT_S, allowed: Callable[[str], bool] = may_be_called) -> None:
        """
        Args:
            limit_s: For one question, everything included.
            allowed: Which addresses a certificate's own URL may lead to.
        """
        self._limit_s = limit_s
        self._allowed = allowed

    async def ask(self, url: str, request: bytes, *, trusted: bool) -> bytes:
        """
        What the responder answered, at most MAX_RESPONSE_BYTES, not looked into.

        Args:
            url: http://HOST/PATH.
            request: DER.
            trusted: The URL is the operator's own word, and may lead anywhere; otherwise only where
                `addresses.may_be_called` allows.

        Raises:
            ResponderFailed
        """
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._ask(url, request, trusted)
        except TimeoutError as error:
            raise ResponderFailed(AskResult.TIMEOUT, f"no complete answer within {self._limit_s:g} s") from error
        except OSError as error:
            raise ResponderFailed(
                AskResult.UNREACHABLE, f"{type(error).__name__}: {error.strerror or 'no reason given'}"
            ) from error

    async def _ask(self, url: str, request: bytes, trusted: bool) -> bytes:
        host, port, path = _parts(url)
        asked = f"{path.rstrip('/')}/{quote(base64.b64encode(request).decode('ascii'), safe='')}"
        netloc = urlsplit(url).netloc
        if len(asked) <= MAX_GET_PATH and "?" not in path:
            answer = await self._exchange(host, port, trusted, _head("GET", asked, netloc))
            if answer.status not in (400, 404, 405, 501):
                return answer.response()
            # A private responder may know POST only.
        extra = f"Content-Type: application/ocsp-request\r\nContent-Length: {len(request)}\r\n"
        return (await self._exchange(host, port, trusted, _head("POST", path, netloc, extra) + request)).response()

    async def _exchange(self, host: str, port: int, trusted: bool, message: bytes) -> _Answer:
        reader, writer = await self._connect(host, port, trusted)
        try:
            writer.write(message)
            await writer.drain()
            answer = _Answer()
            read = 0
            while not answer.complete:
                chunk = await reader.read(4096)
                read += len(chunk)
                if read > MAX_ANSWER_BYTES:
                    raise ResponderFailed(AskResult.OVERSIZED, f"its answer has more than {MAX_ANSWER_BYTES} bytes")
                answer.feed(chunk)
            return answer
        finally:
            writer.transport.abort()

    async def _connect(self, host: str, port: int, trusted: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        allowed = [address for address in addresses if trusted or self._allowed(address)]
        if addresses and not allowed:
            raise ResponderFailed(
                AskResult.FORBIDDEN,
                f"{printable(host, limit=80)} is {addresses[0]}: a certificate's URL may not lead to this machine, its "
                "link or a metadata service; --ocsp-allow names the networks where it may",
            )
        failure: OSError | None = None
        for address in allowed[:_ADDRESSES]:
            try:
                return await asyncio.open_connection(address, port, limit=MAX_ANSWER_BYTES)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{host} has no address")


class _Answer:
    """httptools' callbacks: one response, its body bounded."""

    def __init__(self) -> None:
        self.complete = False
        self.status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self._parser: Any = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.complete = True

    def feed(self, chunk: bytes) -> None:
        """The next bytes; b"" at the end of the connection, which ends a body that has no length."""
        if not chunk:
            if not self.status or b"content-length" in self._headers or b"transfer-encoding" in self._headers:
                raise ResponderFailed(AskResult.UNREACHABLE, "the connection ended before the answer did")
            self.complete = True
            return
        try:
            self._parser.feed_data(chunk)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise ResponderFailed(
                    AskResult.UNREACHABLE, f"it does not speak HTTP ({type(error).__name__})"
                ) from error

    def response(self) -> bytes:
        """The body of a 200 of the right kind."""
        if self.status != 200:
            hint = "; redirects are not followed" if 300 <= self.status < 400 else ""
            raise ResponderFailed(AskResult.REFUSED, f"it answered with the HTTP status {self.status}{hint}")
        if self._headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise ResponderFailed(AskResult.INVALID, "its answer is compressed, which was not asked for")
        kind = self._headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
        if kind != _MEDIA_TYPE:
            raise ResponderFailed(
                AskResult.INVALID, f"its answer is {printable(kind, limit=60) or 'of no type'}, not {_MEDIA_TYPE}"
            )
        if len(self._body) > MAX_RESPONSE_BYTES:
            raise ResponderFailed(
                AskResult.OVERSIZED,
                f"the response has {len(self._body)} bytes, at most {MAX_RESPONSE_BYTES} are taken",
            )
        return self._body


def _parts(url: str) -> tuple[str, int, str]:
    """Host, port and path with query."""
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL_CHARACTERS:
        raise _no_url(f"has more than {MAX_URL_CHARACTERS} characters, or some that a URL has not")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_url("cannot be read") from None
    if parts.scheme != "http" or not host or port == 0 or not _HOST.fullmatch(host):
        raise _no_url("is not http://HOST/PATH; responses are signed, so responders are asked without TLS")
    if parts.username is not None or parts.password is not None:
        raise _no_url("has a user name or a password")
    return host, port or 80, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _no_url(why: str) -> ResponderFailed:
    return ResponderFailed(AskResult.FORBIDDEN, f"the responder's URL {why}")


def _head(method: str, path: str, netloc: str, extra: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {netloc}\r\nAccept: {_MEDIA_TYPE}\r\nAccept-Encoding: identity\r\n"
        f"Connection: close\r\nUser-Agent: handfast/{__version__}\r\n{extra}\r\n"
    ).encode("ascii")
