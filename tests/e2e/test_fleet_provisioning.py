"""Devices that provision themselves with a claim certificate, by the real SDK and by hand, against one server."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import paho.mqtt.client as paho
import pytest
from awscrt.mqtt_request_response import ClientOptions
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder, mqtt_connection_builder
from tests.support.device import Device, create_device, write
from tests.support.fleet import CREATE, FROM_CSR, Requester, claim_policy, csr, make_template
from tests.support.mqtt import Client
from tests.support.server import Server

LIMIT_S = 20


@pytest.fixture(scope="module")
def template(server: Server) -> str:
    return make_template(server, f"fleet-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def claim(server: Server, tmp_path_factory: pytest.TempPathFactory, template: str) -> Device:
    return create_device(server, tmp_path_factory.mktemp("claim"), document=claim_policy(template))


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
                client.register_thing(asked).result(LIMIT_S)
            assert "InvalidCertificateOwnershipToken" == refused.value.modeled_error.error_code
    for device in made:
        works(server, device)
        assert {"serial": device.name.removeprefix("made-")} == iot.describe_thing(thingName=device.name)["attributes"]
    assert "ACTIVE" == status(server, claim.certificate_id)


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5], ids=["3.1.1", "5"])
def test_each_connection_of_a_claim_gets_its_own_reply_in_cbor_and_a_spy_sees_nothing(
    server: Server, tmp_path: Path, claim: Device, template: str, version: int
) -> None:
    provision = f"$aws/provisioning-templates/{template}/provision/cbor"
    watcher = create_device(server, tmp_path)
    with (
        Client(server, watcher, version=version) as spy,
        Client(server, claim, client_id="bench-1", version=version) as one,
        Client(server, claim, client_id="bench-2", version=version) as other,
    ):
        assert 0 == spy.connect().value
        for topic_filter in (
            "#",
            "$aws/certificates/#",
            "$aws/provisioning-templates/#",
            "$share/spies/$aws/certificates/#",
        ):
            assert [1] == spy.subscribe(topic_filter)
        for client in (one, other):
            assert 0 == client.connect().value
        assert [1] == one.subscribe(f"{FROM_CSR}/cbor/+")  # the other does not subscribe at all
        made = {}
        for client in (one, other):
            request, _ = csr()
            assert 0 == client.publish(f"{FROM_CSR}/cbor", cbor2.dumps({"certificateSigningRequest": request}))
        for client in (one, other):
            answer = client.message()
            assert (f"{FROM_CSR}/cbor/accepted", 1) == (answer.topic, answer.qos)
            made[client.client_id] = cbor2.loads(answer.payload)
        assert 2 == len({each["certificateId"] for each in made.values()})
        for client in (one, other):
            members = {
                "certificateOwnershipToken": made[client.client_id]["certificateOwnershipToken"],
                "parameters": {"SerialNumber": f"{client.client_id}-{version}"},
            }
            client.publish(provision, cbor2.dumps(members))
            answer = client.message()
            assert f"{provision}/accepted" == answer.topic
            assert f"made-{client.client_id}-{version}" == cbor2.loads(answer.payload)["thingName"]
        one.publish(provision, b"\xff", qos=0)
        refused = one.message()
        assert (f"{provision}/rejected", 400) == (refused.topic, cbor2.loads(refused.payload)["statusCode"])
        spy.silent_until(spy, "plain/marker")
        assert other.messages.empty()


def test_a_claim_is_no_use_for_another_template_nor_when_it_is_deactivated(
    server: Server, tmp_path: Path, template: str
) -> None:
    iot = server.client()
    claim = create_device(server, tmp_path, document=claim_policy(template))
    elsewhere = make_template(server, f"other-{uuid.uuid4().hex[:8]}")
    with Client(server, claim, version=paho.MQTTv5) as client:
        assert 0 == client.connect().value
        assert 0x87 == client.publish(f"$aws/provisioning-templates/{elsewhere}/provision/json", b"{}")
        client.publish(f"{CREATE}/json")
        made = json.loads(client.message().payload)
        iot.update_certificate(certificateId=claim.certificate_id, newStatus="INACTIVE")
        assert 0x87 == client.disconnected().value
    with Client(server, claim, version=paho.MQTTv5) as client:
        assert 0x87 == client.connect().value
    iot.update_certificate(certificateId=claim.certificate_id, newStatus="ACTIVE")
    again = Requester(server, claim, "again")
    token = {"certificateOwnershipToken": made["certificateOwnershipToken"]}
    missing = again.ask(f"$aws/provisioning-templates/{template}/provision/json", token)
    assert (400, "InvalidParameters") == (missing["statusCode"], missing["errorCode"])
    assert "SerialNumber" in missing["errorMessage"]
    assert "PENDING_ACTIVATION" == status(server, made["certificateId"])
    again.close()


def test_a_token_of_another_account_opens_nothing(server: Server, tmp_path: Path, claim: Device, template: str) -> None:
    keys = server.account()
    iot = server.client(keys=keys)
    foreign = create_device(server, tmp_path, document=claim_policy(template), iot=iot)
    make_template(server, template, iot=iot)
    asked, asking = Requester(server, claim, "at-home"), Requester(server, foreign, "abroad")
    request, _ = csr()
    made = asked.ask(f"{FROM_CSR}/json", {"certificateSigningRequest": request})
    members = {
        "certificateOwnershipToken": made["certificateOwnershipToken"],
        "parameters": {"SerialNumber": uuid.uuid4().hex[:8]},
    }
    provision = f"$aws/provisioning-templates/{template}/provision/json"
    refused = asking.ask(provision, members)
    assert (400, "InvalidCertificateOwnershipToken") == (refused["statusCode"], refused["errorCode"])
    assert asked.ask(provision, members)["accepted"]
    asked.close()
    asking.close()


def test_an_operator_limits_a_claim(server: Server, tmp_path: Path, template: str) -> None:
    claim = create_device(server, tmp_path, document=claim_policy(template))
    server.handfast("claim", "limit", claim.certificate_id, "--count", "1")
    provision = f"$aws/provisioning-templates/{template}/provision/json"
    requester = Requester(server, claim, "limited")
    tokens = [
        requester.ask(f"{FROM_CSR}/json", {"certificateSigningRequest": csr()[0]})["certificateOwnershipToken"]
        for _ in range(2)
    ]
    answers = [
        requester.ask(
            provision, {"certificateOwnershipToken": token, "parameters": {"SerialNumber": uuid.uuid4().hex[:8]}}
        )
        for token in tokens
    ]
    assert [None, 410] == [answer.get("statusCode") for answer in answers]
    requester.close()


def status(server: Server, certificate_id: str) -> str:
    described = server.client().describe_certificate(certificateId=certificate_id)
    return str(described["certificateDescription"]["status"])
