"""A responder is asked once, within bounds of time and size, and a certificate's URL leads to no place of ours."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import unquote

import pytest

from handfast.core.pki.ocsp import MAX_RESPONSE_BYTES, AskResult, ResponderFailed
from handfast.responders.addresses import allowing, may_be_called
from handfast.responders.fetch import HttpResponders

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n"
SHORT_S = 0.3


def sized(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Web:
    """Answers each request with the next of `answers`, the last one again; None: nothing, for ever."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ocsp"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
            self.requests.append(head + await reader.readexactly(length))
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    made = Web()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


async def ask(url: str, request: bytes = b"request", *, trusted: bool = True) -> bytes:
    async with asyncio.timeout(10):
        return await HttpResponders(limit_s=SHORT_S).ask(url, request, trusted=trusted)


async def failure(url: str, *, trusted: bool = True) -> ResponderFailed:
    with pytest.raises(ResponderFailed) as caught:
        await ask(url, trusted=trusted)
    return caught.value


async def test_a_short_request_goes_by_get(web: Web) -> None:
    web.answers = [sized(b"answer")]
    assert b"answer" == await ask(web.url, b"\xff\xfe?")
    (sent,) = web.requests
    method, path, version = sent.split(b"\r\n")[0].split()
    assert (b"GET", b"HTTP/1.1") == (method, version)
    assert b"\xff\xfe?" == base64.b64decode(unquote(path.decode().removeprefix("/ocsp/")))
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % web.port in sent


async def test_a_long_request_goes_by_post(web: Web) -> None:
    web.answers = [sized(b"answer")]
    request = bytes(300)
    assert b"answer" == await ask(web.url, request)
    (sent,) = web.requests
    assert sent.startswith(b"POST /ocsp HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/ocsp-request\r\n" in sent
    assert sent.endswith(b"\r\n\r\n" + request)


async def test_a_responder_that_knows_no_get_is_asked_by_post(web: Web) -> None:
    web.answers = [b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n", sized(b"answer")]
    assert b"answer" == await ask(web.url)
    assert [b"GET", b"POST"] == [sent.split()[0] for sent in web.requests]


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\nanswer",  # until the connection ends
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nans\r\n3\r\nwer\r\n0\r\n\r\n",
        OK.replace(b"ocsp-response", b"OCSP-Response; a=b") + b"content-length: 6\r\n\r\nanswer",
    ],
)
async def test_every_form_of_a_body(web: Web, answer: bytes) -> None:
    web.answers = [answer]
    assert b"answer" == await ask(web.url)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", AskResult.REFUSED),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", AskResult.REFUSED),
        (sized(bytes(MAX_RESPONSE_BYTES + 1)), AskResult.OVERSIZED),
        (OK + b"\r\n" + bytes(1_000_000), AskResult.OVERSIZED),
        (OK + b"X: " + b"x" * 30_000, AskResult.OVERSIZED),
        (sized(b"answer")[:-1], AskResult.UNREACHABLE),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nans\r\n", AskResult.UNREACHABLE),
        (b"", AskResult.UNREACHABLE),
        (b"SSH-2.0-OpenSSH\r\n", AskResult.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx", AskResult.INVALID),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", AskResult.INVALID),
        (None, AskResult.TIMEOUT),
        (OK + b"Content-Length: 6\r\n\r\nans", AskResult.UNREACHABLE),
    ],
)
async def test_answers_that_are_refused(web: Web, answer: bytes | None, result: AskResult) -> None:
    web.answers = [answer]
    assert result == (await failure(web.url)).result
    assert 1 == len(web.requests)  # nothing is followed


async def test_nobody_listens(web: Web, unused_tcp_port: int) -> None:
    assert AskResult.UNREACHABLE == (await failure(f"http://127.0.0.1:{unused_tcp_port}/")).result


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "[::ffff:7f00:1]"])
async def test_a_certificates_url_leads_to_no_place_of_ours(web: Web, host: str) -> None:
    web.answers = [sized(b"answer")]
    assert AskResult.FORBIDDEN == (await failure(f"http://{host}:{web.port}/", trusted=False)).result
    assert [] == web.requests


@pytest.mark.parametrize(
    "url",
    [
        "https://ocsp.example.test/", "ftp://x/", "http:///x", "http://user@x/", "http://x:0/", "http://x:99999/",
        "http://x/\r\nHost: y", "http://x y/", "http://[::1/", "", "http://x/" + "a" * 3000,
    ],
)  # fmt: skip
async def test_what_is_no_url(url: str) -> None:
    assert AskResult.FORBIDDEN == (await failure(url)).result


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True), ("10.1.2.3", True), ("192.168.1.1", True), ("2606:4700::1", True), ("fd12::1", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False), ("127.9.9.9", False), ("::1", False), ("0.0.0.0", False), ("::", False),
        ("169.254.169.254", False), ("fe80::1%eth0", False), ("fd00:ec2::254", False), ("168.63.129.16", False),
        ("fd20:ce::254", False), ("fd00:c1::a9fe:a9fe", False), ("fd00:42::42", False), ("fd00:a9fe:a9fe::1", False),
        ("100.100.100.200", False), ("::ffff:127.0.0.1", False), ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("::7f00:1", False), ("224.0.0.1", False),
        ("255.255.255.255", False), ("localhost", False),
    ],
)  # fmt: skip
def test_addresses(address: str, allowed: bool) -> None:
    assert allowed == may_be_called(address)


def test_what_the_operator_allows_is_allowed_besides() -> None:
    allowed = allowing(["127.0.0.0/8", "fd00:ec2::254/128"])
    assert all(allowed(each) for each in ("127.9.9.9", "fd00:ec2::254", "10.1.2.3"))
    assert not any(allowed(each) for each in ("::1", "169.254.169.254", "::ffff:127.0.0.1", "localhost"))
