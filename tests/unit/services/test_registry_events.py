"""What is enabled is told after the commit, and nothing else costs or tells anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.principals import FakeDataPlane
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeEntropy,
    Plane,
    caller,
    make_plane,
    sqlite_store,
    with_accounts,
)

from handfast.errors import StoreUnavailable
from handfast.ports import Change, ChangeKind
from handfast.services.registry_events import RegistryEvents

MILLISECONDS = 1893553445678


class Told:
    """The plane with its events; `call` calls an operation, then gives what was told of it."""

    def __init__(self, plane: Plane, events: RegistryEvents) -> None:
        self.plane, self.events = plane, events
        self.data_plane = FakeDataPlane()
        events.command(self.data_plane)

    async def call(self, operation: str, *ctx: Any, **members: Any) -> list[tuple[str, dict[str, Any]]]:
        self.plane.notified.clear()
        await self.plane.call(operation, *ctx, **members)
        await self.events.changed(list(self.plane.notified))
        return self.taken()

    def taken(self) -> list[tuple[str, dict[str, Any]]]:
        found = [(topic, payload) for _, topic, payload in self.data_plane.announced]
        self.data_plane.announced.clear()
        return found

    async def enable(self, *types: str, on: bool = True, ctx: Any = None) -> None:
        settings = {name: {"enabled": on} for name in types}
        assert [] == await self.call(
            "UpdateEventConfigurations", *([ctx] if ctx else []), event_configurations=settings
        )


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        events = RegistryEvents(store, FakeEntropy())
        await events.load()
        yield Told(await make_plane(store), events)


async def test_nothing_is_told_unless_it_is_enabled(told: Told) -> None:
    assert [] == await told.call("CreateThing", thing_name="early")
    await told.enable("THING_TYPE")
    assert [] == await told.call("CreateThing", thing_name="lamp")
    await told.enable("THING", ctx=caller(OTHER_ACCOUNT))
    assert [] == await told.call("CreateThing", thing_name="other")
    await told.enable("THING")
    assert 1 == len(await told.call("CreateThing", thing_name="late"))
    await told.enable("THING", "THING_TYPE", on=False)
    assert [] == await told.call("CreateThing", thing_name="latest")


async def test_the_life_of_a_thing_is_told(told: Told) -> None:
    await told.enable("THING")
    ((topic, created),) = await told.call(
        "CreateThing", thing_name="lamp", attribute_payload={"attributes": {"room": "hall"}}
    )
    thing = (await told.plane.store.thing(SCOPE, "lamp")).thing_id  # type: ignore[arg-type, union-attr]
    assert "$aws/events/thing/lamp/created" == topic
    assert created.pop("eventId")
    expected = {
        "eventType": "THING_EVENT",
        "timestamp": MILLISECONDS,
        "operation": "CREATED",
        "accountId": SCOPE.account,
        "thingId": thing,
        "thingName": "lamp",
        "versionNumber": 1,
        "thingTypeName": None,
        "attributes": {"room": "hall"},
    }
    assert expected == created
    ((topic, updated),) = await told.call("UpdateThing", thing_name="lamp", attribute_payload={"attributes": {}})
    assert ("$aws/events/thing/lamp/updated", "UPDATED", 2, {}) == (
        topic,
        updated["operation"],
        updated["versionNumber"],
        updated["attributes"],
    )
    ((topic, deleted),) = await told.call("DeleteThing", thing_name="lamp")
    assert ("$aws/events/thing/lamp/deleted", "DELETED", 2) == (topic, deleted["operation"], deleted["versionNumber"])


async def test_types_and_their_associations_are_told(told: Told) -> None:
    await told.enable("THING_TYPE", "THING_TYPE_ASSOCIATION")
    properties = {"thing_type_description": "d", "searchable_attributes": ["room"]}
    ((topic, created),) = await told.call("CreateThingType", thing_type_name="lamps", thing_type_properties=properties)
    assert "$aws/events/thingType/lamps/created" == topic
    assert created.pop("eventId")
    assert created.pop("thingTypeId")
    assert created == {
        "eventType": "THING_TYPE_EVENT",
        "timestamp": MILLISECONDS,
        "operation": "CREATED",
        "accountId": SCOPE.account,
        "thingTypeName": "lamps",
        "isDeprecated": False,
        "deprecationDate": None,
        "searchableAttributes": ["room"],
        "propagatingAttributes": None,
        "description": "d",
    }
    await told.call("CreateThingType", thing_type_name="new")
    ((topic, added),) = await told.call("CreateThing", thing_name="lamp", thing_type_name="lamps")
    assert "$aws/events/thingTypeAssociation/thing/lamp/thingType/lamps/added" == topic
    assert ("THING_TYPE_ASSOCIATION_EVENT", "ADDED", "lamp", "lamps") == (
        added["eventType"],
        added["operation"],
        added["thingName"],
        added["thingTypeName"],
    )
    moved = await told.call("UpdateThing", thing_name="lamp", thing_type_name="new")
    assert [
        "$aws/events/thingTypeAssociation/thing/lamp/thingType/lamps/removed",
        "$aws/events/thingTypeAssociation/thing/lamp/thingType/new/added",
    ] == [topic for topic, _ in moved]
    ((topic, _),) = await told.call("DeleteThing", thing_name="lamp")
    assert "$aws/events/thingTypeAssociation/thing/lamp/thingType/new/removed" == topic
    ((topic, deprecated),) = await told.call("DeprecateThingType", thing_type_name="lamps")
    assert ("$aws/events/thingType/lamps/updated", True, MILLISECONDS) == (
        topic,
        deprecated["isDeprecated"],
        deprecated["deprecationDate"],
    )


async def test_what_was_committed_while_the_store_was_silent_is_told_later(told: Told) -> None:
    await told.enable("THING")
    real = told.events._store

    class Silent:
        async def committed_after(self, *_: Any) -> Any:
            raise StoreUnavailable("gone")

    told.events._store = Silent()  # type: ignore[assignment]
    assert [] == await told.call("CreateThing", thing_name="first")
    told.events._store = real
    found = await told.call("CreateThing", thing_name="second")
    assert ["$aws/events/thing/first/created", "$aws/events/thing/second/created"] == [topic for topic, _ in found]


async def test_a_restart_knows_what_is_enabled_and_tells_nothing_twice(told: Told) -> None:
    await told.enable("THING")
    assert 1 == len(await told.call("CreateThing", thing_name="lamp"))
    told.events = RegistryEvents(told.plane.store, FakeEntropy())
    told.events.command(told.data_plane)
    await told.events.load()
    ((topic, _),) = await told.call("DeleteThing", thing_name="lamp")
    assert "$aws/events/thing/lamp/deleted" == topic


async def test_while_nothing_is_enabled_a_change_asks_the_store_nothing() -> None:
    events = RegistryEvents(None, FakeEntropy())  # type: ignore[arg-type]
    await events.changed([Change(ChangeKind.THING, SCOPE, "lamp")])


async def test_configurations_are_described_with_every_type(told: Told) -> None:
    described = await told.plane.call("DescribeEventConfigurations")
    assert ["event_configurations"] == list(described)
    assert 11 == len(described["event_configurations"])
    assert not any(each["enabled"] for each in described["event_configurations"].values())
    await told.enable("CERTIFICATE")
    described = await told.plane.call("DescribeEventConfigurations")
    assert (NOW, NOW) == (described["creation_date"], described["last_modified_date"])
    assert ["CERTIFICATE"] == [name for name, each in described["event_configurations"].items() if each["enabled"]]


async def test_groups_their_hierarchy_and_their_things_are_told(told: Told) -> None:
    await told.enable("THING_GROUP", "THING_GROUP_HIERARCHY", "THING_GROUP_MEMBERSHIP")
    ((topic, _),) = await told.call("CreateThingGroup", thing_group_name="site")
    assert "$aws/events/thingGroup/site/created" == topic
    (created, under) = await told.call("CreateThingGroup", thing_group_name="hall", parent_group_name="site")
    site, hall = [
        (await told.plane.store.thing_group(SCOPE, name)).group_id  # type: ignore[arg-type, union-attr]
        for name in ("site", "hall")
    ]
    arn = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:"
    assert created[1].pop("eventId") != under[1].pop("eventId")
    head = {"timestamp": MILLISECONDS, "accountId": SCOPE.account}
    assert created == (
        "$aws/events/thingGroup/hall/created",
        head
        | {
            "eventType": "THING_GROUP_EVENT",
            "operation": "CREATED",
            "thingGroupId": hall,
            "thingGroupName": "hall",
            "versionNumber": 1,
            "parentGroupName": "site",
            "parentGroupId": site,
            "description": None,
            "rootToParentThingGroups": [{"groupArn": f"{arn}thinggroup/site", "groupId": site}],
            "attributes": {},
            "dynamicGroupMappingId": None,
        },
    )
    assert under == (
        "$aws/events/thingGroupHierarchy/thingGroup/site/childThingGroup/hall/added",
        head
        | {
            "eventType": "THING_GROUP_HIERARCHY_EVENT",
            "operation": "ADDED",
            "thingGroupId": site,
            "thingGroupName": "site",
            "childGroupId": hall,
            "childGroupName": "hall",
        },
    )
    assert [] == await told.call("CreateThing", thing_name="lamp")
    thing = (await told.plane.store.thing(SCOPE, "lamp")).thing_id  # type: ignore[arg-type, union-attr]
    ((topic, joined),) = await told.call("AddThingToThingGroup", thing_name="lamp", thing_group_name="hall")
    assert joined.pop("eventId")
    expected = head | {
        "eventType": "THING_GROUP_MEMBERSHIP_EVENT",
        "operation": "ADDED",
        "groupArn": f"{arn}thinggroup/hall",
        "groupId": hall,
        "thingArn": f"{arn}thing/lamp",
        "thingId": thing,
        "membershipId": f"{hall}/{thing}",
    }
    assert ("$aws/events/thingGroupMembership/thingGroup/hall/thing/lamp/added", expected) == (topic, joined)
    ((topic, left),) = await told.call("DeleteThing", thing_name="lamp")  # takes its memberships along
    assert "$aws/events/thingGroupMembership/thingGroup/hall/thing/lamp/removed" == topic
    assert ("REMOVED", thing) == (left["operation"], left["thingId"])
    deleted = await told.call("DeleteThingGroup", thing_group_name="hall")
    assert [
        "$aws/events/thingGroup/hall/deleted",
        "$aws/events/thingGroupHierarchy/thingGroup/site/childThingGroup/hall/removed",
    ] == [topic for topic, _ in deleted]
