"""What nobody claims is deleted."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.fleet_world import World
from tests.support.registry import NOW

from handfast.core.provisioning.fleet import TOKEN_LIFE
from handfast.errors import StoreUnavailable
from handfast.ports import Change
from handfast.services.unclaimed import MAX_WAIT_S, UnclaimedSweeper


async def test_what_nobody_claims_is_deleted_at_its_hour_and_not_before(world: World) -> None:
    sweeper = UnclaimedSweeper(world.store, world.clock, world.notify, world.meter)
    assert MAX_WAIT_S == await sweeper.step()
    made, claimed = await world.create(), await world.create()
    assert "accepted" == (await world.register(claimed["certificateOwnershipToken"]))["outcome"]
    assert MAX_WAIT_S == await sweeper.step()
    world.clock.instant = NOW + TOKEN_LIFE - dt.timedelta(seconds=5)
    assert 5.0 == await sweeper.step()
    world.clock.instant = NOW + TOKEN_LIFE
    world.notified.clear()
    assert 0.0 == await sweeper.step()
    assert [made["certificateId"]] == [change.subject for change in world.notified]
    assert None is await world.certificate(made["certificateId"])
    assert None is not await world.certificate(claimed["certificateId"])
    assert 1 == world.meter.counts["handfast_unclaimed_certificates_deleted_total", ()]
    assert MAX_WAIT_S == await sweeper.step()


async def test_the_sweeper_goes_on_after_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.services.unclaimed.RETRY_S", 0.0)
    made = await world.create()
    world.clock.instant = NOW + TOKEN_LIFE
    gone = asyncio.Event()
    failures = iter([StoreUnavailable("down"), RuntimeError("bug")])

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.store, name)

        async def expire_unclaimed(self, *args: Any) -> Any:
            for error in failures:
                raise error
            return await world.store.expire_unclaimed(*args)

    async def notify(changes: Sequence[Change]) -> None:
        gone.set()

    sweeper = UnclaimedSweeper(Failing(), world.clock, notify, world.meter)  # type: ignore[arg-type]
    sweeper.start()
    await asyncio.wait_for(gone.wait(), 10)
    await sweeper.close()
    assert None is await world.certificate(made["certificateId"])
