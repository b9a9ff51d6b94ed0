"""
Which keys and signature algorithms are good enough for a device, and every reason why not.

Accepted keys: RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521 as named curves (the whole
name is compared: secp256k1 is another curve of the same size). Accepted signatures on a
certificate or request: SHA-256, SHA-384 or SHA-512 with RSA PKCS#1 v1.5, with RSASSA-PSS (MGF1
with the same hash), or with ECDSA. Everything else is refused by name: DSA, Ed25519, Ed448,
SHA-1, MD5.

Refusals are data: all broken rules come back, never the first one only.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import PublicKeyAlgorithmOID, SignatureAlgorithmOID

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # larger keys cost the server milliseconds for each proof of possession
MAX_RSA_EXPONENT_BITS = 256  # CA/Browser Forum BR §6.1.6

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_PLAIN_SIGNATURES = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    }
)
_SHA2 = frozenset({"sha256", "sha384", "sha512"})
# AlgorithmIdentifier { id-ecPublicKey, namedCurve } in DER, as it stands in a SubjectPublicKeyInfo (RFC 5480 §2.1.1)
_NAMED_CURVE = {
    "secp256r1": bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"),
    "secp384r1": bytes.fromhex("301006072a8648ce3d020106052b81040022"),
    "secp521r1": bytes.fromhex("301006072a8648ce3d020106052b81040023"),
}


class BrokenRule(NamedTuple):
    """
    One rule that a certificate, request or key breaks.

    `rule` is stable and begins with `key_`, `signature_` or `validity_`; `message` is a sentence
    for a person and holds no text of the sender's.
    """

    rule: str
    message: str


def refusals(cert: x509.Certificate, *, now: dt.datetime | None = None) -> tuple[BrokenRule, ...]:
    """
    Every rule that a device certificate breaks; empty when it may be registered and used.

    Args:
        cert: Any certificate that the parser could read.
        now: When given, the certificate must be inside its validity at that instant too.
    """
    broken = [*_public_key_refusals(cert, cert.tbs_certificate_bytes), *signature_refusals(cert)]
    if now is not None:
        broken += validity_refusals(cert, now)
    return tuple(broken)


def request_refusals(request: x509.CertificateSigningRequest) -> tuple[BrokenRule, ...]:
    """Every rule that a signing request breaks, its self-signature among them; empty when it may be issued from."""
    broken = [
        *_public_key_refusals(request, request.tbs_certrequest_bytes),
        *signature_refusals(request),
    ]
    try:
        proven = request.is_signature_valid
    except Exception:
        proven = False  # an algorithm or a key that the library does not know proves nothing
    if not proven:
        broken.append(
            BrokenRule("signature_unproven", "The request is not signed by the key that it asks a certificate for.")
        )
    return tuple(broken)


def key_refusals(key: CertificatePublicKeyTypes) -> tuple[BrokenRule, ...]:
    """Every rule that a public key breaks; empty when a device may use it."""
    if isinstance(key, rsa.RSAPublicKey):
        return tuple(_rsa_refusals(key))
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in _CURVES:
            return ()
        return (
            BrokenRule(
                "key_curve", f"The EC key is on the curve {key.curve.name}; expected P-256, P-384 or P-521 (secp*r1)."
            ),
        )
    return (BrokenRule("key_algorithm", f"The key is {key_kind(key)}; expected RSA or EC (P-256, P-384, P-521)."),)


def signature_refusals(signed: x509.Certificate | x509.CertificateSigningRequest) -> tuple[BrokenRule, ...]:
    """Every rule that the algorithm of the signature on `signed` breaks; the signature itself is not verified."""
    oid = signed.signature_algorithm_oid
    if oid in _PLAIN_SIGNATURES:
        return ()
    if oid == SignatureAlgorithmOID.RSASSA_PSS:
        return _pss_refusals(signed)
    return (
        BrokenRule(
            "signature_algorithm",
            f"It is signed with {signature_name(signed)}; expected SHA-256, SHA-384 or SHA-512 with RSA, RSASSA-PSS "
            "or ECDSA.",
        ),
    )


def validity_refusals(cert: x509.Certificate, now: dt.datetime) -> tuple[BrokenRule, ...]:
    """Whether `now` is inside the validity, both ends included (RFC 5280 §4.1.2.5)."""
    broken = []
    not_before, not_after = cert.not_valid_before_utc, cert.not_valid_after_utc
    if not_after < not_before:
        broken.append(BrokenRule("validity_order", "Its notAfter lies before its notBefore."))
    if now < not_before:
        broken.append(BrokenRule("validity_not_yet", f"It is not valid before {not_before:%Y-%m-%dT%H:%M:%SZ}."))
    # The validity is given in whole seconds and includes the last one.
    if now.replace(microsecond=0) > not_after:
        broken.append(BrokenRule("validity_expired", f"It expired at {not_after:%Y-%m-%dT%H:%M:%SZ}."))
    return tuple(broken)


def key_kind(key: object) -> str:
    """A short name of a public key for a person: `RSA 2048`, `P-256`, `Ed25519`."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, f"EC {key.curve.name}")
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return "Ed448"
    return "of a kind that is not known here"


