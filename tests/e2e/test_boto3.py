"""The control plane through an unmodified boto3."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from tests.support.device import ALLOW_ALL, create_device, private_key, self_signed
from tests.support.mqtt import v5
from tests.support.server import Server


def code_of(call: Any, **members: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    assert re.fullmatch(r"[0-9a-f-]{36}", response["ResponseMetadata"]["RequestId"])
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def csr(key: Any, *names: x509.NameAttribute) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def test_keys_and_certificate_are_made_described_listed_and_deleted(iot: Any, server: Server) -> None:
    made = iot.create_keys_and_certificate(setAsActive=True)
    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert hashlib.sha256(der).hexdigest() == made["certificateId"]
    assert f"arn:aws:iot:us-east-1:{server.ready['account']}:cert/{made['certificateId']}" == made["certificateArn"]
    key = serialization.load_pem_private_key(made["keyPair"]["PrivateKey"].encode(), None)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public = certificate.public_key().public_bytes(serialization.Encoding.PEM, spki)
    assert public == key.public_key().public_bytes(serialization.Encoding.PEM, spki)
    assert public.decode() == made["keyPair"]["PublicKey"]

    described = iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
    assert "ACTIVE" == described["status"]
    assert made["certificatePem"] == described["certificatePem"]
    assert {} == described["transferData"]
    assert "DEFAULT" == described["certificateMode"]
    assert certificate.not_valid_after_utc == described["validity"]["notAfter"]
    assert made["certificateId"] in {c["certificateId"] for c in iot.list_certificates(pageSize=250)["certificates"]}

    assert code_of(iot.delete_certificate, certificateId=made["certificateId"], forceDelete=True) == (
        "CertificateStateException",
        406,
    )
    iot.update_certificate(certificateId=made["certificateId"], newStatus="INACTIVE")
    iot.delete_certificate(certificateId=made["certificateId"])
    assert code_of(iot.describe_certificate, certificateId=made["certificateId"]) == ("ResourceNotFoundException", 404)


def test_the_private_key_is_nowhere_on_the_server(iot: Any, server: Server) -> None:
    made = iot.create_keys_and_certificate(setAsActive=True)
    lines = made["keyPair"]["PrivateKey"].splitlines()
    needle = lines[len(lines) // 2].encode()
    holders = [p for p in server.data_dir.rglob("*") if p.is_file() and needle in p.read_bytes()]
    assert [] == holders
    assert needle not in server.log.read_bytes()


def test_a_csr_gives_a_certificate_with_its_subject_and_key_twice_two_certificates(iot: Any) -> None:
    key = private_key("p384")
    request = csr(
        key,
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Pumps"),
        x509.NameAttribute(NameOID.COMMON_NAME, "pump 7"),
    )
    first = iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
    second = iot.create_certificate_from_csr(certificateSigningRequest=request)
    assert first["certificateId"] != second["certificateId"]
    certificate = x509.load_pem_x509_certificate(first["certificatePem"].encode())
    assert "CN=pump 7,O=Pumps" == certificate.subject.rfc4514_string()
    assert key.public_key() == certificate.public_key()
    assert (
        iot.describe_certificate(certificateId=second["certificateId"])["certificateDescription"]["status"]
        == "INACTIVE"
    )


@pytest.mark.parametrize("kind", ["rsa1024", "secp256k1"])
def test_a_csr_with_a_weak_or_foreign_key_is_refused(iot: Any, kind: str) -> None:
    request = csr(private_key(kind), x509.NameAttribute(NameOID.COMMON_NAME, "weak"))
    assert code_of(iot.create_certificate_from_csr, certificateSigningRequest=request) == (
        "InvalidRequestException",
        400,
    )


def test_a_csr_with_a_bad_self_signature_is_refused(iot: Any) -> None:
    request = x509.load_pem_x509_csr(csr(private_key(), x509.NameAttribute(NameOID.COMMON_NAME, "x")).encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-3] ^= 0x01
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    assert code_of(iot.create_certificate_from_csr, certificateSigningRequest=forged) == (
        "InvalidRequestException",
        400,
    )


def test_registering_the_same_certificate_twice_names_the_first(iot: Any) -> None:
    pem = self_signed()[0].decode()
    made = iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as caught:
        iot.register_certificate_without_ca(certificatePem=pem.replace("\n", "\r\n"))
    assert made["certificateId"] == caught.value.response["resourceId"]
    assert made["certificateArn"] == caught.value.response["resourceArn"]
    described = iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
    assert "SNI_ONLY" == described["certificateMode"]


def test_revoked_is_final(iot: Any) -> None:
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.update_certificate(certificateId=made["certificateId"], newStatus="REVOKED")
    iot.update_certificate(certificateId=made["certificateId"], newStatus="REVOKED")
    for status in ("ACTIVE", "INACTIVE"):
        assert code_of(iot.update_certificate, certificateId=made["certificateId"], newStatus=status) == (
            "CertificateStateException",
            406,
        )


def test_deletion_waits_for_things_and_policies(iot: Any) -> None:
    made = iot.create_keys_and_certificate(setAsActive=False)
    arn, certificate_id = made["certificateArn"], made["certificateId"]
    thing, policy = f"thing-{uuid.uuid4().hex}", f"policy-{uuid.uuid4().hex}"
    iot.create_thing(thingName=thing)
    iot.create_policy(policyName=policy, policyDocument=json.dumps(ALLOW_ALL))
    iot.attach_policy(policyName=policy, target=arn)
    iot.attach_thing_principal(thingName=thing, principal=arn)
    assert [arn] == iot.list_thing_principals(thingName=thing)["principals"]
    assert [thing] == iot.list_principal_things(principal=arn)["things"]
    assert [policy] == [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]]
    assert [arn] == iot.list_targets_for_policy(policyName=policy)["targets"]
    assert code_of(iot.delete_policy, policyName=policy) == ("DeleteConflictException", 409)
    assert code_of(iot.delete_thing, thingName=thing) == ("InvalidRequestException", 400)
    assert code_of(iot.delete_certificate, certificateId=certificate_id) == ("DeleteConflictException", 409)
    iot.detach_thing_principal(thingName=thing, principal=arn)
    assert code_of(iot.delete_certificate, certificateId=certificate_id) == ("DeleteConflictException", 409)
    iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
    iot.delete_policy(policyName=policy)
    iot.delete_thing(thingName=thing)
    iot.delete_thing(thingName=thing)


def test_policy_names_with_every_legal_character_travel(iot: Any) -> None:
    name = f"a+b=c,d.e@f-{uuid.uuid4().hex}"
    iot.create_policy(policyName=name, policyDocument=json.dumps(ALLOW_ALL))
    got = iot.get_policy(policyName=name)
    assert (name, "1", ALLOW_ALL) == (got["policyName"], got["defaultVersionId"], json.loads(got["policyDocument"]))
    assert code_of(iot.create_policy, policyName=name, policyDocument=json.dumps(ALLOW_ALL)) == (
        "ResourceAlreadyExistsException",
        409,
    )
    iot.delete_policy(policyName=name)
    assert code_of(iot.get_policy, policyName=name) == ("ResourceNotFoundException", 404)


@pytest.mark.parametrize(
    "document",
    [
        "not json",
        "{}",
        '{"Version":"2012-10-17","Statement":[{"Effect":"Maybe","Action":"iot:Connect","Resource":"*"}]}',
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*",'
        '"Condition":{"Bool":{"iot:Connection.Thing.IsAtached":"true"}}}]}',
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","NotPrincipal":"*","Resource":"*"}]}',
    ],
)
def test_a_document_that_would_not_be_obeyed_is_refused(iot: Any, document: str) -> None:
    assert code_of(iot.create_policy, policyName=f"bad-{uuid.uuid4().hex}", policyDocument=document) == (
        "MalformedPolicyException",
        400,
    )


def test_pages_survive_inserts(iot: Any) -> None:
    names = {f"page-{uuid.uuid4().hex}" for _ in range(7)}
    for name in names:
        iot.create_thing(thingName=name)
    seen: list[str] = []
    for page in iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 3}):
        seen += [t["thingName"] for t in page["things"]]
        if len(seen) <= 3:
            iot.create_thing(thingName=f"page-{uuid.uuid4().hex}")
    assert names <= set(seen)
    assert len(seen) == len(set(seen))


def test_things_are_idempotent_for_equal_and_conflict_for_other_attributes(iot: Any) -> None:
    name = f"thing-{uuid.uuid4().hex}"
    first = iot.create_thing(thingName=name, attributePayload={"attributes": {"colour": "red"}})
    again = iot.create_thing(thingName=name, attributePayload={"attributes": {"colour": "red"}})
    assert first["thingId"] == again["thingId"]
    assert code_of(iot.create_thing, thingName=name, attributePayload={"attributes": {"colour": "blue"}}) == (
        "ResourceAlreadyExistsException",
        409,
    )
    described = iot.describe_thing(thingName=name)
    assert ({"colour": "red"}, 1, name) == (
        described["attributes"],
        described["version"],
        described["defaultClientId"],
    )


def test_endpoints_are_stable_and_per_region(server: Server, iot: Any) -> None:
    address = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert server.endpoint == address == iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert re.fullmatch(r"[a-z0-9]{13,14}-ats\.iot\.us-east-1\.localhost", address)
    other = server.client(region="eu-west-1").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert re.fullmatch(r"[a-z0-9]{13,14}-ats\.iot\.eu-west-1\.localhost", other)
    assert re.fullmatch(
        r"[a-z0-9]{13,14}\.credentials\.iot\.us-east-1\.localhost",
        iot.describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"],
    )
    assert code_of(iot.describe_endpoint, endpointType="iot:Data") == ("InvalidRequestException", 400)


def test_an_operation_that_is_not_built_names_itself(iot: Any) -> None:
    with pytest.raises(ClientError) as caught:
        iot.list_jobs()
    assert "ListJobs" in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_regions_and_accounts_are_separate_worlds(server: Server, iot: Any) -> None:
    made = iot.create_keys_and_certificate(setAsActive=True)
    for other in (server.client(region="eu-west-1"), second_account(server)):
        assert code_of(other.describe_certificate, certificateId=made["certificateId"]) == (
            "ResourceNotFoundException",
            404,
        )
        assert code_of(other.update_certificate, certificateId=made["certificateId"], newStatus="INACTIVE") == (
            "ResourceNotFoundException",
            404,
        )
        assert code_of(other.delete_certificate, certificateId=made["certificateId"]) == (
            "ResourceNotFoundException",
            404,
        )
    assert iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]["status"] == "ACTIVE"


def test_a_client_is_disconnected_through_the_api(server: Server, folder: Path) -> None:
    device, data = create_device(server, folder), server.client("iot-data")
    with v5(server, device) as listener, v5(server, device, client_id="to/be gone") as client:
        listener.connect()
        listener.subscribe("gone/#")
        for topic, options in (("gone/loud", {}), ("gone/silent", {"preventWillMessage": True})):
            client.raw.will_set(topic, b"", 1)
            assert 0 == client.connect().value, "it may come back at once"
            data.delete_connection(clientId="to/be gone", **options)
            assert 0x98 == client.disconnected().value
            client.raw.loop_stop()
        assert "gone/loud" == listener.message().topic
        listener.silent_until(listener, "gone/marker")
        assert ("ResourceNotFoundException", 404) == code_of(data.delete_connection, clientId="to/be gone")
        foreign = server.client("iot-data", keys=server.account())
        missing = code_of(foreign.delete_connection, clientId=listener.client_id)
        assert ("ResourceNotFoundException", 404) == missing, "another account's"


def second_account(server: Server) -> Any:
    return server.client(keys=server.account())
