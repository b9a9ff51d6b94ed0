"""Devices that provision themselves with a claim certificate, by the real SDK and by hand, against one server."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from awscrt.mqtt_request_response import ClientOptions
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.device import Device, create_device, key_pem, write
from tests.support.mqtt import Client
from tests.support.server import Server

LIMIT_S = 20
ROLE = "arn:aws:iam::123456789012:role/provisioning"
CREATE = "$aws/certificates/create"
FROM_CSR = "$aws/certificates/create-from-csr"
DEVICE_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}",
        },
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": "arn:aws:iot:*:*:topic/made/*"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/made/*"},
    ],
}
BODY = {
    "Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
    "Resources": {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {
                "ThingName": {"Fn::Join": ["", ["made-", {"Ref": "SerialNumber"}]]},
                "AttributePayload": {"serial": {"Ref": "SerialNumber"}},
            },
        },
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"},
        },
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": DEVICE_POLICY}},
    },
    "DeviceConfiguration": {"Broker": "here", "Serial": {"Ref": "SerialNumber"}},
}


def claim_policy(template: str) -> dict[str, Any]:
    """What the developer guide gives a claim, with create-from-csr, which its sample leaves out."""
    topics = [f"{CREATE}/*", f"{FROM_CSR}/*", f"$aws/provisioning-templates/{template}/provision/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": ["iot:Publish", "iot:Receive"],
                "Resource": [f"arn:aws:iot:*:*:topic/{topic}" for topic in topics],
            },
            {
                "Effect": "Allow",
                "Action": "iot:Subscribe",
                "Resource": [f"arn:aws:iot:*:*:topicfilter/{topic}" for topic in topics],
            },
        ],
    }


@pytest.fixture(scope="module")
def template(server: Server) -> str:
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    server.client().create_provisioning_template(
        templateName=name, templateBody=json.dumps(BODY), enabled=True, provisioningRoleArn=ROLE
    )
    return name


@pytest.fixture(scope="module")
def claim(server: Server, tmp_path_factory: pytest.TempPathFactory, template: str) -> Device:
    return create_device(server, tmp_path_factory.mktemp("claim"), document=claim_policy(template))


def csr() -> tuple[str, bytes]:
    """A request for a new P-256 key, and the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made in the field")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key)


@contextmanager
def identity_311(server: Server, device: Device) -> Iterator[iotidentity.IotIdentityClientV2]:
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="localhost",
        port=server.mqtt_port,
        cert_filepath=str(device.certificate),
        pri_key_filepath=str(device.key),
        ca_filepath=str(device.root),
        client_id=f"claiming-{uuid.uuid4().hex}",
        clean_session=True,
        keep_alive_secs=30,
    )
    connection.connect().result(LIMIT_S)
    client = iotidentity.IotIdentityClientV2(connection, _options())
    yield client
    del client
    connection.disconnect().result(LIMIT_S)


@contextmanager
def identity_5(server: Server, device: Device) -> Iterator[iotidentity.IotIdentityClientV2]:
    connected, stopped = threading.Event(), threading.Event()
    connection = mqtt5_client_builder.mtls_from_path(
        endpoint="localhost",
        port=server.mqtt_port,
        cert_filepath=str(device.certificate),
        pri_key_filepath=str(device.key),
        ca_filepath=str(device.root),
        client_id=f"claiming-{uuid.uuid4().hex}",
        on_lifecycle_connection_success=lambda _: connected.set(),
        on_lifecycle_stopped=lambda _: stopped.set(),
    )
    connection.start()
    assert connected.wait(LIMIT_S)
    client = iotidentity.IotIdentityClientV2(connection, _options())
    yield client
    del client
    connection.stop()
    assert stopped.wait(LIMIT_S)


def _options() -> ClientOptions:
    return ClientOptions(
        max_request_response_subscriptions=6, max_streaming_subscriptions=1, operation_timeout_in_seconds=LIMIT_S
    )


def kit(folder: Path, claim: Device, thing: str, certificate_id: str, pem: str, key: str | bytes) -> Device:
    """The files of a device that has provisioned itself."""
    return Device(
        name=thing,
        certificate_id=certificate_id,
        arn="",
        certificate=write(folder / f"{thing}.pem", pem),
        key=write(folder / f"{thing}.key", key),
        root=claim.root,
    )


def works(server: Server, device: Device) -> None:
    """The device connects with its certificate under its thing's name and hears what it says itself."""
    with Client(server, device, client_id=device.name) as client:
        assert 0 == client.connect().value
        assert [1] == client.subscribe(f"made/{device.name}")
        client.publish(f"made/{device.name}", "hello")
        assert b"hello" == client.message().payload


@pytest.mark.parametrize("identity", [identity_311, identity_5], ids=["3.1.1", "5"])
def test_the_sdk_provisions_with_keys_and_with_a_request(
    server: Server, tmp_path: Path, claim: Device, template: str, identity: Any
) -> None:
    iot = server.client()
    request, own_key = csr()
    made: list[Device] = []
    with identity(server, claim) as client:
        keys = client.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()).result(LIMIT_S)
        assert "PENDING_ACTIVATION" == status(server, keys.certificate_id)
        signed = client.create_certificate_from_csr(
            iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request)
        ).result(LIMIT_S)
        for answer, key in ((keys, keys.private_key), (signed, own_key)):
            serial = uuid.uuid4().hex[:8]
            asked = iotidentity.RegisterThingRequest(
                template_name=template,
                certificate_ownership_token=answer.certificate_ownership_token,
                parameters={"SerialNumber": serial, "AWS::IoT::Certificate::Id": claim.certificate_id},
            )
            done = client.register_thing(asked).result(LIMIT_S)
            assert (f"made-{serial}", {"Broker": "here", "Serial": serial}) == (
                done.thing_name,
                done.device_configuration,
            )
            assert "ACTIVE" == status(server, answer.certificate_id)
            made.append(kit(tmp_path, claim, done.thing_name, answer.certificate_id, answer.certificate_pem, key))
            with pytest.raises(V2ServiceException) as refused:
                client.register_thing(asked).exception(LIMIT_S)
                client.register_thing(asked).result(LIMIT_S)
            assert "InvalidCertificateOwnershipToken" == refused.value.modeled_error.error_code
    for device in made:
        works(server, device)
        assert {"serial": device.name.removeprefix("made-")} == iot.describe_thing(thingName=device.name)["attributes"]
    assert "ACTIVE" == status(server, claim.certificate_id)


def status(server: Server, certificate_id: str) -> str:
    described = server.client().describe_certificate(certificateId=certificate_id)
    return str(described["certificateDescription"]["status"])
