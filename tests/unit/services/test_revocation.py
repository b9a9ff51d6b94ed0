"""
Whoever is not allowed in stays out, however the registry's answers, its changes and the connections interleave.

A registry whose reads take a random number of loop turns and say what was true when they began; devices that
connect all the time, over MQTT and HTTPS, with the verdict, the cache and the gateway that `serve` has.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.gateway import FakeMeter, FakeSessions, MemoryTransport
from tests.support.principals import Device, MemoryStore, World, allow, device
from tests.support.registry import SCOPE

from handfast.core.identity.ids import CertificateId, PolicyName, Scope
from handfast.core.identity.records import AccountStatus, CertificateStatus, PolicyRecord, PrincipalRecord
from handfast.core.mqtt import codec
from handfast.core.mqtt.packets import Connect
from handfast.gateway.connection import MQTTConnection
from handfast.gateway.gateway import Gateway
from handfast.gateway.receiver import OPEN
from handfast.ports import Change, ChangeKind
from handfast.seam import Admitted
from handfast.services.principals import Key

CONNECT = codec.encode(5, Connect(version=5, client_id="", clean_start=True, keep_alive=60))
SNI = "first-ats.iot.us-east-1.localhost"
DENY = allow("iot:*", effect="Deny")


class GonePeer(MemoryTransport):
    """As real transports do, it drops what is written after the peer has gone."""

    def write(self, data: Any) -> None:
        if not self.closing:
            super().write(data)


class SlowStore(MemoryStore):
    """Every read takes some turns of the loop, and answers what was true when it began."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def _some_turns(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)

    async def principals(self, keys: Sequence[Key]) -> list[PrincipalRecord | None]:
        found = await super().principals(keys)
        await self._some_turns()
        return found

    async def policy(self, scope: Scope, name: PolicyName) -> PolicyRecord | None:
        found = await super().policy(scope, name)
        await self._some_turns()
        return found

    async def default_registrations(self, region: str, certificate_id: CertificateId) -> list[Scope]:
        found = await super().default_registrations(region, certificate_id)
        await self._some_turns()
        return found


class Siege:
    """One certificate, its ever-changing registration, and connections that try again and again."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World()
        self.store = SlowStore(self.chance)
        self.world.store = self.store
        self.world.cache._store = self.store  # type: ignore[assignment]
        self.world.verdict._store = self.store  # type: ignore[assignment]
        self.gateway = Gateway(
            self.world.verdict,
            FakeSessions(),
            clock=self.world.clock,
            entropy=self.world.entropy,
            meter=FakeMeter(),
        )
        self.world.cache.command(self.gateway)
        self.lamp = device()
        self.store.register(self.lamp)
        self.others = [device(f"other-{number}") for number in range(3)]
        for other in self.others:
            self.store.register(other)
        self.allowed = True
        """What the registry says; `announced` is what the API has answered."""
        self.announced = True
        self.opened = self.published = 0
        self.over = False

    async def turns(self, most: int) -> None:
        for _ in range(self.chance.randrange(most)):
            await asyncio.sleep(0)

    def check(self, connection: MQTTConnection) -> None:
        if not self.announced:
            assert OPEN != connection.state, "a connection lives although the API has said that it may not"

    async def come_by_mqtt(self, sni: str | None, who: Device) -> None:
        while not self.over:
            connection = self.gateway.accept(who.facts(sni))
            assert isinstance(connection, MQTTConnection)
            transport = GonePeer(connection)
            connection.connection_made(transport)
            await self.turns(6)
            if not transport.closing:
                connection.data_received(CONNECT)
            for _ in range(self.chance.randrange(60)):
                if who is self.lamp:
                    self.check(connection)
                    self.opened += connection.state == OPEN
                if transport.closing:
                    break
                await asyncio.sleep(0)
            if not transport.closing:
                transport.abort()
            await self.turns(8)

    async def come_by_https(self) -> None:
        facts = self.lamp.facts(SNI)
        while not self.over:
            verdict = self.world.verdict.identify_now(facts) or await self.world.verdict.identify(facts)
            await self.turns(20)  # the body
            if isinstance(verdict, Admitted):
                published = self.world.verdict.http(facts, verdict).publish("t")
                assert self.announced or not published
                self.published += published
            await self.turns(10)

    def change(self) -> tuple[bool, list[Change]]:
        """Something in the registry changes, at once: whether the device may be here then, and the changes."""
        store, lamp, key = self.store, self.lamp, (SCOPE, self.lamp.certificate_id)
        present = key in store.records
        match self.chance.randrange(5):
            case 0 if present:
                return False, store.delete(lamp)
            case 1 if present:
                return False, store.set_status(lamp, CertificateStatus.INACTIVE)
            case 2 if present:
                return False, store.disable_account()
            case 3 if present:
                return False, store.set_document("all", DENY, str(self.chance.random()))
            case _:
                for each, record in list(store.records.items()):
                    store.records[each] = dataclasses.replace(record, account_status=AccountStatus.ENABLED)
                changes = [Change(ChangeKind.ACCOUNT, None, SCOPE.account)]
                changes += store.register(lamp)
                return True, changes + store.set_document("all", allow(), str(self.chance.random()))

    async def govern(self, changes: int) -> None:
        for _ in range(changes):
            await self.turns(150 if self.announced else 60)
            allowed, announced = self.change()
            if allowed:
                self.announced = True  # from now on either answer is right
            await self.turns(6)  # the commit is known to the store before anyone here hears of it
            await self.world.cache.apply(announced)
            if not allowed:
                self.announced = False
                for connection in list(self.gateway._connections):
                    if connection.facts.certificate_id == self.lamp.certificate_id:
                        # An open one may stay under a policy that allows nothing: only its acts are judged.
                        if announced[0].kind is ChangeKind.POLICY and connection.state == OPEN:
                            connection.cut(0x87, "AUTH_ERROR")
                        self.check(connection)
        self.over = True


@pytest.mark.parametrize("seed", range(4))
async def test_nobody_is_let_in_after_the_api_has_said_that_they_may_not(seed: int) -> None:
    siege = Siege(seed)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for sni in (SNI, "localhost", None, SNI):
            group.create_task(siege.come_by_mqtt(sni, siege.lamp))
        for other in siege.others:
            group.create_task(siege.come_by_mqtt(SNI, other))
        group.create_task(siege.come_by_https())
        group.create_task(siege.govern(150))
    assert siege.opened > 100
    assert siege.published > 10
    await siege.gateway.close()
    await siege.world.cache.close()
