"""One account or region and the others: what every `ports.Store` does."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.registry import OTHER_ACCOUNT, OTHER_REGION, cause, policy, thing
from tests.support.stores import ALLOW_NAME, ID, INACTIVE, LAMP, REVOKED, SHARED, conflict, fill

from handfast.core.identity.ids import PolicyName, Scope, ThingName
from handfast.ports import PageRequest, Store


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
