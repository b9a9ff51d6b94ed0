"""RegisterThing as the tutorials use it, with a device that connects; and kill -9 in the middle of many of them."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.device import Device, key_pem, write
from tests.support.mqtt import Client
from tests.support.server import Server, start
from tests.support.strict import leaf, tenant

DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:*",
            "Resource": [
                "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}",
                "arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}/*",
            ],
        }
    ],
}
THING = {
    "Type": "AWS::IoT::Thing",
    "Properties": {
        "ThingName": {"Ref": "ThingName"},
        "AttributePayload": {"version": "v1", "serialNumber": {"Ref": "SerialNumber"}},
    },
}
POLICY = {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": json.dumps(DOCUMENT)}}


def template(**certificate: Any) -> str:
    """The developer guide's, with a certificate of these properties."""
    names = ("ThingName", "SerialNumber", *(each["Ref"] for each in certificate.values() if isinstance(each, dict)))
    return json.dumps(
        {
            "Parameters": {name: {"Type": "String"} for name in names},
            "Resources": {
                "thing": THING,
                "certificate": {
                    "Type": "AWS::IoT::Certificate",
                    "Properties": certificate,
                    "OverrideSettings": {"Status": "REPLACE"},
                },
                "policy": POLICY,
            },
        }
    )


def test_a_device_with_a_request_is_registered_and_connects(server: Server, tmp_path: Path) -> None:
    iot = server.client()
    name = f"lamp-{uuid.uuid4().hex[:8]}"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    made = iot.register_thing(
        templateBody=template(CertificateSigningRequest={"Ref": "CSR"}, Status="Active"),
        parameters={
            "ThingName": name,
            "SerialNumber": "0815",
            "CSR": csr.public_bytes(serialization.Encoding.PEM).decode(),
        },
    )
    assert {"thing", "certificate", "policy"} == made["resourceArns"].keys()
    assert {"version": "v1", "serialNumber": "0815"} == iot.describe_thing(thingName=name)["attributes"]
    arn = made["resourceArns"]["certificate"]
    device = Device(
        name=name,
        certificate_id=arn.rpartition("/")[2],
        arn=arn,
        certificate=write(tmp_path / "certificate.pem", made["certificatePem"]),
        key=write(tmp_path / "private.key", key_pem(key)),
        root=server.trust / "bundle.pem",
    )
    with Client(server, device, client_id=name) as client:
        assert 0 == client.connect().value
    found = server.handfast("audit", "list", "--operation", "RegisterThing", "--json")
    assert 0 == found.returncode, found.stderr
    assert name in found.stdout


def test_what_cannot_be_registered_is_told_in_the_models_words(server: Server) -> None:
    iot = tenant(server).iot  # checks every answer against the model
    first, second = (iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"] for _ in range(2))
    body = template(CertificateId={"Ref": "Id"})
    given = {"ThingName": "lamp", "SerialNumber": "1"}
    iot.register_thing(templateBody=body, parameters=given | {"Id": first})
    with pytest.raises(iot.exceptions.ResourceRegistrationFailureException, match="thing: Thing lamp exists"):
        iot.register_thing(templateBody=body, parameters=given | {"Id": second})
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Cannot resolve reference value"):
        iot.register_thing(templateBody=body, parameters=given)
    with pytest.raises(iot.exceptions.InvalidRequestException, match=r"\$"):
        iot.register_thing(templateBody='{"Resources": {"thing": {"Type": "AWS::IoT::Thin"}}}')
    assert ["lamp"] == [each["thingName"] for each in iot.list_things()["things"]]
    assert "INACTIVE" == iot.describe_certificate(certificateId=second)["certificateDescription"]["status"]


DEVICES = 24


def test_killed_amid_many_there_is_no_half_a_device_and_every_retry_succeeds(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    try:
        iot = server.client()
        ids = [iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"] for _ in range(DEVICES)]
        acknowledged = _burst(server, ids)
        database = tmp_path / "data" / "handfast.db"
        whole = _whole(database)
        assert set(acknowledged) <= whole
        assert len(whole) < DEVICES  # the kill was in time
        server = start(tmp_path / "data")
        for each in ids:
            _register(server.client(), each)
        assert set(ids) == _whole(database)
        checked = server.handfast("audit", "verify")
        assert 0 == checked.returncode, checked.stdout
    finally:
        server.kill()


def _register(iot: Any, certificate_id: str) -> str:
    given = {"ThingName": f"lamp-{certificate_id[:8]}", "SerialNumber": "1", "Id": certificate_id}
    iot.register_thing(templateBody=template(CertificateId={"Ref": "Id"}), parameters=given)
    return certificate_id


def _burst(server: Server, ids: Iterable[str]) -> list[str]:
    """Registers the certificates from four threads and kills the server when some are done; those are returned."""
    iot, acknowledged, some = server.client(), [], threading.Event()

    def register(certificate_id: str) -> None:
        try:
            acknowledged.append(_register(iot, certificate_id))
        except (BotoCoreError, ClientError):
            some.set()
        if len(acknowledged) >= DEVICES // 4:
            some.set()

    with ThreadPoolExecutor(4) as threads:
        for each in ids:
            threads.submit(register, each)
        assert some.wait(60)
        server.kill()
        threads.shutdown(cancel_futures=True)
    return list(acknowledged)


def _whole(database: Path) -> set[str]:
    """Certificates that have all of it; every other one has nothing."""
    with sqlite3.connect(database) as raw:
        active = {row[0] for row in raw.execute("SELECT certificate_id FROM certificates WHERE status = 'ACTIVE'")}
        policies = {row[0] for row in raw.execute("SELECT certificate_id FROM certificate_policies")}
        attached = {row[0]: row[1] for row in raw.execute("SELECT certificate_id, thing_name FROM thing_principals")}
        things = {row[0] for row in raw.execute("SELECT thing_name FROM things")}
        attributes = {row[0] for row in raw.execute("SELECT thing_name FROM thing_attributes")}
    raw.close()
    assert active == policies == attached.keys()
    assert things == attributes == set(attached.values())
    return active
