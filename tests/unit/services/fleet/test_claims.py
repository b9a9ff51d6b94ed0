"""Claims and their limits: devices, networks, rates, requests under way."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from tests.support.fleet_world import CLAIM, CREATE, OTHER_CLAIM, World, rejected
from tests.support.registry import SCOPE, FakeIssuer, cause

from handfast.core.identity.records import CertificateStatus
from handfast.core.provisioning.fleet import ClaimLimits, claim_limits
from handfast.errors import InvalidRequestError
from handfast.services import fleet

S = CertificateStatus


async def test_a_claim_that_is_deactivated_meanwhile_gets_nothing(world: World) -> None:
    token = (await world.create())["certificateOwnershipToken"]
    await world.store.set_certificate_status(SCOPE, CLAIM, expected=S.ACTIVE, new=S.INACTIVE, cause=cause())
    assert (403, "AccessDenied") == rejected(await world.ask(CREATE))
    assert (403, "AccessDenied") == rejected(await world.register(token))


async def limit(world: World, **limits: Any) -> None:
    await world.store.set_claim_limits(SCOPE, CLAIM, ClaimLimits(**limits), cause())


async def test_a_claim_provisions_as_many_devices_as_it_may(world: World) -> None:
    await limit(world, devices=1)
    first, second = [(await world.create())["certificateOwnershipToken"] for _ in range(2)]
    assert "accepted" == (await world.register(first))["outcome"]
    assert (410, "LimitExceeded") == rejected(await world.register(second, "other"))
    assert (410, "LimitExceeded") == rejected(await world.ask(CREATE))


async def test_a_claim_is_used_from_its_networks(world: World) -> None:
    await limit(world, addresses=("192.0.2.0/24", "2001:db8::/32"))
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1"):
        assert "accepted" == (await world.ask(CREATE, address=address))["outcome"]
    for address in ("198.51.100.1", "2001:db9::1", "", "unix"):
        assert (403, "AccessDenied") == rejected(await world.ask(CREATE, address=address))


async def test_a_claims_rate_is_a_minutes_worth_that_comes_back(world: World) -> None:
    await limit(world, per_minute=2)
    service = world.service()

    async def outcomes(count: int) -> list[str]:
        return [(await world.ask(CREATE, service=service))["outcome"] for _ in range(count)]

    assert ["accepted", "accepted", "rejected"] == await outcomes(3)
    assert (429, "Throttling") == rejected(await world.ask(CREATE, service=service))
    assert (400, "InvalidCertificateOwnershipToken") == rejected(await world.register("", service=service))
    world.clock.instant += dt.timedelta(seconds=30)
    assert ["accepted", "rejected"] == await outcomes(2)


async def test_requests_under_way_are_bounded_for_each_claim(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "CLAIM_UNDER_WAY", 2)
    gate = asyncio.Event()

    class Slow(FakeIssuer):
        async def create_keys_and_certificate(self) -> Any:
            await gate.wait()
            return await super().create_keys_and_certificate()

    world.issuer = Slow()
    service = world.service()
    under_way = [asyncio.create_task(world.ask(CREATE, service=service)) for _ in range(2)]
    await asyncio.sleep(0)
    assert (429, "Throttling") == rejected(await world.ask(CREATE, service=service))
    other = asyncio.create_task(world.ask(CREATE, service=service, certificate_id=OTHER_CLAIM))
    gate.set()
    assert ["accepted"] * 3 == [answer["outcome"] for answer in await asyncio.gather(*under_way, other)]
    assert "accepted" == (await world.ask(CREATE, service=service))["outcome"]


@pytest.mark.parametrize(
    ("devices", "per_minute", "addresses"),
    [
        (-1, None, ()),
        (10**10, None, ()),
        (None, 0, ()),
        (None, 10**6, ()),
        (None, None, ("192.0.2.1/24",)),
        (None, None, ("here",)),
        (None, None, tuple(f"10.0.{n}.0/24" for n in range(65))),
    ],
)
def test_limits_that_are_none(devices: int | None, per_minute: int | None, addresses: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        claim_limits(devices, per_minute, addresses)


def test_limits_are_kept_in_their_shortest_form() -> None:
    limits = claim_limits(0, 1, ("192.0.2.1", "2001:DB8::/32", "192.0.2.1/32"))
    assert ("192.0.2.1/32", "2001:db8::/32") == limits.addresses
