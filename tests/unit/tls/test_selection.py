"""Which chain a real client gets, and that the root never comes with it. The client is `openssl s_client`."""

from __future__ import annotations

import re

import pytest
from tests.support.tls_ca import device, server_chains
from tests.support.tls_door import RecordingPlane, contexts, running_door

from handfast.tls.engine import Engine

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

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    async def test_a_kept_session_gets_a_full_handshake(self, engine: type[Engine], version: str) -> None:
        async with running_door(contexts(engine)) as door:
            # The session of TLS 1.3 comes after the handshake: stdin stays open until the server's echo is there.
            kept = door.directory / "session.pem"
            await door.s_client(version, "-sess_out", str(kept), stdin=b"")
            if kept.exists():
                output = await door.s_client(version, "-sess_in", str(kept), stdin=b"")
                assert "Reused, " not in output
                assert "New, TLSv1." in output
                assert 2 == len(door.plane.facts)
            assert not door.plane.failures
