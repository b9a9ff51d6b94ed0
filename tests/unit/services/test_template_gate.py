"""The operator's gate: templates that give devices too broad a policy, where that is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.own_ca import OwnCA
from tests.support.registry import (
    ROLE,
    SCOPE,
    Plane,
    cause,
    certificate,
    certificate_id,
    make_plane,
    sqlite_store,
    with_accounts,
)

from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.core.provisioning.template import TemplateKind, read_template
from handfast.errors import InvalidRequestError
from handfast.services.template_gate import TemplateGate

ID = "AWS::IoT::Certificate::Id"
NARROW = "arn:aws:iot:us-east-1:123456789012:topic/${iot:Connection.Thing.ThingName}/data"
WIDE = "arn:aws:iot:us-east-1:123456789012:topic/*"


def body(policy: dict[str, Any]) -> str:
    resources = {
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": ID}}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": policy},
    }
    parameters = {"P": {"Type": "String", "Default": "topic/*"}, ID: {"Type": "String"}}
    return json.dumps({"Parameters": parameters, "Resources": resources})


def publishing(resource: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": resource}
    return {"PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]}}


def document_of(policy: dict[str, Any]) -> str:
    return json.dumps(policy["PolicyDocument"])


def test_by_default_the_templates_of_the_tutorials_are_taken() -> None:
    gate = TemplateGate()
    for policy in (publishing("*"), publishing(WIDE), {"PolicyName": {"Ref": "P"}}):
        template = gate.accept(SCOPE, body(policy), TemplateKind.FLEET)
        gate.check_plan(SCOPE, template.plan({ID: "a" * 64, "P": "name"}), {})


def test_a_document_that_is_too_broad_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        TemplateGate("refuse").accept(SCOPE, body(publishing([NARROW, WIDE])), TemplateKind.JITP)
    place = "$.Resources.policy.Properties.PolicyDocument.Statement[0].Resource[1]"
    assert f"{place}: iot:Publish is allowed on any topic" in str(refused.value)
    assert "--template-lint refuse" in str(refused.value)


def test_a_policy_that_the_device_chooses_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"PolicyName: whoever holds a claim chooses \"P\""):
        TemplateGate("refuse").accept(SCOPE, body({"PolicyName": {"Ref": "P"}}), TemplateKind.FLEET)


def test_narrow_documents_and_named_policies_are_taken() -> None:
    gate = TemplateGate("refuse")
    for policy in (publishing(NARROW), {"PolicyName": "Lamp"}):
        template = gate.accept(SCOPE, body(policy), TemplateKind.JITP)
        gate.check_plan(SCOPE, template.plan({ID: "a" * 64}), {})


def test_a_document_that_depends_on_the_device_is_judged_when_it_is_planned() -> None:
    gate = TemplateGate("refuse")
    resource = {"Fn::Sub": "arn:aws:iot:us-east-1:123456789012:${P}"}
    template = gate.accept(SCOPE, body(publishing(resource)), TemplateKind.FLEET)
    gate.check_plan(SCOPE, template.plan({ID: "a" * 64, "P": "topic/lamp-1"}), {})
    with pytest.raises(ProvisioningFailed, match=r"too broad at \$\.Statement\[0\]\.Resource") as failed:
        gate.check_plan(SCOPE, template.plan({ID: "a" * 64}), {})
    assert (FailureKind.INVALID, "policy") == (failed.value.kind, failed.value.resource)


def test_arns_are_judged_in_the_account_that_they_are_for() -> None:
    other = publishing(["arn:aws:iot:us-east-1:999999999999:topic/x", "arn:aws:iot:us-east-1:123456789012:topic/*"])
    with pytest.raises(InvalidRequestError, match=r"Resource\[1\]"):
        TemplateGate("refuse").accept(SCOPE, body(other), TemplateKind.JITP)


def test_a_template_with_mistakes_is_an_invalid_request_that_names_them() -> None:
    with pytest.raises(InvalidRequestError, match=r"\$\.Resources\.policy\.Properties: neither PolicyName"):
        TemplateGate().accept(SCOPE, body({}), TemplateKind.JITP)


# --- where templates come in and plans go out


@pytest.fixture
async def refusing(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        yield await make_plane(store, template_gate=TemplateGate("refuse"))


async def test_the_api_takes_no_template_that_is_too_broad(refusing: Plane) -> None:
    given = {"template_name": "fleet", "provisioning_role_arn": ROLE}
    with pytest.raises(InvalidRequestError, match="--template-lint refuse"):
        await refusing.call("CreateProvisioningTemplate", template_body=body(publishing(WIDE)), **given)
    await refusing.call("CreateProvisioningTemplate", template_body=body(publishing(NARROW)), **given)
    with pytest.raises(InvalidRequestError, match="--template-lint refuse"):
        await refusing.call(
            "CreateProvisioningTemplateVersion", template_name="fleet", template_body=body(publishing("*"))
        )
    config = {"template_body": body(publishing(WIDE)), "role_arn": ROLE}
    with pytest.raises(InvalidRequestError, match="--template-lint refuse"):
        await refusing.call(
            "RegisterCACertificate", ca_certificate=OwnCA().pem, certificate_mode="SNI_ONLY", registration_config=config
        )


async def test_nothing_is_provisioned_that_is_too_broad(refusing: Plane) -> None:
    template = read_template(body(publishing(WIDE)), TemplateKind.REGISTER_THING)
    with pytest.raises(ProvisioningFailed, match="--template-lint refuse"):
        await refusing.registry.provisioner.carry_out(SCOPE, cause(), template.plan({ID: "a" * 64}))
    assert [] == (await refusing.call("ListPolicies"))["policies"]


async def test_a_policy_by_name_is_judged_by_what_it_says_at_that_moment(refusing: Plane) -> None:
    template = read_template(body({"PolicyName": "Lamp"}), TemplateKind.REGISTER_THING)
    await refusing.store.insert_certificate(certificate(1), cause())
    plan = template.plan({ID: certificate_id(1)})
    await refusing.call("CreatePolicy", policy_name="Lamp", policy_document=document_of(publishing(NARROW)))
    await refusing.registry.provisioner.carry_out(SCOPE, cause(), plan, certificate_id=certificate_id(1))
    await refusing.call(
        "CreatePolicyVersion", policy_name="Lamp", policy_document=document_of(publishing("*")), set_as_default=True
    )
    with pytest.raises(ProvisioningFailed, match="Policy Lamp is too broad") as failed:
        await refusing.registry.provisioner.carry_out(SCOPE, cause(), plan, certificate_id=certificate_id(1))
    assert "policy" == failed.value.resource
