"""Thing types, and what they and billing groups mean for things."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from tests.support.operations import refusal
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, Plane, caller

from handfast.errors import InvalidRequestError, ResourceAlreadyExistsError, ResourceNotFoundError, VersionConflictError
from handfast.ports import Change, ChangeKind

ARN = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:thingtype/lamps"
PROPERTIES = {
    "thing_type_description": "lamps of the house",
    "searchable_attributes": ["room", "floor"],
    "mqtt5_configuration": {"propagating_attributes": [{"user_property_key": "room", "thing_attribute": "room"}]},
}
FIFTY = {f"a{number}": "1" for number in range(50)}
TOLD = Change(ChangeKind.THING, SCOPE, "lamp")


async def lamp(plane: Plane) -> dict[str, Any]:
    return await plane.call("DescribeThing", thing_name="lamp")


# --- thing types


async def test_a_thing_type_is_described_and_listed_as_it_was_created(plane: Plane) -> None:
    made = await plane.call("CreateThingType", thing_type_name="lamps", thing_type_properties=PROPERTIES)
    assert ("lamps", ARN) == (made["thing_type_name"], made["thing_type_arn"])
    rest = {
        "thing_type_properties": PROPERTIES,
        "thing_type_metadata": {"deprecated": False, "creation_date": NOW},
    }
    assert made | rest == await plane.call("DescribeThingType", thing_type_name="lamps")
    listed = {"thing_type_name": "lamps", "thing_type_arn": ARN} | rest
    assert {"thing_types": [listed]} == await plane.call("ListThingTypes")
    assert {"thing_types": [listed]} == await plane.call("ListThingTypes", thing_type_name="lamps")
    assert {"thing_types": []} == await plane.call("ListThingTypes", thing_type_name="lamp")
    assert {"thing_types": []} == await plane.call("ListThingTypes", caller(OTHER_ACCOUNT))


async def test_the_same_type_again_is_the_same_and_with_other_properties_it_is_taken(plane: Plane) -> None:
    made = await plane.call("CreateThingType", thing_type_name="lamps", thing_type_properties=PROPERTIES)
    assert made == await plane.call("CreateThingType", thing_type_name="lamps", thing_type_properties=PROPERTIES)
    error = await refusal(plane, "CreateThingType", thing_type_name="lamps")
    assert ResourceAlreadyExistsError is type(error)
    assert {"resourceId": made["thing_type_id"], "resourceArn": ARN} == error.members


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"searchable_attributes": ["a", "b", "c", "d"]}, "at most 3 searchableAttributes, not 4"),
        ({"searchable_attributes": ["a", "a"]}, "twice"),
        ({"mqtt5_configuration": {"propagating_attributes": [{"thing_attribute": "a"}]}}, "needs a userPropertyKey"),
        ({"mqtt5_configuration": {"propagating_attributes": [{"user_property_key": "a"}]}}, "needs either"),
        (
            {
                "mqtt5_configuration": {
                    "propagating_attributes": [
                        {"user_property_key": "a", "thing_attribute": "b", "connection_attribute": "iot:ClientId"}
                    ]
                }
            },
            "needs either",
        ),
        (
            {
                "mqtt5_configuration": {
                    "propagating_attributes": [{"user_property_key": "a", "thing_attribute": "b"}] * 2
                }
            },
            "twice",
        ),
    ],
)
async def test_properties_that_cannot_be(plane: Plane, properties: dict[str, Any], message: str) -> None:
    await plane.call("CreateThingType", thing_type_name="lamps")
    for operation, name in (("CreateThingType", "new"), ("UpdateThingType", "lamps")):
        error = await refusal(plane, operation, thing_type_name=name, thing_type_properties=properties)
        assert InvalidRequestError is type(error)
        assert message in error.message
    assert ["lamps"] == [each["thing_type_name"] for each in (await plane.call("ListThingTypes"))["thing_types"]]


async def test_an_update_changes_what_it_says_and_nothing_else(plane: Plane) -> None:
    await plane.call("CreateThingType", thing_type_name="lamps", thing_type_properties=PROPERTIES)
    change = {"thing_type_description": "", "searchable_attributes": ["floor"]}
    assert {} == await plane.call("UpdateThingType", thing_type_name="lamps", thing_type_properties=change)
    described = await plane.call("DescribeThingType", thing_type_name="lamps")
    assert PROPERTIES | change == described["thing_type_properties"]


async def test_a_type_is_deleted_five_minutes_after_its_deprecation_when_nothing_has_it(plane: Plane) -> None:
    async def deletes(after: dt.timedelta) -> None:
        await plane.call("DeleteThingType", caller(at=NOW + after), thing_type_name="lamps")

    await plane.call("CreateThingType", thing_type_name="lamps")
    await plane.call("CreateThing", thing_name="lamp", thing_type_name="lamps")
    with pytest.raises(InvalidRequestError, match="Deprecate it"):
        await deletes(dt.timedelta(hours=1))
    await plane.call("DeprecateThingType", thing_type_name="lamps")
    again = caller(at=NOW + dt.timedelta(minutes=4))  # the wait does not begin anew
    await plane.call("DeprecateThingType", again, thing_type_name="lamps")
    with pytest.raises(InvalidRequestError, match="things are associated"):
        await deletes(dt.timedelta(hours=1))
    await plane.call("UpdateThing", thing_name="lamp", remove_thing_type=True)
    with pytest.raises(InvalidRequestError, match="wait for 5 minutes"):
        await deletes(dt.timedelta(minutes=5, microseconds=-1))
    await deletes(dt.timedelta(minutes=5))
    assert ResourceNotFoundError is type(await refusal(plane, "DeleteThingType", thing_type_name="lamps"))


async def test_a_deprecated_type_takes_no_thing_until_that_is_undone(plane: Plane) -> None:
    await plane.call("CreateThingType", thing_type_name="lamps")
    await plane.call("CreateThing", thing_name="old", thing_type_name="lamps")
    await plane.call("CreateThing", thing_name="lamp")
    await plane.call("DeprecateThingType", thing_type_name="lamps")
    told = (await plane.call("DescribeThingType", thing_type_name="lamps"))["thing_type_metadata"]
    assert {"deprecated": True, "deprecation_date": NOW, "creation_date": NOW} == told
    for operation, name in (("CreateThing", "new"), ("UpdateThing", "lamp")):
        error = await refusal(plane, operation, thing_name=name, thing_type_name="lamps")
        assert InvalidRequestError is type(error)
        assert "deprecated" in error.message
    # what has it keeps it, and is the same thing still
    await plane.call("CreateThing", thing_name="old", thing_type_name="lamps")
    await plane.call("UpdateThing", thing_name="old", thing_type_name="lamps")
    await plane.call("DeprecateThingType", thing_type_name="lamps", undo_deprecate=True)
    await plane.call("UpdateThing", thing_name="lamp", thing_type_name="lamps")
    told = (await plane.call("DescribeThingType", thing_type_name="lamps"))["thing_type_metadata"]
    assert {"deprecated": False, "creation_date": NOW} == told


# --- things


async def test_attributes_are_replaced_or_merged_and_the_version_counts(plane: Plane) -> None:
    async def updated(**payload: Any) -> dict[str, Any]:
        plane.notified.clear()
        await plane.call("UpdateThing", thing_name="lamp", **payload)
        assert [TOLD] == plane.notified
        found = await lamp(plane)
        return {"version": found["version"], **found["attributes"]}

    await plane.call("CreateThing", thing_name="lamp", attribute_payload={"attributes": {"a": "1", "b": "2"}})
    merge = {"attributes": {"b": "", "c": "3"}, "merge": True}
    assert {"version": 2, "a": "1", "c": "3"} == await updated(attribute_payload=merge)
    assert {"version": 3, "d": "4"} == await updated(attribute_payload={"attributes": {"d": "4", "e": ""}})
    assert {"version": 4, "d": "4"} == await updated(attribute_payload={"merge": False})
    assert {"version": 5, "d": "4"} == await updated(expected_version=4)
    assert {"version": 6} == await updated(attribute_payload={"attributes": {}})
    assert {"things": []} == await plane.call("ListThings", attribute_name="d")
    error = await refusal(plane, "UpdateThing", thing_name="lamp", expected_version=5)
    assert VersionConflictError is type(error)
    assert "The version of thing lamp is 6, not 5" == error.message


async def test_a_type_is_given_taken_and_found_by(plane: Plane) -> None:
    for name in ("lamps", "switches"):
        await plane.call("CreateThingType", thing_type_name=name)
    await plane.call("CreateThing", thing_name="lamp", thing_type_name="lamps")
    await plane.call("CreateThing", thing_name="switch", thing_type_name="switches")
    found = (await plane.call("ListThings", thing_type_name="lamps"))["things"]
    assert [("lamp", "lamps")] == [(each["thing_name"], each["thing_type_name"]) for each in found]
    await plane.call("UpdateThing", thing_name="lamp", thing_type_name="switches")
    assert "switches" == (await lamp(plane))["thing_type_name"]
    assert {"things": []} == await plane.call("ListThings", thing_type_name="lamps")
    plane.notified.clear()
    await plane.call("UpdateThing", thing_name="lamp", remove_thing_type=True)
    assert [TOLD] == plane.notified
    assert "thing_type_name" not in await lamp(plane)
    both = {"thing_type_name": "lamps", "remove_thing_type": True}
    assert InvalidRequestError is type(await refusal(plane, "UpdateThing", thing_name="lamp", **both))


async def test_a_type_that_is_not_there_cannot_be_given(plane: Plane) -> None:
    await plane.call("CreateThing", thing_name="lamp")
    error = await refusal(plane, "UpdateThing", thing_name="lamp", thing_type_name="lamps")
    assert ResourceNotFoundError is type(error)
    assert 1 == (await lamp(plane))["version"]


async def test_three_attributes_without_a_type_and_fifty_with_one(plane: Plane) -> None:
    await plane.call("CreateThingType", thing_type_name="lamps")
    payload = {"attributes": FIFTY}
    await plane.call("CreateThing", thing_name="lamp", thing_type_name="lamps", attribute_payload=payload)
    more = {"attributes": {"one": "more"}, "merge": True}
    for members in ({"attribute_payload": more}, {"remove_thing_type": True}):
        error = await refusal(plane, "UpdateThing", thing_name="lamp", **members)
        assert InvalidRequestError is type(error)
        assert "at most" in error.message
    fewer = {"attributes": {"a": "1", "b": "2", "c": "3"}}
    await plane.call("UpdateThing", thing_name="lamp", remove_thing_type=True, attribute_payload=fewer)
    assert fewer["attributes"] == (await lamp(plane))["attributes"]


# --- billing groups


async def test_a_billing_group_lives(plane: Plane) -> None:
    described = {"billing_group_description": "the house"}
    made = await plane.call("CreateBillingGroup", billing_group_name="home", billing_group_properties=described)
    arn = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:billinggroup/home"
    assert ("home", arn) == (made["billing_group_name"], made["billing_group_arn"])
    assert made == await plane.call("CreateBillingGroup", billing_group_name="home", billing_group_properties=described)
    assert ResourceAlreadyExistsError is type(await refusal(plane, "CreateBillingGroup", billing_group_name="home"))
    assert made | {
        "version": 1,
        "billing_group_properties": described,
        "billing_group_metadata": {"creation_date": NOW},
    } == await plane.call("DescribeBillingGroup", billing_group_name="home")
    update = {"billing_group_name": "home", "billing_group_properties": {}}
    assert {"version": 2} == await plane.call("UpdateBillingGroup", **update)
    assert {"version": 3} == await plane.call("UpdateBillingGroup", **update, expected_version=2)
    assert VersionConflictError is type(await refusal(plane, "UpdateBillingGroup", **update, expected_version=2))
    assert {} == (await plane.call("DescribeBillingGroup", billing_group_name="home"))["billing_group_properties"]
    await plane.call("CreateBillingGroup", billing_group_name="work")
    listed = await plane.call("ListBillingGroups", name_prefix_filter="ho")
    assert {"billing_groups": [{"group_name": "home", "group_arn": arn}]} == listed
    error = await refusal(plane, "DeleteBillingGroup", billing_group_name="home", expected_version=2)
    assert VersionConflictError is type(error)
    for _ in range(2):  # one that does not exist is deleted
        assert {} == await plane.call("DeleteBillingGroup", billing_group_name="home")


async def test_a_thing_is_in_one_billing_group_at_most(plane: Plane) -> None:
    for name in ("home", "work"):
        await plane.call("CreateBillingGroup", billing_group_name=name)
    await plane.call("CreateThing", thing_name="lamp", billing_group_name="home")
    assert "home" == (await lamp(plane))["billing_group_name"]
    add = {"billing_group_name": "home", "thing_name": "lamp"}
    plane.notified.clear()
    await plane.call("AddThingToBillingGroup", **add)
    assert [] == plane.notified
    error = await refusal(plane, "AddThingToBillingGroup", billing_group_name="work", thing_name="lamp")
    assert InvalidRequestError is type(error)
    await plane.call("RemoveThingFromBillingGroup", billing_group_name="work", thing_name="lamp")
    assert {"things": ["lamp"]} == await plane.call("ListThingsInBillingGroup", billing_group_name="home")
    assert InvalidRequestError is type(await refusal(plane, "DeleteBillingGroup", billing_group_name="home"))
    for _ in range(2):
        await plane.call("RemoveThingFromBillingGroup", **add)
    assert [TOLD] == plane.notified
    assert {"things": []} == await plane.call("ListThingsInBillingGroup", billing_group_name="home")
    assert 1 == (await lamp(plane))["version"]


async def test_group_and_thing_go_by_name_or_by_arn(plane: Plane) -> None:
    await plane.call("CreateBillingGroup", billing_group_name="home")
    await plane.call("CreateThing", thing_name="lamp")
    prefix = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}"
    arns = {"billing_group_arn": f"{prefix}:billinggroup/home", "thing_arn": f"{prefix}:thing/lamp"}
    await plane.call("AddThingToBillingGroup", **arns)
    assert {"things": ["lamp"]} == await plane.call("ListThingsInBillingGroup", billing_group_name="home")
    for wrong in (
        {"thing_name": "lamp"},
        arns | {"thing_name": "other"},
        arns | {"thing_arn": arns["billing_group_arn"]},
        arns | {"thing_arn": "lamp"},
    ):
        assert InvalidRequestError is type(await refusal(plane, "AddThingToBillingGroup", **wrong))
    elsewhere = arns | {"thing_arn": f"arn:aws:iot:eu-west-1:{SCOPE.account}:thing/lamp"}
    assert ResourceNotFoundError is type(await refusal(plane, "AddThingToBillingGroup", **elsewhere))