def certificate_key_kind(cert: x509.Certificate) -> str:
    """`key_kind` of a certificate's key, also where the library cannot read the key."""
    try:
        return key_kind(cert.public_key())
    except Exception:
        return key_kind(None)


def signature_name(signed: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The signature algorithm's usual name, or its OID: `ecdsa-with-SHA256`, `sha1WithRSAEncryption`."""
    oid = signed.signature_algorithm_oid
    name: str = oid._name
    return name if name != "Unknown OID" else oid.dotted_string


def _public_key_refusals(
    holder: x509.Certificate | x509.CertificateSigningRequest, to_be_signed: bytes
) -> tuple[BrokenRule, ...]:
    try:
        key = holder.public_key()
    except Exception:  # UnsupportedAlgorithm, ValueError: whatever the library finds wrong with it, it is unusable
        return (
            BrokenRule("key_unreadable", "The public key cannot be read; expected RSA or EC (P-256, P-384, P-521)."),
        )
    broken = list(key_refusals(key))
    named = _NAMED_CURVE.get(key.curve.name) if isinstance(key, ec.EllipticCurvePublicKey) else None
    if named is not None and named not in to_be_signed:
        # The library also accepts the curve's parameters written out; RFC 5480 §2.1.1 forbids that, and it is
        # the way in for curves that only look like the named one (CVE-2020-0601).
        broken.append(
            BrokenRule("key_explicit_curve", "The EC key spells its curve out; expected a named curve (RFC 5480).")
        )
    return tuple(broken)


def _rsa_refusals(key: rsa.RSAPublicKey) -> list[BrokenRule]:
    broken = []
    if key.key_size < MIN_RSA_BITS:
        broken.append(
            BrokenRule("key_size", f"The RSA key has {key.key_size} bits; at least {MIN_RSA_BITS} are needed.")
        )
    if key.key_size > MAX_RSA_BITS:
        broken.append(
            BrokenRule("key_size", f"The RSA key has {key.key_size} bits; at most {MAX_RSA_BITS} are accepted.")
        )
    numbers = key.public_numbers()
    if numbers.e < 3 or numbers.e % 2 == 0 or numbers.e.bit_length() > MAX_RSA_EXPONENT_BITS:
        broken.append(
            BrokenRule(
                "key_exponent",
                f"The RSA key's public exponent must be odd, at least 3 and at most {MAX_RSA_EXPONENT_BITS} bits long.",
            )
        )
    if numbers.n % 2 == 0:
        broken.append(BrokenRule("key_modulus", "The RSA key's modulus is even."))
    return broken


def _pss_refusals(signed: x509.Certificate | x509.CertificateSigningRequest) -> tuple[BrokenRule, ...]:
    """RSASSA-PSS: SHA-2, and MGF1 with the same hash (RFC 4055 §3.1)."""
    try:
        parameters = signed.signature_algorithm_parameters
        digest = signed.signature_hash_algorithm
    except Exception:
        parameters = digest = None
    if not isinstance(parameters, padding.PSS) or digest is None:
        return (BrokenRule("signature_parameters", "Its RSASSA-PSS parameters cannot be read."),)
    broken = []
    if digest.name not in _SHA2:
        broken.append(
            BrokenRule(
                "signature_algorithm",
                f"It is signed with RSASSA-PSS over {digest.name}; expected SHA-256, SHA-384 or SHA-512.",
            )
        )
    mask_digest: hashes.HashAlgorithm = parameters.mgf._algorithm
    if mask_digest.name != digest.name:
        broken.append(
            BrokenRule(
                "signature_parameters",
                f"Its RSASSA-PSS mask uses {mask_digest.name} and its signature {digest.name}; both must be the same.",
            )
        )
    return tuple(broken)


def is_pss_only(cert: x509.Certificate) -> bool:
    """True for an id-RSASSA-PSS key, which proves possession in TLS 1.3 but not in TLS 1.2 (RFC 8446 §4.2.3)."""
    return cert.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS
