"""Device certificates as the model, the documentation and recorded behaviour have them, through an unmodified boto3."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtensionOID, NameOID
from tests.support.device import ALLOW_ALL
from tests.support.server import Server
from tests.support.strict import (
    CONFLICT,
    DELETE_CONFLICT,
    EXISTS,
    INVALID,
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
    request,
    tenant,
)

UNKNOWN = "ab" * 32
DESCRIPTION = {
    "certificateArn",
    "certificateId",
    "status",
    "certificatePem",
    "ownedBy",
    "creationDate",
    "lastModifiedDate",
    "customerVersion",
    "transferData",
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
    answer = iot.describe_certificate(certificateId=certificate_id)
    assert {"certificateDescription"} == body_of(answer).keys()
    return dict(answer["certificateDescription"])


def status(iot: Any, certificate_id: str) -> str:
    return str(described(iot, certificate_id)["status"])


def registered(iot: Any, **members: Any) -> str:
    return str(iot.register_certificate_without_ca(certificatePem=leaf(), **members)["certificateId"])


# --- issued by the service


def test_keys_and_certificate(iot: Any, me: Tenant) -> None:
    before = dt.datetime.now(dt.UTC)
    made = body_of(iot.create_keys_and_certificate())
    after = dt.datetime.now(dt.UTC)
    assert {"certificateArn", "certificateId", "certificatePem", "keyPair"} == made.keys()
    assert {"PublicKey", "PrivateKey"} == made["keyPair"].keys()
    assert made["keyPair"]["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert made["keyPair"]["PrivateKey"].endswith("-----END RSA PRIVATE KEY-----\n")
    assert made["keyPair"]["PublicKey"].startswith("-----BEGIN PUBLIC KEY-----\n")
    assert made["certificatePem"].endswith("-----END CERTIFICATE-----\n")
    cert = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    assert hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).hexdigest() == made["certificateId"]
    assert me.arn(made["certificateId"]) == made["certificateArn"]
    assert (2048, 65537) == (cert.public_key().key_size, cert.public_key().public_numbers().e)  # type: ignore[union-attr]
    assert "CN=AWS IoT Certificate" == cert.subject.rfc4514_string()
    assert dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC) == cert.not_valid_after_utc

    found = described(iot, made["certificateId"])
    assert DESCRIPTION == found.keys()
    assert before <= found["creationDate"].astimezone(dt.UTC) + dt.timedelta(milliseconds=1)
    assert found["creationDate"] <= after
    lead = found["creationDate"] - cert.not_valid_before_utc
    assert dt.timedelta(seconds=119) <= lead <= dt.timedelta(seconds=121), "120 s, whole seconds"
    assert "sha256WithRSAEncryption" == cert.signature_algorithm_oid._name
    assert [
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
    ] == [extension.oid for extension in cert.extensions]
    assert ("INACTIVE", made["certificatePem"], me.account, 1, {}, "DEFAULT") == (
        found["status"],
        found["certificatePem"],
        found["ownedBy"],
        found["customerVersion"],
        found["transferData"],
        found["certificateMode"],
    )
    assert str(uuid.UUID(found["generationId"])) == found["generationId"]
    assert {"notBefore": cert.not_valid_before_utc, "notAfter": cert.not_valid_after_utc} == found["validity"]


@pytest.mark.parametrize(("asked", "expected"), [(True, "ACTIVE"), (False, "INACTIVE")])
def test_issued_active_only_when_asked(iot: Any, asked: bool, expected: str) -> None:
    made = iot.create_keys_and_certificate(setAsActive=asked)
    assert expected == status(iot, made["certificateId"])
    name = x509.NameAttribute(NameOID.COMMON_NAME, "x")
    made = iot.create_certificate_from_csr(certificateSigningRequest=request(name), setAsActive=asked)
    assert {"certificateArn", "certificateId", "certificatePem"} == body_of(made).keys()
    assert expected == status(iot, made["certificateId"])


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521"])
def test_a_request_keeps_its_subject_and_loses_its_extensions(iot: Any, kind: str) -> None:
    names = [
        x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.com"),
        x509.NameAttribute(NameOID.COMMON_NAME, "first"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ünïts"),
        x509.NameAttribute(NameOID.COMMON_NAME, "second"),
    ]
    text = request(*names, kind=kind, extended=True)
    asked = x509.load_pem_x509_csr(text.encode())
    one, two = [iot.create_certificate_from_csr(certificateSigningRequest=text) for _ in range(2)]
    assert one["certificateId"] != two["certificateId"], "no idempotency"
    cert = x509.load_pem_x509_certificate(one["certificatePem"].encode())
    assert asked.subject.public_bytes() == cert.subject.public_bytes()
    assert asked.public_key() == cert.public_key()
    assert "sha256WithRSAEncryption" == cert.signature_algorithm_oid._name, "whatever the subject's key"
    assert ExtensionOID.SUBJECT_ALTERNATIVE_NAME not in [extension.oid for extension in cert.extensions]
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_request_that_is_none_is_invalid(me: Tenant) -> None:
    for text in ("x", leaf(), "", "x" * 4097):
        refused(INVALID, me.lax.create_certificate_from_csr, certificateSigningRequest=text)
    refused(INVALID, me.lax.create_certificate_from_csr)


# --- registered


def test_registered_without_a_ca_as_it_was_given(iot: Any, me: Tenant) -> None:
    pem = leaf()
    wrapped = "\n" + pem.replace("\n", "\r\n") + "\n"
    made = iot.register_certificate_without_ca(certificatePem=wrapped)
    expected = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
    assert {"certificateId": expected, "certificateArn": me.arn(expected)} == body_of(made)
    found = described(iot, expected)
    assert DESCRIPTION == found.keys(), "neither caCertificateId nor previousOwnedBy"
    assert (wrapped, "SNI_ONLY", "INACTIVE") == (found["certificatePem"], found["certificateMode"], found["status"])
    assert found["creationDate"] == found["lastModifiedDate"]


@pytest.mark.parametrize("status_", ["ACTIVE", "INACTIVE", "REVOKED"])
def test_registered_with_a_status(iot: Any, status_: str) -> None:
    assert status_ == status(iot, registered(iot, status=status_))


@pytest.mark.parametrize("operation", ["register_certificate", "register_certificate_without_ca"])
def test_the_same_certificate_twice_whichever_way_it_came(iot: Any, me: Tenant, operation: str) -> None:
    issued = iot.create_keys_and_certificate()
    pem = leaf()
    given = iot.register_certificate_without_ca(certificatePem=pem)
    for text, made in ((issued["certificatePem"], issued), (pem, given), (pem.replace("\n", "\r\n"), given)):
        found = refused(EXISTS, getattr(iot, operation), certificatePem=text)
        assert "The certificate is already provisioned or registered" == found.message
        assert (made["certificateId"], made["certificateArn"]) == (
            found.response["resourceId"],
            found.response["resourceArn"],
        )


@pytest.mark.parametrize("operation", ["register_certificate", "register_certificate_without_ca"])
def test_statuses_that_are_none_to_register_with(me: Tenant, operation: str) -> None:
    call = getattr(me.iot, operation)
    found = refused(STATE, call, certificatePem=leaf(), status="PENDING_ACTIVATION")
    assert "Not allowed to register certificate with PENDING_ACTIVATION status" == found.message
    refused(STATE, call, certificatePem=leaf(), status="PENDING_TRANSFER")
    refused(INVALID, call, certificatePem=leaf(), status="REGISTER_INACTIVE")
    for text in ("active", "GONE", ""):
        refused(INVALID, call, certificatePem=leaf(), status=text)
    for text in ("", "x" * 65537):
        refused(INVALID, getattr(me.lax, operation), certificatePem=text)
    refused(INVALID, getattr(me.lax, operation))


def test_registering_under_a_ca_in_the_order_of_its_rules(iot: Any, me: Tenant) -> None:
    """One leaf breaks every rule; each is lifted in turn and the next one answers."""
    ca, stranger = own_ca(), own_ca()
    pem = issue(ca)
    bad = {"certificatePem": pem, "status": "PENDING_ACTIVATION", "caCertificatePem": stranger.pem}
    refused(STATE, iot.register_certificate, **bad)
    bad["status"] = "ACTIVE"
    refused(VALIDATION, iot.register_certificate, **bad)  # a CA that is not registered
    register_ca(iot, stranger)
    refused(VALIDATION, iot.register_certificate, **bad)  # and did not sign
    del bad["caCertificatePem"]
    refused(VALIDATION, iot.register_certificate, **bad)  # the signer is not registered
    ca_id = register_ca(iot, ca, setAsActive=False)["certificateId"]
    refused(STATE, iot.register_certificate, **bad)
    iot.update_ca_certificate(certificateId=ca_id, newStatus="ACTIVE")
    made = iot.register_certificate(**bad)
    found = described(iot, made["certificateId"])
    assert DESCRIPTION | {"caCertificateId"} == found.keys()
    assert (ca_id, "ACTIVE", "DEFAULT", pem) == (
        found["caCertificateId"],
        found["status"],
        found["certificateMode"],
        found["certificatePem"],
    )
    # what is there already answers before anything else that is wrong
    refused(EXISTS, iot.register_certificate, certificatePem=pem, status="PENDING_ACTIVATION")
    assert [made["certificateId"]] == items(iot.list_certificates_by_ca(caCertificateId=ca_id))


def test_the_deprecated_set_as_active(iot: Any) -> None:
    ca = own_ca()
    register_ca(iot, ca)
    for asked, expected in ((True, "ACTIVE"), (False, "INACTIVE"), (None, "INACTIVE")):
        members = {} if asked is None else {"setAsActive": asked}
        made = iot.register_certificate(certificatePem=issue(ca), **members)
        assert expected == status(iot, made["certificateId"])
    refused(INVALID, iot.register_certificate, certificatePem=issue(ca), setAsActive=True, status="INACTIVE")


def test_the_issuing_ca_is_meant_not_one_above_it(iot: Any) -> None:
    root = own_ca()
    middle = own_ca(parent=root)
    register_ca(iot, root)
    pem = issue(middle)
    refused(VALIDATION, iot.register_certificate, certificatePem=pem)
    refused(VALIDATION, iot.register_certificate, certificatePem=pem, caCertificatePem=root.pem)
    register_ca(iot, middle)
    iot.register_certificate(certificatePem=pem)


def test_cas_of_one_name_and_key_have_to_be_told_apart(iot: Any) -> None:
    one = own_ca()
    two = own_ca(one.name, key=one.key)
    for ca in (one, two):
        register_ca(iot, ca)
    pem = issue(one)
    refused(CONFLICT, iot.register_certificate, certificatePem=pem)
    made = iot.register_certificate(certificatePem=pem, caCertificatePem=two.pem)
    assert two.id == described(iot, made["certificateId"])["caCertificateId"]


def test_cas_of_one_name_and_different_keys_are_told_apart_by_the_signature(iot: Any) -> None:
    one = own_ca()
    two = own_ca(one.name)
    for ca in (one, two):
        register_ca(iot, ca)
    made = iot.register_certificate(certificatePem=issue(two))
    assert two.id == described(iot, made["certificateId"])["caCertificateId"]


# --- status

REFUSED_UPDATES = {
    "ACTIVE": {"PENDING_TRANSFER", "PENDING_ACTIVATION"},
    "INACTIVE": {"PENDING_TRANSFER", "PENDING_ACTIVATION"},
    "REVOKED": {"ACTIVE", "INACTIVE", "PENDING_TRANSFER", "PENDING_ACTIVATION"},
    "PENDING_TRANSFER": {"ACTIVE", "INACTIVE", "REVOKED", "PENDING_TRANSFER", "PENDING_ACTIVATION"},
}


@pytest.mark.parametrize("start", REFUSED_UPDATES)
def test_every_update_from_every_status_that_a_caller_can_reach(server: Server, iot: Any, start: str) -> None:
    for wanted in ("ACTIVE", "INACTIVE", "REVOKED", "PENDING_TRANSFER", "PENDING_ACTIVATION", "REGISTER_INACTIVE"):
        if start == "PENDING_TRANSFER":
            made = registered(iot)
            iot.transfer_certificate(certificateId=made, targetAwsAccount=server.ready["account"])
        else:
            made = registered(iot, status=start)
        before = described(iot, made)
        if wanted == "REGISTER_INACTIVE":
            refused(INVALID, iot.update_certificate, certificateId=made, newStatus=wanted)
        elif wanted in REFUSED_UPDATES[start]:
            refused(STATE, iot.update_certificate, certificateId=made, newStatus=wanted)
        else:
            assert {} == body_of(iot.update_certificate(certificateId=made, newStatus=wanted))
            after = described(iot, made)
            assert wanted == after["status"]
            assert (wanted == start) == (before["lastModifiedDate"] == after["lastModifiedDate"]), "same is no change"
            assert {n: before[n] for n in ("creationDate", "generationId", "customerVersion")} == {
                n: after[n] for n in ("creationDate", "generationId", "customerVersion")
            }
            continue
        assert before == described(iot, made), "a refusal changes nothing"


def test_updates_that_are_none(me: Tenant) -> None:
    made = registered(me.iot)
    for text in ("active", "", "GONE"):
        refused(INVALID, me.lax.update_certificate, certificateId=made, newStatus=text)
    refused(INVALID, me.lax.update_certificate, certificateId=made)
    refused(NOT_FOUND, me.iot.update_certificate, certificateId=UNKNOWN, newStatus="ACTIVE")


ID_CALLS: dict[str, dict[str, Any]] = {
    "describe_certificate": {},
    "delete_certificate": {},
    "update_certificate": {"newStatus": "INACTIVE"},
    "transfer_certificate": {"targetAwsAccount": "123456789012"},
    "accept_certificate_transfer": {},
    "reject_certificate_transfer": {},
    "cancel_certificate_transfer": {},
    "describe_ca_certificate": {},
    "update_ca_certificate": {"newStatus": "INACTIVE"},
    "delete_ca_certificate": {},
}


@pytest.mark.parametrize("operation", ID_CALLS)
def test_an_id_is_64_hex_digits(me: Tenant, operation: str) -> None:
    call, members = getattr(me.lax, operation), ID_CALLS[operation]
    for text in ("a" * 63, "a" * 65, "g" * 64, "0x" + "a" * 62, " " + "a" * 63, "a" * 63 + "\u0663", "A" * 63 + "\n"):
        refused(INVALID, call, certificateId=text, **members)
    refused(NOT_FOUND, call, certificateId=UNKNOWN, **members)
    refused(NOT_FOUND, call, certificateId=UNKNOWN.upper(), **members)


def test_an_id_in_upper_case_is_the_same_id(iot: Any, server: Server) -> None:
    made = registered(iot)
    upper = made.upper()
    assert upper != made
    assert made == described(iot, upper)["certificateId"]
    iot.update_certificate(certificateId=upper, newStatus="ACTIVE")
    assert "ACTIVE" == status(iot, made)
    iot.update_certificate(certificateId=upper, newStatus="INACTIVE")
    arn = iot.transfer_certificate(certificateId=upper, targetAwsAccount=server.ready["account"])
    assert arn["transferredCertificateArn"].endswith(f"cert/{made}")
    iot.cancel_certificate_transfer(certificateId=upper)
    assert {} == body_of(iot.delete_certificate(certificateId=upper))
    refused(NOT_FOUND, iot.delete_certificate, certificateId=made)


# --- deletion


@pytest.mark.parametrize("force", [True, False, None])
def test_deletion_in_the_order_and_with_the_texts_observed(iot: Any, me: Tenant, force: bool | None) -> None:
    made = registered(iot, status="ACTIVE")
    arn = me.arn(made)
    thing, policy = f"thing-{uuid.uuid4().hex}", f"policy-{uuid.uuid4().hex}"
    iot.create_thing(thingName=thing)
    iot.create_policy(policyName=policy, policyDocument=json.dumps(ALLOW_ALL))
    iot.attach_thing_principal(thingName=thing, principal=arn)
    iot.attach_policy(policyName=policy, target=arn)
    call: dict[str, Any] = {"certificateId": made} | ({} if force is None else {"forceDelete": force})
    found = refused(STATE, iot.delete_certificate, **call)
    assert f"Certificate must be deactivated (not ACTIVE) before deletion. Id: {made}" == found.message
    iot.update_certificate(certificateId=made, newStatus="INACTIVE")
    found = refused(DELETE_CONFLICT, iot.delete_certificate, **call)
    assert f"Things must be detached before deletion (arn: {arn})" == found.message
    iot.detach_thing_principal(thingName=thing, principal=arn)
    if not force:
        found = refused(DELETE_CONFLICT, iot.delete_certificate, **call)
        assert f"Certificate policies must be detached before deletion (arn: {arn})" == found.message
        iot.detach_policy(policyName=policy, target=arn)
    assert {} == body_of(iot.delete_certificate(**call))
    refused(NOT_FOUND, iot.delete_certificate, **call)
    refused(NOT_FOUND, iot.describe_certificate, certificateId=made)
    assert [] == iot.list_targets_for_policy(policyName=policy)["targets"]


def test_what_was_deleted_is_registered_anew(iot: Any) -> None:
    pem = leaf()
    first = iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")["certificateId"]
    before = described(iot, first)
    iot.update_certificate(certificateId=first, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=first)
    assert first == iot.register_certificate_without_ca(certificatePem=pem)["certificateId"]
    after = described(iot, first)
    assert ("INACTIVE", 1) == (after["status"], after["customerVersion"])
    assert before["generationId"] != after["generationId"]
    assert before["creationDate"] < after["creationDate"]


def test_revoked_and_deleted_stays_revoked(iot: Any) -> None:
    pem = leaf()
    made = iot.register_certificate_without_ca(certificatePem=pem, status="REVOKED")["certificateId"]
    iot.delete_certificate(certificateId=made)
    for wanted in ("ACTIVE", "INACTIVE", "REVOKED"):
        found = refused(STATE, iot.register_certificate_without_ca, certificatePem=pem, status=wanted)
        assert re.search("revoked", found.message)


# --- listing


def test_a_list_item_and_an_empty_list(server: Server) -> None:
    alone = tenant(server)
    assert {"certificates": []} == body_of(alone.iot.list_certificates())
    assert {"certificates": []} == body_of(alone.iot.list_certificates_by_ca(caCertificateId=UNKNOWN))
    assert {"outgoingCertificates": []} == body_of(alone.iot.list_outgoing_certificates())
    made = registered(alone.iot, status="ACTIVE")
    (item,) = alone.iot.list_certificates()["certificates"]
    found = described(alone.iot, made)
    names = ("certificateArn", "certificateId", "status", "certificateMode", "creationDate")
    assert {name: found[name] for name in names} == item
