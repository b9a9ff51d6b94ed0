"""Things and what is attached to them: what every `ports.Store` does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.registry import SCOPE, cause, certificate, thing
from tests.support.stores import EXCLUSIVE, ID, LAMP, SHARED, conflict

from handfast.core.identity.ids import ThingName
from handfast.core.identity.records import ThingPrincipalType
from handfast.ports import Change, ChangeKind, PageRequest, Store


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
