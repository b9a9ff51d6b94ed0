"""Rotations in every `ports.Store`: begun whole or not at all, ended once, whoever else is at work."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import functools
import itertools
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    cause,
    certificate,
    certificate_id,
    policy,
    thing,
)
from tests.support.stores import conflict, pages

from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingName
from handfast.core.identity.records import CertificateMode, CertificateStatus, ThingPrincipalType
from handfast.core.identity.rotation import DeadlineAction, RetireAction, RotationEnd, RotationRecord, RotationState
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, PageRequest, Store

ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
PENDING = CertificateStatus.PENDING_TRANSFER
OLD, NEW = certificate_id(1), certificate_id(2)
WEEK = dt.timedelta(days=7)
LATER = NOW + dt.timedelta(hours=1)
LIMIT = 100


@pytest.fixture
async def store(store: Store) -> Store:
    await store.insert_certificate(certificate(1, status=ACTIVE), cause())
    return store


def rotation(old: int = 1, new: int = 2, **changes: Any) -> RotationRecord:
    record = RotationRecord(
        scope=SCOPE,
        certificate_id=certificate_id(old),
        successor_id=certificate_id(new),
        retire_action=RetireAction.DEACTIVATE,
        on_deadline=DeadlineAction.RETIRE,
        started_at=NOW + dt.timedelta(seconds=new),
        deadline=NOW + WEEK + dt.timedelta(seconds=new),
    )
    return dataclasses.replace(record, **changes)


async def begin(store: Store, record: RotationRecord | None = None, *, limit: int = LIMIT) -> list[Change]:
    record = record or rotation()
    successor = dataclasses.replace(
        certificate(1), scope=record.scope, certificate_id=record.successor_id, status=ACTIVE
    )
    return await store.begin_rotation(record, successor, limit=limit, cause=cause())


async def finish(store: Store, end: RotationEnd, new: CertificateId = NEW) -> list[Change]:
    return await store.finish_rotation(SCOPE, new, end, cause(at=LATER))


async def status(store: Store, which: CertificateId = OLD) -> CertificateStatus | None:
    found = await store.certificate(SCOPE, which)
    return None if found is None else found.status


async def ended(store: Store, new: CertificateId = NEW) -> tuple[RotationState, RotationEnd | None]:
    found = await store.rotation(SCOPE, new)
    assert found is not None
    return found.state, found.ended_by


async def change(store: Store, expected: CertificateStatus, new: CertificateStatus, which: CertificateId) -> None:
    await store.set_certificate_status(SCOPE, which, expected=expected, new=new, cause=cause())


async def test_the_successor_has_the_same_policies_and_things_and_is_awaited(store: Store) -> None:
    for name in ("a", "b"):
        await store.create_policy(policy(name), cause())
        await store.attach_policy(SCOPE, PolicyName(name), OLD, limit=10, cause=cause())
    await store.create_thing(thing("lamp"), cause())
    await store.attach_thing(SCOPE, ThingName("lamp"), OLD, ThingPrincipalType.EXCLUSIVE_THING, cause())
    changes = await begin(store)
    assert {
        Change(ChangeKind.CERTIFICATE, SCOPE, NEW),
        Change(ChangeKind.PRINCIPAL_POLICIES, SCOPE, NEW),
        Change(ChangeKind.PRINCIPAL_THINGS, SCOPE, NEW),
        Change(ChangeKind.ROTATION, SCOPE, NEW),
    } == set(changes)
    assert (ACTIVE, ACTIVE) == (await status(store, OLD), await status(store, NEW))
    old, new = await store.principals([(SCOPE, OLD), (SCOPE, NEW)])
    assert old is not None
    assert new is not None
    assert ["a", "b"] == sorted(each.policy_name for each in new.policies)
    assert ["lamp"] == [each.thing_name for each in new.things]
    assert ThingPrincipalType.EXCLUSIVE_THING is new.things[0].thing_principal_type
    assert old.things == new.things
    assert rotation() == await store.rotation(SCOPE, OLD) == await store.rotation(SCOPE, NEW)
    assert [(SCOPE, NEW)] == await store.waiting_successors()
    assert [rotation()] == await store.upcoming_rotations(10)


async def test_several_things_are_taken_over(store: Store) -> None:
    for name in ("lamp", "fan"):
        await store.create_thing(thing(name), cause())
        await store.attach_thing(SCOPE, ThingName(name), OLD, ThingPrincipalType.NON_EXCLUSIVE_THING, cause())
    await begin(store)
    assert ["fan", "lamp"] == [
        name for name, _ in (await store.principal_things(SCOPE, NEW, PageRequest(limit=10))).items
    ]


async def test_what_cannot_be_rotated_is_said_in_order_and_leaves_nothing(store: Store) -> None:
    async def kind(record: RotationRecord, **options: Any) -> str:
        before = await store.head_cursor()
        refused = (await conflict(begin(store, record, **options))).kind
        assert before == await store.head_cursor()
        return refused

    assert "missing" == await kind(rotation(old=9))
    assert "missing" == await kind(rotation(scope=OTHER_ACCOUNT))
    await store.insert_certificate(certificate(3, status=INACTIVE), cause())
    assert "status" == await kind(rotation(old=3, new=4))
    assert "limit" == await kind(rotation(), limit=0)
    assert "exists" == await kind(rotation(new=3))
    await begin(store)
    refused = await conflict(begin(store, rotation(new=5)))
    assert ("rotating", rotation()) == (refused.kind, refused.facts["rotation"])
    assert "successor" == await kind(rotation(old=2, new=5))
    await store.insert_certificate(certificate(6, status=ACTIVE), cause())
    assert "limit" == await kind(rotation(old=6, new=7), limit=1)
    assert await store.certificate(SCOPE, certificate_id(7)) is None
    await begin(store, rotation(old=6, new=7), limit=2)


async def test_a_successor_that_another_account_has_in_default_mode_stays_theirs(store: Store) -> None:
    theirs = certificate(2, scope=OTHER_ACCOUNT, mode=CertificateMode.DEFAULT)
    await store.insert_certificate(theirs, cause())
    assert "exists" == (await conflict(begin(store))).kind
    assert await store.rotation(SCOPE, OLD) is None


@pytest.mark.parametrize("end", [RotationEnd.CONNECTED, RotationEnd.DEADLINE])
@pytest.mark.parametrize(("action", "left"), [(RetireAction.DEACTIVATE, INACTIVE), (RetireAction.REVOKE, REVOKED)])
async def test_the_old_certificate_is_retired_once(
    store: Store, end: RotationEnd, action: RetireAction, left: CertificateStatus
) -> None:
    await begin(store, rotation(retire_action=action))
    assert [Change(ChangeKind.ROTATION, SCOPE, NEW), Change(ChangeKind.CERTIFICATE, SCOPE, OLD)] == await finish(
        store, end
    )
    assert (left, ACTIVE) == (await status(store, OLD), await status(store, NEW))
    done = dataclasses.replace(
        rotation(retire_action=action), state=RotationState.RETIRED, ended_at=LATER, ended_by=end
    )
    assert done == await store.rotation(SCOPE, OLD)
    assert [] == await store.waiting_successors() == await store.upcoming_rotations(10)
    for again in RotationEnd.CONNECTED, RotationEnd.DEADLINE, RotationEnd.REQUEST:
        assert "settled" == (await conflict(finish(store, again))).kind
    assert done == await store.rotation(SCOPE, OLD)


async def test_where_it_was_asked_for_the_old_certificate_is_kept_at_the_deadline_and_only_then(store: Store) -> None:
    await begin(store, rotation(on_deadline=DeadlineAction.KEEP))
    await finish(store, RotationEnd.DEADLINE)
    assert (RotationState.CANCELLED, RotationEnd.DEADLINE) == await ended(store)
    assert (ACTIVE, ACTIVE) == (await status(store, OLD), await status(store, NEW))
    await begin(store, rotation(new=3, on_deadline=DeadlineAction.KEEP))
    await finish(store, RotationEnd.CONNECTED, certificate_id(3))
    assert INACTIVE is await status(store, OLD)


async def test_a_cancelled_rotation_leaves_no_second_good_certificate_and_may_be_begun_again(store: Store) -> None:
    assert "missing" == (await conflict(finish(store, RotationEnd.REQUEST))).kind
    await begin(store)
    await finish(store, RotationEnd.REQUEST)
    assert (RotationState.CANCELLED, RotationEnd.REQUEST) == await ended(store)
    assert (ACTIVE, INACTIVE) == (await status(store, OLD), await status(store, NEW))
    again = rotation(new=3)
    await begin(store, again)
    assert again == await store.rotation(SCOPE, OLD)


@pytest.mark.parametrize("how", [INACTIVE, REVOKED])
async def test_a_successor_that_leaves_active_ends_the_rotation_and_the_old_certificate_stays(
    store: Store, how: CertificateStatus
) -> None:
    await begin(store)
    await change(store, ACTIVE, how, NEW)
    assert (RotationState.CANCELLED, RotationEnd.SUCCESSOR_CHANGED) == await ended(store)
    assert ACTIVE is await status(store, OLD)
    assert "settled" == (await conflict(finish(store, RotationEnd.CONNECTED))).kind
    assert ACTIVE is await status(store, OLD)


@pytest.mark.parametrize("how", [INACTIVE, REVOKED])
async def test_an_old_certificate_that_somebody_else_retires_ends_the_rotation(
    store: Store, how: CertificateStatus
) -> None:
    await begin(store)
    await change(store, ACTIVE, how, OLD)
    assert (RotationState.RETIRED, RotationEnd.CERTIFICATE_CHANGED) == await ended(store)
    assert "settled" == (await conflict(finish(store, RotationEnd.CONNECTED))).kind
    assert how is await status(store, OLD)


async def test_deactivating_a_certificate_that_is_to_be_revoked_does_not_save_it(store: Store) -> None:
    await begin(store, rotation(retire_action=RetireAction.REVOKE))
    await change(store, ACTIVE, INACTIVE, OLD)
    assert (RotationState.WAITING, None) == await ended(store)
    offer = store.transfer_certificate(SCOPE, OLD, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    assert "rotation" == (await conflict(offer)).kind, "nor does handing it over"
    await finish(store, RotationEnd.CONNECTED)
    assert REVOKED is await status(store, OLD)


async def test_a_certificate_that_is_to_be_revoked_and_is_deleted_ends_the_rotation(store: Store) -> None:
    await begin(store, rotation(retire_action=RetireAction.REVOKE))
    await change(store, ACTIVE, INACTIVE, OLD)
    await store.delete_certificate(SCOPE, OLD, force=True, cause=cause())
    assert (RotationState.RETIRED, RotationEnd.CERTIFICATE_CHANGED) == await ended(store)
    assert ACTIVE is await status(store, NEW)


async def test_after_its_rotation_a_certificate_may_be_transferred(store: Store) -> None:
    await begin(store)
    await finish(store, RotationEnd.CONNECTED)
    await store.transfer_certificate(SCOPE, OLD, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    assert PENDING is await status(store, OLD)


async def test_of_two_rotations_of_a_certificate_one_begins(store: Store) -> None:
    results = await asyncio.gather(
        *(begin(store, rotation(new=number)) for number in range(2, 12)), return_exceptions=True
    )
    refused = [each.kind for each in results if isinstance(each, StoreConflict)]
    assert ["rotating"] * 9 == refused
    (only,) = await store.waiting_successors()
    registered = [n for n in range(2, 12) if await store.certificate(SCOPE, certificate_id(n)) is not None]
    assert [only[1]] == [certificate_id(n) for n in registered], "the others left no certificate behind"


async def test_whatever_races_ends_a_rotation_once_and_nothing_revoked_comes_back(store: Store) -> None:
    names = ("connected", "deadline", "cancel", "revoke")
    for number, order in enumerate(itertools.permutations(names)):
        old, new = certificate_id(100 + number), certificate_id(200 + number)
        await store.insert_certificate(certificate(100 + number, status=ACTIVE), cause())
        await begin(store, rotation(old=100 + number, new=200 + number))
        calls = {
            "connected": functools.partial(finish, store, RotationEnd.CONNECTED, new),
            "deadline": functools.partial(finish, store, RotationEnd.DEADLINE, new),
            "cancel": functools.partial(finish, store, RotationEnd.REQUEST, new),
            "revoke": functools.partial(change, store, ACTIVE, REVOKED, old),
        }
        results = await asyncio.gather(*(calls[name]() for name in order), return_exceptions=True)
        won = {name: each for name, each in zip(order, results, strict=True) if not isinstance(each, Exception)}
        assert all(isinstance(each, StoreConflict) for each in results if isinstance(each, Exception))
        revoked = "revoke" in won
        ends = {
            "connected": (RotationState.RETIRED, RotationEnd.CONNECTED, INACTIVE),
            "deadline": (RotationState.RETIRED, RotationEnd.DEADLINE, INACTIVE),
            "cancel": (RotationState.CANCELLED, RotationEnd.REQUEST, REVOKED if revoked else ACTIVE),
            "revoke": (RotationState.RETIRED, RotationEnd.CERTIFICATE_CHANGED, REVOKED),
        }
        first = next(iter(won)) if order[0] != "revoke" else "revoke"
        assert ends[first] == (*await ended(store, new), await status(store, old)), order
        assert won.keys() <= {first, "revoke"}, order


async def test_rotations_are_listed_newest_first_and_by_state(store: Store) -> None:
    await begin(store)
    await finish(store, RotationEnd.CONNECTED)
    for number in (3, 5, 7):
        await store.insert_certificate(certificate(number, status=ACTIVE), cause())
        await begin(store, rotation(old=number, new=number + 1))

    async def listed(**options: Any) -> list[CertificateId]:
        state = options.pop("state", None)
        found = await pages(lambda page: store.list_rotations(SCOPE, page, state=state), 2, **options)
        return [each.successor_id for page in found for each in page]

    assert [certificate_id(n) for n in (8, 6, 4, 2)] == await listed()
    assert [certificate_id(n) for n in (2, 4, 6, 8)] == await listed(ascending=True)
    assert [certificate_id(n) for n in (8, 6, 4)] == await listed(state=RotationState.WAITING)
    assert [NEW] == await listed(state=RotationState.RETIRED)
    assert [certificate_id(n) for n in (4, 6)] == [each.successor_id for each in await store.upcoming_rotations(2)]


@pytest.mark.parametrize("foreign", [OTHER_ACCOUNT, OTHER_REGION])
async def test_nothing_of_another_scope_is_seen_or_ended(store: Store, foreign: Scope) -> None:
    await begin(store)
    assert await store.rotation(foreign, OLD) is None
    assert await store.rotation(foreign, NEW) is None
    assert [] == (await store.list_rotations(foreign, PageRequest(limit=10), state=None)).items
    assert "missing" == (await conflict(store.finish_rotation(foreign, NEW, RotationEnd.CONNECTED, cause()))).kind
    assert (RotationState.WAITING, None) == await ended(store)


async def test_both_ends_of_a_rotation_are_audited(store: Store, tmp_path: Path) -> None:
    await begin(store)
    await finish(store, RotationEnd.CONNECTED)
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        rows = raw.execute(
            "SELECT what, subject, before IS NULL FROM audit "
            "WHERE what IN ('rotation', 'certificate') ORDER BY sequence"
        ).fetchall()
    raw.close()
    assert [
        ("certificate", OLD, 1),
        ("certificate", NEW, 1),
        ("rotation", NEW, 1),
        ("rotation", NEW, 0),
        ("certificate", OLD, 0),
    ] == rows
