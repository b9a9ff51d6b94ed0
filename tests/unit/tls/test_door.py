"""Connections that get through the door: what they prove, what they get, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import ssl

import pytest
from OpenSSL import SSL
from tests.support.tls_ca import device
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import Echo, contexts, running_door

from handfast.seam import ListenerKind
from handfast.tls.openssl.engine import Engine


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_device_is_let_in_and_the_facts_say_what_it_proved(
    engine: type[Engine], version: ssl.TLSVersion
) -> None:
    async with running_door(contexts(engine)) as door:
        client = door.client_context()
        client.minimum_version = client.maximum_version = version
        reader, writer = await door.connect(client)
        writer.write(b"ping")
        assert b"ping" == await reader.readexactly(4)
        local = writer.get_extra_info("sockname")
        facts = door.plane.facts[0]
        assert ListenerKind.MQTT == facts.listener
        assert (local[0], local[1]) == (facts.peer_address, facts.peer_port)
        assert "127.0.0.1" == facts.local_address
        assert device().der == facts.certificate_der
        assert hashlib.sha256(device().der).hexdigest() == facts.certificate_id
        assert "localhost" == facts.sni
        assert facts.alpn is None
        assert {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version] == facts.version
        assert writer.get_extra_info("cipher")[0] == facts.cipher
        assert "x25519" == (facts.group or "").lower()
        assert "rsa" == facts.chain_kind
        assert "TLSv1.3" in facts.offered["versions"] or version == ssl.TLSVersion.TLSv1_2
        assert 0 == door.factory.handshakes
        writer.close()
        application = door.plane.applications[0]
        assert isinstance(application, Echo)
        assert await asyncio.wait_for(application.lost, 5) is None
        assert application.eof


@pytest.mark.parametrize(
    ("groups", "agreed", "offered"),
    [
        (b"X25519MLKEM768:X25519", "X25519MLKEM768", True),
        (b"*X25519:X25519MLKEM768", "X25519MLKEM768", True),  # asked for with a HelloRetryRequest
        (b"X25519:P-256", "x25519", False),
        (b"P-384", "secp384r1", False),
        (b"SecP384r1MLKEM1024:P-384", None, True),  # a hybrid that need not be ours
    ],
)
async def test_a_post_quantum_hybrid_is_preferred_wherever_it_is_offered(
    engine: type[Engine], groups: bytes, agreed: str | None, offered: bool
) -> None:
    async with running_door(contexts(engine)) as door:
        reader, writer = await door.connect_tcp()
        await MemoryClient(groups=groups).handshake(reader, writer)
        await door.plane.opened_one()
        facts = door.plane.facts[0]
        assert agreed is None or agreed == facts.group
        assert offered == facts.hybrid_offered
        writer.close()


async def test_a_hybrid_group_counts_for_nothing_in_tls_1_2(engine: type[Engine]) -> None:
    async with running_door(contexts(engine)) as door:
        reader, writer = await door.connect_tcp()
        client = MemoryClient(groups=b"X25519MLKEM768:P-256", version=SSL.TLS1_2_VERSION)
        await client.handshake(reader, writer)
        await door.plane.opened_one()
        assert not door.plane.facts[0].hybrid_offered
        assert "secp256r1" == door.plane.facts[0].group
        writer.close()
