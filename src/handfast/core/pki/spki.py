"""
What a SubjectPublicKeyInfo says (RFC 3279 §2.3, RFC 4055 §3.1, RFC 5480 §2.1), octet by octet.

The library says of a key it dislikes only that it dislikes it, and accepts some that the RFCs
forbid: RSA without its NULL, hybrid points, curves spelled out, RSASSA-PSS keys bound to SHA-1.
Here each of these is a rule with a sentence.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import PublicKeyAlgorithmOID

from handfast.core.pki import der as asn1
from handfast.core.pki.der import CONSTRUCTED, CONTEXT, INTEGER, NULL, OBJECT_IDENTIFIER, SEQUENCE, Element, NotDER
from handfast.core.pki.form import subject_public_key_info
from handfast.core.pki.rules import BrokenRule, rsa_refusals

EXPECTED = "expected RSA or EC (P-256, P-384, P-521)"

_RSA, _RSASSA_PSS = PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5.dotted_string, PublicKeyAlgorithmOID.RSASSA_PSS.dotted_string
_EC = PublicKeyAlgorithmOID.EC_PUBLIC_KEY.dotted_string
_OTHERS = {
    "1.2.840.10040.4.1": "DSA",
    "1.2.840.10046.2.1": "Diffie-Hellman",
    "1.2.840.113549.1.3.1": "Diffie-Hellman",
    "1.3.101.110": "X25519",
    "1.3.101.111": "X448",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "1.3.132.1.12": "EC for Diffie-Hellman alone",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
_CURVES = {  # name for a person, octets of one coordinate
    "1.2.840.10045.3.1.7": ("P-256", 32),
    "1.3.132.0.34": ("P-384", 48),
    "1.3.132.0.35": ("P-521", 66),
}
_OTHER_CURVES = {
    "1.2.840.10045.3.1.1": "P-192",
    "1.3.132.0.33": "P-224",
    "1.3.132.0.10": "secp256k1",
    "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
    "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
    "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
    "1.2.156.10197.1.301": "SM2",
}
_SHA2 = {"2.16.840.1.101.3.4.2.1": "SHA-256", "2.16.840.1.101.3.4.2.2": "SHA-384", "2.16.840.1.101.3.4.2.3": "SHA-512"}
_MGF1 = "1.2.840.113549.1.1.8"


def public_key_refusals(signed: x509.Certificate | x509.CertificateSigningRequest) -> tuple[BrokenRule, ...]:
    """
    Every rule that the public key of a certificate or request breaks; empty when a device may use it.

    `signed` came from `pem`. After an empty answer the library's `public_key` gives RSA, or EC on an accepted curve.
    """
    spki = _spki(signed)
    broken = form_refusals(spki)
    if broken:
        return broken
    try:
        signed.public_key()
    except Exception:
        # All forms are right and the library refuses it: for EC, the equation of the curve does not hold.
        if _algorithm(spki) == _EC:
            return (BrokenRule("key_point", "The EC key is not a point on its curve."),)
        return (BrokenRule("key_unreadable", f"The public key cannot be read; {EXPECTED}."),)
    return ()


def form_refusals(spki: bytes) -> tuple[BrokenRule, ...]:
    """Every rule that the octets break by themselves: all but whether a point is on its curve."""
    algorithm, bits = asn1.read(spki).inside
    identifier, *parameters = algorithm.inside
    kind = asn1.dotted(identifier.content(spki))
    content = spki[bits.start + 1 : bits.end]  # behind the count of unused bits, which is 0
    if kind == _RSA:
        return (*_rsa_parameters(parameters), *_rsa(content))
    if kind == _RSASSA_PSS:
        return (*_pss_parameters(spki, parameters), *_rsa(content))
    if kind == _EC:
        return _ec(spki, parameters, content)
    seen = _OTHERS.get(kind, f"of the algorithm {kind}")
    return (BrokenRule("key_algorithm", f"The key is {seen}; {EXPECTED}."),)


def is_pss_only(signed: x509.Certificate | x509.CertificateSigningRequest) -> bool:
    """True for an id-RSASSA-PSS key, which proves possession in TLS 1.3 but not in TLS 1.2 (RFC 8446 §4.2.3)."""
    return _algorithm(_spki(signed)) == _RSASSA_PSS


def _spki(signed: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    if isinstance(signed, x509.Certificate):
        return subject_public_key_info(signed.tbs_certificate_bytes)
    return subject_public_key_info(signed.tbs_certrequest_bytes)


def _algorithm(spki: bytes) -> str:
    return asn1.dotted(asn1.read(spki).inside[0].inside[0].content(spki))


def _rsa_parameters(parameters: list[Element]) -> tuple[BrokenRule, ...]:
    if [each.tag for each in parameters] == [NULL]:
        return ()
    return (
        BrokenRule("key_parameters", "The RSA key's algorithm lacks the NULL that belongs to it (RFC 3279 §2.3.1)."),
    )


def _pss_parameters(spki: bytes, parameters: list[Element]) -> tuple[BrokenRule, ...]:
    """None at all, or SHA-2 and MGF1 with the same hash: what TLS 1.3 can sign with."""
    if not parameters:
        return ()
    digest = mask = "SHA-1"  # the defaults of RFC 4055 §3.1
    try:
        if parameters[0].tag != SEQUENCE:
            raise NotDER("not a list of parameters")
        for each in parameters[0].inside:
            (value,) = each.inside
            if each.tag == CONTEXT | CONSTRUCTED | 0:
                digest = _digest(spki, value)
            elif each.tag == CONTEXT | CONSTRUCTED | 1:
                mask = _digest(spki, value.inside[1]) if _named(spki, value) == _MGF1 else "another function"
    except (IndexError, ValueError):  # an element is missing, or one too many
        return (BrokenRule("key_parameters", "The RSASSA-PSS key's parameters cannot be read (RFC 4055 §3.1)."),)
    if digest in _SHA2.values() and mask == digest:
        return ()
    return (
        BrokenRule(
            "key_parameters",
            f"The RSASSA-PSS key is bound to {digest} with a mask of {mask}; expected no parameters, or SHA-256, "
            "SHA-384 or SHA-512 with MGF1 of the same.",
        ),
    )


def _digest(spki: bytes, algorithm: Element) -> str:
    kind = _named(spki, algorithm)
    return _SHA2.get(kind, f"the hash {kind}")


def _named(spki: bytes, algorithm: Element) -> str:
    """What an AlgorithmIdentifier names; IndexError or ValueError: it is none."""
    if algorithm.inside[0].tag != OBJECT_IDENTIFIER:
        raise NotDER("not an algorithm")
    return asn1.dotted(algorithm.inside[0].content(spki))


def _rsa(content: bytes) -> tuple[BrokenRule, ...]:
    try:
        numbers = asn1.read(content).inside
    except NotDER as fault:
        return (BrokenRule("key_encoding", f"The RSA key is not DER: {fault}."),)
    if content[0] != SEQUENCE or [each.tag for each in numbers] != [INTEGER, INTEGER]:
        return (BrokenRule("key_encoding", "The RSA key is not a modulus and an exponent."),)
    modulus, exponent = (asn1.integer_of(content, each) for each in numbers)
    return rsa_refusals(modulus, exponent)


def _ec(spki: bytes, parameters: list[Element], point: bytes) -> tuple[BrokenRule, ...]:
    tags = [each.tag for each in parameters]
    if tags == [SEQUENCE]:
        # RFC 5480 §2.1.1 forbids it, and it is the way in for curves that only look like a named one (CVE-2020-0601).
        return (
            BrokenRule("key_explicit_curve", "The EC key spells its curve out; expected a named curve (RFC 5480)."),
        )
    if tags != [OBJECT_IDENTIFIER]:
        return (BrokenRule("key_parameters", "The EC key does not name its curve (RFC 5480 §2.1.1)."),)
    kind = asn1.dotted(parameters[0].content(spki))
    if kind not in _CURVES:
        seen = _OTHER_CURVES.get(kind, kind)
        return (
            BrokenRule("key_curve", f"The EC key is on the curve {seen}; expected P-256, P-384 or P-521 (secp*r1)."),
        )
    curve, size = _CURVES[kind]
    if point[:1] == b"\x00":
        return (BrokenRule("key_point", "The EC key is the point at infinity."),)
    if point[:1] not in (b"\x02", b"\x03", b"\x04"):
        # RFC 5480 §2.2 forbids the hybrid form
        return (BrokenRule("key_point", "The EC key's point is neither uncompressed nor compressed (RFC 5480 §2.2)."),)
    expected = 1 + size * (2 if point[0] == 4 else 1)
    if len(point) != expected:
        return (BrokenRule("key_point", f"The EC key's point has {len(point)} octets; on {curve} it has {expected}."),)
    return ()
