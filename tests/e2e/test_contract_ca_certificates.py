"""CA certificates, the registration code and endpoints as the model and the documentation have them."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from tests.support.registry import ROLE, TEMPLATE_BODY
from tests.support.server import Server
from tests.support.strict import (
    CODE_VALIDATION,
    EXISTS,
    INVALID,
    LIMIT,
    NOT_FOUND,
    STATE,
    VALIDATION,
    Tenant,
    body_of,
    issue,
    items,
    leaf,
    own_ca,
    refused,
    register_ca,
    tenant,
)

UNKNOWN = "cd" * 32
DESCRIPTION = {
    "certificateArn",
    "certificateId",
    "status",
    "certificatePem",
    "ownedBy",
    "creationDate",
    "autoRegistrationStatus",
    "lastModifiedDate",
    "customerVersion",
    "generationId",
    "validity",
    "certificateMode",
}


@pytest.fixture(scope="module")
def me(server: Server) -> Tenant:
    return tenant(server)


@pytest.fixture
def iot(me: Tenant) -> Any:
    return me.iot


def described(iot: Any, certificate_id: str) -> dict[str, Any]:
    answer = iot.describe_ca_certificate(certificateId=certificate_id)
    assert {"certificateDescription"} == body_of(answer).keys(), "no registrationConfig where there is none"
    return dict(answer["certificateDescription"])


# --- registration code


def test_a_code_is_one_per_account_and_region_until_it_is_deleted(server: Server) -> None:
    one, two = tenant(server), tenant(server)
    refused(NOT_FOUND, one.iot.delete_registration_code)
    code = one.iot.get_registration_code()
    assert {"registrationCode"} == body_of(code).keys()
    assert re.fullmatch("[0-9a-f]{64}", code["registrationCode"])
    assert body_of(code) == body_of(one.iot.get_registration_code())
    others = [client.get_registration_code()["registrationCode"] for client in (one.elsewhere(), two.iot)]
    assert 3 == len({code["registrationCode"], *others})
    assert {} == body_of(one.iot.delete_registration_code())
    refused(NOT_FOUND, one.iot.delete_registration_code)
    assert code["registrationCode"] != one.iot.get_registration_code()["registrationCode"]
    assert others == [client.get_registration_code()["registrationCode"] for client in (one.elsewhere(), two.iot)]


def test_a_deleted_code_takes_earlier_proofs_along_and_leaves_registered_cas(server: Server) -> None:
    iot = tenant(server).iot
    kept, late = own_ca(), own_ca()
    made = register_ca(iot, kept)
    proof = issue(late, iot.get_registration_code()["registrationCode"])
    iot.delete_registration_code()
    call = {"caCertificate": late.pem, "verificationCertificate": proof}
    refused(CODE_VALIDATION, iot.register_ca_certificate, **call)
    iot.get_registration_code()
    refused(CODE_VALIDATION, iot.register_ca_certificate, **call)
    assert "ACTIVE" == described(iot, made["certificateId"])["status"]


# --- registration


def test_a_registered_ca_is_described_as_it_was_given(iot: Any, me: Tenant) -> None:
    ca = own_ca()
    given = ca.pem.replace("\n", "\r\n")
    proof = issue(ca, iot.get_registration_code()["registrationCode"])
    made = body_of(iot.register_ca_certificate(caCertificate=given, verificationCertificate=proof))
    assert {"certificateArn": me.arn(ca.id, "cacert"), "certificateId": ca.id} == made
    found = described(iot, ca.id)
    assert DESCRIPTION == found.keys(), "and nothing of transfers"
    assert ("INACTIVE", "DISABLE", "DEFAULT", given, me.account, 1) == (
        found["status"],
        found["autoRegistrationStatus"],
        found["certificateMode"],
        found["certificatePem"],
        found["ownedBy"],
        found["customerVersion"],
    )
    assert str(uuid.UUID(found["generationId"])) == found["generationId"]
    assert {"notBefore": ca.not_before, "notAfter": ca.not_after} == found["validity"]
    listed = {item["certificateId"]: item for item in iot.list_ca_certificates(pageSize=250)["certificates"]}
    names = ("certificateArn", "certificateId", "status", "creationDate")
    assert {name: found[name] for name in names} == listed[ca.id], "and no mode"


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("auto", [True, False])
def test_status_and_auto_registration_are_as_asked(iot: Any, active: bool, auto: bool) -> None:
    made = register_ca(iot, own_ca(), setAsActive=active, allowAutoRegistration=auto)
    found = described(iot, made["certificateId"])
    assert ("ACTIVE" if active else "INACTIVE", "ENABLE" if auto else "DISABLE") == (
        found["status"],
        found["autoRegistrationStatus"],
    )


def test_a_proof_belongs_to_default_mode_alone(iot: Any) -> None:
    ca = own_ca()
    proof = issue(ca, iot.get_registration_code()["registrationCode"])
    refused(INVALID, iot.register_ca_certificate, caCertificate=ca.pem)
    refused(INVALID, iot.register_ca_certificate, caCertificate=ca.pem, certificateMode="DEFAULT")
    both = {"caCertificate": ca.pem, "verificationCertificate": proof}
    refused(INVALID, iot.register_ca_certificate, **both, certificateMode="SNI_ONLY")
    refused(INVALID, iot.register_ca_certificate, **both, certificateMode="sni_only")
    iot.register_ca_certificate(caCertificate=ca.pem, certificateMode="SNI_ONLY")
    assert "SNI_ONLY" == described(iot, ca.id)["certificateMode"]


def test_a_registration_in_the_order_of_its_rules(iot: Any, me: Tenant) -> None:
    """Each call breaks the rule that is meant and as many of the later ones as can be."""
    code = iot.get_registration_code()["registrationCode"]
    ca, other = own_ca(), own_ca()
    stranger = issue(other, "not the code")
    refused(VALIDATION, iot.register_ca_certificate, caCertificate="x", verificationCertificate=stranger)
    refused(VALIDATION, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate="x")
    plain = own_ca(ca=None)
    for pem in (plain.pem, own_ca(ca=False).pem):
        found = refused(VALIDATION, iot.register_ca_certificate, caCertificate=pem, verificationCertificate=stranger)
        assert "The CA certificate does not have the basicConstraints extension as true" == found.message
    refused(VALIDATION, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=stranger)
    forged = issue(other, code, issuer=ca.name)  # the CA's name, and another's key
    refused(VALIDATION, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=forged)
    late = issue(ca, code, not_before=ca.not_before, not_after=ca.not_before.replace(microsecond=0))
    refused(VALIDATION, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=late)
    for name in ("not the code", code.upper(), code[:-1], f" {code[1:]}"):
        wrong = issue(ca, name)
        refused(CODE_VALIDATION, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=wrong)
    theirs = issue(ca, tenant(me.server).iot.get_registration_code()["registrationCode"])
    refused(CODE_VALIDATION, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=theirs)
    made = register_ca(iot, ca)
    found = refused(EXISTS, iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=stranger)
    assert (made["certificateId"], made["certificateArn"]) == (
        found.response["resourceId"],
        found.response["resourceArn"],
    )


def test_one_proof_name_serves_many_cas(iot: Any) -> None:
    code = iot.get_registration_code()["registrationCode"]
    for _ in range(2):
        ca = own_ca()
        iot.register_ca_certificate(caCertificate=ca.pem, verificationCertificate=issue(ca, code))
    assert code == iot.get_registration_code()["registrationCode"]


def test_an_intermediate_is_registered_like_a_root(iot: Any) -> None:
    middle = own_ca(parent=own_ca())
    assert middle.id == register_ca(iot, middle)["certificateId"]


def test_ten_of_one_subject_in_an_account_and_region(me: Tenant) -> None:
    name = f"Many {uuid.uuid4().hex}"
    for _ in range(10):
        register_ca(me.iot, own_ca(name), certificateMode="SNI_ONLY")
    one_more = own_ca(name)
    for members in ({"certificateMode": "SNI_ONLY"}, {}):
        if not members:
            code = me.iot.get_registration_code()["registrationCode"]
            members = {"verificationCertificate": issue(one_more, code)}
        refused(LIMIT, me.iot.register_ca_certificate, caCertificate=one_more.pem, **members)
    register_ca(me.iot, own_ca(f"{name}x"))
    register_ca(me.elsewhere(), one_more, certificateMode="SNI_ONLY")
    first = own_ca(name)
    victim = items(me.iot.list_ca_certificates(pageSize=1))[0]
    me.iot.update_ca_certificate(certificateId=victim, newStatus="INACTIVE")
    me.iot.delete_ca_certificate(certificateId=victim)  # the newest, of the other name
    refused(LIMIT, me.iot.register_ca_certificate, caCertificate=first.pem, certificateMode="SNI_ONLY")


def test_the_same_ca_in_two_accounts(server: Server) -> None:
    one, two = tenant(server), tenant(server)
    ca, shared = own_ca(), own_ca()
    register_ca(one.iot, ca)
    proof = issue(ca, two.iot.get_registration_code()["registrationCode"])
    found = refused(EXISTS, two.iot.register_ca_certificate, caCertificate=ca.pem, verificationCertificate=proof)
    assert one.account not in str(found.response), "not whose it is"
    assert two.arn(ca.id, "cacert") == found.response["resourceArn"]
    refused(NOT_FOUND, two.iot.describe_ca_certificate, certificateId=ca.id)
    register_ca(two.elsewhere(), ca)  # another region is another world
    for each in (one, two):
        register_ca(each.iot, shared, certificateMode="SNI_ONLY")
    one.iot.update_ca_certificate(certificateId=shared.id, newStatus="INACTIVE")
    assert "ACTIVE" == described(two.iot, shared.id)["status"]


def test_templates_that_cannot_be_are_refused_and_never_left_out(me: Tenant) -> None:
    """One that is not there is not found; one that is none, a half and both at once are invalid."""
    ca = own_ca()
    proof = issue(ca, me.iot.get_registration_code()["registrationCode"])
    call = {"caCertificate": ca.pem, "verificationCertificate": proof}
    kept = register_ca(me.iot, own_ca())["certificateId"]
    for config, expected in (
        ({"templateName": "none"}, NOT_FOUND),
        ({"templateBody": "{}", "roleArn": ROLE}, INVALID),
        ({"templateName": "none", "templateBody": TEMPLATE_BODY, "roleArn": ROLE}, INVALID),
        ({"templateBody": TEMPLATE_BODY}, INVALID),
        ({"roleArn": ROLE}, INVALID),
        ({"templateBody": "x" * 10241, "roleArn": ROLE}, INVALID),
        ({"templateName": "x" * 37}, INVALID),
        ({"templateName": "no spaces"}, INVALID),
    ):
        refused(expected, me.lax.register_ca_certificate, **call, registrationConfig=config)
        refused(expected, me.lax.update_ca_certificate, certificateId=kept, registrationConfig=config)
    refused(INVALID, me.iot.register_ca_certificate, **call, tags=[{"Key": "aws:a", "Value": "b"}])
    refused(NOT_FOUND, me.iot.describe_ca_certificate, certificateId=ca.id)
    me.iot.register_ca_certificate(**call, registrationConfig={}, tags=[])
    config = {"templateBody": TEMPLATE_BODY, "roleArn": ROLE}
    me.iot.update_ca_certificate(certificateId=kept, registrationConfig=config)
    assert config == me.iot.describe_ca_certificate(certificateId=kept)["registrationConfig"]


# --- changes


def test_updates_change_what_they_name(iot: Any) -> None:
    made = register_ca(iot, own_ca(), setAsActive=False)["certificateId"]
    before = described(iot, made)
    assert {} == body_of(iot.update_ca_certificate(certificateId=made))
    assert before == described(iot, made)
    for members, changed in (
        ({"newStatus": "ACTIVE"}, {"status": "ACTIVE"}),
        ({"newAutoRegistrationStatus": "ENABLE"}, {"autoRegistrationStatus": "ENABLE"}),
        ({"removeAutoRegistration": True}, {}),
        (
            {"newStatus": "INACTIVE", "newAutoRegistrationStatus": "DISABLE"},
            {"status": "INACTIVE", "autoRegistrationStatus": "DISABLE"},
        ),
        ({"newStatus": "INACTIVE"}, {}),
    ):
        before = described(iot, made)
        assert {} == body_of(iot.update_ca_certificate(certificateId=made, **members))
        after = described(iot, made)
        assert bool(changed) == (before.pop("lastModifiedDate") < after.pop("lastModifiedDate"))
        assert before | changed == after


def test_updates_that_are_none(iot: Any) -> None:
    made = register_ca(iot, own_ca())["certificateId"]
    for text in ("REVOKED", "active", "PENDING_TRANSFER", ""):
        refused(INVALID, iot.update_ca_certificate, certificateId=made, newStatus=text)
    for text in ("ACTIVE", "enable", ""):
        refused(INVALID, iot.update_ca_certificate, certificateId=made, newAutoRegistrationStatus=text)
    refused(NOT_FOUND, iot.update_ca_certificate, certificateId=UNKNOWN, newStatus="ACTIVE")
    refused(NOT_FOUND, iot.update_ca_certificate, certificateId=UNKNOWN)


def test_deletion_waits_for_deactivation_and_leaves_devices(iot: Any) -> None:
    ca = own_ca()
    register_ca(iot, ca, allowAutoRegistration=True)
    device = iot.register_certificate(certificatePem=issue(ca), status="ACTIVE")["certificateId"]
    refused(STATE, iot.delete_ca_certificate, certificateId=ca.id)
    iot.update_ca_certificate(certificateId=ca.id.upper(), newStatus="INACTIVE")
    assert {} == body_of(iot.delete_ca_certificate(certificateId=ca.id.upper()))
    refused(NOT_FOUND, iot.delete_ca_certificate, certificateId=ca.id)
    refused(NOT_FOUND, iot.describe_ca_certificate, certificateId=ca.id)
    found = iot.describe_certificate(certificateId=device)["certificateDescription"]
    assert ("ACTIVE", ca.id) == (found["status"], found["caCertificateId"])
    assert [device] == items(iot.list_certificates_by_ca(caCertificateId=ca.id.upper()))
    refused(VALIDATION, iot.register_certificate, certificatePem=issue(ca))
    assert ca.id == register_ca(iot, ca)["certificateId"], "deleted is not forbidden"
    assert [device] == items(iot.list_certificates_by_ca(caCertificateId=ca.id))


def test_a_device_certificate_and_a_ca_do_not_answer_for_each_other(iot: Any) -> None:
    ca = register_ca(iot, own_ca())["certificateId"]
    device = iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"]
    refused(NOT_FOUND, iot.describe_certificate, certificateId=ca)
    refused(NOT_FOUND, iot.update_certificate, certificateId=ca, newStatus="REVOKED")
    refused(NOT_FOUND, iot.transfer_certificate, certificateId=ca, targetAwsAccount="123456789012")
    refused(NOT_FOUND, iot.describe_ca_certificate, certificateId=device)
    refused(NOT_FOUND, iot.delete_ca_certificate, certificateId=device)


def test_lists_by_template_and_by_ca(me: Tenant) -> None:
    register_ca(me.iot, own_ca())
    assert {"certificates": []} == body_of(me.iot.list_ca_certificates(templateName="none"))
    assert {"certificates": []} == body_of(me.iot.list_certificates_by_ca(caCertificateId=UNKNOWN))
    refused(INVALID, me.lax.list_ca_certificates, templateName="no spaces")
    for text in ("a" * 63, "g" * 64):
        refused(INVALID, me.lax.list_certificates_by_ca, caCertificateId=text)


# --- endpoints


def test_an_endpoint_is_one_per_account_and_region_and_never_changes(server: Server) -> None:
    one, two = tenant(server), tenant(server)
    names = []
    for client, region in ((one.iot, "us-east-1"), (one.elsewhere(), "eu-west-1"), (two.iot, "us-east-1")):
        answer = body_of(client.describe_endpoint(endpointType="iot:Data-ATS"))
        assert {"endpointAddress"} == answer.keys()
        assert re.fullmatch(rf"[a-z][a-z0-9]{{12,13}}-ats\.iot\.{region}\.localhost", answer["endpointAddress"])
        assert answer == body_of(client.describe_endpoint(endpointType="iot:Data-ATS"))
        names.append(answer["endpointAddress"])
        credentials = client.describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"]
        prefix = answer["endpointAddress"].split("-ats.")[0]
        assert f"{prefix}.credentials.iot.{region}.localhost" == credentials
        jobs = client.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"]
        assert f"{prefix}.jobs.iot.{region}.localhost" == jobs
        # As AWS: without a type iot:Data is meant, which is retired.
        refused(INVALID, client.describe_endpoint)
    assert 3 == len(set(names))


@pytest.mark.parametrize("kind", ["", "iot:Abc", "iot:data-ats", "iot:Data", "iot:Data-ATS ", "x" * 129])
def test_endpoint_types_that_are_none(me: Tenant, kind: str) -> None:
    refused(INVALID, me.lax.describe_endpoint, endpointType=kind)
