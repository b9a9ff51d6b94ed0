"""Transfers: what every `ports.Store` does."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import functools
import json
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, account, cause, certificate, certificate_id, policy, thing
from tests.support.stores import (
    ACTIVE,
    ALLOW_NAME,
    ID,
    INACTIVE,
    LAMP,
    LATER,
    REVOKED,
    SHARED,
    certificate_change,
    conflict,
    pages,
)

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.records import CertificateMode, CertificateStatus, TombstoneReason, TransferRecord
from handfast.errors import StoreConflict
from handfast.ports import Store


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
