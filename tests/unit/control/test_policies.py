"""The operations on policies: members, observed texts, preconditions."""

from __future__ import annotations

import pytest
from tests.support.operations import ARN, refusal, settled
from tests.support.registry import ALLOW, NOW, Plane

from handfast.errors import (
    DeleteConflictError,
    InvalidRequestError,
    LimitExceededError,
    MalformedPolicyError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
)


async def test_a_policy_is_created_and_read(plane: Plane) -> None:
    made = await plane.call("CreatePolicy", policy_name="p+q", policy_document=ALLOW)
    assert {
        "policy_name": "p+q",
        "policy_arn": "arn:aws:iot:us-east-1:123456789012:policy/p+q",
        "policy_document": ALLOW,
        "policy_version_id": "1",
    } == made
    found = await plane.call("GetPolicy", policy_name="p+q")
    assert (ALLOW, "1", NOW, NOW) == (
        found["policy_document"],
        found["default_version_id"],
        found["creation_date"],
        found["last_modified_date"],
    )
    assert 64 == len(found["generation_id"])
    error = await refusal(plane, "CreatePolicy", policy_name="p+q", policy_document=ALLOW)
    assert ResourceAlreadyExistsError is type(error)
    assert "Policy cannot be created - name already exists (name=p+q)" == error.message


@pytest.mark.parametrize(
    "document", ["", "{", "[]", "{}", ALLOW.replace("Allow", "allow"), ALLOW[:-1] + ',"x":"\ud800"}', "[" * 5000]
)
async def test_a_malformed_document_is_refused_before_anything_is_stored(plane: Plane, document: str) -> None:
    error = await refusal(plane, "CreatePolicy", policy_name="p", policy_document=document)
    assert MalformedPolicyError is type(error)
    assert {"policies": []} == await plane.call("ListPolicies")


async def test_a_policy_is_deleted_once_nothing_holds_it(plane: Plane) -> None:
    await settled(plane)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)
    error = await refusal(plane, "DeletePolicy", policy_name="allow")
    assert DeleteConflictError is type(error)
    assert (
        "The policy cannot be deleted as the policy is attached to one or more principals (name=allow)" == error.message
    )
    await plane.call("DetachPolicy", policy_name="allow", target=ARN)
    await plane.call("DeletePolicy", policy_name="allow")
    assert ResourceNotFoundError is type(await refusal(plane, "DeletePolicy", policy_name="allow"))


async def test_ten_policies_are_attached_and_no_eleventh(plane: Plane) -> None:
    await settled(plane)
    for number in range(11):
        await plane.call("CreatePolicy", policy_name=f"p{number:02}", policy_document=ALLOW)
    for number in [*range(10), 0]:  # the first once more: idempotent, and no eleventh
        await plane.call("AttachPolicy", policy_name=f"p{number:02}", target=ARN)
    error = await refusal(plane, "AttachPolicy", policy_name="p10", target=ARN)
    assert LimitExceededError is type(error)
    listed = await plane.call("ListAttachedPolicies", target=ARN, recursive=True)
    assert [f"p{number:02}" for number in range(10)] == [item["policy_name"] for item in listed["policies"]]
    assert {"policy_name", "policy_arn"} == listed["policies"][0].keys()


async def test_policies_are_not_attached_to_what_is_no_certificate(plane: Plane) -> None:
    await settled(plane)
    cognito = "us-east-1:0e3c1f6a-0000-4000-8000-000000000000"
    group = "arn:aws:iot:us-east-1:123456789012:thinggroup/g"
    for operation in ("AttachPolicy", "DetachPolicy"):
        error = await refusal(plane, operation, policy_name="allow", target=cognito)
        assert InvalidRequestError is type(error)
    assert ResourceNotFoundError is type(await refusal(plane, "AttachPolicy", policy_name="allow", target=group))
