"""Certificates, what a gateway needs of their principals, and tombstones: what every `ports.Store` does."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt

from tests.support.registry import (
    ALLOW,
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    ca_certificate,
    cause,
    certificate,
    certificate_id,
    policy,
    thing,
)
from tests.support.stores import ACTIVE, ALLOW_NAME, ID, INACTIVE, LAMP, REVOKED, SHARED, certificate_change, conflict

from handfast.core.identity.ids import PolicyName, ThingName
from handfast.core.identity.records import (
    AccountStatus,
    CACertificateStatus,
    CertificateMode,
    CertificateStatus,
    TombstoneReason,
    TransferRecord,
)
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, PageRequest, Store


async def test_a_certificate_comes_back_as_it_was_stored(store: Store) -> None:
    full = certificate(
        1,
        pem="  as given\r\n",
        ca_certificate_id=certificate_id(99),
        previous_owned_by=OTHER_ACCOUNT.account,
        customer_version=3,
        transfer=TransferRecord(transfer_message="hi", transfer_date=NOW, accept_date=NOW + dt.timedelta(seconds=1)),
    )
    assert [certificate_change()] == await store.insert_certificate(full, cause())
    assert full == await store.certificate(SCOPE, ID)
    (principal,) = await store.principals([(SCOPE, ID)])
    assert principal is not None
    assert full == principal.certificate


async def test_a_certificate_is_registered_once_in_a_scope(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    again = await conflict(
        store.insert_certificate(certificate(1, mode=CertificateMode.SNI_ONLY, pem="other"), cause())
    )
    assert ("exists", SCOPE, ID) == (again.kind, again.facts["scope"], again.facts["certificate_id"])


async def test_one_default_registration_in_a_region_and_sni_only_ones_beside_it(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    elsewhere = certificate(1, scope=OTHER_ACCOUNT)
    refused = await conflict(store.insert_certificate(elsewhere, cause()))
    assert ("exists", SCOPE) == (refused.kind, refused.facts["scope"])
    await store.insert_certificate(dataclasses.replace(elsewhere, mode=CertificateMode.SNI_ONLY), cause())
    await store.insert_certificate(certificate(1, scope=OTHER_REGION), cause())
    assert [SCOPE] == await store.default_registrations("us-east-1", ID)
    assert [OTHER_REGION] == await store.default_registrations("eu-west-1", ID)
    assert [] == await store.default_registrations("us-east-1", certificate_id(2))


async def test_many_are_inserted_at_once_with_a_result_for_each(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    results = await store.insert_certificates([certificate(n) for n in (1, 2, 3, 2)], cause())
    assert [StoreConflict, Change, Change, StoreConflict] == [type(result) for result in results]
    assert [certificate_change(2), certificate_change(3)] == results[1:3]
    assert [] == await store.insert_certificates([], cause())
    assert {1, 2, 3} == {
        number for number in range(5) if await store.certificate(SCOPE, certificate_id(number)) is not None
    }


async def test_of_many_those_go_in_whose_ca_is_active_in_their_scope(store: Store) -> None:
    ids = [certificate_id(number) for number in (7, 8, 9)]
    for number, status in ((7, CACertificateStatus.ACTIVE), (8, CACertificateStatus.INACTIVE)):
        ca = ca_certificate(number, status=status)
        await store.insert_ca_certificate(ca, registration_code=None, subject_limit=9, cause=cause())
    wanted = [certificate(number, ca_certificate_id=ca) for number, ca in enumerate((*ids, None, ids[0]), start=1)]
    results = await store.insert_certificates(wanted, cause(), require_ca=True)
    kinds = [result.kind if isinstance(result, StoreConflict) else result.subject for result in results]
    assert [certificate_id(1), "ca", "ca", "ca", certificate_id(5)] == kinds
    found = await store.certificate_statuses(SCOPE, [certificate_id(number) for number in range(600)])
    assert {certificate_id(1): INACTIVE, certificate_id(5): INACTIVE} == found
    assert {} == await store.certificate_statuses(OTHER_ACCOUNT, ids)


async def test_a_status_change_is_guarded_by_the_status_expected(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    later = cause(at=NOW + dt.timedelta(hours=1))
    changed = await store.set_certificate_status(SCOPE, ID, expected=INACTIVE, new=ACTIVE, cause=later)
    assert [certificate_change()] == changed
    stale = await conflict(store.set_certificate_status(SCOPE, ID, expected=INACTIVE, new=REVOKED, cause=later))
    assert ("status", "ACTIVE") == (stale.kind, stale.facts["status"])
    found = await store.certificate(SCOPE, ID)
    assert found == certificate(1, status=ACTIVE, last_modified_date=later.at)
    missing = store.set_certificate_status(SCOPE, certificate_id(2), expected=INACTIVE, new=ACTIVE, cause=later)
    assert "missing" == (await conflict(missing)).kind


async def test_of_two_writers_from_the_same_status_the_guard_refuses_one(store: Store) -> None:
    for round_ in range(20):
        await store.insert_certificate(certificate(round_), cause())
        outcomes = await asyncio.gather(
            *(
                store.set_certificate_status(SCOPE, certificate_id(round_), expected=INACTIVE, new=new, cause=cause())
                for new in (ACTIVE, REVOKED)
            ),
            return_exceptions=True,
        )
        kinds = sorted("status" if isinstance(outcome, StoreConflict) else "done" for outcome in outcomes)
        assert ["done", "status"] == kinds


async def test_one_refused_operation_spoils_no_other_that_commits_with_it(store: Store) -> None:
    calls = [store.insert_certificate(certificate(number % 50), cause()) for number in range(100)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert 50 == sum(isinstance(outcome, StoreConflict) for outcome in outcomes)
    assert 50 == len((await store.list_certificates(SCOPE, PageRequest(limit=250))).items)


async def test_a_certificate_is_deleted_once_nothing_holds_it_in_the_order_of_the_specification(store: Store) -> None:
    await store.insert_certificate(certificate(1, status=ACTIVE), cause())
    await store.create_thing(thing(), cause())
    await store.create_policy(policy(), cause())
    await store.attach_thing(SCOPE, LAMP, ID, SHARED, cause())
    await store.attach_policy(SCOPE, ALLOW_NAME, ID, limit=10, cause=cause())

    async def refusal(*, force: bool) -> str:
        return (await conflict(store.delete_certificate(SCOPE, ID, force=force, cause=cause()))).kind

    assert "status" == await refusal(force=True)
    await store.set_certificate_status(SCOPE, ID, expected=ACTIVE, new=INACTIVE, cause=cause())
    assert "things" == await refusal(force=True)
    await store.detach_thing(SCOPE, LAMP, ID, cause())
    assert "policies" == await refusal(force=False)
    changes = await store.delete_certificate(SCOPE, ID, force=True, cause=cause())
    assert {Change(ChangeKind.PRINCIPAL_POLICIES, SCOPE, ID), certificate_change()} == set(changes)
    assert await store.certificate(SCOPE, ID) is None
    assert "missing" == await refusal(force=True)
    assert 1 == len(await store.delete_policy(SCOPE, ALLOW_NAME, cause()))


async def test_a_certificate_under_transfer_is_kept(store: Store) -> None:
    await store.insert_certificate(certificate(1, status=CertificateStatus.PENDING_TRANSFER), cause())
    refused = await conflict(store.delete_certificate(SCOPE, ID, force=True, cause=cause()))
    assert ("status", "PENDING_TRANSFER") == (refused.kind, refused.facts["status"])


async def test_a_principal_holds_everything_that_a_gateway_needs(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    await store.create_thing(thing(attributes={"room": "hall"}), cause())
    await store.create_thing(thing("attic"), cause())
    await store.create_policy(policy("zz"), cause())
    await store.create_policy(policy(), cause())
    for name in ("lamp", "attic"):
        await store.attach_thing(SCOPE, ThingName(name), ID, SHARED, cause())
    for name in ("zz", "allow"):
        await store.attach_policy(SCOPE, PolicyName(name), ID, limit=10, cause=cause())
    missing, found = await store.principals([(OTHER_ACCOUNT, ID), (SCOPE, ID)])
    assert missing is None
    assert found is not None
    assert AccountStatus.ENABLED is found.account_status
    assert [("attic", {}, SHARED), ("lamp", {"room": "hall"}, SHARED)] == [
        (item.thing_name, item.attributes, item.thing_principal_type) for item in found.things
    ]
    assert [("allow", "1", ALLOW), ("zz", "1", ALLOW)] == [
        (item.policy_name, item.version_id, item.document) for item in found.policies
    ]
    await store.set_account_status(SCOPE.account, AccountStatus.DISABLED, cause())
    (found,) = await store.principals([(SCOPE, ID)])
    assert found is not None
    assert AccountStatus.DISABLED is found.account_status
    assert [] == await store.principals([])


async def test_a_certificate_deleted_as_revoked_may_not_come_back_until_it_is_forgotten(store: Store) -> None:
    await store.insert_certificate(certificate(1, status=REVOKED), cause())
    await store.delete_certificate(SCOPE, ID, force=False, cause=cause())
    assert TombstoneReason.REVOKED is await store.tombstone(SCOPE, ID)
    assert "revoked" == (await conflict(store.insert_certificate(certificate(1), cause()))).kind
    first, second = await store.insert_certificates([certificate(1), certificate(2)], cause())
    assert isinstance(first, StoreConflict)
    assert "revoked" == first.kind
    assert certificate_change(2) == second
    # It means nothing to another account or region.
    await store.insert_certificate(certificate(1, scope=OTHER_REGION), cause())
    await store.insert_certificate(certificate(1, scope=OTHER_ACCOUNT), cause())
    await store.transfer_certificate(OTHER_ACCOUNT, ID, target=SCOPE.account, message=None, cause=cause())
    assert "revoked" == (await conflict(store.accept_transfer(SCOPE, ID, status=ACTIVE, cause=cause()))).kind
    assert "missing" == (await conflict(store.forget_certificate(OTHER_ACCOUNT, ID, cause()))).kind
    assert [certificate_change()] == await store.forget_certificate(SCOPE, ID, cause())
    assert "missing" == (await conflict(store.forget_certificate(SCOPE, ID, cause()))).kind
    await store.accept_transfer(SCOPE, ID, status=ACTIVE, cause=cause())


async def test_a_certificate_that_was_not_revoked_leaves_nothing_behind(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    await store.delete_certificate(SCOPE, ID, force=False, cause=cause())
    assert await store.tombstone(SCOPE, ID) is None
    await store.insert_certificate(certificate(1), cause())
