"""Thing groups in every `ports.Store`: hierarchies, memberships and policies, whoever else is at work."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    cause,
    certificate,
    certificate_id,
    policy,
    thing,
    thing_group,
)
from tests.support.stores import conflict, pages

from handfast.core.identity.ids import PolicyName, Scope, ThingGroupName, ThingName
from handfast.core.identity.records import AttachedGroup, PolicyTarget, TargetKind, ThingPrincipalType
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, Page, PageRequest, Store

ID = certificate_id(1)
LAMP = ThingName("lamp")
ALLOW = PolicyName("allow")
HALL, HOUSE = ThingGroupName("hall"), ThingGroupName("house")
LIMITS: dict[str, Any] = {"depth_limit": 7, "children_limit": 100}


async def make(store: Store, *chains: str) -> None:
    """Groups by chains such as `house/hall/lamps`; what is there already stays."""
    for chain in chains:
        parent = None
        for name in chain.split("/"):
            if await store.thing_group(SCOPE, ThingGroupName(name)) is None:
                await store.create_thing_group(thing_group(name, parent=parent), cause(), **LIMITS)
            parent = name


async def members(store: Store, name: str, *, add: str = "", remove: str = "", limit: int = 10) -> list[Change]:
    return await store.update_thing_groups(
        SCOPE,
        ThingName(name),
        add=list(map(ThingGroupName, add.split())),
        remove=list(map(ThingGroupName, remove.split())),
        limit=limit,
        cause=cause(),
    )


def group_change(name: str = "hall") -> list[Change]:
    return [Change(ChangeKind.THING_GROUP, SCOPE, name)]


# --- groups


async def test_a_group_comes_back_as_it_was_stored_with_its_ancestors_from_the_root(store: Store) -> None:
    await make(store, "world/house")
    made = thing_group("hall", parent="house", description="Zoë's", attributes={"floor": "1"})
    assert group_change() == await store.create_thing_group(made, cause(), **LIMITS)
    expected = dataclasses.replace(made, ancestors=(ThingGroupName("world"), HOUSE))
    assert expected == await store.thing_group(SCOPE, HALL)
    assert "exists" == (await conflict(store.create_thing_group(made, cause(), **LIMITS))).kind


async def test_a_group_is_created_below_a_parent_that_exists_and_has_room(store: Store) -> None:
    async def refusal(name: str, parent: str, **limits: Any) -> str:
        group = thing_group(name, parent=parent)
        return (await conflict(store.create_thing_group(group, cause(), **LIMITS | limits))).kind

    assert "parent" == await refusal("hall", "house")
    await make(store, "1/2/3", "1/b")
    assert "depth" == await refusal("4", "3", depth_limit=3)
    assert "children" == await refusal("c", "1", children_limit=2)
    await store.create_thing_group(thing_group("c", parent="1"), cause(), **LIMITS | {"children_limit": 3})
    await store.create_thing_group(thing_group("4", parent="3"), cause(), **LIMITS | {"depth_limit": 4})


async def test_an_update_is_of_the_version_before(store: Store) -> None:
    made = thing_group("hall")
    await store.create_thing_group(made, cause(), **LIMITS)
    changed = dataclasses.replace(made, description="new", attributes={"a": "1"}, version=2)
    assert group_change() == await store.update_thing_group(changed, cause())
    assert changed == await store.thing_group(SCOPE, HALL)
    again = await conflict(store.update_thing_group(changed, cause()))
    assert ("version", 2) == (again.kind, again.facts["version"])
    unknown = dataclasses.replace(changed, group_name=HOUSE)
    assert "missing" == (await conflict(store.update_thing_group(unknown, cause()))).kind


async def test_a_group_is_deleted_without_children_and_takes_its_memberships_and_policies_along(store: Store) -> None:
    async def refusal(name: str, version: int | None = None) -> str:
        deletion = store.delete_thing_group(SCOPE, ThingGroupName(name), expected_version=version, cause=cause())
        return (await conflict(deletion)).kind

    await make(store, "house/hall")
    await store.create_thing(thing(), cause())
    await store.create_policy(policy(), cause())
    await store.attach_group_policy(SCOPE, ALLOW, HALL, limit=2, cause=cause())
    await members(store, "lamp", add="hall")
    assert "missing" == await refusal("none", 7)
    assert "version" == await refusal("hall", 7)
    assert "children" == await refusal("house")
    assert group_change() == await store.delete_thing_group(SCOPE, HALL, expected_version=1, cause=cause())
    assert await store.thing_group(SCOPE, HALL) is None
    assert [] == list((await store.groups_of_thing(SCOPE, LAMP, PageRequest(limit=5))).items)
    assert 1 == len(await store.delete_policy(SCOPE, ALLOW, cause()))
    await store.delete_thing_group(SCOPE, HOUSE, expected_version=None, cause=cause())


async def test_a_group_of_the_same_name_is_another_group(store: Store) -> None:
    await make(store, "house/hall")
    await store.create_thing(thing(), cause())
    await members(store, "lamp", add="hall")
    await store.delete_thing_group(SCOPE, HALL, expected_version=None, cause=cause())
    await store.create_thing_group(thing_group("hall", group_id="another"), cause(), **LIMITS)
    found = await store.thing_group(SCOPE, HALL)
    assert found is not None
    assert (None, "another") == (found.parent_group_name, found.group_id)
    assert () == await store.attached_groups(SCOPE, LAMP)


async def test_groups_are_listed_by_parent_prefix_and_depth(store: Store) -> None:
    await make(store, "a/aa/aaa", "a/ab", "b")

    async def names(**options: Any) -> str:
        asked: dict[str, Any] = {"parent": None, "prefix": None, "recursive": True} | options
        page = await store.list_thing_groups(SCOPE, PageRequest(limit=10), **asked)
        return " ".join(page.items)

    assert "a aa aaa ab b" == await names()
    assert "a b" == await names(recursive=False)
    assert "aa aaa ab" == await names(parent="a")
    assert "aa ab" == await names(parent="a", recursive=False)
    assert "aa aaa" == await names(prefix="aa")
    assert "" == await names(prefix="aa", recursive=False)
    assert "aaa" == await names(parent="aa", prefix="a")
    listing = store.list_thing_groups(
        SCOPE, PageRequest(limit=5), parent=ThingGroupName("none"), prefix=None, recursive=True
    )
    assert "missing" == (await conflict(listing)).kind


# --- memberships


async def test_a_thing_joins_and_leaves_and_saying_so_again_changes_nothing(store: Store) -> None:
    await make(store, "house/hall", "site")
    await store.create_thing(thing(), cause())
    expected = [Change(ChangeKind.THING_GROUPS, SCOPE, "lamp")]
    assert expected == await members(store, "lamp", add="hall site")
    assert [] == await members(store, "lamp", add="hall")
    assert ["hall", "site"] == list((await store.groups_of_thing(SCOPE, LAMP, PageRequest(limit=5))).items)
    assert expected == await members(store, "lamp", remove="hall")
    assert [] == await members(store, "lamp", remove="hall house")
    assert ["site"] == list((await store.groups_of_thing(SCOPE, LAMP, PageRequest(limit=5))).items)


async def test_all_of_a_membership_change_happens_or_nothing(store: Store) -> None:
    await make(store, "house/hall", "house/attic", "site", "zone")
    assert "thing" == (await conflict(members(store, "lamp", add="hall"))).kind
    await store.create_thing(thing(), cause())
    await members(store, "lamp", add="hall")

    async def refusal(**change: Any) -> tuple[str, str | None]:
        refused = await conflict(members(store, "lamp", **change))
        return refused.kind, refused.facts.get("group")

    assert ("group", "none") == await refusal(add="site none")
    assert ("group", "none") == await refusal(remove="hall none")
    assert ("hierarchy", "attic") == await refusal(add="site attic")
    assert ("hierarchy", "house") == await refusal(add="house")
    assert ("limit", None) == await refusal(add="site zone", limit=2)
    assert ["hall"] == list((await store.groups_of_thing(SCOPE, LAMP, PageRequest(limit=5))).items)
    # It moves within the hierarchy when it leaves at once.
    await members(store, "lamp", add="attic", remove="hall")
    assert ["attic"] == list((await store.groups_of_thing(SCOPE, LAMP, PageRequest(limit=5))).items)


async def test_of_two_that_put_a_thing_into_one_hierarchy_one_wins(store: Store) -> None:
    await make(store, "house/hall", "house/attic")
    await store.create_thing(thing(), cause())
    results = await asyncio.gather(
        members(store, "lamp", add="hall"), members(store, "lamp", add="attic"), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, StoreConflict)]
    assert ["hierarchy"] == [each.kind for each in refused]
    assert 1 == len((await store.groups_of_thing(SCOPE, LAMP, PageRequest(limit=5))).items)


@pytest.mark.parametrize("first", ["deletion", "creation"])
async def test_of_a_parents_deletion_and_a_childs_creation_one_wins(store: Store, first: str) -> None:
    await make(store, "house")
    both: list[Awaitable[Any]] = [
        store.delete_thing_group(SCOPE, HOUSE, expected_version=None, cause=cause()),
        store.create_thing_group(thing_group("hall", parent="house"), cause(), **LIMITS),
    ]
    if first == "creation":
        both.reverse()
    results = await asyncio.gather(*both, return_exceptions=True)
    assert ["parent" if first == "deletion" else "children"] == [
        each.kind for each in results if isinstance(each, StoreConflict)
    ]
    parent, child = await store.thing_group(SCOPE, HOUSE), await store.thing_group(SCOPE, HALL)
    assert (parent is None) == (child is None)


async def test_the_schema_itself_keeps_a_thing_out_of_a_second_group_of_a_hierarchy(
    store: Store, tmp_path: Path
) -> None:
    await make(store, "house/hall", "house/attic")
    await store.create_thing(thing(), cause())
    await members(store, "lamp", add="hall")
    with sqlite3.connect(tmp_path / "handfast.db") as raw, pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        raw.execute(
            "INSERT INTO thing_group_members VALUES (?, ?, 'lamp', 'attic', 'house')", (SCOPE.account, SCOPE.region)
        )
    raw.close()


async def test_a_deleted_thing_leaves_its_groups_and_the_trail_says_which(store: Store, tmp_path: Path) -> None:
    await make(store, "house/hall", "site")
    await store.create_thing(thing(), cause())
    await members(store, "lamp", add="hall site")
    changes = await store.delete_thing(SCOPE, LAMP, expected_version=None, cause=cause("DeleteThing"))
    assert [ChangeKind.THING_GROUPS, ChangeKind.THING] == [change.kind for change in changes]
    await store.create_thing(thing(), cause())
    assert () == await store.attached_groups(SCOPE, LAMP)
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        found = raw.execute(
            "SELECT before FROM audit WHERE operation = 'DeleteThing' AND what = 'thing_groups' ORDER BY sequence"
        ).fetchall()
    raw.close()
    assert ["hall", "site"] == [json.loads(row[0])["group"] for row in found]


async def test_things_are_listed_with_those_of_the_groups_below_where_asked_for(store: Store) -> None:
    await make(store, "house/hall/shelf", "site")
    for name, group in {"a": "house", "b": "hall", "c": "shelf", "d": "site"}.items():
        await store.create_thing(thing(name), cause())
        await members(store, name, add=group)

    async def names(group: str, *, recursive: bool) -> str:
        found = await store.things_in_group(SCOPE, ThingGroupName(group), PageRequest(limit=9), recursive=recursive)
        return "".join(found.items)

    assert "a" == await names("house", recursive=False)
    assert "abc" == await names("house", recursive=True)
    assert "bc" == await names("hall", recursive=True)
    assert "d" == await names("site", recursive=True)
    assert "missing" == (await conflict(names("none", recursive=True))).kind


# --- policies


async def test_a_group_has_so_many_policies_and_attaching_is_idempotent(store: Store) -> None:
    for name in ("allow", "more", "most"):
        await store.create_policy(policy(name), cause())

    async def attach(name: str, group: str = "hall") -> list[Change]:
        return await store.attach_group_policy(SCOPE, PolicyName(name), ThingGroupName(group), limit=2, cause=cause())

    assert "group" == (await conflict(attach("allow"))).kind
    await make(store, "hall")
    assert "policy" == (await conflict(attach("none"))).kind
    expected = [Change(ChangeKind.GROUP_POLICIES, SCOPE, "hall")]
    assert expected == await attach("allow")
    assert [] == await attach("allow")
    assert expected == await attach("more")
    assert "limit" == (await conflict(attach("most"))).kind
    assert [] == await attach("more")
    assert "targets" == (await conflict(store.delete_policy(SCOPE, ALLOW, cause()))).kind
    assert expected == await store.detach_group_policy(SCOPE, ALLOW, HALL, cause())
    assert [] == await store.detach_group_policy(SCOPE, ALLOW, HALL, cause())
    assert 1 == len(await store.delete_policy(SCOPE, ALLOW, cause()))


async def test_policies_of_a_group_come_with_those_of_its_ancestors_where_asked_for_each_once(store: Store) -> None:
    await make(store, "house/hall/shelf")
    for name, groups in {"a": "house shelf", "b": "hall", "c": "shelf"}.items():
        await store.create_policy(policy(name), cause())
        for group in groups.split():
            await store.attach_group_policy(SCOPE, PolicyName(name), ThingGroupName(group), limit=2, cause=cause())

    async def names(group: str, *, recursive: bool) -> str:
        listing = functools.partial(store.attached_group_policies, SCOPE, ThingGroupName(group), recursive=recursive)
        return "".join(item.policy_name for page in await pages(listing, 1) for item in page)

    assert "ac" == await names("shelf", recursive=False)
    assert "abc" == await names("shelf", recursive=True)
    assert "ab" == await names("hall", recursive=True)
    assert "missing" == (await conflict(names("none", recursive=False))).kind


async def test_a_policys_targets_are_certificates_and_groups(store: Store) -> None:
    await make(store, "house/hall")
    await store.create_policy(policy(), cause())
    for number in (1, 2):
        await store.insert_certificate(certificate(number), cause())
        await store.attach_policy(SCOPE, ALLOW, certificate_id(number), limit=10, cause=cause())
    for group in (HALL, HOUSE):
        await store.attach_group_policy(SCOPE, ALLOW, group, limit=2, cause=cause())
    certificates = [
        PolicyTarget(TargetKind.CERTIFICATE, each) for each in sorted([certificate_id(1), certificate_id(2)])
    ]
    groups = [PolicyTarget(TargetKind.THING_GROUP, "hall"), PolicyTarget(TargetKind.THING_GROUP, "house")]
    for kind, expected in {
        None: certificates + groups,
        **dict(zip(TargetKind, (certificates, groups), strict=True)),
    }.items():
        listing = functools.partial(store.policy_targets, SCOPE, ALLOW, kind=kind)
        for limit in (1, 3, 9):
            assert expected == [item for page in await pages(listing, limit) for item in page]


async def test_a_principal_is_read_with_the_groups_of_its_things_and_all_their_ancestors(store: Store) -> None:
    await make(store, "world/house/hall", "site")
    await store.insert_certificate(certificate(1), cause())
    for name in ("lamp", "lock"):
        await store.create_thing(thing(name), cause())
        await store.attach_thing(SCOPE, ThingName(name), ID, ThingPrincipalType.NON_EXCLUSIVE_THING, cause())
    (before,) = await store.principals([(SCOPE, ID)])
    assert before is not None
    assert [(), ()] == [each.groups for each in before.things]
    await members(store, "lamp", add="hall site")
    for name, group in {"a": "world", "b": "hall"}.items():
        await store.create_policy(policy(name), cause())
        await store.attach_group_policy(SCOPE, PolicyName(name), ThingGroupName(group), limit=2, cause=cause())
    (found,) = await store.principals([(SCOPE, ID)])
    assert found is not None
    lamp, lock = found.things
    assert () == lock.groups
    assert {"hall": ["b"], "house": [], "site": [], "world": ["a"]} == {
        group.group_name: [each.policy_name for each in group.policies] for group in lamp.groups
    }
    assert lamp.groups == await store.attached_groups(SCOPE, LAMP)
    assert lamp.groups[0] == await store.attached_group(SCOPE, HALL)
    assert AttachedGroup(group_name=HOUSE, group_id="id-of-house") == await store.attached_group(SCOPE, HOUSE)
    assert () == await store.attached_groups(SCOPE, ThingName("lock"))
    assert await store.attached_groups(SCOPE, ThingName("none")) is None
    assert await store.attached_group(SCOPE, ThingGroupName("none")) is None


# --- paging and isolation


async def fill(store: Store) -> None:
    """Five groups below one, and five things in it; the first thing is in the roots of five more."""
    await make(store, *(f"house/h{n}" for n in range(5)), *(f"r{n}" for n in range(5)))
    for number in range(5):
        await store.create_thing(thing(f"t{number}"), cause())
        await members(store, f"t{number}", add="house")
    await members(store, "t0", add="r1 r2 r3 r4")


def listings(store: Store) -> dict[str, Callable[[PageRequest], Awaitable[Page[Any]]]]:
    return {
        "thing_groups": lambda page: store.list_thing_groups(SCOPE, page, parent=HOUSE, prefix=None, recursive=True),
        "things_in_group": lambda page: store.things_in_group(SCOPE, HOUSE, page, recursive=True),
        "groups_of_thing": lambda page: store.groups_of_thing(SCOPE, ThingName("t0"), page),
    }


async def test_pages_hold_everything_once_and_their_markers_belong_to_them(store: Store) -> None:
    await fill(store)
    for name, listing in listings(store).items():
        (whole,) = await pages(listing, 5)
        assert 5 == len(whole), name
        for limit in (1, 2, 4):
            assert whole == [item for page in await pages(listing, limit) for item in page]
        marker = (await listing(PageRequest(limit=2))).marker
        for other, another in listings(store).items():
            if other != name:
                assert "marker" == (await conflict(another(PageRequest(limit=2, marker=marker)))).kind


@pytest.mark.parametrize("foreign", [OTHER_ACCOUNT, OTHER_REGION])
async def test_groups_of_another_scope_are_not_seen_or_changed(store: Store, foreign: Scope) -> None:
    await fill(store)
    await store.create_policy(policy(), cause())
    await store.create_thing(thing("t0", scope=foreign, thing_id="theirs"), cause())
    await store.create_policy(policy(scope=foreign), cause())
    cursor = await store.head_cursor()
    page = PageRequest(limit=20)
    assert await store.thing_group(foreign, HOUSE) is None
    assert await store.attached_group(foreign, HOUSE) is None
    assert () == await store.attached_groups(foreign, ThingName("t0"))
    found = await store.list_thing_groups(foreign, page, parent=None, prefix=None, recursive=True)
    assert [] == list(found.items)
    child = thing_group("theirs", scope=foreign, parent="house")
    update = store.update_thing_groups(foreign, ThingName("t0"), add=[HOUSE], remove=[], limit=10, cause=cause())
    for call, kind in (
        (store.create_thing_group(child, cause(), **LIMITS), "parent"),
        (store.delete_thing_group(foreign, HOUSE, expected_version=None, cause=cause()), "missing"),
        (store.update_thing_group(thing_group("house", scope=foreign, version=2), cause()), "missing"),
        (update, "group"),
        (store.things_in_group(foreign, HOUSE, page, recursive=True), "missing"),
        (store.attach_group_policy(foreign, ALLOW, HOUSE, limit=2, cause=cause()), "group"),
        (store.attached_group_policies(foreign, HOUSE, page, recursive=True), "missing"),
    ):
        assert kind == (await conflict(call)).kind
    assert [] == await store.detach_group_policy(foreign, ALLOW, HOUSE, cause())
    assert ([], cursor) == await store.changes_since(cursor, 100)


async def test_every_change_of_a_group_is_in_the_trail_with_what_it_was_and_is(store: Store, tmp_path: Path) -> None:
    made = thing_group("hall", description="old")
    await store.create_thing_group(made, cause("Create"), **LIMITS)
    changed = dataclasses.replace(made, description=None, attributes={"a": "1"}, version=2)
    await store.update_thing_group(changed, cause("Update"))
    await store.create_policy(policy(), cause())
    await store.attach_group_policy(SCOPE, ALLOW, HALL, limit=2, cause=cause())
    await store.delete_thing_group(SCOPE, HALL, expected_version=None, cause=cause("Delete"))
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        rows = raw.execute(
            "SELECT operation, before, after FROM audit WHERE what = 'thing_group' ORDER BY sequence"
        ).fetchall()
    raw.close()
    first = {
        "thingGroupId": "id-of-hall",
        "parentGroupName": None,
        "rootToParentThingGroups": [],
        "thingGroupDescription": "old",
        "attributes": {},
        "version": 1,
    }
    second = first | {"thingGroupDescription": None, "attributes": {"a": "1"}, "version": 2}
    assert [
        ("Create", None, first),
        ("Update", first, second),
        ("Delete", second | {"things": 0, "policies": ["allow"]}, None),
    ] == [(row[0], *(None if each is None else json.loads(each) for each in row[1:])) for row in rows]
