"""A webhook is called once, signed, over TLS that is verified, and within its time, whatever the other side does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.hooks import SECRET, webhook
from tests.support.webhook_server import YES, Behaviour, Call, WebhookServer, reply, webhook_server

from handfast.core.provisioning.hooks import HookEvent, HookFailed, HookResult, Webhook, signature
from handfast.hooks import webhook as module
from handfast.hooks.runner import ThreadedHooks

EVENT = HookEvent.PRE_PROVISIONING
BODY = b'{"clientId":"device-1"}'
SHORT_S = 0.4


@pytest.fixture(scope="module")
def server() -> Iterator[WebhookServer]:
    with webhook_server() as running:
        running.answers["/yes"] = reply(YES)
        yield running


@pytest.fixture
async def runner() -> AsyncIterator[ThreadedHooks]:
    made = ThreadedHooks(at_once=2, waiting=1)
    yield made
    await made.close()


def documented(name: str) -> dict[str, Any]:
    """What the example of this name in the documentation defines."""
    page = (Path(__file__).parents[3] / "docs" / "provisioning.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    defined: dict[str, Any] = {}
    exec(found[1], defined)
    return defined


def hook_of(server: WebhookServer, path: str = "/yes", *, timeout_s: float = 5.0, **changes: object) -> Webhook:
    return webhook(url=server.url(path), ca_pem=server.ca_pem, timeout_s=timeout_s, **changes)


async def failure(runner: ThreadedHooks, hook: Webhook) -> HookFailed:
    """How the call ended, and that it ended in time."""
    begun = time.monotonic()
    with pytest.raises(HookFailed) as caught:
        await runner.run(hook, EVENT, BODY)
    assert time.monotonic() - begun < hook.timeout_s + 3
    return caught.value


async def test_a_call_is_one_signed_post(server: WebhookServer, runner: ThreadedHooks) -> None:
    server.calls.clear()
    assert YES == await runner.run(hook_of(server, "/yes?a=b"), EVENT, BODY)
    (call,) = server.calls
    assert "POST /yes?a=b HTTP/1.1" == call.line
    assert BODY == call.body
    assert ("application/json", "PreProvisioning") == (call.headers["content-type"], call.headers["handfast-event"])
    timestamp = call.headers["handfast-timestamp"]
    is_genuine = documented("verify")["is_genuine"]
    signed = call.headers["handfast-signature"]
    assert is_genuine(SECRET, timestamp, signed, call.body)
    assert not is_genuine(SECRET, timestamp, signed, call.body + b" ")
    assert not is_genuine(SECRET, str(int(timestamp) + 1), signed, call.body)
    assert not is_genuine(SECRET[::-1], timestamp, signed, call.body)
    old = str(int(timestamp) - 400)
    assert not is_genuine(SECRET, old, signature(SECRET, int(old), call.body), call.body)
    assert SECRET not in str(call.headers)


# --- TLS, and where a call may lead


async def test_a_certificate_of_another_root_is_not_trusted(server: WebhookServer, runner: ThreadedHooks) -> None:
    found = await failure(runner, webhook(url=server.url("/yes")))
    assert HookResult.UNREACHABLE == found.result
    assert "not trusted" in str(found)


async def test_a_certificate_of_another_name_is_not_trusted(server: WebhookServer, runner: ThreadedHooks) -> None:
    server.calls.clear()
    hook = webhook(url=server.url("/yes", host="127.0.0.1"), ca_pem=server.ca_pem)
    assert HookResult.UNREACHABLE == (await failure(runner, hook)).result
    assert [] == server.calls


async def test_plain_http_reaches_this_machine_alone(runner: ThreadedHooks, monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook_server(tls=False) as plain:
        plain.answers["/yes"] = reply(YES)
        hook = webhook(url=plain.url("/yes", scheme="http"))
        assert YES == await runner.run(hook, EVENT, BODY)
        elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", plain.port))]
        monkeypatch.setattr(module.socket, "getaddrinfo", lambda *args, **kwargs: elsewhere)
        assert HookResult.UNREACHABLE == (await failure(runner, hook)).result


async def test_no_proxy_of_the_environment_is_asked(
    server: WebhookServer, runner: ThreadedHooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert YES == await runner.run(hook_of(server), EVENT, BODY)


async def test_nobody_there(runner: ThreadedHooks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert HookResult.UNREACHABLE == (await failure(runner, webhook(url=f"https://localhost:{port}/"))).result


# --- answers that are none


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (reply(b"", "302 Found", "Location: /yes"), "refused"),
        (reply(b"", "307 Temporary Redirect", "Location: /yes"), "refused"),
        (reply(YES, "201 Created"), "refused"),
        (reply(YES, "500 Internal Server Error"), "refused"),
        (reply(YES, "200 OK", "Content-Encoding: gzip"), "invalid"),
        (reply(b"x" * 131_073), "invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + YES, "unreachable"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n" + YES + b"\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Padding: x\r\n" * 200 + b"\r\n" + YES, "unreachable"),
        (b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 70_000 + b"\r\n\r\n" + YES, "unreachable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "unreachable"),
        (b"", "unreachable"),
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, bytes) else value,
)
async def test_what_is_no_answer(server: WebhookServer, runner: ThreadedHooks, answer: bytes, result: str) -> None:
    server.answers["/odd"] = answer
    server.calls.clear()
    assert result == (await failure(runner, hook_of(server, "/odd"))).result
    assert ["POST /odd HTTP/1.1"] == [call.line for call in server.calls]


async def test_an_answer_in_chunks_or_without_a_length_is_read(server: WebhookServer, runner: ThreadedHooks) -> None:
    server.answers["/chunks"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1b\r\n" + YES + b"\r\n0\r\n\r\n"
    server.answers["/until-the-end"] = b"HTTP/1.0 200 OK\r\n\r\n" + YES
    assert YES == await runner.run(hook_of(server, "/chunks"), EVENT, BODY)
    assert YES == await runner.run(hook_of(server, "/until-the-end"), EVENT, BODY)


# --- time


def drip(first: bytes, then: bytes) -> Behaviour:
    """Sends a byte of `then`, over and over, far below any socket's timeout."""

    def behave(connection: socket.socket, call: Call, stopping: threading.Event) -> None:
        connection.sendall(first)
        for byte in itertools.cycle(then):
            if stopping.wait(0.02):
                return
            connection.sendall(bytes([byte]))

    return behave


