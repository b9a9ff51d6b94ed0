"""Tags: on what, how many, and which."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.operations import refusal
from tests.support.own_ca import OwnCA
from tests.support.registry import ALLOW, NOW, OTHER_REGION, ROLE, SCOPE, TEMPLATE_BODY, Plane, caller, self_signed

from handfast.errors import InvalidRequestError, LimitExceededError, ResourceNotFoundError, ServiceError

PREFIX = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}"
TAGS = [{"key": "a", "value": "1"}, {"key": "Team Größe", "value": ""}]


async def tags_of(plane: Plane, arn: str) -> dict[str, str]:
    found = await plane.call("ListTagsForResource", resource_arn=arn)
    return {tag["key"]: tag["value"] for tag in found["tags"]}


MADE: dict[str, tuple[str, dict[str, Any], str]] = {
    "policy": ("CreatePolicy", {"policy_name": "p", "policy_document": ALLOW}, "DeletePolicy"),
    "thingtype": ("CreateThingType", {"thing_type_name": "p"}, "DeleteThingType"),
    "billinggroup": ("CreateBillingGroup", {"billing_group_name": "p"}, "DeleteBillingGroup"),
    "thinggroup": ("CreateThingGroup", {"thing_group_name": "p"}, "DeleteThingGroup"),
    "provisioningtemplate": (
        "CreateProvisioningTemplate",
        {"template_name": "p", "template_body": TEMPLATE_BODY, "provisioning_role_arn": ROLE},
        "DeleteProvisioningTemplate",
    ),
}


@pytest.mark.parametrize("kind", MADE)
async def test_a_resource_is_tagged_when_it_is_made_and_its_tags_go_with_it(plane: Plane, kind: str) -> None:
    create, members, delete = MADE[kind]
    arn = f"{PREFIX}:{kind}/p"
    await plane.call(create, **members, tags=TAGS)
    assert {"a": "1", "Team Größe": ""} == await tags_of(plane, arn)
    name = {key: value for key, value in members.items() if key.endswith("_name")}
    if kind == "thingtype":
        await plane.call("DeprecateThingType", **name)
        import datetime as dt

        await plane.call(delete, caller(at=NOW + dt.timedelta(minutes=5)), **name)
    else:
        await plane.call(delete, **name)
    assert ResourceNotFoundError is type(await refusal(plane, "ListTagsForResource", resource_arn=arn))
    await plane.call(create, **members)
    assert {} == await tags_of(plane, arn)


async def test_a_ca_certificate_is_registered_with_tags(plane: Plane) -> None:
    ca = OwnCA()
    made = await plane.call("RegisterCACertificate", ca_certificate=ca.pem, certificate_mode="SNI_ONLY", tags=TAGS)
    assert {"a": "1", "Team Größe": ""} == await tags_of(plane, made["certificate_arn"])
    assert {"a": "1", "Team Größe": ""} == await tags_of(plane, made["certificate_arn"][:-64] + ca.id.upper())
    await plane.call("DeleteCACertificate", certificate_id=ca.id)
    await plane.call("RegisterCACertificate", ca_certificate=ca.pem, certificate_mode="SNI_ONLY")
    assert {} == await tags_of(plane, made["certificate_arn"])


async def test_tags_are_set_overwritten_and_removed(plane: Plane) -> None:
    await plane.call("CreatePolicy", policy_name="p", policy_document=ALLOW)
    arn = f"{PREFIX}:policy/p"
    await plane.call("TagResource", resource_arn=arn, tags=TAGS)
    await plane.call("TagResource", resource_arn=arn, tags=[{"key": "a", "value": "2"}, {"key": "b"}])
    assert {"a": "2", "b": "", "Team Größe": ""} == await tags_of(plane, arn)
    cursor = await plane.store.head_cursor()
    await plane.call("TagResource", resource_arn=arn, tags=[{"key": "a", "value": "2"}])
    await plane.call("UntagResource", resource_arn=arn, tag_keys=["none"])
    assert cursor == await plane.store.head_cursor()
    await plane.call("UntagResource", resource_arn=arn, tag_keys=["a", "b"])
    assert {"Team Größe": ""} == await tags_of(plane, arn)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ({"key": "aws:owner", "value": "x"}, "aws:"),
        ({"key": "AWS:owner", "value": "x"}, "aws:"),
        ({"key": "", "value": "x"}, "tag key"),
        ({"key": "k" * 129, "value": "x"}, "tag key"),
        ({"key": "a#b", "value": "x"}, "tag key"),
        ({"key": "k", "value": "v" * 257}, "tag value"),
        ({"key": "k", "value": "\x1b[31m"}, "tag value"),
        ({"key": "k", "value": "\ud800"}, "tag value"),
    ],
)
async def test_tags_that_cannot_be(plane: Plane, tag: dict[str, str], message: str) -> None:
    await plane.call("CreatePolicy", policy_name="p", policy_document=ALLOW)
    for operation, members in (
        ("TagResource", {"resource_arn": f"{PREFIX}:policy/p"}),
        ("CreatePolicy", {"policy_name": "q", "policy_document": ALLOW}),
        ("CreateThingType", {"thing_type_name": "q"}),
        ("CreateBillingGroup", {"billing_group_name": "q"}),
    ):
        error = await refusal(plane, operation, **members, tags=[tag])
        assert InvalidRequestError is type(error), operation
        assert message in error.message
    assert ["p"] == [each["policy_name"] for each in (await plane.call("ListPolicies"))["policies"]]


async def test_fifty_tags_and_no_more(plane: Plane) -> None:
    fifty = [{"key": f"k{number}", "value": "v"} for number in range(50)]
    one_more = [{"key": "one more", "value": "v"}]
    arn = f"{PREFIX}:policy/p"
    create = {"policy_name": "p", "policy_document": ALLOW}
    assert InvalidRequestError is type(await refusal(plane, "CreatePolicy", **create, tags=fifty + one_more))
    await plane.call("CreatePolicy", **create, tags=fifty)
    assert LimitExceededError is type(await refusal(plane, "TagResource", resource_arn=arn, tags=one_more))
    await plane.call("TagResource", resource_arn=arn, tags=[{"key": "k1", "value": "new"}])
    assert 50 == len(await tags_of(plane, arn))
    twice = [{"key": "k1", "value": "a"}, {"key": "k1", "value": "b"}]
    assert InvalidRequestError is type(await refusal(plane, "TagResource", resource_arn=arn, tags=twice))


@pytest.mark.parametrize(
    ("arn", "error"),
    [
        (f"{PREFIX}:policy/none", ResourceNotFoundError),
        (f"{PREFIX}:cacert/{'ab' * 32}", ResourceNotFoundError),
        (f"{PREFIX}:cacert/x", InvalidRequestError),
        (f"{PREFIX}:thing/lamp", InvalidRequestError),
        (f"{PREFIX}:cert/{'ab' * 32}", InvalidRequestError),
        (f"{PREFIX}:policy", InvalidRequestError),
        ("policy/p", InvalidRequestError),
        (f"arn:aws:iot:{OTHER_REGION.region}:{SCOPE.account}:policy/p", ResourceNotFoundError),
    ],
)
async def test_what_has_no_tags(plane: Plane, arn: str, error: type[ServiceError]) -> None:
    await plane.call("CreateThing", thing_name="lamp")
    await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed())
    await plane.call("CreatePolicy", policy_name="p", policy_document=ALLOW)
    for operation, members in (
        ("TagResource", {"tags": TAGS}),
        ("UntagResource", {"tag_keys": ["a"]}),
        ("ListTagsForResource", {}),
    ):
        assert error is type(await refusal(plane, operation, resource_arn=arn, **members))
