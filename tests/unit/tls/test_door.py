"""Connections that get through the door: what they prove, what they get, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import ssl

import pytest
from tests.support.tls_ca import device
from tests.support.tls_door import Echo, contexts, running_door

from handfast.seam import ListenerKind
from handfast.tls.engine import Engine


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
