"""What the tests of certificate operations share: an issuer that really issues, and the ceremony of an own CA."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from tests.support.blueprint import signed_by_own_ca
from tests.support.pki import key_of
from tests.support.registry import NOW, FakeClock, FakeEntropy, Plane, caller

from handfast.core.pki import profile
from handfast.core.pki.issue import SERIAL_BYTES, prepare, sign
from handfast.services.device_issuer import DeviceIssuer


def device_issuer() -> DeviceIssuer:
    """Issues from requests; has no keys for CreateKeysAndCertificate."""
    key = key_of("p256")
    ticket = prepare(
        profile.DEVICE_ISSUER,
        issuer=None,
        subject=profile.DEVICE_ISSUER_NAME,
        public_key=key.public_key(),
        now=NOW,
        serial=bytes(SERIAL_BYTES),
    )
    certificate = x509.load_der_x509_certificate(sign(ticket, key))
    return DeviceIssuer(certificate, key, None, FakeClock(), FakeEntropy())  # type: ignore[arg-type]


async def code_of(plane: Plane) -> str:
    """The registration code."""
    return str((await plane.call("GetRegistrationCode"))["registration_code"])


async def register_ca(plane: Plane, pem: str, *, proof: str | None = None, **members: Any) -> dict[str, Any]:
    """RegisterCACertificate in DEFAULT mode, by default with the proof of the blueprints' CA."""
    if proof is None:
        proof = signed_by_own_ca(await code_of(plane)).pem
    return await plane.call(
        "RegisterCACertificate", caller(), ca_certificate=pem, verification_certificate=proof, **members
    )
