"""What ends a rotation by itself: an arrival or a deadline, seen once, written once, whatever the store does."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.principals import World, allow, device, request
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeClock,
    cause,
    certificate,
    certificate_id,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.ids import CertificateId
from handfast.core.identity.records import CertificateStatus
from handfast.core.identity.rotation import (
    DeadlineAction,
    RetireAction,
    RotationEnd,
    RotationRecord,
    RotationState,
)
from handfast.errors import StoreUnavailable
from handfast.ports import Change
from handfast.seam import Admitted, Authorizer, ListenerKind, Refused
from handfast.services import rotation_watch
from handfast.services.principals import Key
from handfast.services.rotation_watch import RotationWatch
from handfast.storage.sql import SQLStore

ACTIVE, INACTIVE = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE
OLD, NEW = certificate_id(1), certificate_id(2)
KEY = (SCOPE, NEW)
HOUR = dt.timedelta(hours=1)


class Silent:
    """A store that fails to write while it is `down`."""

    def __init__(self, store: SQLStore) -> None:
        self.down = False
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def finish_rotation(self, *args: Any) -> list[Change]:
        if self.down:
            raise StoreUnavailable("down")
        return await self._store.finish_rotation(*args)


class Plane:
    """A watch over a store, told of every change as the composition root tells it."""

    def __init__(self, store: SQLStore) -> None:
        self.store = Silent(store)
        self.clock = FakeClock()
        self.announced = asyncio.Event()
        self.watch = RotationWatch(self.store, self.clock, self.notify)  # type: ignore[arg-type]

    async def notify(self, changes: Sequence[Change]) -> None:
        await self.watch.changed(changes)
        self.announced.set()

    async def begin(self, old: int = 1, new: int = 2, *, within: dt.timedelta = HOUR, **changes: Any) -> None:
        await self.store.insert_certificate(certificate(old, status=ACTIVE), cause())
        record = RotationRecord(
            scope=SCOPE,
            certificate_id=certificate_id(old),
            successor_id=certificate_id(new),
            retire_action=RetireAction.DEACTIVATE,
            on_deadline=DeadlineAction.RETIRE,
            started_at=NOW,
            deadline=NOW + within,
        )
        successor = certificate(new, status=ACTIVE)
        record = dataclasses.replace(record, **changes)
        await self.notify(await self.store.begin_rotation(record, successor, limit=99, cause=cause()))

    async def ended(self, new: CertificateId = NEW) -> tuple[RotationState, RotationEnd | None]:
        found = await self.store.rotation(SCOPE, new)
        return found.state, found.ended_by

    async def status(self, which: CertificateId = OLD) -> CertificateStatus:
        found = await self.store.certificate(SCOPE, which)
        return CertificateStatus(found.status)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        yield Plane(store)


async def test_only_the_successor_is_awaited_and_only_until_it_has_come(plane: Plane) -> None:
    assert not plane.watch.awaits(KEY)
    await plane.begin()
    assert plane.watch.awaits(KEY)
    assert not plane.watch.awaits((SCOPE, OLD))
    assert not plane.watch.awaits((OTHER_ACCOUNT, NEW))
    plane.watch.arrived(KEY, "192.0.2.7")
    await plane.watch.step()
    assert (RotationState.RETIRED, RotationEnd.CONNECTED) == await plane.ended()
    assert INACTIVE is await plane.status()
    assert not plane.watch.awaits(KEY)


async def test_a_certificate_that_nobody_awaits_retires_nothing(plane: Plane) -> None:
    await plane.begin()
    plane.watch.arrived((SCOPE, OLD), "192.0.2.7")
    plane.watch.arrived((OTHER_ACCOUNT, NEW), "192.0.2.7")
    await plane.watch.step()
    assert (RotationState.WAITING, None) == await plane.ended()


async def test_the_deadline_is_obeyed_to_the_moment_and_told_in_advance(plane: Plane) -> None:
    await plane.begin(within=dt.timedelta(seconds=30))
    await plane.begin(3, 4, within=HOUR)
    plane.clock.instant = NOW + dt.timedelta(seconds=20)
    assert 10.0 == await plane.watch.step()
    assert ACTIVE is await plane.status()
    plane.clock.instant = NOW + dt.timedelta(seconds=30)
    assert rotation_watch.MAX_WAIT_S == await plane.watch.step()
    assert (RotationState.RETIRED, RotationEnd.DEADLINE) == await plane.ended()
    assert (INACTIVE, ACTIVE) == (await plane.status(), await plane.status(certificate_id(3)))


async def test_who_came_before_the_deadline_was_seen_to_pass_came_in_time(plane: Plane) -> None:
    await plane.begin(on_deadline=DeadlineAction.KEEP)
    plane.watch.arrived(KEY, "192.0.2.7")
    plane.clock.instant = NOW + 2 * HOUR
    await plane.watch.step()
    assert (RotationState.RETIRED, RotationEnd.CONNECTED) == await plane.ended()


async def test_what_ended_otherwise_is_not_awaited(plane: Plane) -> None:
    await plane.begin()
    changes = await plane.store.set_certificate_status(SCOPE, NEW, expected=ACTIVE, new=INACTIVE, cause=cause())
    plane.watch.arrived(KEY, "192.0.2.7")
    await plane.notify(changes)
    assert not plane.watch.awaits(KEY)
    assert rotation_watch.MAX_WAIT_S == await plane.watch.step()
    assert ACTIVE is await plane.status()


async def test_after_a_restart_everything_is_awaited_again(plane: Plane) -> None:
    await plane.begin()
    again = RotationWatch(plane.store, plane.clock, plane.notify)  # type: ignore[arg-type]
    await again.load()
    assert again.awaits(KEY)


async def test_an_arrival_that_could_not_be_written_is_not_forgotten(plane: Plane) -> None:
    await plane.begin()
    plane.watch.arrived(KEY, "192.0.2.7")
    plane.store.down = True
    assert await plane.watch.step() is None
    assert plane.watch.awaits(KEY)
    plane.store.down = False
    await plane.watch.step()
    assert (RotationState.RETIRED, RotationEnd.CONNECTED) == await plane.ended()


async def test_the_task_acts_at_once_on_an_arrival_and_closes(plane: Plane) -> None:
    await plane.begin()
    plane.announced.clear()
    plane.watch.start()
    await asyncio.sleep(0)
    plane.watch.arrived(KEY, "192.0.2.7")
    async with asyncio.timeout(5):
        await plane.announced.wait()
    assert INACTIVE is await plane.status()
    await plane.watch.close()


# --- who counts as having arrived -----------------------------------------------------------------------------------


class Arrivals:
    """Awaits everybody."""

    def __init__(self) -> None:
        self.seen: list[tuple[Key, str]] = []

    def awaits(self, key: Key) -> bool:
        return True

    def arrived(self, key: Key, address: str) -> None:
        self.seen.append((key, address))


async def admitted(world: World, who: Any) -> Admitted:
    verdict = await world.verdict.identify(who.facts("localhost"))
    assert isinstance(verdict, Admitted)
    return verdict


async def test_an_accepted_connect_is_an_arrival_a_handshake_or_a_refused_one_is_not() -> None:
    arrivals = Arrivals()
    world, who = World(arrivals=arrivals), device()
    world.store.register(who, policies={"p": allow("iot:Connect", resource="*client/lamp")})
    facts = who.facts("localhost")
    entered = await admitted(world, who)
    assert isinstance(world.verdict.connect(facts, entered, request("stranger")), Refused)
    assert [] == arrivals.seen
    connected = world.verdict.connect(facts, entered, request("lamp"))
    assert not isinstance(connected, Refused)
    assert [((SCOPE, who.certificate_id), facts.peer_address)] == arrivals.seen


async def test_an_allowed_publish_over_https_is_an_arrival_a_denied_one_is_not() -> None:
    arrivals = Arrivals()
    world, who = World(arrivals=arrivals), device()
    world.store.register(who, policies={"p": allow("iot:Publish", resource="*topic/mine")})
    facts = dataclasses.replace(who.facts("localhost"), listener=ListenerKind.HTTPS)
    authorizer: Authorizer = world.verdict.http(facts, await admitted(world, who))
    assert not authorizer.publish("yours")
    assert [] == arrivals.seen
    assert authorizer.publish("mine")
    assert [((SCOPE, who.certificate_id), facts.peer_address)] == arrivals.seen
