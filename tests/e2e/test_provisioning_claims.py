"""Claims of a trusted user, hooks and a certificate provider over HTTPS, and the devices that meet them."""

from __future__ import annotations

import datetime as dt
import json
import queue
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.device import Device, write
from tests.support.mqtt import Client, v5
from tests.support.own_ca import named
from tests.support.registry import ALLOW
from tests.support.server import Server
from tests.support.strict import INVALID, LIMIT, NOT_FOUND, Tenant, body_of, operator, refused, request, tenant
from tests.support.webhook_server import YES, WebhookServer, reply, webhook_server

CREATE = "$aws/certificates/create/json"
FROM_CSR = "$aws/certificates/create-from-csr/json"
BODY = {
    "Parameters": {"SerialNumber": {"Type": "String"}, "Room": {"Type": "String", "Default": "none"}},
    "Resources": {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {"ThingName": {"Ref": "SerialNumber"}, "AttributePayload": {"room": {"Ref": "Room"}}},
        },
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"},
        },
    },
}


@pytest.fixture(scope="module")
def webhook() -> Iterator[WebhookServer]:
    with webhook_server() as running:
        running.answers["/vet"] = reply(YES)
        yield running


@pytest.fixture
def side(server: Server) -> Tenant:
    return tenant(server)


def template(side: Tenant, **members: Any) -> str:
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    role = f"arn:aws:iam::{side.account}:role/provisioning"
    given = {"templateBody": json.dumps(BODY), "provisioningRoleArn": role, "enabled": True} | members
    side.iot.create_provisioning_template(templateName=name, **given)
    return name


def hook(side: Tenant, webhook: WebhookServer, path: str) -> str:
    """The ARN of a webhook of the operator's, for this account alone."""
    name = f"hook-{uuid.uuid4().hex[:8]}"
    operator(side.server).add_hook(
        hookName=name, url=webhook.url(path), caCertificates=webhook.ca_pem, accounts=[side.account]
    )
    return f"arn:aws:lambda:us-east-1:{side.account}:function:{name}"


def device_of(side: Tenant, folder: Path, made: dict[str, Any]) -> Device:
    return Device(
        name="claim",
        certificate_id=made["certificateId"],
        arn=side.arn(made["certificateId"]),
        certificate=write(folder / "claim.pem", made["certificatePem"]),
        key=write(folder / "claim.key", made["keyPair"]["PrivateKey"]),
        root=side.server.trust / "bundle.pem",
    )


