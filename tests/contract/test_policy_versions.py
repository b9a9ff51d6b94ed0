"""Versions of policies in every `ports.Store`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import Any

import pytest
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, cause, policy
from tests.support.stores import conflict

from handfast.core.identity.ids import PolicyName
from handfast.core.identity.records import PolicyVersionRecord
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, Store

ALLOW = PolicyName("allow")
CHANGE = [Change(ChangeKind.POLICY, SCOPE, "allow")]
LATER = NOW + dt.timedelta(hours=1)


@pytest.fixture
async def store(store: Store) -> Store:
    await store.create_policy(policy(), cause())
    return store


async def make(store: Store, document: str = "two", **options: Any) -> PolicyVersionRecord:
    asked: dict[str, Any] = {"set_as_default": False, "limit": 5, "generation_id": "g", "cause": cause(at=LATER)}
    version, changes = await store.create_policy_version(SCOPE, ALLOW, document, **asked | options)
    assert CHANGE == changes
    return version


async def test_a_version_comes_back_as_it_was_stored_and_the_default_stays(store: Store) -> None:
    made = await make(store)
    assert (
        PolicyVersionRecord(
            scope=SCOPE,
            policy_name=ALLOW,
            version_id="2",
            document="two",
            is_default=False,
            creation_date=LATER,
            generation_id="g",
        )
        == made
    )
    assert made == await store.policy_version(SCOPE, ALLOW, "2")
    found = await store.policy(SCOPE, ALLOW)
    assert found == dataclasses.replace(policy(), generation_id="g", last_modified_date=LATER)


async def test_the_default_is_the_one_that_is_read(store: Store) -> None:
    assert (await make(store, set_as_default=True)).is_default
    found = await store.policy(SCOPE, ALLOW)
    assert found is not None
    assert ("2", "two") == (found.default_version_id, found.document)
    back = store.set_default_policy_version(SCOPE, ALLOW, "1", generation_id="h", cause=cause())
    assert CHANGE == await back
    again = store.set_default_policy_version(SCOPE, ALLOW, "1", generation_id="i", cause=cause())
    assert [] == await again
    found = await store.policy(SCOPE, ALLOW)
    assert found is not None
    assert ("1", "h") == (found.default_version_id, found.generation_id)
    assert [("2", False), ("1", True)] == [
        (each.version_id, each.is_default) for each in await store.policy_versions(SCOPE, ALLOW)
    ]


async def test_ids_never_come_back_and_there_are_so_many_versions(store: Store) -> None:
    for _ in range(4):
        await make(store)
    full = store.create_policy_version(
        SCOPE, ALLOW, "six", set_as_default=False, limit=5, generation_id="g", cause=cause()
    )
    assert "limit" == (await conflict(full)).kind
    assert CHANGE == await store.delete_policy_version(SCOPE, ALLOW, "5", generation_id="g", cause=cause())
    assert "6" == (await make(store)).version_id
    assert ["6", "4", "3", "2", "1"] == [each.version_id for each in await store.policy_versions(SCOPE, ALLOW)]


async def test_the_default_stays_and_so_does_a_policy_with_more_versions(store: Store) -> None:
    await make(store)

    async def refusal(version: str, name: str = "allow") -> str:
        deletion = store.delete_policy_version(SCOPE, PolicyName(name), version, generation_id="g", cause=cause())
        return (await conflict(deletion)).kind

    assert "default" == await refusal("1")
    for unknown in ("3", "0", "02", "-1", "", "1" * 40, "\u0662"):
        assert "version" == await refusal(unknown)
        assert await store.policy_version(SCOPE, ALLOW, unknown) is None
    assert "missing" == await refusal("1", "none")
    assert "versions" == (await conflict(store.delete_policy(SCOPE, ALLOW, cause()))).kind
    await store.delete_policy_version(SCOPE, ALLOW, "2", generation_id="g", cause=cause())
    assert 1 == len(await store.delete_policy(SCOPE, ALLOW, cause()))


async def test_two_that_make_the_last_version_get_one(store: Store) -> None:
    results = await asyncio.gather(make(store, limit=2), make(store, limit=2), return_exceptions=True)
    assert ["limit"] == [each.kind for each in results if isinstance(each, StoreConflict)]
    assert 2 == len(await store.policy_versions(SCOPE, ALLOW))


async def test_versions_of_another_account_are_not_seen(store: Store) -> None:
    assert await store.policy_version(OTHER_ACCOUNT, ALLOW, "1") is None
    assert "missing" == (await conflict(store.policy_versions(OTHER_ACCOUNT, ALLOW))).kind
    options: dict[str, Any] = {"generation_id": "g", "cause": cause()}
    for call in (
        store.create_policy_version(OTHER_ACCOUNT, ALLOW, "two", set_as_default=True, limit=5, **options),
        store.set_default_policy_version(OTHER_ACCOUNT, ALLOW, "1", **options),
        store.delete_policy_version(OTHER_ACCOUNT, ALLOW, "1", **options),
    ):
        assert "missing" == (await conflict(call)).kind
