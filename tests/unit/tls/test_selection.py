"""Which chain a real client gets, and that the root never comes with it. The client is `openssl s_client`."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl

import pytest
from tests.support.tls_ca import device, server_chains
from tests.support.tls_door import LIMIT_S, RecordingPlane, contexts, running_door

from handfast.tls.openssl.engine import Engine

RSA_ONLY = ("-sigalgs", "RSA-PSS+SHA256:RSA+SHA256")


def served(output: str) -> tuple[str, int]:
    """The leaf's common name and the number of certificates that came; the chain has to verify."""
    assert "Verify return code: 0 (ok)" in output, output
    leaf = re.search(r"^ 0 s:CN ?= ?(\S+)", output, re.MULTILINE)
    assert leaf is not None, output
    chain = output[output.index("Certificate chain") : output.index("Server certificate")]
    return leaf[1], chain.count("BEGIN CERTIFICATE")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("-cipher", "aECDSA", "-tls1_2"), "ecdsa"),
        (("-cipher", "aECDSA"), "ecdsa"),
        (("-cipher", "aRSA", "-tls1_2"), "rsa"),
        (("-cipher", "aRSA"), "rsa"),
        (("-tls1_3", "-sigalgs", "ECDSA+SHA256"), "ecdsa"),
        (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"), "rsa"),
        (("-tls1_3", *RSA_ONLY), "rsa"),
        (("-tls1_2", "-sigalgs", "ECDSA+SHA256"), "ecdsa"),
        (("-tls1_2", "-curves", "X25519"), "rsa"),
        (("-tls1_2", "-cipher", "AES128-SHA"), "rsa"),
        ((), "rsa"),
        (("-tls1_2",), "rsa"),
        (("-tls1_3",), "rsa"),
    ],
)
async def test_a_client_gets_the_chain_that_it_can_verify(
    engine: type[Engine], options: tuple[str, ...], kind: str
) -> None:
    async with running_door(contexts(engine)) as door:
        # -sigalgs and -curves bind the client too: its key has to fit them.
        client = device("rsa2048") if kind == "rsa" and {"-sigalgs", "-curves"} & set(options) else None
        output = await door.s_client(*options, client=client)
        assert (f"leaf.us-east-1.{kind}", 2) == served(output)
        assert kind == door.plane.facts[0].chain_kind
        root = server_chains().rsa_root if kind == "rsa" else server_chains().ecdsa_root
        assert root.pem.decode() not in output


@pytest.mark.parametrize("options", [(), ("-tls1_2",)])
async def test_prefer_ecdsa_turns_it_round(engine: type[Engine], options: tuple[str, ...]) -> None:
    async with running_door(contexts(engine, "ecdsa")) as door:
        assert ("leaf.us-east-1.ecdsa", 2) == served(await door.s_client(*options))
        assert ("leaf.us-east-1.rsa", 2) == served(await door.s_client("-cipher", "aRSA", *options))


async def test_sni_chooses_the_region_whose_leaf_is_shown(engine: type[Engine]) -> None:
    async with running_door(contexts(engine, regions=("eu-west-1",)), RecordingPlane()) as door:
        output = await door.s_client("-servername", "x.iot.eu-west-1.example", "-CAfile", str(door.roots))
        assert " 0 s:CN = leaf.eu-west-1.rsa" in output.replace("CN=", "CN = ")
        assert "x.iot.eu-west-1.example" == door.plane.facts[0].sni
        output = await door.s_client("-noservername")
        assert "leaf.us-east-1.rsa" == served(output)[0]
        assert door.plane.facts[1].sni is None


class TestNothingIsResumed:
    async def test_tls_1_2_has_no_ticket_and_no_session_id(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            output = await door.s_client("-tls1_2", "-reconnect", stdin=b"")
            assert 0 == output.count("Reused, ")
            assert 6 == output.count("New, TLSv1.2")
            assert "TLS session ticket:" not in output
            assert re.search(r"Session-ID: *$", output, re.MULTILINE)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_kept_session_gets_a_full_handshake(self, engine: type[Engine], version: ssl.TLSVersion) -> None:
        async with running_door(contexts(engine)) as door:
            context = door.client_context()
            context.minimum_version = context.maximum_version = version

            def connect(session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None]:
                with (
                    socket.create_connection(("127.0.0.1", door.port), LIMIT_S) as sock,
                    context.wrap_socket(sock, server_hostname="localhost", session=session) as tls,
                ):
                    tls.sendall(b"x")
                    assert b"x" == tls.recv(1)  # TLS 1.3 gives its session with the first data
                    return tls.session_reused, tls.session

            _, session = await asyncio.to_thread(connect, None)
            assert session is not None
            assert (version == ssl.TLSVersion.TLSv1_3) == session.has_ticket
            reused, _ = await asyncio.to_thread(connect, session)
            assert not reused
            assert 2 == len(door.plane.facts)
            assert not door.plane.failures
            assert ("pre-shared key" in door.plane.facts[1].offered.get("resumption", "")) == session.has_ticket
