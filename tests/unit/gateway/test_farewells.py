"""How long the connections of a certificate take to be gone."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from tests.support.gateway import SCOPE, World, facts, settle

from handfast.gateway import farewells
from handfast.seam import Cut

ID = facts("a").certificate_id


async def test_every_connection_counts_and_the_last_to_close_decides() -> None:
    world = World()
    for client_id in ("one", "two"):
        await world.device(5).connect(client_id)
    world.device(4)  # before its CONNECT
    other = world.device(5, "b")
    with world.gateway.watch_principal(SCOPE, ID) as farewell:
        world.clock.time += 0.02
        assert 3 == world.gateway.disconnect_principal(SCOPE, ID, "AUTH_ERROR")
        world.clock.time += 0.01
        cut = await farewell.last_gone()
    assert 3 == cut.sessions
    assert 0.03 == round(cut.worst_delay_s, 6)
    assert not other.closed
    assert {} == world.gateway.farewells.watches


async def test_closed_is_when_the_transport_is_and_not_when_it_was_asked_to() -> None:
    world = World()
    slow = world.device(5)
    await slow.connect()
    slow.transport.lingers = True
    with world.gateway.watch_principal(SCOPE, ID) as farewell:
        world.gateway.disconnect_principal(SCOPE, ID, "AUTH_ERROR")
        waiting = asyncio.create_task(farewell.last_gone())
        await settle()
        assert not waiting.done()
        world.clock.time += 0.25
        slow.protocol.connection_lost(None)
        assert Cut(1, 0.25) == await waiting


async def test_a_client_that_does_not_read_is_reset() -> None:
    world = World()
    deaf = world.device(5)
    await deaf.connect()
    deaf.transport.lingers = True
    with patch.object(farewells, "PATIENCE_S", 0.001), world.gateway.watch_principal(SCOPE, ID) as farewell:
        world.gateway.disconnect_principal(SCOPE, ID, "AUTH_ERROR")
        cut = await farewell.last_gone()
    assert deaf.transport.aborted
    assert 1 == cut.sessions


async def test_a_certificate_that_nobody_is_connected_with() -> None:
    world = World()
    with world.gateway.watch_principal(SCOPE, ID) as farewell:
        assert 0 == world.gateway.disconnect_principal(SCOPE, ID, "AUTH_ERROR")
        assert Cut(0, 0.0) == await farewell.last_gone()
