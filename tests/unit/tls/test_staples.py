"""A handshake that asks for it is stapled what the certificate's contexts hold at that moment, in TLS 1.2 and 1.3."""

from __future__ import annotations

import pytest
from tests.support.tls_ca import server_chains
from tests.support.tls_door import contexts, running_door

from handfast.seam import ListenerKind
from handfast.tls.contexts import Contexts
from handfast.tls.openssl import staples
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import Engine

REGION = "us-east-1"
RESPONSE = b"\x30\x03\x0a\x01\x03"  # OCSPResponse { tryLater }: s_client prints what it is
STAPLED = "OCSP Response Status: trylater (0x3)"
NONE = "OCSP response: no response sent"


def staple(table: Contexts, response: bytes | None, kind: str = "rsa") -> None:
    leaf = table.leaf(REGION, kind)  # type: ignore[arg-type]
    assert leaf is not None
    table.staple(REGION, kind, leaf, response)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_the_staple_is_swapped_between_two_handshakes(engine: type[Engine], version: str) -> None:
    table = contexts(engine)
    async with running_door(table, listener=ListenerKind.API) as door:
        assert NONE in await door.s_client(version, "-status")
        staple(table, RESPONSE)
        assert STAPLED in await door.s_client(version, "-status")
        without = await door.s_client(version)
        assert "OCSP" not in without
        assert "Verify return code: 0 (ok)" in without
        staple(table, None)
        assert NONE in await door.s_client(version, "-status")
    assert [] == door.plane.failures


async def test_an_open_connection_is_not_touched_and_each_kind_has_its_own(engine: type[Engine]) -> None:
    table = contexts(engine)
    async with running_door(table) as door:
        reader, writer = await door.connect()
        staple(table, RESPONSE, "ecdsa")
        assert NONE in await door.s_client("-tls1_2", "-cipher", "aRSA", "-status")
        assert STAPLED in await door.s_client("-tls1_2", "-cipher", "aECDSA", "-status")
        writer.write(b"still here")
        assert b"still here" == await reader.readexactly(10)
        writer.close()


def test_a_staple_goes_with_its_leaf() -> None:
    table = contexts(DirectEngine)
    chains, other = server_chains(), server_chains("eu-west-1")
    staple(table, RESPONSE)
    material = table._material[REGION, "rsa"]
    table.install(REGION, "rsa", chains.rsa.chain_pem, chains.rsa.key_pem)  # the same leaf again
    assert RESPONSE == table._material[REGION, "rsa"].staple.response
    table.install(REGION, "rsa", other.rsa.chain_pem, other.rsa.key_pem)
    assert table._material[REGION, "rsa"].staple.response is None
    table.staple(REGION, "rsa", chains.rsa.certificate, RESPONSE)  # comes too late
    assert table._material[REGION, "rsa"].staple.response is None
    assert RESPONSE == material.staple.response  # what open handshakes have


class Broken:
    @property
    def response(self) -> bytes:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("version", "what"), [("-tls1_2", Broken()), ("-tls1_3", "text")])
async def test_an_exception_in_the_callback_leaves_the_handshake_without(
    engine: type[Engine], version: str, what: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder: staples.Staple = what if isinstance(what, Broken) else staples.Staple()  # type: ignore[assignment]
    if what == "text":
        holder.response = "not bytes"  # type: ignore[assignment]
    monkeypatch.setattr("handfast.tls.contexts.attach", lambda context, _, made: staples.attach(context, holder, made))
    async with running_door(contexts(engine), listener=ListenerKind.API) as door:
        output = await door.s_client(version, "-status")
        assert NONE in output
        assert "Verify return code: 0 (ok)" in output


async def test_a_binding_that_cannot_staple_serves_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staples, "lib", object())
    table = contexts(DirectEngine)
    staple(table, RESPONSE)
    async with running_door(table, listener=ListenerKind.API) as door:
        assert NONE in await door.s_client("-status")
