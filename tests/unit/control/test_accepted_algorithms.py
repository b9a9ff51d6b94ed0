"""Which keys and signature algorithms are accepted where, tried with what openssl makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from tests.support import made_by_openssl as made
from tests.support.ca_plane import code_of, device_issuer, register_ca
from tests.support.registry import Plane, make_plane, sqlite_store, with_accounts

from handfast.errors import ServiceError

ACCEPTED = "accepted"
WRONG_KEY = "expected RSA or EC (P-256, P-384, P-521)"
WRONG_CURVE = "expected P-256, P-384 or P-521"
WRONG_HASH = "expected SHA-256, SHA-384 or SHA-512"
NO_SIGNATURE = "no request can be made"

# key                    certificate (device and CA)               signing request
KEYS = [
    ("RSA 1024",           "has 1024 bits; at least 2048",           "has 1024 bits; at least 2048"),
    ("RSA 2047",           "has 2047 bits; at least 2048",           "has 2047 bits; at least 2048"),
    ("RSA 2048",           ACCEPTED,                                 ACCEPTED),
    ("RSA 3072",           ACCEPTED,                                 ACCEPTED),
    ("RSA 4096",           ACCEPTED,                                 ACCEPTED),
    ("RSA 7640",           ACCEPTED,                                 ACCEPTED),
    ("RSA-PSS 2048",       ACCEPTED,                                 "RSA for RSASSA-PSS alone"),
    ("RSA-PSS 2048 sha256", ACCEPTED,                                "RSA for RSASSA-PSS alone"),
    ("EC prime256v1",      ACCEPTED,                                 ACCEPTED),
    ("EC secp384r1",       ACCEPTED,                                 ACCEPTED),
    ("EC secp521r1",       ACCEPTED,                                 ACCEPTED),
    ("EC secp224r1",       f"P-224; {WRONG_CURVE}",                  f"P-224; {WRONG_CURVE}"),
    ("EC secp256k1",       f"secp256k1; {WRONG_CURVE}",              f"secp256k1; {WRONG_CURVE}"),
    ("EC brainpoolP256r1", f"brainpoolP256r1; {WRONG_CURVE}",        f"brainpoolP256r1; {WRONG_CURVE}"),
    ("DSA 1024",           f"The key is DSA; {WRONG_KEY}",           f"The key is DSA; {WRONG_KEY}"),
    ("ED25519",            f"The key is Ed25519; {WRONG_KEY}",       f"The key is Ed25519; {WRONG_KEY}"),
    ("ED448",              f"The key is Ed448; {WRONG_KEY}",         f"The key is Ed448; {WRONG_KEY}"),
    ("X25519",             f"The key is X25519; {WRONG_KEY}",        NO_SIGNATURE),
]  # fmt: skip

PSS = ("-sigopt", "rsa_padding_mode:pss")

# key that signs           how                                                what is said of the signature
SIGNATURES = [
    ("RSA 2048",           ("-sha256",),                                      ACCEPTED),
    ("RSA 2048",           ("-sha384",),                                      ACCEPTED),
    ("RSA 2048",           ("-sha512",),                                      ACCEPTED),
    ("RSA 2048",           ("-sha1",),                                        f"sha1WithRSAEncryption; {WRONG_HASH}"),
    ("RSA 2048",           ("-md5",),                                         f"md5WithRSAEncryption; {WRONG_HASH}"),
    ("RSA 2048",           ("-sha224",),                                      f"sha224WithRSAEncryption; {WRONG_HASH}"),
    ("RSA 2048",           ("-sha3-256",),                                    WRONG_HASH),
    ("RSA 2048",           ("-sha256", *PSS),                                 ACCEPTED),
    ("RSA 2048",           ("-sha384", *PSS),                                 ACCEPTED),
    ("RSA 2048",           ("-sha512", *PSS, "-sigopt", "rsa_pss_saltlen:0"), ACCEPTED),
    ("RSA 2048",           ("-sha1", *PSS),                                   f"RSASSA-PSS over sha1; {WRONG_HASH}"),
    ("RSA 2048",           ("-sha256", *PSS, "-sigopt", "rsa_mgf1_md:sha512"), "mask uses sha512"),
    ("RSA 2048",           ("-sha256", *PSS, "-sigopt", "rsa_mgf1_md:sha1"),  "mask uses sha1"),
    ("RSA-PSS 2048",       ("-sha256",),                                      ACCEPTED),
    ("EC prime256v1",      ("-sha256",),                                      ACCEPTED),
    ("EC prime256v1",      ("-sha384",),                                      ACCEPTED),
    ("EC secp521r1",       ("-sha512",),                                      ACCEPTED),
    ("EC prime256v1",      ("-sha1",),                                        f"ecdsa-with-SHA1; {WRONG_HASH}"),
    ("EC prime256v1",      ("-sha224",),                                      f"ecdsa-with-SHA224; {WRONG_HASH}"),
    ("EC prime256v1",      ("-sha3-256",),                                    WRONG_HASH),
]  # fmt: skip


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        yield await make_plane(store, device_issuer())


async def answer(call: Awaitable[dict[str, Any]], error: str) -> str:
    """ACCEPTED, or what the error of this type says; of another type, both."""
    try:
        await call
    except ServiceError as refusal:
        return str(refusal) if error == refusal.code else f"{refusal.code}, not {error}"
    return ACCEPTED


def ids(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("kind", "certificate", "request_said"), KEYS, ids=ids)
async def test_keys(plane: Plane, kind: str, certificate: str, request_said: str) -> None:
    ca = made.self_signed("EC prime256v1", ca=True)
    await register_ca(plane, ca, proof=made.issued(ca, "EC prime256v1", name=await code_of(plane)), set_as_active=True)
    invalid = "CertificateValidationException"

    leaf = made.issued(ca, "EC prime256v1", kind=kind)
    assert certificate in await answer(plane.call("RegisterCertificate", certificate_pem=leaf), invalid)
    leaf = made.issued(ca, "EC prime256v1", kind=kind)
    assert certificate in await answer(plane.call("RegisterCertificateWithoutCA", certificate_pem=leaf), invalid)

    # "Any key pair" makes a verification certificate.
    proof = made.issued(ca, "EC prime256v1", kind=kind, name=await code_of(plane))
    await plane.call("UpdateCACertificate", certificate_id=made.identifier(ca), new_status="INACTIVE")
    await plane.call("DeleteCACertificate", certificate_id=made.identifier(ca))
    assert ACCEPTED == await answer(register_ca(plane, ca, proof=proof), invalid)

    if request_said != NO_SIGNATURE:
        csr = made.request(kind)
        call = plane.call("CreateCertificateFromCsr", certificate_signing_request=csr)
        assert request_said in await answer(call, "InvalidRequestException")
        own = made.self_signed(kind, ca=True)
        call = plane.call("RegisterCACertificate", ca_certificate=own, certificate_mode="SNI_ONLY")
        assert certificate in await answer(call, invalid)


@pytest.mark.parametrize(("kind", "signing", "said"), SIGNATURES, ids=ids)
async def test_signature_algorithms(plane: Plane, kind: str, signing: tuple[str, ...], said: str) -> None:
    ca = made.self_signed(kind, ca=True)
    code = await code_of(plane)
    invalid = "CertificateValidationException"
    proof = made.issued(ca, kind, *signing, name=code)
    assert said in await answer(register_ca(plane, ca, proof=proof, set_as_active=True), invalid)
    if said != ACCEPTED:
        await register_ca(plane, ca, proof=made.issued(ca, kind, name=code), set_as_active=True)

    for operation in ("RegisterCertificate", "RegisterCertificateWithoutCA"):
        leaf = made.issued(ca, kind, *signing)
        assert said in await answer(plane.call(operation, certificate_pem=leaf), invalid)

    own = made.self_signed(kind, *signing, ca=True)
    call = plane.call("RegisterCACertificate", ca_certificate=own, certificate_mode="SNI_ONLY")
    assert said in await answer(call, invalid)

    if not kind.startswith("RSA-PSS"):  # refused for its key: above
        csr = made.request(kind, *signing)
        call = plane.call("CreateCertificateFromCsr", certificate_signing_request=csr)
        assert said in await answer(call, "InvalidRequestException")
