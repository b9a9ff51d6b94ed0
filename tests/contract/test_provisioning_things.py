"""Provisioning plans in every `ports.Store`: what a thing has, and a thing that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.provisioned import (
    ALL,
    EXCLUSIVE,
    ID,
    LAMP,
    NON_EXCLUSIVE,
    SECOND,
    done,
    failure,
    found,
    register,
    surroundings,
)
from tests.support.provisioning import dump, lamp, order, plan
from tests.support.registry import SCOPE, cause, certificate_id, thing

from handfast.core.identity.ids import BillingGroupName, ThingGroupName, ThingName, ThingTypeName
from handfast.core.identity.records import ThingPrincipalType
from handfast.core.provisioning.plan import FailureKind, Override
from handfast.ports import Store

_K, _O = FailureKind, Override


async def things_of(store: Store, number: int = 1) -> list[tuple[ThingName, ThingPrincipalType]]:
    return list((await store.principal_things(SCOPE, certificate_id(number), ALL)).items)


async def groups_of(store: Store, name: str = "lamp") -> str:
    return " ".join((await store.groups_of_thing(SCOPE, ThingName(name), ALL)).items)


async def test_a_thing_has_its_type_attributes_groups_and_billing_group(store: Store) -> None:
    await register(store)
    await surroundings(store)
    wanted = lamp(
        attributes={"a": "1", "empty": ""},
        thing_type_name=ThingTypeName("bulb"),
        thing_groups=(ThingGroupName("hall"), ThingGroupName("site")),
        billing_group_name=BillingGroupName("paid"),
    )
    await done(store, order(plan(thing=wanted)))
    made = await found(store)
    assert ({"a": "1"}, "bulb", "paid", 1) == (
        made.attributes,
        made.thing_type_name,
        made.billing_group_name,
        made.version,
    )
    assert "hall site" == await groups_of(store)


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"thing_type_name": "nothing"}, _K.MISSING),
        ({"thing_type_name": "old"}, _K.INVALID),
        ({"billing_group_name": "nothing"}, _K.MISSING),
        ({"thing_groups": ("hall", "nothing")}, _K.MISSING),
        ({"thing_groups": ("hall", "lamps")}, _K.CONFLICT),
        ({"attributes": {str(n): "1" for n in range(4)}}, _K.INVALID),
        ({"attributes": {str(n): "1" for n in range(51)}, "thing_type_name": "bulb"}, _K.INVALID),
    ],
    ids=lambda value: value.name if isinstance(value, FailureKind) else "-".join(value),
)
async def test_what_a_thing_needs_and_is_not_there_leaves_nothing_behind(
    store: Store, tmp_path: Path, wanted: dict[str, Any], kind: FailureKind
) -> None:
    await register(store)
    await surroundings(store)
    before = dump(tmp_path / "handfast.db")
    assert (kind, "thing") == await failure(store, order(plan(thing=lamp(**wanted))))
    assert before == dump(tmp_path / "handfast.db")


async def test_a_thing_is_in_so_many_groups(store: Store) -> None:
    await register(store)
    await surroundings(store)
    wanted = plan(thing=lamp(thing_groups=(ThingGroupName("hall"), ThingGroupName("site"))))
    assert (_K.LIMIT, "thing") == await failure(store, order(wanted, groups_per_thing=1))


async def test_a_thing_of_another_certificate_is_a_clash_unless_it_may_be_taken_over(
    store: Store, tmp_path: Path
) -> None:
    await register(store, 1)
    await register(store, 2)
    await done(store, order(certificate_id=SECOND))
    before = dump(tmp_path / "handfast.db")
    assert (_K.CONFLICT, "thing") == await failure(store, order())
    assert before == dump(tmp_path / "handfast.db")
    await done(store, order(plan(thing=lamp(takes_over=True))))
    assert [(LAMP, NON_EXCLUSIVE)] == await things_of(store) == await things_of(store, 2)


async def test_a_thing_of_nobody_is_used_as_it_is(store: Store) -> None:
    await register(store)
    await store.create_thing(thing("lamp", attributes={"old": "1"}), cause())
    await done(store, order(plan(thing=lamp(attributes={"new": "1"}))))
    made = await found(store)
    assert ("id-of-lamp", {"old": "1"}, 1) == (made.thing_id, made.attributes, made.version)
    assert [(LAMP, NON_EXCLUSIVE)] == await things_of(store)


async def test_a_thing_that_another_certificate_has_exclusively_is_never_taken_over(store: Store) -> None:
    await register(store, 1)
    await register(store, 2)
    await store.create_thing(thing(), cause())
    await store.attach_thing(SCOPE, LAMP, SECOND, EXCLUSIVE, cause())
    assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=lamp(takes_over=True))))


async def test_a_certificate_keeps_its_own_exclusive_thing_and_gets_no_other(store: Store) -> None:
    await register(store)
    await store.create_thing(thing(), cause())
    await store.attach_thing(SCOPE, LAMP, ID, EXCLUSIVE, cause())
    await done(store, order())
    assert [(LAMP, EXCLUSIVE)] == await things_of(store)
    assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=lamp("other"))))
    assert await store.thing(SCOPE, ThingName("other")) is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (_O.DO_NOTHING, ({"a": "1", "b": "1"}, 1)),
        (_O.REPLACE, ({"b": "2", "c": "2"}, 2)),
        (_O.MERGE, ({"a": "1", "b": "2", "c": "2"}, 2)),
        (_O.FAIL, None),
    ],
)
async def test_attributes_of_a_thing_that_exists(
    store: Store, override: Override, expected: tuple[dict[str, str], int] | None
) -> None:
    await register(store)
    await store.create_thing(thing(attributes={"a": "1", "b": "1"}), cause())
    given = lamp(attributes={"b": "2", "c": "2"}, attributes_override=override, takes_over=True)
    if expected is None:
        assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=given)))
        return
    await done(store, order(plan(thing=given)))
    made = await found(store)
    assert expected == (made.attributes, made.version)


@pytest.mark.parametrize(("override", "expected"), [(_O.DO_NOTHING, None), (_O.REPLACE, "bulb"), (_O.FAIL, "failure")])
async def test_the_type_of_a_thing_that_exists(store: Store, override: Override, expected: str | None) -> None:
    await register(store)
    await surroundings(store)
    await store.create_thing(thing(), cause())
    given = lamp(thing_type_name=ThingTypeName("bulb"), thing_type_override=override, takes_over=True)
    if expected == "failure":
        assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=given)))
        return
    await done(store, order(plan(thing=given)))
    assert expected == (await found(store)).thing_type_name


@pytest.mark.parametrize(
    ("override", "wanted", "expected"),
    [
        (_O.DO_NOTHING, "site", "hall"),
        (_O.REPLACE, "site", "site"),
        (_O.REPLACE, "lamps site", "lamps site"),  # within a hierarchy
        (_O.REPLACE, "", ""),
        (_O.MERGE, "site", "hall site"),
        (_O.MERGE, "", "hall"),
    ],
)
async def test_groups_of_a_thing_that_exists(store: Store, override: Override, wanted: str, expected: str) -> None:
    await register(store)
    await surroundings(store)
    await store.create_thing(thing(), cause())
    await store.update_thing_groups(SCOPE, LAMP, add=[ThingGroupName("hall")], remove=[], limit=10, cause=cause())
    groups = tuple(map(ThingGroupName, wanted.split()))
    given = lamp(thing_groups=groups, thing_groups_override=override, takes_over=True)
    await done(store, order(plan(thing=given)))
    assert expected == await groups_of(store)


async def test_what_the_template_does_not_say_is_not_replaced(store: Store) -> None:
    await register(store)
    await surroundings(store)
    old = thing(attributes={"a": "1"}, thing_type_name="bulb")
    await store.create_thing(old, cause())
    await store.update_thing_groups(SCOPE, LAMP, add=[ThingGroupName("hall")], remove=[], limit=10, cause=cause())
    replace = {f"{part}_override": _O.REPLACE for part in ("attributes", "thing_type", "thing_groups")}
    await done(store, order(plan(thing=lamp(takes_over=True, **replace))))
    assert old == await found(store)
    assert "hall" == await groups_of(store)