def asked(client: Client, topic: str, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The reply's kind, `accepted` or `rejected`, and what it says."""
    client.publish(topic, json.dumps(document))
    message = client.message()
    assert message.topic.startswith(topic + "/")
    return message.topic.removeprefix(topic + "/"), json.loads(message.payload)


def test_a_claim_provisions_a_device_by_its_template_and_does_nothing_else(side: Tenant, folder: Path) -> None:
    iot, name = side.iot, template(side)
    made = iot.create_provisioning_claim(templateName=name)
    assert dt.timedelta(minutes=4) < made["expiration"] - dt.datetime.now(dt.UTC) <= dt.timedelta(minutes=5)
    certificate_id, arn = made["certificateId"], side.arn(made["certificateId"])
    claim = device_of(side, folder, made)
    provision = f"$aws/provisioning-templates/{name}/provision/json"
    with v5(side.server, claim, client_id="trusted-phone") as client:
        assert 0 == client.connect().value
        for topic in (CREATE, provision):
            assert [1] == client.subscribe(f"{topic}/accepted")
        assert [0x87] == client.subscribe("lamps/#")
        assert [0x87] == client.subscribe("$aws/certificates/create/#")
        kind, issued = asked(client, CREATE, {})
        assert "accepted" == kind
        kind, done = asked(
            client,
            provision,
            {
                "certificateOwnershipToken": issued["certificateOwnershipToken"],
                "parameters": {"SerialNumber": "lamp-1"},
            },
        )
        assert ("accepted", "lamp-1") == (kind, done["thingName"])
        assert 0x87 == client.publish("lamps/1", "x")
        assert {"room": "none"} == iot.describe_thing(thingName="lamp-1")["attributes"]

        # To the API the claim is nothing at all; the certificate that it got is.
        iot.create_policy(policyName="all", policyDocument=ALLOW)
        refused(NOT_FOUND, iot.describe_certificate, certificateId=certificate_id)
        refused(NOT_FOUND, iot.update_certificate, certificateId=certificate_id, newStatus="INACTIVE")
        refused(NOT_FOUND, iot.delete_certificate, certificateId=certificate_id)
        refused(NOT_FOUND, iot.attach_policy, policyName="all", target=arn)
        refused(NOT_FOUND, iot.get_effective_policies, principal=arn)
        listed = [each["certificateId"] for each in iot.list_certificates()["certificates"]]
        assert [issued["certificateId"]] == listed

        iot.update_provisioning_template(templateName=name, enabled=False)
        assert 0x87 == client.disconnected().value
    refused(INVALID, iot.create_provisioning_claim, templateName=name)
    with Client(side.server, claim) as again:
        assert "Not authorized" == again.connect().getName()
    newest, *_ = side.server.explain(certificate_id)
    assert "PROVISIONING_CLAIM_ENDED" == newest["reasons"][0]["code"]


def test_a_hook_decides_and_overrides(side: Tenant, webhook: WebhookServer, folder: Path) -> None:
    webhook.answers["/decide"] = reply(b'{"allowProvisioning": true, "parameterOverrides": {"Room": "7"}}')
    arn = hook(side, webhook, "/decide")
    name = template(side, preProvisioningHook={"payloadVersion": "2020-04-01", "targetArn": arn})
    claim = device_of(side, folder, side.iot.create_provisioning_claim(templateName=name))
    provision = f"$aws/provisioning-templates/{name}/provision/json"
    with Client(side.server, claim, client_id="phone") as client:
        client.connect()
        issued = asked(client, CREATE, {})[1]
        wanted = {
            "certificateOwnershipToken": issued["certificateOwnershipToken"],
            "parameters": {"SerialNumber": "lamp-7", "Room": "1"},
        }
        for answer in (b'{"allowProvisioning": false}', b'{"allowProvisioning": "true"}', b"no"):
            webhook.answers["/decide"], allowing = reply(answer), webhook.answers["/decide"]
            kind, why = asked(client, provision, wanted)
            webhook.answers["/decide"] = allowing
            assert "rejected" == kind
            assert "AccessDenied" in why["errorCode"].replace("ACCESS_DENIED", "AccessDenied")
        refused(NOT_FOUND, side.iot.describe_thing, thingName="lamp-7")
        webhook.calls.clear()
        assert "accepted" == asked(client, provision, wanted)[0]
    (call,) = webhook.calls
    expected = {
        "claimCertificateId": claim.certificate_id,
        "certificateId": issued["certificateId"],
        "certificatePem": issued["certificatePem"],
        "templateArn": side.arn(name, "provisioningtemplate"),
        "clientId": "phone",
        "parameters": {"SerialNumber": "lamp-7", "Room": "1"},
    }
    assert expected == call.document
    assert {"room": "7"} == side.iot.describe_thing(thingName="lamp-7")["attributes"]


def test_a_certificate_provider_signs_what_devices_ask_for(side: Tenant, webhook: WebhookServer, folder: Path) -> None:
    iot = side.iot
    members = {
        "lambdaFunctionArn": hook(side, webhook, "/sign"),
        "accountDefaultForOperations": ["CreateCertificateFromCsr"],
    }
    arn = side.arn("signer", "certificateprovider")
    made = iot.create_certificate_provider(
        certificateProviderName="signer", tags=[{"Key": "of", "Value": "me"}], **members
    )
    assert {"certificateProviderName": "signer", "certificateProviderArn": arn} == body_of(made)
    assert members.items() <= iot.describe_certificate_provider(certificateProviderName="signer").items()
    assert [body_of(made)] == iot.list_certificate_providers(ascendingOrder=True)["certificateProviders"]
    assert [{"Key": "of", "Value": "me"}] == iot.list_tags_for_resource(resourceArn=arn)["tags"]
    refused(LIMIT, iot.create_certificate_provider, certificateProviderName="second", **members)

    issuer = ec.generate_private_key(ec.SECP256R1())

    def sign(connection: Any, call: Any, _stopping: Any) -> None:
        asked_for = x509.load_pem_x509_csr(call.document["certificateSigningRequest"].encode())
        now = dt.datetime.now(dt.UTC)
        certificate = x509.CertificateBuilder(
            issuer_name=named("Factory CA"),
            subject_name=asked_for.subject,
            public_key=asked_for.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - dt.timedelta(hours=1),
            not_valid_after=now + dt.timedelta(days=30),
        ).sign(issuer, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        connection.sendall(reply(json.dumps({"certificatePem": pem}).encode()))

    webhook.answers["/sign"] = sign
    name = template(side)
    claim = device_of(side, folder, iot.create_provisioning_claim(templateName=name))
    with Client(side.server, claim) as client:
        client.connect()
        kind, issued = asked(client, FROM_CSR, {"certificateSigningRequest": request()})
        assert "accepted" == kind
        certificate = x509.load_pem_x509_certificate(issued["certificatePem"].encode())
        assert named("Factory CA") == certificate.issuer
        issuer.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        assert issued["certificateId"] == certificate.fingerprint(hashes.SHA256()).hex()

        webhook.answers["/sign"] = reply(b"{}")
        kind, why = asked(client, FROM_CSR, {"certificateSigningRequest": request()})
        assert "rejected" == kind
        assert "certificate provider" in why["errorMessage"]

        iot.delete_certificate_provider(certificateProviderName="signer")
        kind, issued = asked(client, FROM_CSR, {"certificateSigningRequest": request()})
        built_in = x509.load_pem_x509_certificate(issued["certificatePem"].encode())
        assert "Handfast Device Issuing CA" in built_in.issuer.rfc4514_string()
        with pytest.raises(queue.Empty):
            client.messages.get_nowait()
    refused(NOT_FOUND, iot.describe_certificate_provider, certificateProviderName="signer")
