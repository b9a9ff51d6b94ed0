"""Fleet provisioning as the developer guide sets it up: a template, a claim's policy, requests for new keys."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support import raw
from tests.support.device import Device, key_pem
from tests.support.server import Server

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


def make_template(server: Server, name: str, *, iot: Any = None, **changes: Any) -> str:
    """The template, enabled."""
    given = {"templateBody": json.dumps(BODY), "enabled": True, "provisioningRoleArn": ROLE}
    (iot or server.client()).create_provisioning_template(templateName=name, **{**given, **changes})
    return name


def csr() -> tuple[str, bytes]:
    """A request for a new P-256 key, and the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made in the field")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key)


class Requester:
    """One MQTT 3.1.1 connection that asks and waits; any end of the connection is an OSError."""

    def __init__(self, server: Server, device: Device, client_id: str) -> None:
        self._socket: ssl.SSLSocket = raw.connect_tls(server, device)
        self._buffer = b""
        self._socket.sendall(raw.connect_packet(client_id))
        first, body = self._packet()
        self.connack = body[1] if first == 0x20 else -1

    def ask(self, topic: str, members: dict[str, Any]) -> dict[str, Any]:
        """The members of the reply; `accepted` says which it was."""
        self._socket.sendall(raw.packet(0x30, raw.string(topic) + json.dumps(members).encode()))
        first, body = self._packet()
        assert 0x30 == first
        (length,) = struct.unpack_from("!H", body)
        name = body[2 : 2 + length].decode()
        assert name in (f"{topic}/accepted", f"{topic}/rejected")
        return {**json.loads(body[2 + length :]), "accepted": name.endswith("/accepted")}

    def close(self) -> None:
        self._socket.close()

    def _packet(self) -> tuple[int, bytes]:
        first = self._read(1)[0]
        length, shift = 0, 0
        while True:
            octet = self._read(1)[0]
            length |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return first, self._read(length)

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                chunk = self._socket.recv(65536)
            except socket.timeout as error:  # noqa: UP041  what is not answered is a failure, not an end
                raise AssertionError("no answer") from error
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            self._buffer += chunk
        out, self._buffer = self._buffer[:count], self._buffer[count:]
        return out
