"""Provisioning templates as a caller sees them: their members, versions, hooks, and the CAs that provision by them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hooks import webhook
from tests.support.operations import refusal
from tests.support.own_ca import OwnCA
from tests.support.registry import NOW, OTHER_ACCOUNT, ROLE, SCOPE, TEMPLATE_BODY, Plane, caller, cause

from handfast.core.provisioning.hooks import HookName, hook_arn
from handfast.errors import DeleteConflictError, InvalidRequestError, ResourceNotFoundError, ServiceError
from handfast.ports import Change, ChangeKind

ARN = f"arn:aws:iot:us-east-1:{SCOPE.account}:provisioningtemplate/fleet"
HOOK = {"payload_version": "2020-04-01", "target_arn": "arn:aws:lambda:us-east-1:123456789012:function:gate"}
OTHER_BODY = TEMPLATE_BODY.replace("certificate", "cert", 1)


@pytest.fixture
async def plane(plane: Plane) -> Plane:
    """With two hooks, of which one serves another account alone."""
    await plane.store.add_hook(webhook("gate"), limit=9, cause=cause())
    await plane.store.add_hook(webhook("theirs", accounts=(OTHER_ACCOUNT.account,)), limit=9, cause=cause())
    return plane


async def create(plane: Plane, name: str = "fleet", **members: Any) -> dict[str, Any]:
    members = {"template_body": TEMPLATE_BODY, "provisioning_role_arn": ROLE} | members
    return await plane.call("CreateProvisioningTemplate", template_name=name, **members)


async def described(plane: Plane, name: str = "fleet") -> dict[str, Any]:
    return await plane.call("DescribeProvisioningTemplate", template_name=name)


async def update(plane: Plane, **members: Any) -> None:
    assert {} == await plane.call("UpdateProvisioningTemplate", template_name="fleet", **members)


# --- templates


async def test_a_template_is_off_and_of_fleet_provisioning_unless_it_says_otherwise(plane: Plane) -> None:
    assert {"template_arn": ARN, "template_name": "fleet", "default_version_id": 1} == await create(plane)
    summary = {
        "template_arn": ARN,
        "template_name": "fleet",
        "creation_date": NOW,
        "last_modified_date": NOW,
        "enabled": False,
        "type": "FLEET_PROVISIONING",
    }
    assert {"templates": [summary]} == await plane.call("ListProvisioningTemplates")
    details = {"default_version_id": 1, "template_body": TEMPLATE_BODY, "provisioning_role_arn": ROLE}
    assert summary | details == await described(plane)
    assert [Change(ChangeKind.PROVISIONING_TEMPLATE, SCOPE, "fleet")] == plane.notified


async def test_what_is_given_is_described(plane: Plane) -> None:
    given = {"description": "of lamps", "enabled": True, "type": "FLEET_PROVISIONING", "pre_provisioning_hook": HOOK}
    await create(plane, **given)
    assert given.items() <= (await described(plane)).items()
    await create(plane, "jitp", type="JITP")
    assert "JITP" == (await described(plane, "jitp"))["type"]


async def test_a_hook_is_set_replaced_and_removed(plane: Plane) -> None:
    await create(plane, pre_provisioning_hook={"target_arn": HOOK["target_arn"]})
    assert HOOK == (await described(plane))["pre_provisioning_hook"], "the payload version that there is"
    other = HOOK | {"target_arn": hook_arn(SCOPE, HookName("other"))}
    await plane.store.add_hook(webhook("other"), limit=9, cause=cause())
    await update(plane, pre_provisioning_hook=other)
    await update(plane, enabled=True)
    assert other == (await described(plane))["pre_provisioning_hook"]
    await update(plane, remove_pre_provisioning_hook=True)
    assert "pre_provisioning_hook" not in await described(plane)


@pytest.mark.parametrize(
    "members",
    [
        {"type": "JITP", "pre_provisioning_hook": HOOK},
        {"type": "fleet_provisioning"},
        {"pre_provisioning_hook": HOOK | {"payload_version": "2021-01-01"}},
        {"pre_provisioning_hook": {"target_arn": ""}},
        {"pre_provisioning_hook": {"target_arn": "hook"}},
        {"pre_provisioning_hook": {"target_arn": "arn:aws:lambda:us-east-1:210987654321:function:gate"}},
        {"template_body": ""},
        {"template_body": "{"},
        {"template_body": "[]"},
        {"template_body": "[" * 5000},
        {"template_body": '{"a":"\\ud800"}'},
        {"template_body": " " * 10_241},
        {"tags": [{"key": "aws:a", "value": "b"}]},
    ],
)
async def test_what_is_no_template_is_not_made(plane: Plane, members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await create(plane, **members)
    assert {"templates": []} == await plane.call("ListProvisioningTemplates")


@pytest.mark.parametrize("name", ["nobody-s", "theirs"])
async def test_a_template_names_a_hook_that_serves_the_account(plane: Plane, name: str) -> None:
    hook = HOOK | {"target_arn": hook_arn(SCOPE, HookName(name))}
    given = {"template_name": "fleet", "template_body": TEMPLATE_BODY, "provisioning_role_arn": ROLE}
    refused = await refusal(plane, "CreateProvisioningTemplate", **given, pre_provisioning_hook=hook)
    assert isinstance(refused, InvalidRequestError)
    assert f"handfast hook add {name} --url URL" in refused.message
    assert {"templates": []} == await plane.call("ListProvisioningTemplates")
    await create(plane, pre_provisioning_hook=HOOK)
    refused = await refusal(plane, "UpdateProvisioningTemplate", template_name="fleet", pre_provisioning_hook=hook)
    assert isinstance(refused, InvalidRequestError)
    assert HOOK == (await described(plane))["pre_provisioning_hook"]


async def test_a_hook_that_is_gone_keeps_nobody_from_changing_the_rest(plane: Plane) -> None:
    await create(plane, pre_provisioning_hook=HOOK)
    await plane.store.remove_hook(HookName("gate"), cause(), force=True)
    await update(plane, enabled=False)
    assert HOOK == (await described(plane))["pre_provisioning_hook"]


async def test_a_hook_has_no_place_on_a_template_for_jitp(plane: Plane) -> None:
    await create(plane, type="JITP")
    refused = await refusal(plane, "UpdateProvisioningTemplate", template_name="fleet", pre_provisioning_hook=HOOK)
    assert isinstance(refused, InvalidRequestError)
    assert "FLEET_PROVISIONING" in refused.message


async def test_templates_come_in_pages_by_name(plane: Plane) -> None:
    for name in ("b", "c", "a"):
        await create(plane, name)
    first = await plane.call("ListProvisioningTemplates", max_results=2)
    rest = await plane.call("ListProvisioningTemplates", max_results=2, next_token=first["next_token"])
    assert ["a", "b", "c"] == [each["template_name"] for each in first["templates"] + rest["templates"]]
    assert "next_token" not in rest
    assert {"templates": []} == await plane.call("ListProvisioningTemplates", caller(OTHER_ACCOUNT))


# --- versions


async def test_versions_are_numbers_and_one_is_the_default(plane: Plane) -> None:
    await create(plane)
    made = await plane.call("CreateProvisioningTemplateVersion", template_name="fleet", template_body=OTHER_BODY)
    named = {"template_arn": ARN, "template_name": "fleet"}
    assert named | {"version_id": 2, "is_default_version": False} == made
    assert TEMPLATE_BODY == (await described(plane))["template_body"]
    await update(plane, default_version_id=2)
    found = await described(plane)
    assert (2, OTHER_BODY) == (found["default_version_id"], found["template_body"])
    third = await plane.call(
        "CreateProvisioningTemplateVersion", template_name="fleet", template_body=TEMPLATE_BODY, set_as_default=True
    )
    assert (3, True) == (third["version_id"], third["is_default_version"])
    listed = await plane.call("ListProvisioningTemplateVersions", template_name="fleet")
    assert [
        {"version_id": number, "creation_date": NOW, "is_default_version": number == 3} for number in (3, 2, 1)
    ] == listed["versions"]
    two = {"version_id": 2, "creation_date": NOW, "is_default_version": False, "template_body": OTHER_BODY}
    version = {"template_name": "fleet", "version_id": 2}
    assert two == await plane.call("DescribeProvisioningTemplateVersion", **version)
    assert {} == await plane.call("DeleteProvisioningTemplateVersion", **version)
    assert isinstance(await refusal(plane, "DescribeProvisioningTemplateVersion", **version), ResourceNotFoundError)


async def test_a_version_is_checked_as_the_template_is(plane: Plane) -> None:
    await create(plane)
    version = {"template_name": "fleet", "template_body": "{"}
    assert isinstance(await refusal(plane, "CreateProvisioningTemplateVersion", **version), InvalidRequestError)
    for number in (0, -1, 2**40):
        for operation in ("DescribeProvisioningTemplateVersion", "DeleteProvisioningTemplateVersion"):
            refused = await refusal(plane, operation, template_name="fleet", version_id=number)
            assert isinstance(refused, ResourceNotFoundError)


# --- CAs that provision by a template


class Proven:
    """A CA with the proof that its owner calls."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.ca = OwnCA()

    async def members(self) -> dict[str, Any]:
        code = (await self.plane.call("GetRegistrationCode"))["registration_code"]
        return {"ca_certificate": self.ca.pem, "verification_certificate": self.ca.issue(code)}

    async def register(self, **members: Any) -> None:
        await self.plane.call("RegisterCACertificate", **await self.members(), **members)

    async def update(self, **members: Any) -> None:
        await self.plane.call("UpdateCACertificate", certificate_id=self.ca.id, **members)

    async def config(self) -> Any:
        found = await self.plane.call("DescribeCACertificate", certificate_id=self.ca.id)
        return found.get("registration_config")


