"""Own CAs made with OpenSSL, devices under them, and transfers between accounts, through boto3 and the command line."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from botocore.exceptions import ClientError
from paho.mqtt.enums import CallbackAPIVersion
from tests.support.device import ALLOW_ALL
from tests.support.server import Server

WAIT_S = 10.0


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_ca(folder: Path, *, subject: str | None = None, kind: str = "rsa") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    key = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    name = subject or f"/O=Maker/CN=Own CA {uuid.uuid4().hex[:8]}"
    openssl(
        folder,
        *("req", "-x509", "-newkey", *key, "-noenc", "-keyout", "ca.key", "-out", "ca.pem"),
        *("-days", "30", "-subj", name, "-addext", "basicConstraints=critical,CA:TRUE"),
    )
    return folder


def sign(ca: Path, common_name: str, stem: str) -> str:
    """A certificate under the CA, its key beside it."""
    openssl(
        ca,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"),
        *("-keyout", f"{stem}.key", "-out", f"{stem}.csr", "-subj", f"/CN={common_name}"),
    )
    openssl(
        ca,
        *("x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-set_serial", f"0x{uuid.uuid4().hex}", "-days", "5", "-sha256", "-out", f"{stem}.pem"),
    )
    return (ca / f"{stem}.pem").read_text()


def code_of(call: Any, **members: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def allow(iot: Any, arn: str) -> None:
    name = f"allow-{uuid.uuid4().hex[:8]}"
    iot.create_policy(policyName=name, policyDocument=json.dumps(ALLOW_ALL))
    iot.attach_policy(policyName=name, target=arn)


class Connection:
    """One MQTT connection to localhost with a certificate; whether it was let in, and when it was cut."""

    def __init__(self, server: Server, folder: Path, stem: str) -> None:
        self.answered, self.cut = threading.Event(), threading.Event()
        self.accepted = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=uuid.uuid4().hex)
        context = ssl.create_default_context(cafile=str(server.trust / "bundle.pem"))
        context.load_cert_chain(folder / f"{stem}.pem", folder / f"{stem}.key")
        self.client.tls_set_context(context)
        self.client.on_connect = self._connected
        self.client.on_disconnect = lambda *_: (self.answered.set(), self.cut.set())
        self.client.reconnect_delay_set(600, 600)
        self.client.connect("localhost", server.mqtt_port)
        self.client.loop_start()
        assert self.answered.wait(WAIT_S)

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.accepted = not reason.is_failure
        self.answered.set()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def lets_in(server: Server, folder: Path, stem: str = "device") -> bool:
    connection = Connection(server, folder, stem)
    connection.close()
    return connection.accepted


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_device_of_an_own_ca_connects(server: Server, iot: Any, tmp_path: Path, kind: str) -> None:
    ca = make_ca(tmp_path / "ca", kind=kind)
    pem = (ca / "ca.pem").read_text()
    code = iot.get_registration_code()["registrationCode"]
    assert re.fullmatch("[0-9a-f]{64}", code)
    assert code_of(iot.register_ca_certificate, caCertificate=pem) == ("InvalidRequestException", 400)
    wrong = sign(ca, "wrong", "wrong")
    assert code_of(iot.register_ca_certificate, caCertificate=pem, verificationCertificate=wrong) == (
        "RegistrationCodeValidationException",
        400,
    )
    proof = sign(ca, code, "proof")
    made = iot.register_ca_certificate(caCertificate=pem, verificationCertificate=proof)
    described = iot.describe_ca_certificate(certificateId=made["certificateId"])["certificateDescription"]
    assert ("INACTIVE", "DISABLE", "DEFAULT") == (
        described["status"],
        described["autoRegistrationStatus"],
        described["certificateMode"],
    )
    leaf = sign(ca, "device", "device")
    assert code_of(iot.register_certificate, certificatePem=leaf) == ("CertificateStateException", 406)
    iot.update_ca_certificate(certificateId=made["certificateId"], newStatus="ACTIVE")
    device = iot.register_certificate(certificatePem=leaf, caCertificatePem=pem, status="ACTIVE")
    allow(iot, device["certificateArn"])
    assert lets_in(server, ca)
    listed = iot.list_certificates_by_ca(caCertificateId=made["certificateId"])["certificates"]
    assert [device["certificateId"]] == [item["certificateId"] for item in listed]
    assert code_of(iot.delete_ca_certificate, certificateId=made["certificateId"]) == ("CertificateStateException", 406)
    iot.update_ca_certificate(certificateId=made["certificateId"], newStatus="INACTIVE")
    iot.delete_ca_certificate(certificateId=made["certificateId"])
    assert lets_in(server, ca), "what is registered stays usable"


def test_a_transfer_moves_a_device_to_another_account(server: Server, iot: Any, tmp_path: Path) -> None:
    keys = server.account()
    other = server.client(keys=keys)
    target = other.create_policy(policyName=f"p-{uuid.uuid4().hex}", policyDocument=json.dumps(ALLOW_ALL))[
        "policyArn"
    ].split(":")[4]
    made = iot.create_keys_and_certificate(setAsActive=True)
    (tmp_path / "device.pem").write_text(made["certificatePem"])
    (tmp_path / "device.key").write_text(made["keyPair"]["PrivateKey"])
    allow(iot, made["certificateArn"])
    certificate = {"certificateId": made["certificateId"]}
    offer = {**certificate, "targetAwsAccount": target, "transferMessage": "for you"}
    connection = Connection(server, tmp_path, "device")
    assert connection.accepted
    assert code_of(iot.transfer_certificate, **offer) == ("CertificateStateException", 406)
    iot.update_certificate(**certificate, newStatus="INACTIVE")
    assert connection.cut.wait(WAIT_S)
    connection.close()
    assert code_of(iot.transfer_certificate, **offer) == ("TransferConflictException", 409)
    for attached in iot.list_attached_policies(target=made["certificateArn"])["policies"]:
        iot.detach_policy(policyName=attached["policyName"], target=made["certificateArn"])
    arn = iot.transfer_certificate(**offer)["transferredCertificateArn"]
    assert f"arn:aws:iot:us-east-1:{target}:cert/{made['certificateId']}" == arn
    assert [target] == [item["transferredTo"] for item in iot.list_outgoing_certificates()["outgoingCertificates"]]
    assert not lets_in(server, tmp_path)
    other.reject_certificate_transfer(**certificate, rejectReason="later")
    assert code_of(other.accept_certificate_transfer, **certificate) == ("TransferAlreadyCompletedException", 410)
    iot.transfer_certificate(**offer)
    other.accept_certificate_transfer(**certificate, setAsActive=True)
    described = other.describe_certificate(**certificate)["certificateDescription"]
    assert ("ACTIVE", target, server.ready["account"]) == (
        described["status"],
        described["ownedBy"],
        described["previousOwnedBy"],
    )
    assert {"transferMessage", "transferDate", "acceptDate"} == described["transferData"].keys()
    allow(other, arn)
    assert lets_in(server, tmp_path), "localhost stands for the account that has it now"
    assert code_of(iot.describe_certificate, **certificate) == ("ResourceNotFoundException", 404)
    assert code_of(iot.cancel_certificate_transfer, **certificate) == ("TransferAlreadyCompletedException", 410)


def test_localhost_stands_for_the_account_whose_ca_signed_the_device(server: Server, tmp_path: Path) -> None:
    """The refusal of an unregistered device of theirs is theirs to see."""
    other = server.client(keys=server.account())
    ca = make_ca(tmp_path / "ca", kind="ec")
    code = other.get_registration_code()["registrationCode"]
    proof = sign(ca, code, "proof")
    registered = other.register_ca_certificate(
        caCertificate=(ca / "ca.pem").read_text(), verificationCertificate=proof, setAsActive=True
    )
    account = registered["certificateArn"].split(":")[4]
    sign(ca, "device", "device")
    assert not lets_in(server, ca)
    der = ssl.PEM_cert_to_DER_cert((ca / "device.pem").read_text())
    (newest, *_) = server.explain(hashlib.sha256(der).hexdigest())
    assert account == newest["accountId"]


def test_the_command_line_does_the_ceremony_in_one_go_and_in_two_halves(server: Server, tmp_path: Path) -> None:
    one = make_ca(tmp_path / "one", kind="ec")
    told = server.handfast("ca", "register", str(one / "ca.pem"), "--key", str(one / "ca.key")).stdout
    assert "is registered, ACTIVE" in told
    two = make_ca(tmp_path / "two")
    folder = tmp_path / "carried"
    command = ("ca", "register", str(two / "ca.pem"), "--offline", str(folder), "--inactive")
    assert "sign.sh" in server.handfast(*command).stdout
    subprocess.run(["sh", str(folder / "sign.sh"), str(two / "ca.key")], check=True, capture_output=True)
    made = json.loads(server.handfast(*command, "--json").stdout)
    assert "INACTIVE" == made["status"]
    stranger = server.handfast("ca", "register", str(one / "ca.pem"), "--key", str(two / "ca.key"), check=False)
    assert (2, True) == (stranger.returncode, "not the key of the CA" in stranger.stderr)
    assert made["certificateId"] in server.handfast("ca", "list").stdout
    shown = json.loads(server.handfast("ca", "show", made["certificateId"], "--json").stdout)
    assert "DEFAULT" == shown["certificateMode"]
    server.handfast("ca", "deactivate", told.split()[0])


def test_the_command_line_revokes_for_good_and_the_operator_forgets(server: Server, iot: Any, tmp_path: Path) -> None:
    ca = make_ca(tmp_path / "ca", kind="ec")
    server.handfast("ca", "register", str(ca / "ca.pem"), "--key", str(ca / "ca.key"))
    leaf = sign(ca, "device", "device")
    certificate_id = iot.register_certificate(certificatePem=leaf)["certificateId"]
    assert "is ACTIVE" in server.handfast("cert", "activate", certificate_id).stdout
    assert certificate_id in server.handfast("cert", "list").stdout
    server.handfast("cert", "revoke", certificate_id)
    assert "REVOKED" in server.handfast("cert", "show", certificate_id).stdout
    server.handfast("cert", "delete", certificate_id)
    assert code_of(iot.register_certificate, certificatePem=leaf) == ("CertificateStateException", 406)
    server.handfast("cert", "forget", certificate_id, "--account", server.ready["account"])
    iot.register_certificate(certificatePem=leaf)
