"""What a template provisions, what it names, and the hook that is asked before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.fleet_world import BODY, CLAIM, OTHER_CLAIM, PROVISION, World, rejected
from tests.support.registry import SCOPE, cause, thing

from handfast.core.identity.ids import CertificateId, ThingName
from handfast.core.identity.records import CertificateStatus, ThingPrincipalType
from handfast.core.identity.refusal import ReasonCode
from handfast.core.provisioning.records import PreProvisioningHook, TemplateType
from handfast.errors import HookDenied
from handfast.ports import PageRequest

S = CertificateStatus

HOOK = PreProvisioningHook(target_arn="arn:aws:lambda:us-east-1:123456789012:function:gate")


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("absent", {}, (404, "ResourceNotFound")),
        ("off", {"enabled": False}, (400, "InvalidRequest")),
        ("jitp", {"type": TemplateType.JITP}, (400, "InvalidRequest")),
        ("broken", {"body": "{}"}, (400, "InvalidRequest")),
    ],
)
async def test_templates_that_provision_nothing(
    world: World, name: str, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    if changes:
        await world.template(name, **changes)
    token = (await world.create())["certificateOwnershipToken"]
    members = {"certificateOwnershipToken": token, "parameters": {"Serial": "lamp"}}
    assert expected == rejected(await world.ask(PROVISION.replace("fleet", name), members))
    assert "accepted" == (await world.register(token))["outcome"]


async def test_a_device_cannot_name_another_certificate(world: World) -> None:
    made = await world.create()
    parameters = {"Serial": "lamp", "AWS::IoT::Certificate::Id": OTHER_CLAIM}
    done = await world.register(made["certificateOwnershipToken"], members={"parameters": parameters})
    assert "accepted" == done["outcome"]
    (other,) = await world.store.principals([(SCOPE, OTHER_CLAIM)])
    assert other is not None
    assert () == other.policies
    assert [CertificateId(made["certificateId"])] == await principals_of(world, "lamp")


async def principals_of(world: World, name: str) -> list[CertificateId]:
    page = await world.store.thing_principals(SCOPE, ThingName(name), PageRequest(limit=10))
    return [each for each, _ in page.items]


async def test_a_thing_of_another_certificate_is_not_taken_over_unless_the_template_says_so(world: World) -> None:
    await world.store.create_thing(thing("lamp"), cause())
    await world.store.attach_thing(
        SCOPE, ThingName("lamp"), OTHER_CLAIM, ThingPrincipalType.NON_EXCLUSIVE_THING, cause()
    )
    made = await world.create()
    token = made["certificateOwnershipToken"]
    assert (409, "ResourceConflicts") == rejected(await world.register(token))
    assert [OTHER_CLAIM] == await principals_of(world, "lamp")
    body = json.loads(json.dumps(BODY))
    body["Resources"]["thing"]["OverrideSettings"] = {"AttributePayload": "MERGE"}
    await world.template("over", body=json.dumps(body))
    members = {"certificateOwnershipToken": token, "parameters": {"Serial": "lamp"}}
    assert "accepted" == (await world.ask(PROVISION.replace("fleet", "over"), members))["outcome"]
    assert {OTHER_CLAIM, made["certificateId"]} == set(await principals_of(world, "lamp"))


async def test_what_a_template_names_and_is_not_there(world: World) -> None:
    body = json.loads(json.dumps(BODY))
    body["Resources"]["thing"]["Properties"]["ThingGroups"] = ["absent"]
    await world.template("grouped", body=json.dumps(body))
    token = (await world.create())["certificateOwnershipToken"]
    members = {"certificateOwnershipToken": token, "parameters": {"Serial": "lamp"}}
    answer = await world.ask(PROVISION.replace("fleet", "grouped"), members)
    assert (400, "ResourceRegistrationFailure") == rejected(answer)
    assert answer["errorMessage"].startswith("thing: ")


async def test_a_hook_is_asked_and_its_overrides_hold(world: World) -> None:
    await world.template("gated", hook=HOOK)
    assert world.hooks is not None
    world.hooks.overrides = {"Site": "cellar", "AWS::IoT::Certificate::Id": OTHER_CLAIM}
    made = await world.create()
    members = {
        "certificateOwnershipToken": made["certificateOwnershipToken"],
        "parameters": {"Serial": "lamp", "Site": "roof", "AWS::IoT::Certificate::Country": "XX"},
    }
    done = await world.ask(PROVISION.replace("fleet", "gated"), members)
    assert {"Site": "cellar"} == done["deviceConfiguration"]
    assert [
        {
            "scope": SCOPE,
            "hook": HOOK,
            "template_name": "gated",
            "claim_certificate_id": CLAIM,
            "certificate_id": made["certificateId"],
            "certificate_pem": made["certificatePem"],
            "client_id": "lathe",
            "parameters": {"Serial": "lamp", "Site": "roof"},
        }
    ] == world.hooks.asked
    assert [made["certificateId"]] == await principals_of(world, "lamp")


@pytest.mark.parametrize("error", [HookDenied("The pre-provisioning hook denied it"), RuntimeError("bug"), None])
async def test_a_hook_that_does_not_say_yes_denies(world: World, error: Exception | None) -> None:
    await world.template("gated", hook=HOOK)
    if error is None:
        world.hooks = None
    else:
        assert world.hooks is not None
        world.hooks.error = error
    made = await world.create()
    members = {"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": {"Serial": "lamp"}}
    topic = PROVISION.replace("fleet", "gated")
    assert (403, "AccessDenied") == rejected(await world.ask(topic, members))
    (refusal,) = world.refusals.query(str(CLAIM), SCOPE.account, 10)
    (reason,) = refusal.reasons
    assert (ReasonCode.FLEET_REQUEST_REJECTED, topic) == (reason.code, refusal.resource)
    assert reason.detail.startswith("AccessDenied: ")
    assert made["certificateOwnershipToken"] not in str(refusal)
    record = await world.certificate(made["certificateId"])
    assert record is not None
    assert S.PENDING_ACTIVATION is record.status
    assert "accepted" == (await world.register(made["certificateOwnershipToken"]))["outcome"]
