"""Policies and what they are attached to: what every `ports.Store` does."""

from __future__ import annotations

import asyncio

from tests.support.registry import SCOPE, cause, certificate, certificate_id, policy
from tests.support.stores import ALLOW_NAME, ID, conflict

from handfast.core.identity.ids import PolicyName
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, PageRequest, Store


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
