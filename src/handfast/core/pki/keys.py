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

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from handfast.core.pki.form import extension_name
from handfast.core.pki.rules import BrokenRule as BrokenRule
from handfast.core.pki.rules import rsa_refusals
from handfast.core.pki.spki import EXPECTED, public_key_refusals
from handfast.core.pki.spki import is_pss_only as is_pss_only

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
# May be critical: what they say is obeyed here, or cannot widen what a fingerprint in the registry grants
_CRITICAL = frozenset(
    {
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES,
        ExtensionOID.SUBJECT_INFORMATION_ACCESS,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    }
)


def refusals(cert: x509.Certificate, *, now: dt.datetime | None = None, issues: bool = False) -> tuple[BrokenRule, ...]:
    """
    Every rule that a device certificate breaks; empty when it may be registered and used.

    Args:
        cert: Any certificate that the parser could read.
        now: When given, the certificate must be inside its validity at that instant too.
        issues: It is judged as that of a CA: name constraints in it are obeyed where it signed.
    """
    broken = [*public_key_refusals(cert), *signature_refusals(cert), *extension_refusals(cert, issues=issues)]
    if now is not None:
        broken += validity_refusals(cert, now)
    return tuple(broken)


def request_refusals(request: x509.CertificateSigningRequest) -> tuple[BrokenRule, ...]:
    """Every rule that a signing request breaks, its self-signature among them; empty when it may be issued from."""
    broken = list(public_key_refusals(request))
    if not broken and is_pss_only(request):
        # The issued certificate would hold an ordinary RSA key: not the one that the device signs with.
        broken.append(
            BrokenRule(
                "key_algorithm",
                "The key is RSA for RSASSA-PSS alone, for which no certificate is issued; use an ordinary RSA key, or "
                "register a certificate that another CA issued.",
            )
        )
    broken += signature_refusals(request)
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
        numbers = key.public_numbers()
        return rsa_refusals(numbers.n, numbers.e)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in _CURVES:
            return ()
        return (
            BrokenRule(
                "key_curve", f"The EC key is on the curve {key.curve.name}; expected P-256, P-384 or P-521 (secp*r1)."
            ),
        )
    return (BrokenRule("key_algorithm", f"The key is {key_kind(key)}; {EXPECTED}."),)


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


def extension_refusals(cert: x509.Certificate, *, issues: bool = False) -> tuple[BrokenRule, ...]:
    """
    Every critical extension that is not understood here, as RFC 5280 §4.2 demands.

    The policy constraints are among them: they are known, and not evaluated; so are nameConstraints unless the
    certificate is judged as that of a CA (`issues`), whose direct signatures `chain.link_refusals` holds to them.
    """
    understood = _CRITICAL | {ExtensionOID.NAME_CONSTRAINTS} if issues else _CRITICAL
    return tuple(
        BrokenRule(
            "extension_critical",
            f"Its extension {extension_name(each.oid.dotted_string)} is critical and not evaluated here, so the "
            "certificate cannot be used (RFC 5280 §4.2).",
        )
        for each in cert.extensions
        if each.critical and each.oid not in understood
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
