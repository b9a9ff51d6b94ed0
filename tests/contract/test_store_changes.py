"""Following changes: what every `ports.Store` does."""

from __future__ import annotations

import pytest
from tests.support.registry import SCOPE, cause, certificate, policy, thing
from tests.support.stores import ALLOW_NAME, ID, LAMP, SHARED, conflict

from handfast.core.identity.records import AccountStatus
from handfast.ports import Change, ChangeKind, Cursor, Store


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
