"""RegisterThing as a caller sees it: where the certificate comes from, what is answered, what is refused and how."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.own_ca import DAY, OwnCA
from tests.support.principals import FakeDataPlane
from tests.support.provisioning import DOCUMENT, dump
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeEntropy,
    Plane,
    caller,
    make_plane,
    pem_id,
    self_signed,
)

from handfast.core.identity.ids import CertificateId
from handfast.core.identity.records import CertificateMode, CertificateStatus
from handfast.core.provisioning.template import TemplateKind, policy_name_of, read_template
from handfast.errors import (
    ConflictingResourceUpdateError,
    InvalidRequestError,
    ResourceRegistrationFailureError,
    ServiceError,
)
from handfast.ports import ChangeKind
from handfast.services.registry_events import RegistryEvents
from handfast.wire.spec import load_service

ARN = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:"
POLICY = policy_name_of(DOCUMENT)
_S = CertificateStatus


def template(*, thing: Any = None, override: Any = None, settings: Any = None, **certificate: Any) -> str:
    """A thing named by a parameter, a policy, and a certificate with these properties where any are given."""
    resources: dict[str, Any] = {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}} | (thing or {})},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": DOCUMENT}},
    }
    if override is not None:
        resources["thing"]["OverrideSettings"] = override
    if certificate:
        resources["certificate"] = {"Type": "AWS::IoT::Certificate", "Properties": certificate}
        if settings is not None:
            resources["certificate"]["OverrideSettings"] = settings
    parameters = {name: {"Type": "String"} for name in ("Name", "Certificate", "Authority")}
    return json.dumps({"Parameters": parameters, "Resources": resources})


BY_ID, BY_CSR = {"CertificateId": {"Ref": "Certificate"}}, {"CertificateSigningRequest": {"Ref": "Certificate"}}
BY_PEM = {"CertificatePem": {"Ref": "Certificate"}}


async def register(plane: Plane, body: str, **parameters: str) -> dict[str, Any]:
    given = {"Name": "lamp", **parameters}
    return await plane.call("RegisterThing", template_body=body, parameters=given)


async def refusal(plane: Plane, body: str, **parameters: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await register(plane, body, **parameters)
    assert caught.value.code in load_service("iot").operations["RegisterThing"].errors
    return caught.value


async def own_ca(plane: Plane, ca: OwnCA, **members: Any) -> str:
    answer = await plane.call(
        "RegisterCACertificate", ca_certificate=ca.pem, certificate_mode="SNI_ONLY", set_as_active=True, **members
    )
    return str(answer["certificate_id"])


# --- where the certificate comes from


async def test_a_registered_certificate_gets_thing_and_policy_and_its_pem_is_answered(plane: Plane) -> None:
    pem = self_signed()
    made = await plane.call("RegisterCertificateWithoutCA", certificate_pem=pem, status="ACTIVE")
    plane.notified.clear()
    answer = await register(plane, template(**BY_ID), Certificate=made["certificate_id"].upper())
    assert {
        "certificate_pem": pem,
        "resource_arns": {
            "certificate": made["certificate_arn"],
            "thing": f"{ARN}thing/lamp",
            "policy": f"{ARN}policy/{POLICY}",
        },
    } == answer
    kinds = {ChangeKind.THING, ChangeKind.POLICY, ChangeKind.PRINCIPAL_POLICIES, ChangeKind.PRINCIPAL_THINGS}
    assert kinds == {change.kind for change in plane.notified}
    assert await register(plane, template(**BY_ID), Certificate=made["certificate_id"]) == answer


async def test_a_request_is_signed_by_the_device_issuing_ca(plane: Plane) -> None:
    from tests.support.ca_plane import device_issuer
    from tests.support.strict import request as csr

    plane = await make_plane(plane.store, device_issuer())
    answer = await register(plane, template(**BY_CSR, Status="INACTIVE"), Certificate=csr())
    made = await plane.store.certificate(SCOPE, pem_id(answer["certificate_pem"]))
    assert made is not None
    assert (_S.INACTIVE, CertificateMode.DEFAULT, None) == (made.status, made.mode, made.ca_certificate_id)
    assert f"{ARN}cert/{made.certificate_id}" == answer["resource_arns"]["certificate"]


async def test_a_certificate_in_pem_is_registered_under_the_ca_that_signed_it(plane: Plane) -> None:
    ca = OwnCA()
    ca_id = await own_ca(plane, ca)
    pem = ca.issue("lamp")
    answer = await register(plane, template(**BY_PEM), Certificate=pem)
    assert pem == answer["certificate_pem"]
    made = await plane.store.certificate(SCOPE, pem_id(pem))
    assert made is not None
    assert (_S.ACTIVE, CertificateMode.SNI_ONLY, ca_id) == (made.status, made.mode, made.ca_certificate_id)
    # The same again takes it as it is now registered.
    await plane.call("UpdateCertificate", certificate_id=made.certificate_id, new_status="INACTIVE")
    assert answer == await register(plane, template(**BY_PEM), Certificate=pem)
    described = await plane.store.certificate(SCOPE, made.certificate_id)
    assert described is not None
    assert _S.INACTIVE is described.status
    named = template(**BY_PEM, CACertificatePem={"Ref": "Authority"})
    await register(plane, named, Name="other", Certificate=ca.issue("other"), Authority=ca.pem)


async def test_a_template_without_a_certificate_answers_none(plane: Plane) -> None:
    assert {"thing", "policy"} == (await register(plane, template()))["resource_arns"].keys()
    assert "certificate_pem" not in await register(plane, template(), Name="other")


# --- what is refused, and that nothing stays


async def test_a_certificate_in_pem_obeys_the_rules_of_register_certificate(plane: Plane, tmp_path: Path) -> None:
    ca, stranger = OwnCA(), OwnCA("A stranger's CA")
    inactive = OwnCA("An inactive CA")
    await own_ca(plane, ca)
    inactive_id = await own_ca(plane, inactive)
    await plane.call("UpdateCACertificate", certificate_id=inactive_id, new_status="INACTIVE")
    before = dump(tmp_path / "handfast.db")
    for pem, error, said in (
        (stranger.issue("lamp"), ResourceRegistrationFailureError, "No CA certificate registered"),
        (self_signed(), ResourceRegistrationFailureError, "No CA certificate registered"),
        (ca.issue("lamp", not_after=NOW - DAY / 2), ResourceRegistrationFailureError, "cannot be registered"),
        (inactive.issue("lamp"), ResourceRegistrationFailureError, "must be ACTIVE"),
        ("no certificate", InvalidRequestError, "certificate: "),
    ):
        found = await refusal(plane, template(**BY_PEM), Certificate=pem)
        assert error is type(found), found
        assert said in found.message
    named = template(**BY_PEM, CACertificatePem={"Ref": "Authority"})
    found = await refusal(plane, named, Certificate=ca.issue("lamp"), Authority=stranger.pem)
    assert "not registered in this account" in found.message
    assert before == dump(tmp_path / "handfast.db")


@pytest.mark.parametrize("source", ["id", "csr", "pem"])
async def test_a_plan_that_fails_leaves_no_certificate_behind(plane: Plane, tmp_path: Path, source: str) -> None:
    from tests.support.ca_plane import device_issuer
    from tests.support.strict import request as csr

    plane = await make_plane(plane.store, device_issuer())
    ca = OwnCA()
    await own_ca(plane, ca)
    given, properties = ca.issue("lamp"), BY_PEM
    if source == "csr":
        given, properties = csr(), BY_CSR
    elif source == "id":
        given = (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed()))["certificate_id"]
        properties = BY_ID
    before = dump(tmp_path / "handfast.db")
    found = await refusal(plane, template(thing={"ThingTypeName": "nothing"}, **properties), Certificate=given)
    assert ResourceRegistrationFailureError is type(found)
    assert "thing: Thing type nothing does not exist" == found.message
    assert before == dump(tmp_path / "handfast.db")


async def test_what_the_template_gets_wrong_is_an_invalid_request(plane: Plane) -> None:
    found = await refusal(plane, "{")
    assert (InvalidRequestError, True) == (type(found), found.message.startswith("The template cannot be used"))
    found = await refusal(plane, template(nonsense={"a": "b"}))
    assert InvalidRequestError is type(found)
    with pytest.raises(InvalidRequestError, match="Cannot resolve reference value"):
        await plane.call("RegisterThing", template_body=template(), parameters=None)
    found = await refusal(plane, template(), Name="not a name")
    assert InvalidRequestError is type(found)
    assert found.message.startswith("thing: ")


async def test_clashes_and_what_is_not_there_are_registration_failures(plane: Plane) -> None:
    ids = [
        (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed(str(n))))["certificate_id"]
        for n in range(3)
    ]
    await register(plane, template(**BY_ID), Certificate=ids[0])
    clash = await refusal(plane, template(**BY_ID), Certificate=ids[1])
    assert ResourceRegistrationFailureError is type(clash)
    assert clash.message.startswith(f"thing: Thing lamp exists and belongs to certificate {ids[0]}")
    await register(plane, template(override={"AttributePayload": "MERGE"}, **BY_ID), Certificate=ids[1])
    fails = await refusal(plane, template(override={"ThingGroups": "FAIL"}, **BY_ID), Certificate=ids[0])
    assert ResourceRegistrationFailureError is type(fails)
    nobody = await refusal(plane, template(**BY_ID), Name="other", Certificate="ab" * 32)
    assert ResourceRegistrationFailureError is type(nobody)
    await plane.call("UpdateCertificate", certificate_id=ids[2], new_status="REVOKED")
    revoked = await refusal(plane, template(settings={"Status": "REPLACE"}, **BY_ID), Name="other", Certificate=ids[2])
    assert ResourceRegistrationFailureError is type(revoked)
    assert "REVOKED" in revoked.message


async def test_another_accounts_certificate_is_nobodys(plane: Plane) -> None:
    theirs = await plane.call("RegisterCertificateWithoutCA", caller(OTHER_ACCOUNT), certificate_pem=self_signed())
    found = await refusal(plane, template(**BY_ID), Certificate=theirs["certificate_id"])
    nobody = await refusal(plane, template(**BY_ID), Certificate="ab" * 32)
    assert found.message.replace(theirs["certificate_id"], "ab" * 32) == nobody.message


async def test_a_certificate_that_changed_meanwhile_is_a_conflicting_update(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed()))["certificate_id"]
    provision = plane.store.provision

    async def revoked_first(*args: Any) -> Any:
        await plane.call("UpdateCertificate", certificate_id=made, new_status="REVOKED")
        return await provision(*args)

    monkeypatch.setattr(plane.store, "provision", revoked_first)
    found = await refusal(plane, template(**BY_ID), Certificate=made)
    assert ConflictingResourceUpdateError is type(found)
    again = await refusal(plane, template(**BY_ID), Certificate=made)
    assert ResourceRegistrationFailureError is type(again)
    assert await plane.store.thing(SCOPE, "lamp") is None  # type: ignore[arg-type]


async def test_two_callers_that_name_one_thing(plane: Plane) -> None:
    ids = [
        (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed(str(n))))["certificate_id"]
        for n in range(4)
    ]
    results = await asyncio.gather(
        *(register(plane, template(**BY_ID), Certificate=each) for each in ids), return_exceptions=True
    )
    won = [each for each, result in zip(ids, results, strict=True) if isinstance(result, dict)]
    assert 3 == sum(isinstance(result, ResourceRegistrationFailureError) for result in results)
    principals = (await plane.call("ListThingPrincipals", thing_name="lamp"))["principals"]
    assert [f"{ARN}cert/{each}" for each in won] == principals


# --- what follows of itself


async def test_registry_events_tell_of_what_was_provisioned(plane: Plane) -> None:
    events = RegistryEvents(plane.store, FakeEntropy())
    await events.load()
    data_plane = FakeDataPlane()
    events.command(data_plane)
    enabled = {name: {"enabled": True} for name in ("THING", "CERTIFICATE", "POLICY", "THING_GROUP_MEMBERSHIP")}
    await plane.call("UpdateEventConfigurations", event_configurations=enabled)
    await events.changed(list(plane.notified))
    await plane.call("CreateThingGroup", thing_group_name="hall")
    await events.changed(list(plane.notified))
    made = (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed()))["certificate_id"]
    await events.changed(list(plane.notified))
    data_plane.announced.clear()
    plane.notified.clear()
    await register(plane, template(thing={"ThingGroups": ["hall"]}, **BY_ID), Certificate=made)
    await events.changed(list(plane.notified))
    topics = [topic.removeprefix("$aws/events/") for _, topic, _ in data_plane.announced]
    assert "thing/lamp/created" in topics
    assert "thingGroupMembership/thingGroup/hall/thing/lamp/added" in topics


async def test_the_trail_names_the_operation_once_for_all_that_it_made(plane: Plane) -> None:
    made = (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed()))["certificate_id"]
    await register(plane, template(**BY_ID), Certificate=made)
    from handfast.ports import AuditQuery, PageRequest

    query = AuditQuery(chain=SCOPE.account, operation="RegisterThing")
    rows = (await plane.store.audit_events(query, PageRequest(limit=50, ascending=True))).items
    assert ["thing", "policy", "principal_policies", "principal_things"] == [row.fields.kind for row in rows]
    assert ["lamp", POLICY, made, made] == [row.fields.subject for row in rows]
    assert 1 == len({(row.fields.request_id, row.fields.actor, row.fields.at) for row in rows})


async def test_lines_of_a_bulk_task_are_registered_by_the_same_service(plane: Plane) -> None:
    made = (await plane.call("RegisterCertificateWithoutCA", certificate_pem=self_signed()))["certificate_id"]
    read = read_template(template(**BY_ID), TemplateKind.BULK)
    from tests.support.registry import cause

    done = await plane.registry.thing_registration.register_thing(
        SCOPE, cause("StartThingRegistrationTask"), read, {"Name": "lamp", "Certificate": made}
    )
    assert (CertificateId(made), "lamp") == (done.provisioned.certificate_id, done.provisioned.thing_name)
    assert dataclasses.asdict(done)["resource_arns"] == done.provisioned.resource_arns
