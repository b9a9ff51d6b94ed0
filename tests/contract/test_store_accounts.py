"""Accounts, access keys and endpoints: what every `ports.Store` does."""

from __future__ import annotations

import dataclasses
import datetime as dt

from tests.support.registry import NOW, OTHER_ACCOUNT, OTHER_REGION, SCOPE, access_key, account, cause
from tests.support.stores import conflict

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.records import AccountStatus, EndpointRecord
from handfast.ports import Change, ChangeKind, Store


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


async def test_an_endpoint_is_given_once_and_never_changes(store: Store) -> None:
    assert EndpointRecord(scope=SCOPE, prefix="aaa") == await store.ensure_endpoint(SCOPE, "aaa", cause())
    assert EndpointRecord(scope=SCOPE, prefix="aaa") == await store.ensure_endpoint(SCOPE, "bbb", cause())
    assert "exists" == (await conflict(store.ensure_endpoint(OTHER_ACCOUNT, "aaa", cause()))).kind
    await store.ensure_endpoint(OTHER_REGION, "ccc", cause())
    assert [(OTHER_REGION, "ccc"), (SCOPE, "aaa")] == [(item.scope, item.prefix) for item in await store.endpoints()]
