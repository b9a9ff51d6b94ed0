"""Thing groups, policy versions and what policies are attached to, as a caller sees them: members, texts, limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.operations import refusal
from tests.support.registry import (
    ALLOW,
    NOW,
    SCOPE,
    Plane,
    cause,
    certificate,
    certificate_id,
    make_plane,
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.arns import certificate_arn
from handfast.errors import (
    DeleteConflictError,
    InvalidRequestError,
    LimitExceededError,
    MalformedPolicyError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    VersionConflictError,
    VersionsLimitExceededError,
)
from handfast.ports import Change, ChangeKind

PREFIX = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:"
CERT = certificate_arn(SCOPE, certificate_id(1))
HALL = PREFIX + "thinggroup/hall"


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await store.insert_certificate(certificate(1, pem=self_signed()), cause())
        made = await make_plane(store)
        await made.call("CreateThing", thing_name="lamp")
        await made.call("CreatePolicy", policy_name="allow", policy_document=ALLOW)
        made.notified.clear()
        yield made


async def group(plane: Plane, name: str, parent: str | None = None, **properties: Any) -> dict[str, Any]:
    members: dict[str, Any] = {"thing_group_name": name}
    if parent is not None:
        members["parent_group_name"] = parent
    if properties:
        members["thing_group_properties"] = properties
    return await plane.call("CreateThingGroup", **members)


def attributes(**values: str) -> dict[str, Any]:
    return {"attributes": values}


# --- groups


async def test_a_groups_description_is_complete(plane: Plane) -> None:
    await group(plane, "house")
    made = await group(plane, "hall", "house", thing_group_description="d", attribute_payload=attributes(a="1", b=""))
    assert {"thing_group_name": "hall", "thing_group_arn": HALL} == {
        name: made[name] for name in ("thing_group_name", "thing_group_arn")
    }
    assert {
        "thing_group_name": "hall",
        "thing_group_id": made["thing_group_id"],
        "thing_group_arn": HALL,
        "version": 1,
        "thing_group_properties": {"thing_group_description": "d", "attribute_payload": attributes(a="1")},
        "thing_group_metadata": {
            "parent_group_name": "house",
            "root_to_parent_thing_groups": [{"group_name": "house", "group_arn": PREFIX + "thinggroup/house"}],
            "creation_date": NOW,
        },
    } == await plane.call("DescribeThingGroup", thing_group_name="hall")
    root = await plane.call("DescribeThingGroup", thing_group_name="house")
    assert ({}, {"creation_date": NOW}) == (root["thing_group_properties"], root["thing_group_metadata"])


async def test_the_same_group_again_is_the_same_and_another_one_is_taken(plane: Plane) -> None:
    await group(plane, "house")
    same: dict[str, Any] = {"thing_group_description": "d", "attribute_payload": attributes(a="1")}
    made = await group(plane, "hall", "house", **same)
    plane.notified.clear()
    assert made == await group(plane, "hall", "house", **same)
    assert [] == plane.notified
    for other in (
        {"parent_group_name": "house"},
        {"thing_group_properties": same},
        {"parent_group_name": "house", "thing_group_properties": same | {"thing_group_description": "e"}},
    ):
        error = await refusal(plane, "CreateThingGroup", thing_group_name="hall", **other)
        assert ResourceAlreadyExistsError is type(error)
        assert {"resourceId": made["thing_group_id"], "resourceArn": HALL} == error.members


async def test_limits_of_a_hierarchy(plane: Plane) -> None:
    parent = None
    for level in range(1, 8):
        await group(plane, f"level-{level}", parent)
        parent = f"level-{level}"
    refused = [
        await refusal(plane, "CreateThingGroup", thing_group_name="x", parent_group_name=name)
        for name in ("level-7", "none")
    ]
    for number in range(99):
        await group(plane, f"child-{number}", "level-1")
    refused.append(await refusal(plane, "CreateThingGroup", thing_group_name="x", parent_group_name="level-1"))
    many = attributes(**{f"a{number}": "1" for number in range(51)})
    refused.append(
        await refusal(
            plane, "CreateThingGroup", thing_group_name="x", thing_group_properties={"attribute_payload": many}
        )
    )
    assert [InvalidRequestError] * 4 == [type(error) for error in refused]
    for error, said in zip(
        refused, ("level 7", "none does not exist", "100 child groups", "50 attributes"), strict=True
    ):
        assert said in error.message
    del many["attributes"]["a50"]
    await group(plane, "x", attribute_payload=many)


async def test_an_update_merges_or_replaces_and_returns_the_version(plane: Plane) -> None:
    await group(plane, "hall", thing_group_description="d", attribute_payload=attributes(a="1", b="2"))

    async def update(expected: int | None = None, **properties: Any) -> tuple[int, dict[str, Any]]:
        done = await plane.call(
            "UpdateThingGroup", thing_group_name="hall", thing_group_properties=properties, expected_version=expected
        )
        found = await plane.call("DescribeThingGroup", thing_group_name="hall")
        assert done["version"] == found["version"]
        return done["version"], found["thing_group_properties"]

    merged = {"merge": True} | attributes(b="", c="3")
    assert (
        2,
        {"thing_group_description": "d", "attribute_payload": attributes(a="1", c="3")},
    ) == await update(attribute_payload=merged)
    assert (3, {"thing_group_description": "e", "attribute_payload": attributes(a="1", c="3")}) == await update(
        2, thing_group_description="e"
    )
    assert (4, {"attribute_payload": attributes(z="9")}) == await update(
        thing_group_description="", attribute_payload=attributes(z="9")
    )
    assert (5, {}) == await update(attribute_payload={})
    error = await refusal(
        plane, "UpdateThingGroup", thing_group_name="hall", thing_group_properties={}, expected_version=4
    )
    assert VersionConflictError is type(error)
    assert "is 5, not 4" in error.message


async def test_two_updates_at_once_are_both_kept(plane: Plane) -> None:
    await group(plane, "hall")
    await asyncio.gather(
        *(
            plane.call(
                "UpdateThingGroup",
                thing_group_name="hall",
                thing_group_properties={"attribute_payload": {"merge": True} | attributes(**{name: "1"})},
            )
            for name in "abc"
        )
    )
    found = await plane.call("DescribeThingGroup", thing_group_name="hall")
    assert (4, attributes(a="1", b="1", c="1")) == (
        found["version"],
        found["thing_group_properties"]["attribute_payload"],
    )


async def test_a_deletion_says_what_stands_in_its_way(plane: Plane) -> None:
    await group(plane, "house")
    await group(plane, "hall", "house")
    error = await refusal(plane, "DeleteThingGroup", thing_group_name="house")
    assert InvalidRequestError is type(error)
    assert "Cannot delete thing group : house when there are still child groups attached to it" == error.message
    error = await refusal(plane, "DeleteThingGroup", thing_group_name="hall", expected_version=2)
    assert VersionConflictError is type(error)
    plane.notified.clear()
    for _ in range(2):
        assert {} == await plane.call("DeleteThingGroup", thing_group_name="hall", expected_version=1)
    assert [Change(ChangeKind.THING_GROUP, SCOPE, "hall")] == plane.notified


# --- memberships


async def test_thing_and_group_are_named_by_name_or_arn(plane: Plane) -> None:
    await group(plane, "hall")
    thing = {"thing_name": "lamp"}, {"thing_arn": PREFIX + "thing/lamp"}
    groups = {"thing_group_name": "hall"}, {"thing_group_arn": HALL}
    for one in thing:
        for other in groups:
            await plane.call("AddThingToThingGroup", **one, **other, override_dynamic_groups=True)
            found = await plane.call("ListThingsInThingGroup", thing_group_name="hall")
            assert {"things": ["lamp"]} == found
            assert {"thing_groups": [{"group_name": "hall", "group_arn": HALL}]} == await plane.call(
                "ListThingGroupsForThing", thing_name="lamp"
            )
            await plane.call("RemoveThingFromThingGroup", **one, **other)
            assert {"things": []} == await plane.call("ListThingsInThingGroup", thing_group_name="hall")
    for members in (
        {"thing_name": "lamp"},
        {"thing_group_name": "hall"},
        {"thing_group_name": "hall", "thing_group_arn": PREFIX + "thinggroup/house", "thing_name": "lamp"},
        {"thing_group_arn": PREFIX + "thing/hall", "thing_name": "lamp"},
        {"thing_group_arn": "hall", "thing_name": "lamp"},
    ):
        for operation in ("AddThingToThingGroup", "RemoveThingFromThingGroup"):
            assert InvalidRequestError is type(await refusal(plane, operation, **members))


async def test_a_thing_is_in_ten_groups_at_most_and_in_one_of_a_hierarchy(plane: Plane) -> None:
    for number in range(11):
        await group(plane, f"root-{number}")
    await group(plane, "child", "root-0")
    for number in range(10):
        await plane.call("AddThingToThingGroup", thing_group_name=f"root-{number}", thing_name="lamp")
    error = await refusal(plane, "AddThingToThingGroup", thing_group_name="root-10", thing_name="lamp")
    assert (InvalidRequestError, True) == (type(error), "at most 10 thing groups" in error.message)
    error = await refusal(plane, "AddThingToThingGroup", thing_group_name="child", thing_name="lamp")
    assert (InvalidRequestError, True) == (type(error), "already in thing group root-0" in error.message)
    error = await refusal(
        plane,
        "UpdateThingGroupsForThing",
        thing_name="lamp",
        thing_groups_to_add=["root-10"],
        thing_groups_to_remove=["root-10"],
    )
    assert InvalidRequestError is type(error)
    await plane.call(
        "UpdateThingGroupsForThing",
        thing_name="lamp",
        thing_groups_to_add=["child", "root-10"],
        thing_groups_to_remove=["root-0", "root-1"],
    )
    found = await plane.call("ListThingGroupsForThing", thing_name="lamp", max_results=20)
    assert ["child", "root-10"] == [each["group_name"] for each in found["thing_groups"]][:2]
    assert 10 == len(found["thing_groups"])


# --- policies on groups


async def test_a_policy_on_a_group_is_listed_from_both_ends_and_keeps_the_policy(plane: Plane) -> None:
    await group(plane, "house")
    await group(plane, "hall", "house")
    await plane.call("AttachPolicy", policy_name="allow", target=PREFIX + "thinggroup/house")
    await plane.call("AttachPolicy", policy_name="allow", target=CERT)
    targets = await plane.call("ListTargetsForPolicy", policy_name="allow")
    assert {"targets": [CERT, PREFIX + "thinggroup/house"]} == targets
    assert {"principals": [CERT]} == await plane.call("ListPolicyPrincipals", policy_name="allow")
    assert {"policies": []} == await plane.call("ListAttachedPolicies", target=HALL)
    recursive = await plane.call("ListAttachedPolicies", target=HALL, recursive=True)
    assert ["allow"] == [each["policy_name"] for each in recursive["policies"]]
    await plane.call("DetachPolicy", policy_name="allow", target=CERT)
    error = await refusal(plane, "DeletePolicy", policy_name="allow")
    assert DeleteConflictError is type(error)
    assert error.message == (
        "The policy cannot be deleted as the policy is attached to one or more principals (name=allow)"
    )
    await plane.call("DetachPolicy", policy_name="allow", target=PREFIX + "thinggroup/house")
    assert {} == await plane.call("DeletePolicy", policy_name="allow")


async def test_targets_that_are_none_are_refused_clearly(plane: Plane) -> None:
    error = await refusal(plane, "AttachPolicy", policy_name="allow", target=HALL)
    assert (ResourceNotFoundError, f"Thing group {HALL} does not exist") == (type(error), error.message)
    for target in ("us-east-1:0e3c1f6a-0000-4000-8000-000000000000", PREFIX + "thing/lamp", "hall"):
        error = await refusal(plane, "AttachPolicy", policy_name="allow", target=target)
        assert InvalidRequestError is type(error)
        assert "certificate or of a thing group" in error.message
    assert {} == await plane.call("DetachPolicy", policy_name="allow", target=HALL)
    await group(plane, "hall")
    for name in ("allow", "b", "c"):
        if name != "allow":
            await plane.call("CreatePolicy", policy_name=name, policy_document=ALLOW)
    await plane.call("AttachPolicy", policy_name="allow", target=HALL)
    await plane.call("AttachPolicy", policy_name="b", target=HALL)
    error = await refusal(plane, "AttachPolicy", policy_name="c", target=HALL)
    assert (LimitExceededError, True) == (type(error), "already has 2 policies" in error.message)


async def test_the_deprecated_family_knows_certificates_alone(plane: Plane) -> None:
    await group(plane, "hall")
    for operation in ("AttachPrincipalPolicy", "DetachPrincipalPolicy"):
        error = await refusal(plane, operation, policy_name="allow", principal=HALL)
        assert (InvalidRequestError, "The given ARN does not represent a cert") == (type(error), error.message)
        assert ResourceNotFoundError is type(await refusal(plane, operation, policy_name="none", principal=CERT))
    for _ in range(2):
        assert {} == await plane.call("AttachPrincipalPolicy", policy_name="allow", principal=CERT)
    found = await plane.call("ListPrincipalPolicies", principal=CERT, ascending_order=True)
    assert [{"policy_name": "allow", "policy_arn": PREFIX + "policy/allow"}] == found["policies"]
    for _ in range(2):
        assert {} == await plane.call("DetachPrincipalPolicy", policy_name="allow", principal=CERT)
    assert {"policies": []} == await plane.call("ListPrincipalPolicies", principal=CERT)


# --- principals, second version


async def test_principals_are_listed_with_their_kind_and_filtered_by_it(plane: Plane) -> None:
    await plane.store.insert_certificate(certificate(2), cause())
    other = certificate_arn(SCOPE, certificate_id(2))
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=CERT)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=other, thing_principal_type="EXCLUSIVE_THING")
    kinds = {CERT: "NON_EXCLUSIVE_THING", other: "EXCLUSIVE_THING"}

    async def principals(**members: Any) -> dict[str, str]:
        found = await plane.call("ListThingPrincipalsV2", thing_name="lamp", **members)
        return {each["principal"]: each["thing_principal_type"] for each in found["thing_principal_objects"]}

    assert kinds == await principals()
    for arn, kind in kinds.items():
        assert {arn: kind} == await principals(thing_principal_type=kind)
        things = [{"thing_name": "lamp", "thing_principal_type": kind}]
        assert {"principal_thing_objects": things} == await plane.call("ListPrincipalThingsV2", principal=arn)
    none = await plane.call("ListPrincipalThingsV2", principal=CERT, thing_principal_type="EXCLUSIVE_THING")
    assert {"principal_thing_objects": []} == none


# --- policy versions


async def test_versions_of_a_policy_as_a_caller_sees_them(plane: Plane) -> None:
    second = ALLOW.replace("iot:*", "iot:Connect")
    made = await plane.call("CreatePolicyVersion", policy_name="allow", policy_document=second)
    assert {
        "policy_arn": PREFIX + "policy/allow",
        "policy_document": second,
        "policy_version_id": "2",
        "is_default_version": False,
    } == made
    before = await plane.call("GetPolicy", policy_name="allow")
    assert (ALLOW, "1") == (before["policy_document"], before["default_version_id"])
    assert {} == await plane.call("SetDefaultPolicyVersion", policy_name="allow", policy_version_id="2")
    after = await plane.call("GetPolicy", policy_name="allow")
    assert (second, "2") == (after["policy_document"], after["default_version_id"])
    assert before["generation_id"] != after["generation_id"]
    one = await plane.call("GetPolicyVersion", policy_name="allow", policy_version_id="1")
    assert (ALLOW, False, NOW) == (one["policy_document"], one["is_default_version"], one["creation_date"])
    listed = await plane.call("ListPolicyVersions", policy_name="allow")
    assert [("2", True), ("1", False)] == [
        (each["version_id"], each["is_default_version"]) for each in listed["policy_versions"]
    ]


async def test_a_sixth_version_the_default_and_a_document_that_is_none_are_refused(plane: Plane) -> None:
    error = await refusal(plane, "CreatePolicyVersion", policy_name="none", policy_document="{}")
    assert MalformedPolicyError is type(error)
    for _ in range(4):
        await plane.call("CreatePolicyVersion", policy_name="allow", policy_document=ALLOW)
    error = await refusal(plane, "CreatePolicyVersion", policy_name="allow", policy_document=ALLOW)
    assert VersionsLimitExceededError is type(error)
    assert "The policy allow already has the maximum number of versions (5)" == error.message
    error = await refusal(plane, "DeletePolicyVersion", policy_name="allow", policy_version_id="1")
    assert (InvalidRequestError, "Cannot delete the default version of a policy") == (type(error), error.message)
    for operation in ("DeletePolicyVersion", "SetDefaultPolicyVersion", "GetPolicyVersion"):
        error = await refusal(plane, operation, policy_name="allow", policy_version_id="6")
        assert ResourceNotFoundError is type(error)
    error = await refusal(plane, "DeletePolicy", policy_name="allow")
    assert DeleteConflictError is type(error)
    assert "Cannot delete the policy because it has one or more policy versions attached to it" in error.message


# --- what policies say


async def ask(plane: Plane, *infos: tuple[str, list[str]], **members: Any) -> list[dict[str, Any]]:
    given = {"principal": CERT} | members
    asked = [{"action_type": kind, "resources": [PREFIX + each for each in resources]} for kind, resources in infos]
    return list((await plane.call("TestAuthorization", auth_infos=asked, **given))["auth_results"])


async def test_several_resources_are_allowed_together_and_each_policy_stands_in_one_list(plane: Plane) -> None:
    for name, effect, topics in (
        ("a", "Allow", ["1", "2"]),
        ("b", "Deny", ["3"]),
        ("c", "Allow", ["${aws:SourceIp}"]),
    ):
        resources = [f"{PREFIX}topic/{topic}" for topic in topics]
        statement = {"Effect": effect, "Action": "iot:Publish", "Resource": resources}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        await plane.call("CreatePolicy", policy_name=name, policy_document=document)
        await plane.call("AttachPolicy", policy_name=name, target=CERT)

    def lists(result: dict[str, Any]) -> tuple[str, str, str, str]:
        denied = result["denied"]
        return (
            result["auth_decision"],
            *(
                "".join(policy["policy_name"] for policy in part["policies"])
                for part in (result["allowed"], denied["explicit_deny"], denied["implicit_deny"])
            ),
        )

    found = await ask(
        plane,
        ("PUBLISH", ["topic/1", "topic/2"]),
        ("PUBLISH", ["topic/1", "topic/4"]),
        ("PUBLISH", ["topic/1", "topic/3"]),
        ("RECEIVE", ["topic/1"]),
    )
    assert [
        ("ALLOWED", "a", "", "bc"),
        ("IMPLICIT_DENY", "a", "", "bc"),
        ("EXPLICIT_DENY", "a", "b", "c"),
        ("IMPLICIT_DENY", "", "", "abc"),
    ] == [lists(result) for result in found]
    assert [["aws:SourceIp"]] * 3 + [[]] == [result["missing_context_values"] for result in found]
    assert {"policy_name": "a", "policy_arn": PREFIX + "policy/a"} == found[0]["allowed"]["policies"][0]
    (skipped,) = await ask(plane, ("PUBLISH", ["topic/3"]), policy_names_to_add=["allow"], policy_names_to_skip=["b"])
    assert ("ALLOWED", "allow", "", "ac") == lists(skipped)


@pytest.mark.parametrize(
    ("members", "error", "said"),
    [
        ({"principal": None}, InvalidRequestError, "principal is missing"),
        ({"principal": HALL}, InvalidRequestError, "does not represent a cert"),
        ({"principal": certificate_arn(SCOPE, certificate_id(9))}, ResourceNotFoundError, "does not exist"),
        ({"cognito_identity_pool_id": "us-east-1:1"}, InvalidRequestError, "Cognito"),
        ({"policy_names_to_add": ["none"]}, ResourceNotFoundError, "Policy none"),
        ({"policy_names_to_skip": ["none"]}, ResourceNotFoundError, "Policy none"),
        ({"policy_names_to_add": ["p"] * 51}, InvalidRequestError, "At most 50"),
        ({"auth_infos": [{"resources": [PREFIX + "topic/a"]}]}, InvalidRequestError, "actionType"),
        ({"auth_infos": [{"action_type": "PUBLISH", "resources": []}]}, InvalidRequestError, "empty"),
        ({"auth_infos": [{"action_type": "PUBLISH", "resources": ["topic/a"]}]}, InvalidRequestError, ":topic/"),
        (
            {"auth_infos": [{"action_type": "SUBSCRIBE", "resources": [PREFIX + "topic/a"]}]},
            InvalidRequestError,
            ":topicfilter/",
        ),
        (
            {"auth_infos": [{"action_type": "PUBLISH", "resources": [PREFIX + "topic/a"] * 101}]},
            InvalidRequestError,
            "At most 100",
        ),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_what_was_expected(
    plane: Plane, members: dict[str, Any], error: type[ServiceError], said: str
) -> None:
    given = {
        "principal": CERT,
        "auth_infos": [{"action_type": "PUBLISH", "resources": [PREFIX + "topic/a"]}],
    } | members
    found = await refusal(plane, "TestAuthorization", **given)
    assert error is type(found)
    assert said in found.message


async def test_effective_policies_are_those_of_certificate_and_groups_each_once(plane: Plane) -> None:
    await group(plane, "house")
    await group(plane, "hall", "house")
    await plane.call("CreatePolicy", policy_name="more", policy_document=ALLOW)
    await plane.call("AddThingToThingGroup", thing_group_name="hall", thing_name="lamp")
    for name, target in (("allow", CERT), ("allow", HALL), ("more", PREFIX + "thinggroup/house")):
        await plane.call("AttachPolicy", policy_name=name, target=target)

    async def names(**members: Any) -> list[str]:
        found = await plane.call("GetEffectivePolicies", **members)
        assert all(ALLOW == each["policy_document"] for each in found["effective_policies"])
        return sorted(each["policy_name"] for each in found["effective_policies"])

    assert ["allow"] == await names(principal=CERT)
    assert ["allow", "more"] == await names(thing_name="lamp")
    assert ["allow", "more"] == await names(principal=CERT, thing_name="lamp")
    for members, error in (
        ({}, InvalidRequestError),
        ({"principal": CERT, "cognito_identity_pool_id": "p"}, InvalidRequestError),
        ({"thing_name": "none"}, ResourceNotFoundError),
    ):
        assert error is type(await refusal(plane, "GetEffectivePolicies", **members))