def silence(connection: socket.socket, call: Call, stopping: threading.Event) -> None:
    stopping.wait(20)


def flood(connection: socket.socket, call: Call, stopping: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not stopping.is_set():
        connection.sendall(b" " * 65_536)


@pytest.mark.parametrize(
    "behaviour",
    [
        silence,
        drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "slow head", "slow body", "slow continue"],
)
async def test_the_limit_holds_for_the_whole_call(
    server: WebhookServer, runner: ThreadedHooks, behaviour: Behaviour
) -> None:
    server.answers["/slow"] = behaviour
    assert "timeout" == (await failure(runner, hook_of(server, "/slow", timeout_s=SHORT_S))).result
    await free(runner)


async def test_an_endless_answer_is_read_up_to_the_bound(server: WebhookServer, runner: ThreadedHooks) -> None:
    server.answers["/flood"] = flood
    assert "invalid" == (await failure(runner, hook_of(server, "/flood"))).result


async def test_a_handshake_that_never_ends_is_cut(runner: ThreadedHooks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        hook = webhook(url=f"https://localhost:{mute.getsockname()[1]}/", timeout_s=SHORT_S)
        assert HookResult.TIMEOUT == (await failure(runner, hook)).result
        await free(runner)


async def test_a_hook_that_is_full_denies_at_once_and_no_other_suffers(
    server: WebhookServer, runner: ThreadedHooks
) -> None:
    released = threading.Event()

    def held(connection: socket.socket, call: Call, stopping: threading.Event) -> None:
        released.wait(20)
        connection.sendall(reply(YES))

    server.answers["/held"] = held
    slow = hook_of(server, "/held")
    calls = [asyncio.ensure_future(runner.run(slow, EVENT, BODY)) for _ in range(3)]
    await asyncio.sleep(0)
    assert HookResult.BUSY == (await failure(runner, slow)).result
    assert YES == await runner.run(hook_of(server, name="another"), EVENT, BODY)
    assert not any(call.done() for call in calls)
    released.set()
    assert [YES] * 3 == await asyncio.gather(*calls)
    await free(runner)
    assert YES == await runner.run(slow, EVENT, BODY)


async def test_a_caller_that_leaves_frees_the_thread(server: WebhookServer, runner: ThreadedHooks) -> None:
    server.answers["/slow"] = silence
    call = asyncio.ensure_future(runner.run(hook_of(server, "/slow"), EVENT, BODY))
    while not server.calls or "/slow" not in server.calls[-1].line:
        await asyncio.sleep(0.005)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    await free(runner)


async def test_a_server_that_stops_calls_nobody(server: WebhookServer) -> None:
    runner = ThreadedHooks()
    await runner.close()
    assert HookResult.BUSY == (await failure(runner, hook_of(server))).result


async def free(runner: ThreadedHooks) -> None:
    """Every thread is done; none is left behind by a call that was given up."""
    async with asyncio.timeout(3):
        while any(lane.pending for lane in runner._lanes.values()):
            await asyncio.sleep(0.005)
