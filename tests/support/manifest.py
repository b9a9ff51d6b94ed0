"""Microchip Trust Platform manifests as Microchip signs them, and with one thing wrong at a time."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.pki import certificate


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwk(leaf: x509.Certificate, *chain: x509.Certificate) -> dict[str, Any]:
    """The PublicJWK of slot 0: key, and `x5c` with the device's certificate first."""
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    return {
        "kid": "0",
        "kty": "EC",
        "crv": "P-256",
        "x": b64url(numbers.x.to_bytes(32, "big")),
        "y": b64url(numbers.y.to_bytes(32, "big")),
        "x5c": [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in (leaf, *chain)],
    }


@dataclass
class Maker:
    """The manifest signer: its P-256 key and certificate."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = certificate("manifest signer", key=self.key)

    def protected(self, **changes: Any) -> dict[str, Any]:
        ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        thumbprint = hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).digest()
        header = {"alg": "ES256", "kid": b64url(ski), "x5t#S256": b64url(thumbprint)} | changes
        return {name: value for name, value in header.items() if value is not None}

    def sign(self, payload: Any, unique_id: str | None = None, **protected: Any) -> dict[str, Any]:
        """A signed object; `protected` changes members of its header (None: leaves out)."""
        header_text = b64url(json.dumps(self.protected(**protected)).encode())
        payload_text = b64url(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        der = self.key.sign(f"{header_text}.{payload_text}".encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return {
            "payload": payload_text,
            "protected": header_text,
            "header": {"uniqueId": unique_id or "0123f1822c38dd7a01"},
            "signature": b64url(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
        }

    def element(self, leaf: x509.Certificate, *chain: x509.Certificate, unique_id: str = "0123f1822c38dd7a01") -> Any:
        """The signed object of one secure element, whose other slot has a key without certificate."""
        keys = [jwk(leaf, *chain), {"kid": "1", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]
        return self.sign(secure_element(keys, unique_id), unique_id)


def secure_element(keys: list[Any], unique_id: str = "0123f1822c38dd7a01") -> dict[str, Any]:
    return {
        "version": 1,
        "model": "ATECC608B",
        "partNumber": "ATECC608B-TNGTLSU-B",
        "provisioningTimestamp": "2026-01-15T17:22:45.000Z",
        "uniqueId": unique_id,
        "publicKeySet": {"keys": keys},
    }
