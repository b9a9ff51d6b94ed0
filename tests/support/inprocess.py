"""A botocore client whose requests go straight into an ASGI application, as bytes, with no socket between."""

from __future__ import annotations

import asyncio
import atexit
import datetime as dt
import functools
import io
import itertools
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse

from handfast.core.identity.ids import AccountId
from handfast.wire.client import _client
from handfast.wire.sigv4 import SigningKey

ACCOUNT = AccountId("123456789012")
KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
OPERATOR_ID = "OPERATORKEYEXAMPLE"

Application = Callable[[dict[str, Any], Any, Any], Any]


class SystemClock:
    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)


class FixedClock:
    """Moves when it is told to."""

    def __init__(self, now: dt.datetime) -> None:
        self.at = now

    def now(self) -> dt.datetime:
        return self.at


class CountingEntropy:
    """UUIDs in order: …0001, …0002."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def uuid(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012d}"


async def known_keys(access_key_id: str) -> SigningKey | None:
    return {
        KEY_ID: SigningKey(SECRET, ACCOUNT),
        OPERATOR_ID: SigningKey(SECRET, None),
        "AKIDREVOKED": SigningKey(SECRET, ACCOUNT, active=False),
        "AKIDDISABLED": SigningKey(SECRET, ACCOUNT, account_disabled=True),
    }.get(access_key_id)


class Answer:
    """What an ASGI application answered."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start = messages[0]
        self.status: int = start["status"]
        self.headers: dict[str, str] = {n.decode(): v.decode() for n, v in start["headers"]}
        self.body: bytes = b"".join(m.get("body", b"") for m in messages[1:])


async def call(
    application: Application,
    method: str,
    target: str,
    headers: Mapping[str, str] | list[tuple[str, str]] = (),  # type: ignore[assignment]
    body: bytes = b"",
    *,
    scheme: str = "http",
    state: dict[str, Any] | None = None,
    chunk: int = 65536,
) -> Answer:
    """One request; `target` is raw and may hold a query. The body arrives in chunks."""
    path, _, query = target.partition("?")
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    parts = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
    incoming = [{"type": "http.request", "body": part, "more_body": i < len(parts) - 1} for i, part in enumerate(parts)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": ("192.0.2.7", 49152),
        "state": state or {},
    }
    await application(scope, receive, send)
    return Answer(sent)


@functools.cache
def _runner() -> asyncio.Runner:
    """One loop for all clients of a test process: a loop for each request costs more than the request."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


class _Raw(io.BytesIO):
    """The little of urllib3's response that botocore reads."""

    def stream(self, *_args: Any, **_options: Any) -> Any:
        yield self.read()


def client(
    service: str, application: Application, *, key_id: str = KEY_ID, secret: str = SECRET, region: str = REGION
) -> Any:
    """The botocore client, signing for real; retries are off. `client.sent` lists the requests."""
    made = _client(service, "http://iot.test", region, key_id, secret, None, total_max_attempts=1)
    made.sent = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        made.sent.append(request)
        parts = urlsplit(request.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {n: v.decode() if isinstance(v, bytes) else v for n, v in request.headers.items()}
        if not any(name.lower() == "host" for name in headers):
            headers["Host"] = parts.netloc
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else bytes(body)
        got = _runner().run(call(application, request.method, target, headers, body))
        return AWSResponse(request.url, got.status, got.headers, _Raw(got.body))

    made.meta.events.register("before-send", answer)
    return made
