"""Devices for end-to-end tests: certificates made with the real API or with the `cryptography` library."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID
from tests.support.server import Server

ALLOW_ALL = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
}


@dataclass(frozen=True)
class Device:
    """A registered certificate with its files. `certificate_id` and `arn` as the API knows them."""

    name: str
    certificate_id: str
    arn: str
    certificate: Path
    key: Path
    root: Path


def write(path: Path, data: bytes | str) -> Path:
    """Write a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(0o600)
    return path


def policy(server: Server, document: dict[str, Any], *, iot: Any = None) -> str:
    """Create a policy of a fresh name."""
    name = f"policy-{uuid.uuid4().hex[:12]}"
    (iot or server.client()).create_policy(policyName=name, policyDocument=json.dumps(document))
    return name


def create_device(
    server: Server,
    folder: Path,
    *,
    document: dict[str, Any] | None = ALLOW_ALL,
    active: bool = True,
    thing: str | None = None,
    iot: Any = None,
) -> Device:
    """CreateKeysAndCertificate, with a policy and a thing attached where asked for."""
    iot = iot or server.client()
    made = iot.create_keys_and_certificate(setAsActive=active)
    name = thing or f"device-{uuid.uuid4().hex[:10]}"
    if document is not None:
        iot.attach_policy(policyName=policy(server, document, iot=iot), target=made["certificateArn"])
    if thing is not None:
        iot.create_thing(thingName=thing)
        iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
    return Device(
        name=name,
        certificate_id=made["certificateId"],
        arn=made["certificateArn"],
        certificate=write(folder / f"{name}.pem", made["certificatePem"]),
        key=write(folder / f"{name}.key", made["keyPair"]["PrivateKey"]),
        root=server.trust / "bundle.pem",
    )


def private_key(kind: str = "p256") -> CertificateIssuerPrivateKeyTypes:
    """A fresh key: p256, p384, p521, secp256k1, rsa1024, rsa2048."""
    curves = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1, "secp256k1": ec.SECP256K1}
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def key_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def self_signed(
    cn: str = "self-signed device",
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
) -> tuple[bytes, bytes]:
    """PEM of a self-signed end-entity certificate and of its key; valid from an hour ago for a year."""
    key = key or private_key()
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now - dt.timedelta(hours=1))
        .not_valid_after(not_after or now + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)


def register_self_signed(
    server: Server,
    folder: Path,
    *,
    status: str = "ACTIVE",
    document: dict[str, Any] | None = ALLOW_ALL,
    iot: Any = None,
    pem: tuple[bytes, bytes] | None = None,
) -> Device:
    """RegisterCertificateWithoutCA of a self-signed certificate."""
    iot = iot or server.client()
    certificate, key = pem or self_signed()
    made = iot.register_certificate_without_ca(certificatePem=certificate.decode(), status=status)
    if document is not None:
        iot.attach_policy(policyName=policy(server, document, iot=iot), target=made["certificateArn"])
    name = f"self-{uuid.uuid4().hex[:10]}"
    return Device(
        name=name,
        certificate_id=made["certificateId"],
        arn=made["certificateArn"],
        certificate=write(folder / f"{name}.pem", certificate),
        key=write(folder / f"{name}.key", key),
        root=server.trust / "bundle.pem",
    )
