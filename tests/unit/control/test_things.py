"""The operations on things: members, observed texts, preconditions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.operations import ARN, refusal, settled
from tests.support.registry import Plane

from handfast.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    VersionConflictError,
)


async def test_a_thing_is_created_and_described(plane: Plane) -> None:
    made = await plane.call("CreateThing", thing_name="lamp", attribute_payload={"attributes": {"a": "1", "b": ""}})
    assert "arn:aws:iot:us-east-1:123456789012:thing/lamp" == made["thing_arn"]
    assert {
        "default_client_id": "lamp",
        "thing_name": "lamp",
        "thing_id": made["thing_id"],
        "thing_arn": made["thing_arn"],
        "attributes": {"a": "1"},
        "version": 1,
    } == await plane.call("DescribeThing", thing_name="lamp")
    listed = {key: made[key] for key in ("thing_name", "thing_arn")} | {"attributes": {"a": "1"}, "version": 1}
    assert {"things": [listed]} == await plane.call("ListThings")


async def test_the_same_thing_again_is_the_same_and_another_configuration_is_taken(plane: Plane) -> None:
    attributes = {"attributes": {"a": "1"}}
    first = await plane.call("CreateThing", thing_name="lamp", attribute_payload=attributes)
    assert first == await plane.call("CreateThing", thing_name="lamp", attribute_payload=attributes)
    error = await refusal(plane, "CreateThing", thing_name="lamp")
    assert ResourceAlreadyExistsError is type(error)
    assert {"resourceId": first["thing_id"], "resourceArn": first["thing_arn"]} == error.members


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"thing_type_name": "lamps"}, ResourceNotFoundError, "Thing type lamps does not exist"),
        ({"billing_group_name": "home"}, ResourceNotFoundError, "Billing group home does not exist"),
        (
            {"attribute_payload": {"attributes": dict.fromkeys("abcd", "1")}},
            InvalidRequestError,
            "at most 3 attributes, not 4",
        ),
    ],
)
async def test_things_that_cannot_be_created(
    plane: Plane, members: dict[str, Any], error: type[ServiceError], message: str
) -> None:
    found = await refusal(plane, "CreateThing", thing_name="lamp", **members)
    assert error is type(found)
    assert message in found.message
    assert {"things": []} == await plane.call("ListThings")


async def test_a_thing_is_deleted_with_the_texts_observed(plane: Plane) -> None:
    await settled(plane)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    assert VersionConflictError is type(await refusal(plane, "DeleteThing", thing_name="lamp", expected_version=2))
    error = await refusal(plane, "DeleteThing", thing_name="lamp", expected_version=1)
    assert InvalidRequestError is type(error)
    assert "Cannot delete. Thing lamp is still attached to one or more principals" == error.message
    await plane.call("DetachThingPrincipal", thing_name="lamp", principal=ARN)
    for _ in range(2):  # a thing that does not exist is deleted
        assert {} == await plane.call("DeleteThing", thing_name="lamp")


@pytest.mark.parametrize(
    "members", [{"attribute_value": "1"}, {"attribute_name": "a", "use_prefix_attribute_value": True}]
)
async def test_a_filter_that_is_half_there_is_invalid(plane: Plane, members: dict[str, Any]) -> None:
    assert InvalidRequestError is type(await refusal(plane, "ListThings", **members))


async def test_things_are_listed_by_attribute(plane: Plane) -> None:
    for name, value in (("a", "hall"), ("b", "hallway")):
        await plane.call("CreateThing", thing_name=name, attribute_payload={"attributes": {"room": value}})
    listed = await plane.call("ListThings", attribute_name="room", attribute_value="hall")
    assert ["a"] == [item["thing_name"] for item in listed["things"]]
    listed = await plane.call(
        "ListThings", attribute_name="room", attribute_value="hall", use_prefix_attribute_value=True, max_results=1
    )
    assert ["a"] == [item["thing_name"] for item in listed["things"]]
    listed = await plane.call(
        "ListThings",
        attribute_name="room",
        attribute_value="hall",
        use_prefix_attribute_value=True,
        next_token=listed["next_token"],
    )
    assert ["b"] == [item["thing_name"] for item in listed["things"]]
    assert "next_token" not in listed


async def test_principals_and_things_are_listed_from_both_sides(plane: Plane) -> None:
    await settled(plane)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    assert {"principals": [ARN]} == await plane.call("ListThingPrincipals", thing_name="lamp")
    assert {"things": ["lamp"]} == await plane.call("ListPrincipalThings", principal=ARN)
    error = await refusal(plane, "ListThingPrincipals", thing_name="attic")
    assert "Failed to list principals for thing attic because the thing does not exist in your account" == error.message


async def test_an_exclusive_attachment_excludes(plane: Plane) -> None:
    await settled(plane)
    await plane.call("CreateThing", thing_name="attic")
    exclusive = {"principal": ARN, "thing_principal_type": "EXCLUSIVE_THING"}
    await plane.call("AttachThingPrincipal", thing_name="lamp", **exclusive)
    await plane.call("AttachThingPrincipal", thing_name="lamp", **exclusive)
    for members in ({"thing_name": "attic", "principal": ARN}, {"thing_name": "attic", **exclusive}):
        assert InvalidRequestError is type(await refusal(plane, "AttachThingPrincipal", **members))
    unknown = {"thing_name": "lamp", "principal": ARN, "thing_principal_type": "SOME_THING"}
    assert InvalidRequestError is type(await refusal(plane, "AttachThingPrincipal", **unknown))
