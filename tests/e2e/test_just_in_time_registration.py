"""Just-in-time registration with a CA and devices made by openssl, and mosquitto's clients."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.device import ALLOW_ALL, Device, create_device, policy
from tests.support.factory import Factory, mosquitto_pub, openssl
from tests.support.mqtt import Client
from tests.support.raw import connect_packet, connect_tcp, connect_tls, read_all
from tests.support.server import Server


@pytest.fixture(scope="module")
def factory(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Factory:
    made = Factory.make(server, tmp_path_factory.mktemp("factory") / "ca")
    made.register(server.client())
    return made


@pytest.fixture(scope="module")
def listener(server: Server, tmp_path_factory: pytest.TempPathFactory, factory: Factory) -> Iterator[Client]:
    """A consumer of the account, subscribed to the events."""
    device = create_device(server, tmp_path_factory.mktemp("consumer"))
    with Client(server, device) as client:
        assert 0 == client.connect().value
        assert [1] == client.subscribe("$aws/events/certificates/registered/#")
        yield client


def event(listener: Client, certificate_id: str) -> dict[str, Any]:
    while True:
        message = listener.message()
        payload = json.loads(message.payload)
        assert message.topic == f"$aws/events/certificates/registered/{payload['caCertificateId']}"
        if payload["certificateId"] == certificate_id:
            return dict(payload)


def retried(act: Callable[[], bool], limit_s: float = 10.0) -> None:
    """A device comes back until it is let in: more than one attempt a second with a certificate is refused."""
    deadline = time.monotonic() + limit_s
    while not act():
        assert time.monotonic() < deadline
        time.sleep(0.3)  # as a device waits


def codes(server: Server, device: Device) -> list[str]:
    """Why the newest attempt with the certificate was refused."""
    return [reason["code"] for reason in server.explain(device.certificate_id)[0]["reasons"]]


def registered(iot: Any, device: Device) -> dict[str, Any] | None:
    try:
        return dict(iot.describe_certificate(certificateId=device.certificate_id)["certificateDescription"])
    except iot.exceptions.ResourceNotFoundException:
        return None


@pytest.mark.parametrize(("version", "chain"), [("mqttv311", False), ("mqttv5", True)])
def test_the_tutorial(server: Server, iot: Any, factory: Factory, listener: Client, version: str, chain: bool) -> None:
    leaf = factory.sign()
    device = factory.with_chain(leaf) if chain else leaf
    first = mosquitto_pub(server, device, version)
    assert first.returncode != 0
    assert "ot authori" in first.stdout + first.stderr, "refused with a CONNACK"
    told = event(listener, device.certificate_id)
    described = registered(iot, device)
    assert described is not None
    assert ("PENDING_ACTIVATION", factory.id, "DEFAULT") == (
        described["status"],
        described["caCertificateId"],
        described["certificateMode"],
    )
    assert {
        "certificateId": device.certificate_id,
        "caCertificateId": factory.id,
        "timestamp": told["timestamp"],
        "certificateStatus": "PENDING_ACTIVATION",
        "awsAccountId": server.ready["account"],
        "certificateRegistrationTimestamp": None,
    } == told
    assert isinstance(told["timestamp"], int)
    assert abs(time.time() * 1000 - told["timestamp"]) < 60_000
    assert ["CERTIFICATE_JUST_REGISTERED"] == codes(server, device)
    assert (
        f"--certificate-id {device.certificate_id} --new-status ACTIVE"
        in server.handfast("explain", device.name).stdout
    )

    def told_again() -> bool:
        assert mosquitto_pub(server, device, version).returncode != 0
        return "CERTIFICATE_PENDING_ACTIVATION" in codes(server, device)

    retried(told_again)
    again = event(listener, device.certificate_id)
    since = again.pop("certificateRegistrationTimestamp")
    assert isinstance(since, str)
    assert told["timestamp"] - 1000 <= int(since) <= told["timestamp"] < again["timestamp"]

    iot.update_certificate(certificateId=device.certificate_id, newStatus="ACTIVE")
    assert mosquitto_pub(server, device, version).returncode != 0
    assert ["NO_POLICY_ATTACHED"] == codes(server, device)
    iot.attach_policy(policyName=policy(server, ALLOW_ALL), target=described["certificateArn"])
    assert mosquitto_pub(server, device, version).returncode == 0


def test_neither_a_handshake_nor_https_registers(server: Server, iot: Any, factory: Factory) -> None:
    device = factory.sign()
    connect_tls(server, device).close()
    with connect_tls(server, device) as idle:
        context = ssl.create_default_context(cafile=str(device.root))
        context.load_cert_chain(str(device.certificate), str(device.key))
        with context.wrap_socket(connect_tcp(server, server.https_port), server_hostname="localhost") as https:
            https.sendall(b"POST /topics/x?qos=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
            assert read_all(https).startswith(b"HTTP/1.1 403 ")
        assert "FIRST_CONNECTION_OVER_HTTPS" in codes(server, device)
        assert registered(iot, device) is None
        idle.sendall(connect_packet(device.name))
        assert b" \x02\x00\x05" == read_all(idle), "the CONNECT packet does"
    assert registered(iot, device) is not None


def test_registering_over_the_api_tells_nothing(server: Server, iot: Any, factory: Factory, listener: Client) -> None:
    on_purpose, after = factory.sign(), factory.sign()
    iot.register_certificate(certificatePem=on_purpose.certificate.read_text(), status="INACTIVE")
    mosquitto_pub(server, on_purpose)
    assert ["CERTIFICATE_INACTIVE"] == codes(server, on_purpose)
    mosquitto_pub(server, after)
    told = set()
    while after.certificate_id not in told:
        told.add(json.loads(listener.message().payload)["certificateId"])
    assert on_purpose.certificate_id not in told


def test_a_ca_that_is_switched_off_stops_at_once(server: Server, iot: Any, tmp_path: Path) -> None:
    factory = Factory.make(server, tmp_path / "ca")
    ca = factory.register(iot)
    for update, back in (
        ({"newAutoRegistrationStatus": "DISABLE"}, {"newAutoRegistrationStatus": "ENABLE"}),
        ({"newStatus": "INACTIVE"}, {"newStatus": "ACTIVE"}),
    ):
        device = factory.sign()
        iot.update_ca_certificate(certificateId=ca, **update)
        mosquitto_pub(server, device)
        assert ["CA_DOES_NOT_REGISTER", "CERTIFICATE_NOT_REGISTERED"] == codes(server, device)
        assert registered(iot, device) is None
        iot.update_ca_certificate(certificateId=ca, **back)
        mosquitto_pub(server, device)
        assert ["CERTIFICATE_JUST_REGISTERED"] == codes(server, device)


def test_hostile_issuers(server: Server, iot: Any, factory: Factory, tmp_path: Path) -> None:
    """A device as an issuer, an issuer below the registered one, one that borrows its name, names not permitted."""
    device = factory.sign()
    below = Factory(server, tmp_path / "below")
    below.folder.mkdir()
    for name, source in (("ca.pem", device.certificate), ("ca.key", device.key)):
        (below.folder / name).write_bytes(source.read_bytes())
    borrowed = Factory(server, tmp_path / "borrowed")
    borrowed.folder.mkdir()
    subject = openssl(factory.folder, "x509", "-in", "ca.pem", "-noout", "-subject", "-nameopt", "compat")
    name = "/" + subject.partition("/")[2].strip()
    openssl(
        borrowed.folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", "ca.key"),
        *("-out", "ca.pem", "-days", "9", "-subj", name, "-addext", "basicConstraints=critical,CA:TRUE"),
    )
    short = Factory.make(server, tmp_path / "short", "basicConstraints=critical,CA:TRUE,pathlen:0")
    short.register(iot)
    too_deep = short.sign(None, "middle", "basicConstraints=critical,CA:TRUE")
    constrained = Factory.make(
        server,
        tmp_path / "constrained",
        "basicConstraints=critical,CA:TRUE",
        "nameConstraints=critical,permitted;DNS:lamps.example",
    )
    constrained.register(iot)
    outside = constrained.sign(None, "outside", "subjectAltName=DNS:doors.example")
    refused = {
        "a device": (below.with_chain(below.sign()), []),
        "a borrowed name": (borrowed.sign(), ["CA_DOES_NOT_VOUCH"]),
        "beyond the path length": (short.with_chain(too_deep), ["CERTIFICATE_PURPOSE_REFUSED"]),
        "names not permitted": (outside, ["CA_DOES_NOT_VOUCH"]),
    }
    for what, (each, reasons) in refused.items():
        assert mosquitto_pub(server, each).returncode != 0, what
        assert [*reasons, "CERTIFICATE_NOT_REGISTERED"] == codes(server, each), what
        assert registered(iot, each) is None, what
    inside = constrained.sign(None, "inside", "subjectAltName=DNS:porch.lamps.example")
    mosquitto_pub(server, inside)
    assert ["CERTIFICATE_JUST_REGISTERED"] == codes(server, inside)


def test_the_endpoint_of_an_account_without_the_ca_registers_nothing(server: Server, factory: Factory) -> None:
    keys = server.account()
    other = server.client(keys=keys)
    endpoint = other.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    device = factory.sign()
    with connect_tls(server, device, endpoint) as sock:
        sock.sendall(connect_packet(device.name))
        assert b" \x02\x00\x05" == read_all(sock)
    assert "CERTIFICATE_NOT_REGISTERED" in codes(server, device)
    for iot in (other, server.client()):
        assert registered(iot, device) is None