@pytest.mark.parametrize(
    "config", [{"template_name": "jitp"}, {"template_name": "jitp", "role_arn": ROLE}, {"template_body": TEMPLATE_BODY}]
)
async def test_a_ca_is_registered_with_what_its_devices_are_provisioned_by(plane: Plane, config: Any) -> None:
    await create(plane, "jitp", type="JITP")
    given = config if "template_name" in config else config | {"role_arn": ROLE}
    proven = Proven(plane)
    await proven.register(registration_config=given)
    assert given == await proven.config()
    used = [proven.ca.id] if "template_name" in config else []
    listed = await plane.call("ListCACertificates", template_name="jitp")
    assert used == [each["certificate_id"] for each in listed["certificates"]]


async def test_a_configuration_is_set_and_removed_and_an_empty_one_says_nothing(plane: Plane) -> None:
    await create(plane, "jitp", type="JITP")
    proven = Proven(plane)
    await proven.register(registration_config={})
    assert await proven.config() is None
    await proven.update(registration_config={"template_name": "jitp"}, new_auto_registration_status="ENABLE")
    await proven.update(registration_config={}, new_status="ACTIVE")
    assert {"template_name": "jitp"} == await proven.config()
    assert isinstance(await refusal(plane, "DeleteProvisioningTemplate", template_name="jitp"), DeleteConflictError)
    await proven.update(remove_auto_registration=True)
    assert await proven.config() is None
    found = await plane.call("DescribeCACertificate", certificate_id=proven.ca.id)
    assert "ENABLE" == found["certificate_description"]["auto_registration_status"], "that is another member's"
    await plane.call("DeleteProvisioningTemplate", template_name="jitp")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"template_name": "none"}, ResourceNotFoundError),
        ({"template_name": "fleet"}, InvalidRequestError),
        ({"template_name": "jitp", "template_body": TEMPLATE_BODY, "role_arn": ROLE}, InvalidRequestError),
        ({"template_body": TEMPLATE_BODY}, InvalidRequestError),
        ({"template_body": "[]", "role_arn": ROLE}, InvalidRequestError),
        ({"role_arn": ROLE}, InvalidRequestError),
    ],
)
async def test_a_configuration_that_cannot_be_is_refused_and_nothing_changes(
    plane: Plane, config: dict[str, Any], error: type[ServiceError]
) -> None:
    await create(plane, "jitp", type="JITP")
    await create(plane)
    new, kept = Proven(plane), Proven(plane)
    await kept.register(registration_config={"template_name": "jitp"})
    assert error is type(
        await refusal(plane, "RegisterCACertificate", **await new.members(), registration_config=config)
    )
    assert isinstance(await refusal(plane, "DescribeCACertificate", certificate_id=new.ca.id), ResourceNotFoundError)
    again = {"certificate_id": kept.ca.id, "new_status": "ACTIVE"}
    assert error is type(await refusal(plane, "UpdateCACertificate", **again, registration_config=config))
    both = again | {"registration_config": {"template_name": "jitp"}, "remove_auto_registration": True}
    assert InvalidRequestError is type(await refusal(plane, "UpdateCACertificate", **both))
    assert {"template_name": "jitp"} == await kept.config()


async def test_a_template_that_goes_meanwhile_is_not_found(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen before the write counts for nothing: the store looks again."""
    await create(plane, "jitp", type="JITP")
    store, proven = plane.store, Proven(plane)
    members = await proven.members()
    insert = store.insert_ca_certificate

    async def late(*args: Any, **options: Any) -> Any:
        await plane.call("DeleteProvisioningTemplate", template_name="jitp")
        return await insert(*args, **options)

    monkeypatch.setattr(store, "insert_ca_certificate", late)
    config = {"template_name": "jitp"}
    refused = await refusal(plane, "RegisterCACertificate", **members, registration_config=config)
    assert isinstance(refused, ResourceNotFoundError)
