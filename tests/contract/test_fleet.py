"""Unclaimed certificates and claims in every `ports.Store`: claimed once or gone in time, whoever else is at work."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.provisioning import lamp, order, plan
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    cause,
    certificate,
    certificate_id,
    policy,
    thing,
)
from tests.support.stores import conflict as raised

from handfast.core.identity.ids import CertificateId, PolicyName, ThingName
from handfast.core.identity.records import CertificateStatus, ThingPrincipalType
from handfast.core.provisioning.fleet import ClaimLimits, OwnershipProof, OwnershipTokenRecord
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.errors import StoreConflict
from handfast.ports import AuditQuery, Change, ChangeKind, PageRequest, Store

S = CertificateStatus
CLAIM, NEW = certificate_id(50), certificate_id(1)
HOUR = dt.timedelta(hours=1)
SECOND = dt.timedelta(seconds=1)
UNLIMITED = ClaimLimits()


@pytest.fixture
async def store(store: Store) -> Store:
    await store.insert_certificate(certificate(50, status=S.ACTIVE), cause())
    return store


def token(number: int = 1, **changes: Any) -> OwnershipTokenRecord:
    given: dict[str, Any] = {"claim_certificate_id": CLAIM, "digest": f"digest {number}", "expires_at": NOW + HOUR}
    return OwnershipTokenRecord(**{"scope": SCOPE, "certificate_id": certificate_id(number), **given, **changes})


async def insert(store: Store, number: int = 1, **changes: Any) -> list[Change]:
    record = certificate(number, status=S.PENDING_ACTIVATION)
    return await store.insert_unclaimed(record, token(number, **changes), cause())


def proof(number: int = 1, **changes: Any) -> OwnershipProof:
    given: dict[str, Any] = {"claim_certificate_id": CLAIM, "digest": f"digest {number}"}
    return OwnershipProof(**{"certificate_id": certificate_id(number), **given, **changes})


async def conflict(kind: str, call: Awaitable[Any]) -> None:
    assert kind == (await raised(call)).kind


async def provision(store: Store, number: int = 1, *, at: dt.datetime = NOW, **changes: Any) -> None:
    await store.provision(
        order(
            plan(thing=lamp(f"lamp-{number}")),
            certificate_id=certificate_id(number),
            ownership=proof(number, **changes),
        ),
        cause(at=at),
    )


async def status(store: Store, number: int = 1) -> CertificateStatus | None:
    found = await store.certificate(SCOPE, certificate_id(number))
    return None if found is None else found.status


async def test_an_unclaimed_certificate_and_its_token_are_there(store: Store) -> None:
    assert [Change(ChangeKind.CERTIFICATE, SCOPE, NEW)] == await insert(store)
    assert S.PENDING_ACTIVATION is await status(store)
    assert token() == await store.ownership_token(SCOPE, NEW)
    assert None is await store.ownership_token(OTHER_ACCOUNT, NEW)
    assert NOW + HOUR == await store.next_unclaimed_expiry()


@pytest.mark.parametrize("claim_status", [S.INACTIVE, S.REVOKED, None])
async def test_a_claim_that_is_not_active_gets_nothing(store: Store, claim_status: CertificateStatus | None) -> None:
    await insert(store, 2)
    await store.set_certificate_status(SCOPE, CLAIM, expected=S.ACTIVE, new=claim_status or S.INACTIVE, cause=cause())
    if claim_status is None:
        await store.delete_certificate(SCOPE, CLAIM, force=False, cause=cause())
    await conflict("claim", insert(store))
    await conflict("claim", provision(store, 2))
    assert (None, S.PENDING_ACTIVATION) == (await status(store), await status(store, 2))


async def test_a_certificate_that_is_registered_is_not_unclaimed_once_more(store: Store) -> None:
    await insert(store)
    await conflict("exists", insert(store, digest="another"))
    assert token() == await store.ownership_token(SCOPE, NEW)


async def test_a_token_is_spent_once_and_with_the_plan(store: Store) -> None:
    await insert(store)
    await provision(store, at=NOW + SECOND)
    assert S.ACTIVE is await status(store)
    assert token(spent_at=NOW + SECOND) == await store.ownership_token(SCOPE, NEW)
    claim = await store.claim(SCOPE, CLAIM)
    assert claim is not None
    assert (1, UNLIMITED) == (claim.provisioned, claim.limits)
    await conflict("token", provision(store))


async def test_a_plan_that_fails_spends_nothing(store: Store) -> None:
    await insert(store)
    missing = order(plan(policies=()), ownership=proof(claim_certificate_id=CLAIM), certificate_id=certificate_id(9))
    with pytest.raises(ProvisioningFailed) as failed:
        await store.provision(missing, cause())
    assert FailureKind.CERTIFICATE is failed.value.kind
    assert token() == await store.ownership_token(SCOPE, NEW)
    assert None is await store.claim(SCOPE, CLAIM)
    await provision(store)


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        (NOW, {"digest": "digest 2"}),
        (NOW, {"claim_certificate_id": certificate_id(51)}),
        (NOW + HOUR, {}),
    ],
    ids=["another secret", "another claim", "expired"],
)
async def test_what_proves_nothing_spends_nothing(store: Store, at: dt.datetime, changes: dict[str, Any]) -> None:
    await store.insert_certificate(certificate(51, status=S.ACTIVE), cause())
    await insert(store)
    await conflict("token", provision(store, at=at, **changes))
    assert S.PENDING_ACTIVATION is await status(store)


async def test_many_spend_one_token_and_one_wins(store: Store) -> None:
    await insert(store)
    results = await asyncio.gather(*(provision(store) for _ in range(8)), return_exceptions=True)
    assert [None] == [result for result in results if not isinstance(result, StoreConflict)]


async def test_a_claim_provisions_as_many_as_it_may_whoever_asks(store: Store) -> None:
    assert [Change(ChangeKind.CLAIM, SCOPE, CLAIM)] == await store.set_claim_limits(
        SCOPE, CLAIM, ClaimLimits(devices=3, per_minute=60, addresses=("192.0.2.0/24",)), cause()
    )
    for number in range(1, 7):
        await insert(store, number)
    results = await asyncio.gather(*(provision(store, number) for number in range(1, 7)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, StoreConflict)]
    assert [("exhausted", 3)] * 3 == [(each.kind, each.facts["devices"]) for each in refused]
    await conflict("exhausted", insert(store, 7))
    await store.set_claim_limits(SCOPE, CLAIM, UNLIMITED, cause())
    await insert(store, 7)
    claim = await store.claim(SCOPE, CLAIM)
    assert claim is not None
    assert (3, UNLIMITED) == (claim.provisioned, claim.limits)


async def test_limits_are_of_a_certificate_that_is_there_and_go_with_it(store: Store) -> None:
    await conflict("missing", store.set_claim_limits(SCOPE, certificate_id(9), ClaimLimits(devices=1), cause()))
    await conflict("missing", store.set_claim_limits(OTHER_ACCOUNT, CLAIM, ClaimLimits(devices=1), cause()))
    await store.set_claim_limits(SCOPE, CLAIM, ClaimLimits(devices=0), cause())
    await conflict("exhausted", insert(store))
    await store.set_certificate_status(SCOPE, CLAIM, expected=S.ACTIVE, new=S.INACTIVE, cause=cause())
    await store.delete_certificate(SCOPE, CLAIM, force=False, cause=cause())
    assert None is await store.claim(SCOPE, CLAIM)


async def expire(store: Store, at: dt.datetime = NOW + HOUR, limit: int = 100) -> tuple[list[CertificateId], int]:
    changes, count = await store.expire_unclaimed(limit, cause("ExpireOwnershipToken", at=at))
    return [CertificateId(change.subject) for change in changes], count


async def test_what_nobody_claimed_is_deleted_in_batches_and_the_trail_says_why(store: Store) -> None:
    for number in (1, 2, 3):
        await insert(store, number, expires_at=NOW + number * SECOND)
    assert ([], 0) == await expire(store, NOW)
    assert ([certificate_id(1), certificate_id(2)], 2) == await expire(store, limit=2)
    assert ([certificate_id(3)], 1) == await expire(store, limit=2)
    assert [None] * 3 == [await status(store, number) for number in (1, 2, 3)]
    assert None is await store.next_unclaimed_expiry()
    trail = await store.audit_events(AuditQuery(chain=SCOPE.account, subject=NEW), PageRequest(limit=9))
    assert "ExpireOwnershipToken" == trail.items[0].fields.operation


async def test_what_was_claimed_or_is_wanted_stays(store: Store) -> None:
    for number in range(1, 6):
        await insert(store, number)
    await provision(store, 1)
    await store.set_certificate_status(
        SCOPE, certificate_id(2), expected=S.PENDING_ACTIVATION, new=S.INACTIVE, cause=cause()
    )
    await store.create_policy(policy(), cause())
    await store.attach_policy(SCOPE, PolicyName("allow"), certificate_id(3), limit=10, cause=cause())
    await store.create_thing(thing("other"), cause())
    await store.attach_thing(
        SCOPE, ThingName("other"), certificate_id(4), ThingPrincipalType.NON_EXCLUSIVE_THING, cause()
    )
    await store.delete_certificate(SCOPE, certificate_id(5), force=False, cause=cause())
    assert ([], 5) == await expire(store)
    assert [S.ACTIVE, S.INACTIVE, S.PENDING_ACTIVATION, S.PENDING_ACTIVATION, None] == [
        await status(store, number) for number in range(1, 6)
    ]


async def test_claiming_and_expiring_at_once_leave_a_whole_device_or_none(store: Store) -> None:
    last = NOW + HOUR
    await insert(store)
    results = await asyncio.gather(expire(store, last), provision(store, at=last - SECOND), return_exceptions=True)
    assert (await status(store), isinstance(results[1], StoreConflict)) in [(S.ACTIVE, False), (None, True)]


async def test_a_certificate_that_was_deleted_and_came_back_has_its_new_token(store: Store) -> None:
    await insert(store)
    await store.delete_certificate(SCOPE, NEW, force=False, cause=cause())
    await insert(store, digest="new")
    await conflict("token", provision(store))
    await provision(store, digest="new")
