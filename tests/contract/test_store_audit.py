"""The audit trail: what every `ports.Store` does."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from typing import Any

import pytest
from tests.support.registry import OTHER_ACCOUNT, SCOPE, access_key, cause, certificate, policy, thing
from tests.support.stores import ALLOW_NAME, ID, LATER, conflict, pages

from handfast.core.identity.audit_chain import AuditRow, ChainCheck
from handfast.ports import AuditQuery, ChangeKind, PageRequest, Store


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
