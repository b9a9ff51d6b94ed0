"""What a page in a browser can do to a `--dev` server on the same machine, where any secret is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.inprocess import ACCOUNT, CountingEntropy, SystemClock, call, known_keys

from handfast.front import FrontDoor
from handfast.services.publication import Publication
from handfast.wire.sigv4 import Authenticator, SigningKey
from handfast.wire.skeleton import ApiApplication, MountedService
from handfast.wire.spec import load_service

# A query is all that a form or `fetch(…, {mode: "no-cors"})` needs: no header of it makes a browser ask first.
FORGED = (
    "/things/forged?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=123456789012%2F20260101%2Fus-east-1%2Fiot%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=" + "0" * 64
)
HOST = "127.0.0.1:8080"


class Dev:
    """The API door of a `--dev` server; `created` lists the things that reached the registry."""

    def __init__(self, tmp_path: Path, *, dev: bool = True) -> None:
        self.created: list[str] = []
        clock = SystemClock()

        async def create_thing(_ctx: Any, *, thing_name: str) -> dict[str, Any]:
            self.created.append(thing_name)
            return {}

        async def any_secret(_access_key_id: str) -> SigningKey:
            return SigningKey("", ACCOUNT)

        api = ApiApplication(
            [MountedService(load_service("iot"), {"CreateThing": create_thing})],
            Authenticator(known_keys, clock, dev=any_secret if dev else None),
            clock,
            CountingEntropy(),
            lambda refusal: None,
        )
        self.front = FrontDoor(
            api=api,
            trust_dir=tmp_path,
            metrics=lambda: b"",
            metrics_token=None,
            loopback=True,
            hosts=frozenset({"localhost", "127.0.0.1", "::1"}) if dev else None,
        )

    async def post(self, headers: Mapping[str, str]) -> int:
        return (await call(self.front, "POST", FORGED, {"host": HOST, **headers}, b"{}")).status


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"origin": "https://evil.example"}, id="another site"),
        pytest.param({"origin": "null"}, id="a sandboxed frame or a file"),
        pytest.param({"origin": "http://127.0.0.1.evil.example"}, id="a name that begins like ours"),
        pytest.param({"origin": "http://localhost:3000"}, id="another port of this machine"),
        pytest.param({"sec-fetch-site": "cross-site"}, id="without Origin, but a browser all the same"),
        pytest.param({"sec-fetch-site": "same-site"}, id="another port, without Origin"),
    ],
)
async def test_a_page_of_another_site_cannot_write_to_a_dev_server(tmp_path: Path, headers: dict[str, str]) -> None:
    dev = Dev(tmp_path)
    assert 403 == await dev.post(headers)
    assert [] == dev.created


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="a program"),
        pytest.param({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, id="a page of our own"),
        pytest.param({"sec-fetch-site": "none"}, id="typed into the address bar"),
    ],
)
async def test_programs_and_our_own_pages_reach_a_dev_server(tmp_path: Path, headers: dict[str, str]) -> None:
    dev = Dev(tmp_path)
    assert 200 == await dev.post(headers)
    assert ["forged"] == dev.created


async def test_a_name_that_only_resolves_to_this_machine_reaches_no_dev_server(tmp_path: Path) -> None:
    dev = Dev(tmp_path)
    assert 403 == await dev.post({"host": "rebound.evil.example:8080"})
    assert [] == dev.created


async def test_without_dev_the_forged_signature_is_what_is_refused(tmp_path: Path) -> None:
    server = Dev(tmp_path, dev=False)
    assert 403 == await server.post({"origin": "https://evil.example"})
    assert [] == server.created


async def test_what_is_published_is_answered_without_credentials(tmp_path: Path) -> None:
    async def api(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not the API's")

    files = {("aia", "rsa-1.cer"): Publication(b"DER", "application/pkix-cert")}
    front = FrontDoor(
        api=api,
        trust_dir=tmp_path,
        metrics=lambda: b"",
        metrics_token=None,
        loopback=False,
        hosts=None,
        published=lambda folder, name: files.get((folder, name)),
        public_path="/handfast",
    )
    for path in ("/handfast/aia/rsa-1.cer", "/aia/rsa-1.cer"):
        answer = await call(front, "GET", path, {"host": HOST})
        assert (200, b"DER") == (answer.status, answer.body)
        headers = {key.lower(): value for key, value in answer.headers.items()}
        assert "application/pkix-cert" == headers["content-type"]
        same = await call(front, "GET", path, {"host": HOST, "if-none-match": headers["etag"]})
        assert (304, b"") == (same.status, same.body)
    for path in ("/aia/rsa-2.cer", "/crl/rsa-1.cer", "/handfast/crl/rsa-1.crl"):
        assert 404 == (await call(front, "GET", path, {"host": HOST})).status
