"""
The suite that every `ports.Store` passes.

An adapter joins by a line in `ADAPTERS`: a function that opens a store in a
directory. PostgreSQL comes with its own issue.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime as dt
import functools
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    ALLOW,
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    access_key,
    account,
    ca_certificate,
    cause,
    certificate,
    certificate_id,
    policy,
    sqlite_store,
    thing,
    with_accounts,
)

from handfast.core.identity.audit_chain import AuditRow, ChainCheck
from handfast.core.identity.ids import AccountId, PolicyName, Scope, ThingName
from handfast.core.identity.records import (
    AccountStatus,
    AutoRegistrationStatus,
    CACertificateStatus,
    CertificateMode,
    CertificateStatus,
    EndpointRecord,
    ThingPrincipalType,
    TombstoneReason,
    TransferRecord,
)
from handfast.errors import StoreConflict
from handfast.ports import AuditQuery, Change, ChangeKind, Cursor, Page, PageRequest, Store

ADAPTERS = {"sqlite": sqlite_store}
ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
EXCLUSIVE, SHARED = ThingPrincipalType.EXCLUSIVE_THING, ThingPrincipalType.NON_EXCLUSIVE_THING
ID = certificate_id(1)
LAMP = ThingName("lamp")
ALLOW_NAME = PolicyName("allow")
LATER = NOW + dt.timedelta(hours=1)


@pytest.fixture(params=ADAPTERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with ADAPTERS[request.param](tmp_path) as opened:
        await with_accounts(opened)
        yield opened


async def conflict(call: Awaitable[Any]) -> StoreConflict:
    with pytest.raises(StoreConflict) as caught:
        await call
    return caught.value


async def pages(listing: Callable[[PageRequest], Awaitable[Page[Any]]], limit: int, **options: Any) -> list[list[Any]]:
    """Every page in turn."""
    found, marker = [], None
    while True:
        page = await listing(PageRequest(limit=limit, marker=marker, **options))
        found.append(list(page.items))
        marker = page.marker
        if marker is None:
            return found


def certificate_change(number: int = 1, scope: Scope = SCOPE) -> Change:
    return Change(ChangeKind.CERTIFICATE, scope, certificate_id(number))


# --- accounts and keys


async def test_an_account_is_stored_once(store: Store) -> None:
    made = account(Scope(AccountId("000000000001"), ""), name="Zoë's")
    assert [Change(ChangeKind.ACCOUNT, None, "000000000001")] == await store.create_account(made, cause())
    assert made == await store.account(made.account_id)
    assert "exists" == (await conflict(store.create_account(made, cause()))).kind


async def test_accounts_come_in_the_order_they_were_made_whatever_the_clock_said(store: Store) -> None:
    early = account(
        Scope(AccountId("000000000001"), ""),
        creation_date=NOW - dt.timedelta(days=1),
    )
    await store.create_account(early, cause())
    assert [SCOPE.account, OTHER_ACCOUNT.account, "000000000001"] == [
        item.account_id for item in await store.accounts()
    ]


async def test_an_accounts_status_changes_and_changing_nothing_announces_nothing(store: Store) -> None:
    disabled = AccountStatus.DISABLED
    expected = [Change(ChangeKind.ACCOUNT, None, SCOPE.account)]
    assert expected == await store.set_account_status(SCOPE.account, disabled, cause())
    found = await store.account(SCOPE.account)
    assert found is not None
    assert disabled is found.status
    assert [] == await store.set_account_status(SCOPE.account, disabled, cause())
    unknown = store.set_account_status(AccountId("000000000000"), disabled, cause())
    assert "missing" == (await conflict(unknown)).kind


async def test_access_keys_are_kept_by_owner_and_revoked_for_good(store: Store) -> None:
    first, second = access_key(1), access_key(2)
    operator = access_key(3, account_id=None)
    for key in (first, second, operator):
        assert [Change(ChangeKind.ACCESS_KEY, None, key.access_key_id)] == await store.add_access_key(key, cause())
    assert [first, second] == await store.access_keys(SCOPE.account)
    assert [operator] == await store.access_keys(None)
    assert first == await store.access_key(first.access_key_id)
    assert await store.access_key("AKIAUNKNOWN") is None
    assert 1 == len(await store.revoke_access_key(first.access_key_id, cause()))
    assert [] == await store.revoke_access_key(first.access_key_id, cause())
    revoked = await store.access_key(first.access_key_id)
    assert revoked == dataclasses.replace(first, active=False)
    assert "missing" == (await conflict(store.revoke_access_key("AKIAUNKNOWN", cause()))).kind


async def test_an_access_key_needs_its_account_and_a_name_of_its_own(store: Store) -> None:
    await store.add_access_key(access_key(1), cause())
    assert "exists" == (await conflict(store.add_access_key(access_key(1, account_id=None), cause()))).kind
    orphan = access_key(2, account_id=AccountId("000000000000"))
    assert "missing" == (await conflict(store.add_access_key(orphan, cause()))).kind


# --- endpoints


async def test_an_endpoint_is_given_once_and_never_changes(store: Store) -> None:
    assert EndpointRecord(scope=SCOPE, prefix="aaa") == await store.ensure_endpoint(SCOPE, "aaa", cause())
    assert EndpointRecord(scope=SCOPE, prefix="aaa") == await store.ensure_endpoint(SCOPE, "bbb", cause())
    assert "exists" == (await conflict(store.ensure_endpoint(OTHER_ACCOUNT, "aaa", cause()))).kind
    await store.ensure_endpoint(OTHER_REGION, "ccc", cause())
    assert [(OTHER_REGION, "ccc"), (SCOPE, "aaa")] == [(item.scope, item.prefix) for item in await store.endpoints()]


# --- certificates


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


# --- principals


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


# --- transfers


async def offered(store: Store, number: int = 1, **changes: Any) -> None:
    """A certificate of SCOPE, offered to OTHER_ACCOUNT."""
    await store.insert_certificate(certificate(number, **changes), cause())
    await store.transfer_certificate(
        SCOPE, certificate_id(number), target=OTHER_ACCOUNT.account, message="for you", cause=cause(at=LATER)
    )


async def test_an_offered_certificate_is_pending_for_both_sides_and_moves_when_it_is_accepted(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    both = [certificate_change(), certificate_change(scope=OTHER_ACCOUNT)]
    assert both == await store.transfer_certificate(
        SCOPE, ID, target=OTHER_ACCOUNT.account, message="for you", cause=cause(at=LATER)
    )
    pending = dataclasses.replace(
        certificate(1),
        status=CertificateStatus.PENDING_TRANSFER,
        last_modified_date=LATER,
        transfer_target=OTHER_ACCOUNT.account,
        transfer=TransferRecord(transfer_message="for you", transfer_date=LATER),
    )
    assert pending == await store.certificate(SCOPE, ID)
    assert pending == await store.certificate_or_offer(OTHER_ACCOUNT, ID)
    assert await store.certificate(OTHER_ACCOUNT, ID) is None
    for scope in (SCOPE, OTHER_ACCOUNT):
        assert [[pending]] == await pages(functools.partial(store.list_certificates, scope), 5)
    assert [[pending]] == await pages(functools.partial(store.list_outgoing, SCOPE), 5)
    assert [[]] == await pages(functools.partial(store.list_outgoing, OTHER_ACCOUNT), 5)

    accepted = LATER + dt.timedelta(seconds=1)
    assert both == await store.accept_transfer(OTHER_ACCOUNT, ID, status=ACTIVE, cause=cause(at=accepted))
    assert await store.certificate(SCOPE, ID) is None
    taken = dataclasses.replace(
        pending,
        scope=OTHER_ACCOUNT,
        status=ACTIVE,
        last_modified_date=accepted,
        previous_owned_by=SCOPE.account,
        customer_version=2,
        transfer=dataclasses.replace(pending.transfer, accept_date=accepted),
    )
    assert taken == await store.certificate(OTHER_ACCOUNT, ID)
    assert [[]] == await pages(functools.partial(store.list_outgoing, SCOPE), 5)
    assert [OTHER_ACCOUNT] == await store.default_registrations("us-east-1", ID)


async def test_what_may_not_be_offered_is_said_in_order(store: Store) -> None:
    def offer(number: int = 1, target: AccountId = OTHER_ACCOUNT.account) -> Awaitable[Any]:
        return store.transfer_certificate(SCOPE, certificate_id(number), target=target, message=None, cause=cause())

    assert "missing" == (await conflict(offer())).kind
    for number, status in enumerate([ACTIVE, REVOKED, CertificateStatus.PENDING_ACTIVATION], 2):
        await store.insert_certificate(certificate(number, status=status), cause())
        refused = await conflict(offer(number))
        assert ("status", status) == (refused.kind, refused.facts["status"])
    await store.insert_certificate(certificate(1), cause())
    await store.create_thing(thing(), cause())
    await store.create_policy(policy(), cause())
    await store.attach_thing(SCOPE, LAMP, ID, SHARED, cause())
    await store.attach_policy(SCOPE, ALLOW_NAME, ID, limit=10, cause=cause())
    assert "target" == (await conflict(offer(target=AccountId("000000000000")))).kind
    assert "policies" == (await conflict(offer())).kind
    await store.detach_policy(SCOPE, ALLOW_NAME, ID, cause())
    assert "things" == (await conflict(offer())).kind
    await store.detach_thing(SCOPE, LAMP, ID, cause())
    await offer()
    assert "status" == (await conflict(offer())).kind
    assert "status" == (await conflict(store.attach_policy(SCOPE, ALLOW_NAME, ID, limit=10, cause=cause()))).kind
    assert "status" == (await conflict(store.attach_thing(SCOPE, LAMP, ID, SHARED, cause()))).kind


async def test_only_whom_it_was_offered_to_settles_an_offer_and_only_once(store: Store) -> None:
    third = account(Scope(AccountId("000000000003"), ""))
    await store.create_account(third, cause())
    elsewhere = [Scope(third.account_id, "us-east-1"), SCOPE, OTHER_ACCOUNT._replace(region="eu-west-1")]
    await offered(store)
    for scope in elsewhere:
        assert "missing" == (await conflict(store.accept_transfer(scope, ID, status=ACTIVE, cause=cause()))).kind
        assert "missing" == (await conflict(store.reject_transfer(scope, ID, reason=None, cause=cause()))).kind
    assert "missing" == (await conflict(store.cancel_transfer(OTHER_ACCOUNT, ID, cause()))).kind
    rejected = LATER + dt.timedelta(seconds=1)
    await store.reject_transfer(OTHER_ACCOUNT, ID, reason="not mine", cause=cause(at=rejected))
    record = await store.certificate(SCOPE, ID)
    assert record is not None
    transfer = TransferRecord(
        transfer_message="for you", transfer_date=LATER, reject_reason="not mine", reject_date=rejected
    )
    assert (INACTIVE, transfer) == (record.status, record.transfer)
    assert "settled" == (await conflict(store.accept_transfer(OTHER_ACCOUNT, ID, status=ACTIVE, cause=cause()))).kind
    assert "settled" == (await conflict(store.reject_transfer(OTHER_ACCOUNT, ID, reason=None, cause=cause()))).kind
    assert "settled" == (await conflict(store.cancel_transfer(SCOPE, ID, cause()))).kind

    await store.transfer_certificate(SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    again = await store.certificate(SCOPE, ID)
    assert again is not None
    assert TransferRecord(transfer_date=NOW) == again.transfer
    await store.cancel_transfer(SCOPE, ID, cause())
    cancelled = await store.certificate(SCOPE, ID)
    assert cancelled is not None
    assert INACTIVE is cancelled.status
    assert "settled" == (await conflict(store.accept_transfer(OTHER_ACCOUNT, ID, status=ACTIVE, cause=cause()))).kind
    await store.transfer_certificate(SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    await store.accept_transfer(OTHER_ACCOUNT, ID, status=INACTIVE, cause=cause())
    assert "settled" == (await conflict(store.cancel_transfer(SCOPE, ID, cause()))).kind


async def test_of_acceptances_and_a_cancellation_that_race_one_wins(store: Store) -> None:
    await offered(store)
    results = await asyncio.gather(
        store.accept_transfer(OTHER_ACCOUNT, ID, status=ACTIVE, cause=cause()),
        store.accept_transfer(OTHER_ACCOUNT, ID, status=INACTIVE, cause=cause()),
        store.cancel_transfer(SCOPE, ID, cause()),
        store.reject_transfer(OTHER_ACCOUNT, ID, reason=None, cause=cause()),
        return_exceptions=True,
    )
    losers = [result for result in results if isinstance(result, StoreConflict)]
    assert ["settled"] * 3 == [loser.kind for loser in losers]
    assert 1 == sum(isinstance(result, list) for result in results)


async def test_a_certificate_that_is_registered_at_the_target_or_offered_twice_is_not_mixed_up(store: Store) -> None:
    third = Scope(AccountId("000000000003"), "us-east-1")
    await store.create_account(account(third), cause())
    shared = {"mode": CertificateMode.SNI_ONLY}
    await offered(store, **shared)
    await store.insert_certificate(certificate(1, scope=third, **shared), cause())
    again = store.transfer_certificate(third, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    assert "offered" == (await conflict(again)).kind
    await store.insert_certificate(certificate(1, scope=OTHER_ACCOUNT, **shared), cause())
    assert "exists" == (await conflict(store.accept_transfer(OTHER_ACCOUNT, ID, status=ACTIVE, cause=cause()))).kind
    own = await store.certificate_or_offer(OTHER_ACCOUNT, ID)
    assert own is not None
    assert OTHER_ACCOUNT == own.scope


async def test_offers_are_paged_among_an_accounts_own_certificates(store: Store) -> None:
    for number in (1, 3, 5):
        await offered(store, number)
    for number in (2, 4):
        await store.insert_certificate(certificate(number, scope=OTHER_ACCOUNT), cause())
    found = await pages(functools.partial(store.list_certificates, OTHER_ACCOUNT), 2)
    wanted = [[certificate_id(n) for n in page] for page in ((5, 4), (3, 2), (1,))]
    assert wanted == [[item.certificate_id for item in page] for page in found]
    found = await pages(functools.partial(store.list_certificates, OTHER_ACCOUNT), 2, ascending=True)
    wanted = [[certificate_id(n) for n in page] for page in ((1, 2), (3, 4), (5,))]
    assert wanted == [[item.certificate_id for item in page] for page in found]


# --- tombstones


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


async def test_a_certificate_that_was_transferred_away_is_remembered_and_comes_back_only_on_purpose(
    store: Store,
) -> None:
    await offered(store)
    await store.accept_transfer(OTHER_ACCOUNT, ID, status=INACTIVE, cause=cause())
    assert TombstoneReason.TRANSFERRED is await store.tombstone(SCOPE, ID)
    await store.transfer_certificate(OTHER_ACCOUNT, ID, target=SCOPE.account, message=None, cause=cause())
    await store.accept_transfer(SCOPE, ID, status=INACTIVE, cause=cause())
    assert await store.tombstone(SCOPE, ID) is None
    assert TombstoneReason.TRANSFERRED is await store.tombstone(OTHER_ACCOUNT, ID)
    await store.delete_certificate(SCOPE, ID, force=False, cause=cause())
    await store.insert_certificate(certificate(1, scope=OTHER_ACCOUNT), cause())
    assert await store.tombstone(OTHER_ACCOUNT, ID) is None


# --- CA certificates and the registration code


def insert_ca(store: Store, number: int = 1, code: str | None = None, **changes: Any) -> Awaitable[list[Change]]:
    return store.insert_ca_certificate(
        ca_certificate(number, **changes), registration_code=code, subject_limit=3, cause=cause()
    )


async def test_a_registration_code_stays_until_it_is_deleted(store: Store) -> None:
    assert await store.registration_code(SCOPE) is None
    assert "aa" == await store.ensure_registration_code(SCOPE, "aa", cause())
    assert "aa" == await store.ensure_registration_code(SCOPE, "bb", cause())
    assert "bb" == await store.ensure_registration_code(OTHER_ACCOUNT, "bb", cause())
    expected = [Change(ChangeKind.REGISTRATION_CODE, SCOPE, SCOPE.account)]
    assert expected == await store.delete_registration_code(SCOPE, cause())
    assert "missing" == (await conflict(store.delete_registration_code(SCOPE, cause()))).kind
    assert "cc" == await store.ensure_registration_code(SCOPE, "cc", cause())
    assert "bb" == await store.registration_code(OTHER_ACCOUNT)


async def test_a_ca_comes_back_as_it_was_stored_and_is_stored_once(store: Store) -> None:
    change = Change(ChangeKind.CA_CERTIFICATE, SCOPE, ID)
    assert [change] == await insert_ca(store)
    assert ca_certificate(1) == await store.ca_certificate(SCOPE, ID)
    assert await store.ca_certificate(OTHER_ACCOUNT, ID) is None
    assert "exists" == (await conflict(insert_ca(store))).kind
    assert "exists" == (await conflict(insert_ca(store, scope=OTHER_ACCOUNT))).kind
    await insert_ca(store, scope=OTHER_ACCOUNT, mode=CertificateMode.SNI_ONLY)
    await insert_ca(store, scope=OTHER_REGION)
    assert [ca_certificate(1)] == await store.default_ca_certificates("us-east-1")


async def test_a_ca_needs_the_code_of_this_moment_and_room_under_its_subject(store: Store) -> None:
    await store.ensure_registration_code(SCOPE, "aa", cause())
    assert "code" == (await conflict(insert_ca(store, code="bb"))).kind
    assert await store.ca_certificate(SCOPE, ID) is None
    await insert_ca(store, code="aa")
    for number in (2, 3):
        await insert_ca(store, number)
    assert "limit" == (await conflict(insert_ca(store, 4))).kind
    assert await store.ca_certificate(SCOPE, certificate_id(4)) is None
    await insert_ca(store, 4, subject="another")
    assert [1, 2, 3] == [
        n
        for n in (1, 2, 3, 4)
        if ca_certificate(n) in await store.ca_certificates_of_subject(SCOPE, ca_certificate(1).subject)
    ]


async def test_a_ca_is_changed_listed_and_deleted_when_inactive(store: Store) -> None:
    for number in (1, 2, 3):
        await insert_ca(store, number)
    active, enable = CACertificateStatus.ACTIVE, AutoRegistrationStatus.ENABLE
    kwargs: dict[str, Any] = {"status": active, "auto_registration_status": None, "cause": cause(at=LATER)}
    assert 1 == len(await store.update_ca_certificate(SCOPE, ID, **kwargs))
    assert [] == await store.update_ca_certificate(SCOPE, ID, **kwargs)
    await store.update_ca_certificate(SCOPE, ID, **kwargs | {"status": None, "auto_registration_status": enable})
    changed = dataclasses.replace(
        ca_certificate(1), status=active, auto_registration_status=enable, last_modified_date=LATER
    )
    assert changed == await store.ca_certificate(SCOPE, ID)
    assert "missing" == (await conflict(store.update_ca_certificate(OTHER_ACCOUNT, ID, **kwargs))).kind
    assert [[3, 2], [1]] == [
        [n for item in page for n in (1, 2, 3) if item.certificate_id == certificate_id(n)]
        for page in await pages(functools.partial(store.list_ca_certificates, SCOPE), 2)
    ]
    assert "status" == (await conflict(store.delete_ca_certificate(SCOPE, ID, cause()))).kind
    await store.update_ca_certificate(SCOPE, ID, **kwargs | {"status": CACertificateStatus.INACTIVE})
    await store.delete_ca_certificate(SCOPE, ID, cause())
    assert "missing" == (await conflict(store.delete_ca_certificate(SCOPE, ID, cause()))).kind


async def test_a_certificate_that_needs_its_ca_is_refused_unless_that_is_active(store: Store) -> None:
    leaf = certificate(7, ca_certificate_id=ID)
    assert "ca" == (await conflict(store.insert_certificate(leaf, cause(), require_ca=True))).kind
    await insert_ca(store)
    assert "ca" == (await conflict(store.insert_certificate(leaf, cause(), require_ca=True))).kind
    await store.update_ca_certificate(
        SCOPE, ID, status=CACertificateStatus.ACTIVE, auto_registration_status=None, cause=cause()
    )
    await store.insert_certificate(leaf, cause(), require_ca=True)
    await store.insert_certificate(certificate(8), cause())
    assert [[leaf]] == await pages(functools.partial(store.list_certificates_by_ca, SCOPE, ID), 5)
    assert [[]] == await pages(functools.partial(store.list_certificates_by_ca, OTHER_ACCOUNT, ID), 5)


async def test_transfers_and_tombstones_are_audited_in_both_accounts(store: Store, tmp_path: Path) -> None:
    await offered(store)
    await store.accept_transfer(OTHER_ACCOUNT, ID, status=ACTIVE, cause=cause("Accept"))
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        rows = raw.execute(
            "SELECT account_id, before, after FROM audit WHERE operation = 'Accept' ORDER BY sequence"
        ).fetchall()
    raw.close()
    assert [SCOPE.account, OTHER_ACCOUNT.account] == [row[0] for row in rows]
    before = {"status": "PENDING_TRANSFER", "ownedBy": SCOPE.account, "customerVersion": 1}
    after = {"status": "ACTIVE", "ownedBy": OTHER_ACCOUNT.account, "customerVersion": 2}
    assert [(before, after)] * 2 == [(json.loads(row[1]), json.loads(row[2])) for row in rows]


# --- things


async def test_a_thing_comes_back_as_it_was_stored(store: Store) -> None:
    made = thing(attributes={"a": "1", "ключ": "значение"}, version=1)
    assert [Change(ChangeKind.THING, SCOPE, "lamp")] == await store.create_thing(made, cause())
    assert made == await store.thing(SCOPE, LAMP)
    assert "exists" == (await conflict(store.create_thing(thing(thing_id="other"), cause()))).kind


async def test_things_are_found_by_attribute_whole_or_by_prefix(store: Store) -> None:
    for name, attributes in {
        "a": {"room": "hall"},
        "b": {"room": "hallway", "floor": "1"},
        "c": {"room": "Hall"},
        "d": {"floor": "hall"},
    }.items():
        await store.create_thing(thing(name, attributes=attributes), cause())

    async def names(**filters: Any) -> str:
        page = await store.list_things(SCOPE, PageRequest(limit=10), **filters)
        return "".join(item.thing_name for item in page.items)

    assert "abcd" == await names()
    assert "abc" == await names(attribute_name="room")
    assert "a" == await names(attribute_name="room", attribute_value="hall")
    assert "ab" == await names(attribute_name="room", attribute_value="hall", prefix=True)
    assert "" == await names(attribute_name="room", attribute_value="h%", prefix=True)
    assert "" == await names(thing_type_name="none")


async def test_a_thing_is_deleted_in_the_order_of_the_specification(store: Store) -> None:
    await store.create_thing(thing(attributes={"a": "1"}), cause())
    await store.insert_certificate(certificate(1), cause())
    await store.attach_thing(SCOPE, LAMP, ID, SHARED, cause())

    async def refusal(name: str = "lamp", version: int | None = None) -> str:
        return (
            await conflict(store.delete_thing(SCOPE, ThingName(name), expected_version=version, cause=cause()))
        ).kind

    assert "missing" == await refusal("none", 7)
    assert "version" == await refusal(version=7)
    assert "principals" == await refusal(version=1)
    await store.detach_thing(SCOPE, LAMP, ID, cause())
    assert 1 == len(await store.delete_thing(SCOPE, LAMP, expected_version=1, cause=cause()))
    assert await store.thing(SCOPE, LAMP) is None


async def test_attaching_is_idempotent_and_needs_both_ends(store: Store) -> None:
    assert "thing" == (await conflict(store.attach_thing(SCOPE, LAMP, ID, SHARED, cause()))).kind
    assert "thing" == (await conflict(store.detach_thing(SCOPE, LAMP, ID, cause()))).kind
    await store.create_thing(thing(), cause())
    assert "certificate" == (await conflict(store.attach_thing(SCOPE, LAMP, ID, SHARED, cause()))).kind
    assert "certificate" == (await conflict(store.detach_thing(SCOPE, LAMP, ID, cause()))).kind
    await store.insert_certificate(certificate(1), cause())
    assert [] == await store.detach_thing(SCOPE, LAMP, ID, cause())
    expected = [Change(ChangeKind.PRINCIPAL_THINGS, SCOPE, ID)]
    assert expected == await store.attach_thing(SCOPE, LAMP, ID, SHARED, cause())
    assert [] == await store.attach_thing(SCOPE, LAMP, ID, SHARED, cause())
    assert expected == await store.detach_thing(SCOPE, LAMP, ID, cause())


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [(SHARED, SHARED, True), (SHARED, EXCLUSIVE, False), (EXCLUSIVE, SHARED, False), (EXCLUSIVE, EXCLUSIVE, False)],
)
async def test_an_exclusive_attachment_is_the_only_one(
    store: Store, first: ThingPrincipalType, second: ThingPrincipalType, allowed: bool
) -> None:
    await store.insert_certificate(certificate(1), cause())
    for name in ("lamp", "attic"):
        await store.create_thing(thing(name), cause())
    await store.attach_thing(SCOPE, LAMP, ID, first, cause())
    another = store.attach_thing(SCOPE, ThingName("attic"), ID, second, cause())
    if allowed:
        assert 1 == len(await another)
    else:
        assert "exclusive" == (await conflict(another)).kind
    if first is not second:
        assert "exclusive" == (await conflict(store.attach_thing(SCOPE, LAMP, ID, second, cause()))).kind
    assert [] == await store.attach_thing(SCOPE, LAMP, ID, first, cause())


# --- policies


async def test_a_policy_comes_back_as_it_was_stored(store: Store) -> None:
    made = policy(document='{"note":"☃"}')
    assert [Change(ChangeKind.POLICY, SCOPE, "allow")] == await store.create_policy(made, cause())
    assert made == await store.policy(SCOPE, ALLOW_NAME)
    assert "exists" == (await conflict(store.create_policy(policy(), cause()))).kind
    assert await store.policy(SCOPE, PolicyName("Allow")) is None


async def test_a_policy_is_deleted_once_it_is_attached_to_nothing(store: Store) -> None:
    assert "missing" == (await conflict(store.delete_policy(SCOPE, ALLOW_NAME, cause()))).kind
    await store.create_policy(policy(), cause())
    await store.insert_certificate(certificate(1), cause())
    await store.attach_policy(SCOPE, ALLOW_NAME, ID, limit=10, cause=cause())
    assert "targets" == (await conflict(store.delete_policy(SCOPE, ALLOW_NAME, cause()))).kind
    await store.detach_policy(SCOPE, ALLOW_NAME, ID, cause())
    assert 1 == len(await store.delete_policy(SCOPE, ALLOW_NAME, cause()))
    assert await store.policy(SCOPE, ALLOW_NAME) is None


async def test_policies_are_attached_up_to_the_limit_and_again_is_no_change(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    attach = store.attach_policy
    assert "policy" == (await conflict(attach(SCOPE, ALLOW_NAME, ID, limit=2, cause=cause()))).kind
    for name in "abc":
        await store.create_policy(policy(name), cause())
    missing = attach(SCOPE, PolicyName("a"), certificate_id(2), limit=2, cause=cause())
    assert "certificate" == (await conflict(missing)).kind
    for name in "ab":
        expected = [Change(ChangeKind.PRINCIPAL_POLICIES, SCOPE, ID)]
        assert expected == await attach(SCOPE, PolicyName(name), ID, limit=2, cause=cause())
    assert "limit" == (await conflict(attach(SCOPE, PolicyName("c"), ID, limit=2, cause=cause()))).kind
    assert [] == await attach(SCOPE, PolicyName("a"), ID, limit=2, cause=cause())
    assert [] == await store.detach_policy(SCOPE, PolicyName("c"), ID, cause())


async def test_attaching_at_once_does_not_pass_the_limit(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    for number in range(8):
        await store.create_policy(policy(f"p{number}"), cause())
    outcomes = await asyncio.gather(
        *(store.attach_policy(SCOPE, PolicyName(f"p{n}"), ID, limit=3, cause=cause()) for n in range(8)),
        return_exceptions=True,
    )
    assert 5 == sum(isinstance(outcome, StoreConflict) for outcome in outcomes)
    assert 3 == len((await store.attached_policies(SCOPE, ID, PageRequest(limit=10))).items)


# --- listings


async def fill(store: Store) -> None:
    """Five of everything, attached to the first of the other kind."""
    for number in range(1, 6):
        await store.insert_certificate(certificate(number), cause())
        await store.create_thing(thing(f"t{number}"), cause())
        await store.create_policy(policy(f"p{number}", creation_date=NOW + dt.timedelta(seconds=number)), cause())
    for number in range(1, 6):
        await store.attach_thing(SCOPE, ThingName(f"t{number}"), ID, SHARED, cause())
        await store.attach_policy(SCOPE, PolicyName(f"p{number}"), ID, limit=10, cause=cause())
        if number > 1:
            await store.attach_thing(SCOPE, ThingName("t1"), certificate_id(number), SHARED, cause())
            await store.attach_policy(SCOPE, PolicyName("p1"), certificate_id(number), limit=10, cause=cause())


def listings(store: Store) -> dict[str, Callable[[PageRequest], Awaitable[Page[Any]]]]:
    return {
        "certificates": lambda page: store.list_certificates(SCOPE, page),
        "things": lambda page: store.list_things(SCOPE, page),
        "policies": lambda page: store.list_policies(SCOPE, page),
        "thing_principals": lambda page: store.thing_principals(SCOPE, ThingName("t1"), page),
        "principal_things": lambda page: store.principal_things(SCOPE, ID, page),
        "attached_policies": lambda page: store.attached_policies(SCOPE, ID, page),
        "policy_targets": lambda page: store.policy_targets(SCOPE, PolicyName("p1"), page),
    }


LISTINGS = [
    "certificates",
    "things",
    "policies",
    "thing_principals",
    "principal_things",
    "attached_policies",
    "policy_targets",
]


@pytest.mark.parametrize("name", LISTINGS)
async def test_pages_hold_everything_once_and_the_last_has_no_marker(store: Store, name: str) -> None:
    await fill(store)
    listing = listings(store)[name]
    (whole,) = await pages(listing, 5)
    assert 5 == len(whole)
    for limit, sizes in {1: [1] * 5, 2: [2, 2, 1], 4: [4, 1], 250: [5]}.items():
        found = await pages(listing, limit)
        assert sizes == [len(page) for page in found]
        assert whole == [item for page in found for item in page]


@pytest.mark.parametrize("name", LISTINGS)
async def test_a_marker_is_standard_base64_with_padding_and_belongs_to_its_listing(store: Store, name: str) -> None:
    await fill(store)
    all_listings = listings(store)
    marker = (await all_listings[name](PageRequest(limit=2))).marker
    assert marker is not None
    assert len(marker) <= 1024
    assert marker.encode() == base64.b64encode(base64.b64decode(marker, validate=True))
    for other, listing in all_listings.items():
        if other != name:
            assert "marker" == (await conflict(listing(PageRequest(limit=2, marker=marker)))).kind
    key = base64.b64decode(marker)[9:]
    digest = base64.b64decode(marker)[:9]
    for bad in ("", "x", "!!!!", "AAAA", marker[:-4], "A" * 1028, "\u00e9" * 8):
        if bad:
            assert "marker" == (await conflict(all_listings[name](PageRequest(limit=2, marker=bad)))).kind
    for forged in (
        b"[]",
        b"7",
        b"[null]",
        b"[[1],2]",
        b'["\\ud800","\\ud800"]',
        b'["\\u0000"]',
        b"[" * 700,
        key + b"]",
    ):
        text = base64.b64encode(digest + forged).decode()
        assert "marker" == (await conflict(all_listings[name](PageRequest(limit=2, marker=text)))).kind


async def test_a_marker_of_another_scope_or_order_is_refused(store: Store) -> None:
    await fill(store)
    marker = (await store.list_certificates(SCOPE, PageRequest(limit=2))).marker
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        foreign = store.list_certificates(scope, PageRequest(limit=2, marker=marker))
        assert "marker" == (await conflict(foreign)).kind
    turned = store.list_certificates(SCOPE, PageRequest(limit=2, marker=marker, ascending=True))
    assert "marker" == (await conflict(turned)).kind


@pytest.mark.parametrize("microseconds", [-1, 2**63, 2**70, 1.5, True])
async def test_a_forged_instant_in_a_marker_is_refused(store: Store, microseconds: object) -> None:
    await fill(store)
    marker = (await store.list_certificates(SCOPE, PageRequest(limit=2))).marker
    assert marker is not None
    forged = base64.b64decode(marker)[:9] + json.dumps([microseconds, "x"]).encode()
    page = PageRequest(limit=2, marker=base64.b64encode(forged).decode())
    assert "marker" == (await conflict(store.list_certificates(SCOPE, page))).kind


async def test_certificates_and_policies_come_newest_first_unless_asked_otherwise(store: Store) -> None:
    await fill(store)
    newest_first = [certificate_id(number) for number in (5, 4, 3, 2, 1)]
    (found,) = await pages(listings(store)["certificates"], 10)
    assert newest_first == [item.certificate_id for item in found]
    (found,) = await pages(listings(store)["certificates"], 10, ascending=True)
    assert newest_first[::-1] == [item.certificate_id for item in found]
    (found,) = await pages(listings(store)["policies"], 10)
    assert ["p5", "p4", "p3", "p2", "p1"] == [item.policy_name for item in found]


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_survive_inserts_and_deletes_between_them(store: Store, ascending: bool) -> None:
    for number in range(10, 20):
        await store.insert_certificate(certificate(number), cause())
    seen: list[str] = []
    marker = None
    for step in range(100):
        page = await store.list_certificates(SCOPE, PageRequest(limit=2, marker=marker, ascending=ascending))
        seen += [item.certificate_id for item in page.items]
        marker = page.marker
        if marker is None:
            break
        # One before everything seen, and the very certificate that the marker stands on.
        await store.insert_certificate(certificate(9 - step if ascending else 100 + step), cause())
        await store.delete_certificate(SCOPE, page.items[-1].certificate_id, force=False, cause=cause())
    in_order = [certificate_id(number) for number in range(10, 20)]
    assert seen == (in_order if ascending else in_order[::-1])


async def test_certificates_of_the_same_instant_are_all_listed(store: Store) -> None:
    records = [certificate(number, creation_date=NOW) for number in range(7)]
    await store.insert_certificates(records, cause())
    found = await pages(listings(store)["certificates"], 3)
    assert {item.certificate_id for item in records} == {item.certificate_id for page in found for item in page}
    assert 7 == sum(len(page) for page in found)


async def test_listings_of_what_does_not_exist_are_refused(store: Store) -> None:
    page = PageRequest(limit=5)
    for call in (
        store.thing_principals(SCOPE, LAMP, page),
        store.principal_things(SCOPE, ID, page),
        store.attached_policies(SCOPE, ID, page),
        store.policy_targets(SCOPE, ALLOW_NAME, page),
    ):
        assert "missing" == (await conflict(call)).kind


# --- isolation


@pytest.mark.parametrize("foreign", [OTHER_ACCOUNT, OTHER_REGION])
async def test_nothing_of_another_scope_is_seen_or_changed(store: Store, foreign: Scope) -> None:
    await fill(store)
    cursor = await store.head_cursor()
    t1, p1 = ThingName("t1"), PolicyName("p1")
    assert await store.certificate(foreign, ID) is None
    assert await store.thing(foreign, t1) is None
    assert await store.policy(foreign, p1) is None
    assert [None] == await store.principals([(foreign, ID)])
    page = PageRequest(limit=10)
    for listing in (store.list_certificates, store.list_things, store.list_policies):
        assert [] == list((await listing(foreign, page)).items)
    refused: dict[str, Awaitable[Any]] = {
        "set_certificate_status": store.set_certificate_status(
            foreign, ID, expected=INACTIVE, new=REVOKED, cause=cause()
        ),
        "delete_certificate": store.delete_certificate(foreign, ID, force=True, cause=cause()),
        "delete_thing": store.delete_thing(foreign, t1, expected_version=None, cause=cause()),
        "attach_thing": store.attach_thing(foreign, t1, ID, SHARED, cause()),
        "detach_thing": store.detach_thing(foreign, t1, ID, cause()),
        "delete_policy": store.delete_policy(foreign, p1, cause()),
        "attach_policy": store.attach_policy(foreign, p1, ID, limit=10, cause=cause()),
        "thing_principals": store.thing_principals(foreign, t1, page),
        "principal_things": store.principal_things(foreign, ID, page),
        "attached_policies": store.attached_policies(foreign, ID, page),
        "policy_targets": store.policy_targets(foreign, p1, page),
    }
    for name, call in refused.items():
        assert (await conflict(call)).kind in ("missing", "thing", "policy"), name
    assert [] == await store.detach_policy(foreign, p1, ID, cause())
    assert ([], cursor) == await store.changes_since(cursor, 100)


async def test_an_own_thing_is_not_attached_to_another_accounts_certificate(store: Store) -> None:
    await fill(store)
    await store.create_thing(thing(scope=OTHER_ACCOUNT), cause())
    await store.create_policy(policy(scope=OTHER_ACCOUNT), cause())
    assert "certificate" == (await conflict(store.attach_thing(OTHER_ACCOUNT, LAMP, ID, SHARED, cause()))).kind
    attach = store.attach_policy(OTHER_ACCOUNT, ALLOW_NAME, ID, limit=10, cause=cause())
    assert "certificate" == (await conflict(attach)).kind


# --- following


async def test_every_change_is_followed_once_in_the_order_of_its_commit(store: Store) -> None:
    cursor = await store.head_cursor()
    expected: list[Change] = []
    await store.ensure_endpoint(SCOPE, "aaa", cause())
    expected.append(Change(ChangeKind.ENDPOINT, SCOPE, "aaa"))
    expected += await store.insert_certificate(certificate(1), cause())
    expected += await store.create_thing(thing(), cause())
    expected += await store.create_policy(policy(), cause())
    expected += await store.attach_thing(SCOPE, LAMP, ID, SHARED, cause())
    expected += await store.attach_policy(SCOPE, ALLOW_NAME, ID, limit=10, cause=cause())
    expected += await store.set_account_status(SCOPE.account, AccountStatus.DISABLED, cause())
    assert 7 == len(expected)
    found: list[Change] = []
    while batch := await store.changes_since(cursor, 3):
        changes, cursor = batch
        if not changes:
            break
        assert len(changes) <= 3
        found += changes
    assert expected == found
    assert cursor == await store.head_cursor()


async def test_a_refused_operation_leaves_no_change(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause())
    cursor = await store.head_cursor()
    await conflict(store.insert_certificate(certificate(1), cause()))
    await conflict(store.delete_policy(SCOPE, ALLOW_NAME, cause()))
    assert ([], cursor) == await store.changes_since(cursor, 10)


@pytest.mark.parametrize("cursor", ["", "x", "c", "c-1", "c1.5", "c99999999", "c\u0661", "c" + "9" * 40, "1"])
async def test_a_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    assert "cursor" == (await conflict(store.changes_since(Cursor(cursor), 10))).kind


# --- the audit trail


async def trail(store: Store, query: AuditQuery, *, ascending: bool = True, limit: int = 100) -> list[AuditRow]:
    found = await pages(functools.partial(store.audit_events, query), limit, ascending=ascending)
    return [row for page in found for row in page]


async def test_rows_are_numbered_and_chained_for_each_account_whoever_writes_at_once(store: Store) -> None:
    made = [thing(f"thing-{number}") for number in range(30)]
    theirs = [dataclasses.replace(each, scope=OTHER_ACCOUNT) for each in made]
    batches = [[certificate(number + 10 * batch) for number in range(10)] for batch in range(3)]
    await asyncio.gather(
        *[store.create_thing(each, cause()) for pair in zip(made, theirs, strict=True) for each in pair],
        *[store.insert_certificates(batch, cause()) for batch in batches],
    )
    heads = {head.chain: head for head in await store.audit_heads()}
    assert {SCOPE.account: 61, OTHER_ACCOUNT.account: 31} == {head.chain: head.number for head in heads.values()}
    assert {chain: head.number for chain, head in heads.items()} == await store.audit_extents()
    for chain, head in heads.items():
        check = ChainCheck(chain, {})
        check.feed(await store.audit_rows(chain, 0, 1000, 1000))
        check.finish(head)
        assert ([], head.number) == (check.findings, check.rows)


async def test_an_operation_that_is_refused_leaves_no_number_out(store: Store) -> None:
    for _ in range(3):
        await asyncio.gather(*[store.create_thing(thing(), cause()) for _ in range(3)], return_exceptions=True)
    assert [1, 2] == [row.number for row in await store.audit_rows(SCOPE.account, 0, 100, 100)]


async def test_what_belongs_to_no_account_has_a_chain_of_its_own(store: Store) -> None:
    await store.add_access_key(access_key(1, account_id=None), cause())
    await store.add_access_key(access_key(2), cause())
    (row,) = await store.audit_rows("operator", 0, 100, 100)
    assert (1, None, access_key(1).access_key_id) == (row.number, row.fields.account_id, row.fields.subject)
    assert [row.link, None] == await store.audit_links([("operator", 1), ("operator", 2)])


async def test_the_trail_is_listed_by_what_is_asked(store: Store) -> None:
    await store.insert_certificate(certificate(1), cause("Register"))
    await store.create_policy(policy(), cause("CreatePolicy"))
    await store.attach_policy(SCOPE, ALLOW_NAME, ID, limit=10, cause=cause("AttachPolicy", at=LATER))
    await store.create_thing(thing(scope=OTHER_ACCOUNT), cause("CreateThing"))
    own = AuditQuery(chain=SCOPE.account)

    async def operations(query: AuditQuery, **options: Any) -> list[str]:
        return [row.fields.operation for row in await trail(store, query, **options)]

    assert ["Test", "Register", "CreatePolicy", "AttachPolicy"] == await operations(own)
    assert ["AttachPolicy", "CreatePolicy", "Register", "Test"] == await operations(own, ascending=False, limit=1)
    assert 6 == len(await trail(store, AuditQuery(chain=None), limit=2))
    assert ["Register", "AttachPolicy"] == await operations(dataclasses.replace(own, subject=ID))
    kinds = [ChangeKind.PRINCIPAL_POLICIES, ChangeKind.POLICY]
    assert ["CreatePolicy", "AttachPolicy"] == await operations(dataclasses.replace(own, kinds=kinds))
    assert ["AttachPolicy"] == await operations(dataclasses.replace(own, since=LATER))
    assert ["Test", "Register", "CreatePolicy"] == await operations(dataclasses.replace(own, until=LATER))
    assert ["Register"] == await operations(dataclasses.replace(own, operation="Register"))
    assert [] == await operations(AuditQuery(chain="999999999999"))
    first = await store.audit_events(own, PageRequest(limit=1))
    for other in (
        AuditQuery(chain=None),
        AuditQuery(chain=OTHER_ACCOUNT.account),
        dataclasses.replace(own, subject=ID),
    ):
        assert "marker" == (await conflict(store.audit_events(other, PageRequest(limit=1, marker=first.marker)))).kind


@pytest.mark.parametrize("ascending", [True, False])
async def test_a_page_looks_at_so_many_rows_and_the_listing_is_whole_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, ascending: bool
) -> None:
    monkeypatch.setattr("handfast.storage.audit.SCANNED", 3)
    for number in range(10):
        await store.create_thing(thing(f"thing-{number}"), cause("Odd" if number % 5 == 4 else "Even"))
    for chain in (SCOPE.account, None):
        found = await trail(store, AuditQuery(chain=chain, operation="Odd"), ascending=ascending, limit=1)
        assert ["thing-4", "thing-9"] == sorted(row.fields.subject for row in found)
        everything = await trail(store, AuditQuery(chain=chain), ascending=ascending, limit=2)
        numbers = [row.sequence for row in everything]
        assert sorted(numbers, reverse=not ascending) == numbers
        assert (11 if chain else 12) == len(numbers)
