"""What every `ports.Store` promises of thing types, billing groups, tags and event configurations."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.registry import NOW, OTHER_ACCOUNT, OTHER_REGION, SCOPE, cause, policy, thing

from handfast.core.identity.events import EventType
from handfast.core.identity.ids import BillingGroupName, Scope, ThingName, ThingTypeName
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.identity.things import BillingGroupRecord, ThingEdit, ThingTypeProperties, ThingTypeRecord
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, PageRequest, Store

LAMPS, HOME, LAMP = ThingTypeName("lamps"), BillingGroupName("home"), ThingName("lamp")
PAGE = PageRequest(limit=10)
TYPE_TAGS = TaggedResource(Taggable.THING_TYPE, LAMPS)


def thing_type(scope: Scope = SCOPE) -> ThingTypeRecord:
    return ThingTypeRecord(scope=scope, thing_type_name=LAMPS, thing_type_id="id", creation_date=NOW)


def group(scope: Scope = SCOPE) -> BillingGroupRecord:
    return BillingGroupRecord(scope=scope, billing_group_name=HOME, billing_group_id="id", creation_date=NOW)


async def conflict(call: Awaitable[Any]) -> str:
    with pytest.raises(StoreConflict) as caught:
        await call
    return caught.value.kind


async def test_edits_of_one_thing_at_once_are_all_there(store: Store) -> None:
    await store.create_thing_type(thing_type(), cause())
    await store.create_thing(thing(), cause())
    await store.update_thing(SCOPE, LAMP, ThingEdit(thing_type_name=LAMPS, attributes={}), cause())
    edits = [ThingEdit(attributes={f"a{number}": "1"}, merge=True) for number in range(20)]
    found = await asyncio.gather(*(store.update_thing(SCOPE, LAMP, edit, cause()) for edit in edits))
    assert [[Change(ChangeKind.THING, SCOPE, LAMP)]] * 20 == found
    after = await store.thing(SCOPE, LAMP)
    assert after is not None
    assert (20, 22) == (len(after.attributes), after.version)


async def test_of_edits_that_expect_the_same_version_one_is_made(store: Store) -> None:
    await store.create_thing(thing(), cause())
    edits = [ThingEdit(attributes={"a": str(number)}, expected_version=1) for number in range(5)]
    found = await asyncio.gather(
        *(store.update_thing(SCOPE, LAMP, edit, cause()) for edit in edits), return_exceptions=True
    )
    refused = [each for each in found if isinstance(each, StoreConflict)]
    assert ["version"] * 4 == [each.kind for each in refused]
    assert [2] * 4 == [each.facts["version"] for each in refused]


async def test_what_is_refused_leaves_nothing(store: Store) -> None:
    cursor = await store.head_cursor()
    typed = thing(thing_type_name=LAMPS)
    assert "type" == await conflict(store.create_thing(typed, cause()))
    assert "billing_group" == await conflict(store.create_thing(thing(billing_group_name=HOME), cause()))
    assert None is await store.thing(SCOPE, LAMP)
    assert "missing" == await conflict(store.update_thing(SCOPE, LAMP, ThingEdit(), cause()))
    assert cursor == await store.head_cursor()


async def test_a_type_goes_when_it_is_deprecated_unused_and_has_waited(store: Store) -> None:
    async def delete(until: dt.datetime = NOW) -> list[Change]:
        return await store.delete_thing_type(SCOPE, LAMPS, deprecated_until=until, cause=cause())

    assert "missing" == await conflict(delete())
    told = [Change(ChangeKind.THING_TYPE, SCOPE, LAMPS)]
    assert told == await store.create_thing_type(thing_type(), cause(), tags={"a": "1"})
    assert "exists" == await conflict(store.create_thing_type(thing_type(), cause()))
    assert "deprecated" == await conflict(delete())
    await store.create_thing(thing(thing_type_name=LAMPS), cause())
    assert told == await store.deprecate_thing_type(SCOPE, LAMPS, undo=False, cause=cause())
    assert [] == await store.deprecate_thing_type(SCOPE, LAMPS, undo=False, cause=cause())
    assert "things" == await conflict(delete())
    await store.delete_thing(SCOPE, LAMP, expected_version=None, cause=cause())
    assert "waiting" == await conflict(delete(NOW - dt.timedelta(microseconds=1)))
    assert told == await delete()
    assert "missing" == await conflict(store.tags(SCOPE, TYPE_TAGS))
    await store.create_thing_type(thing_type(), cause())
    assert {} == await store.tags(SCOPE, TYPE_TAGS)


@pytest.mark.parametrize("elsewhere", [OTHER_ACCOUNT, OTHER_REGION])
async def test_nothing_reaches_across_scopes(store: Store, elsewhere: Scope) -> None:
    await store.create_thing_type(thing_type(), cause(), tags={"a": "1"})
    await store.create_billing_group(group(), cause())
    await store.create_thing(thing(thing_type_name=LAMPS, billing_group_name=HOME), cause())
    await store.set_event_configurations(SCOPE, {EventType.THING: True}, cause())
    cursor = await store.head_cursor()
    assert None is await store.thing_type(elsewhere, LAMPS)
    assert None is await store.billing_group(elsewhere, HOME)
    assert None is await store.event_configurations(elsewhere)
    assert [] == (await store.list_thing_types(elsewhere, PAGE)).items
    assert [] == (await store.list_billing_groups(elsewhere, PAGE)).items
    properties = ThingTypeProperties(description="x")
    for call in (
        store.update_thing(elsewhere, LAMP, ThingEdit(), cause()),
        store.update_thing_type(elsewhere, LAMPS, properties, cause()),
        store.deprecate_thing_type(elsewhere, LAMPS, undo=False, cause=cause()),
        store.update_billing_group(elsewhere, HOME, description="x", expected_version=None, cause=cause()),
        store.delete_billing_group(elsewhere, HOME, expected_version=None, cause=cause()),
        store.billing_group_things(elsewhere, HOME, PAGE),
        store.tag_resource(elsewhere, TYPE_TAGS, {"b": "2"}, limit=50, cause=cause()),
        store.untag_resource(elsewhere, TYPE_TAGS, ["a"], cause()),
    ):
        assert "missing" == await conflict(call)
    assert cursor == await store.head_cursor()
    assert {"a": "1"} == await store.tags(SCOPE, TYPE_TAGS)


async def test_tags_beyond_the_limit_are_not_there(store: Store) -> None:
    await store.create_policy(policy(), cause(), tags={"a": "1", "b": "2"})
    resource = TaggedResource(Taggable.POLICY, policy().policy_name)
    assert "limit" == await conflict(store.tag_resource(SCOPE, resource, {"c": "3"}, limit=2, cause=cause()))
    told = [Change(ChangeKind.TAGS, SCOPE, f"policy/{policy().policy_name}")]
    assert told == await store.tag_resource(SCOPE, resource, {"b": "3"}, limit=2, cause=cause())
    assert {"a": "1", "b": "3"} == await store.tags(SCOPE, resource)


async def test_what_was_committed_is_read_in_order_and_once(store: Store) -> None:
    start = await store.newest_committed(None)
    await store.create_thing_type(thing_type(), cause())
    await store.create_policy(policy(), cause())
    await store.create_thing(thing(), cause())
    await store.update_thing(SCOPE, LAMP, ThingEdit(attributes={"a": "1"}), cause())
    kinds = {"thing", "thing_type"}
    first, position = await store.committed_after(start, kinds, 2)
    rest, position = await store.committed_after(position, kinds, 2)
    assert [("thing_type", "lamps"), ("thing", "lamp"), ("thing", "lamp")] == [
        (each.kind, each.subject) for each in (*first, *rest)
    ]
    assert (2, {"a": "1"}) == ((rest[0].after or {})["version"], (rest[0].after or {})["attributes"])
    assert position == await store.newest_committed(None)
    assert ([], position) == await store.committed_after(position, kinds, 2)
    assert 0 == await store.newest_committed(ChangeKind.EVENT_CONFIGURATIONS)
