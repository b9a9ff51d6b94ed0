"""
Lists of revocations that are issued here (RFC 5280 §5.1), made of entries that are encoded once.

A list of a hundred thousand entries is joined, hashed and signed in milliseconds; built anew of objects it would take
seconds, in which nothing else runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from handfast.core.pki.chain import subject_key_identifier
from handfast.core.pki.der import GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, UTC_TIME
from handfast.core.pki.issue import SigningKey, digest_for
from handfast.core.pki.reasons import REASONS
from handfast.errors import IssuerMismatch

_BIT_STRING, _ENUMERATED, _EXPLICIT_0 = 0x03, 0x0A, 0xA0
_CRL_REASON = bytes.fromhex("551d15")
_CRL_NUMBER = bytes.fromhex("551d14")
_AUTHORITY_KEY_IDENTIFIER = bytes.fromhex("551d23")
_ALGORITHMS: Mapping[tuple[str, str], bytes] = {
    ("rsa", "sha256"): bytes.fromhex("300d06092a864886f70d01010b0500"),
    ("rsa", "sha384"): bytes.fromhex("300d06092a864886f70d01010c0500"),
    ("ec", "sha256"): bytes.fromhex("300a06082a8648ce3d040302"),
    ("ec", "sha384"): bytes.fromhex("300a06082a8648ce3d040303"),
}
"""AlgorithmIdentifiers (RFC 4055 §5, RFC 5758 §3.2)."""


def encode_entry(serial_number: int, at: dt.datetime, reason: str = "unspecified") -> bytes:
    """One entry of `revokedCertificates`. KeyError: the reason is none of `REASONS`."""
    code = REASONS[reason]
    # RFC 5280 §5.3.1: an unspecified reason is left out.
    extensions = b"" if code == 0 else _tlv(SEQUENCE, _extension(_CRL_REASON, _tlv(_ENUMERATED, bytes([code]))))
    return _tlv(SEQUENCE, _integer(serial_number) + _time(at) + extensions)


def sign_list(
    entries: bytes,
    *,
    issuer: x509.Certificate,
    key: SigningKey,
    number: int,
    this_update: dt.datetime,
    next_update: dt.datetime,
) -> bytes:
    """
    DER of the list, version 2, with authorityKeyIdentifier and CRL number.

    Args:
        entries: Of `encode_entry`, one after another, each serial number once.
        number: Higher than that of every earlier list of this issuer; at most 20 octets.

    Raises:
        IssuerMismatch: The key is not the issuer's.
    """
    if key.public_key() != issuer.public_key():
        raise IssuerMismatch("The signing key is not that of the list's issuer.")
    digest = digest_for(key)
    algorithm = _ALGORITHMS["rsa" if isinstance(key, rsa.RSAPrivateKey) else "ec", digest.name]
    identifier = subject_key_identifier(issuer) or b""
    extensions = _extension(_AUTHORITY_KEY_IDENTIFIER, _tlv(SEQUENCE, _tlv(0x80, identifier)))
    extensions += _extension(_CRL_NUMBER, _integer(number))
    to_be_signed = _tlv(
        SEQUENCE,
        b"".join(
            (
                _integer(1),  # v2
                algorithm,
                issuer.subject.public_bytes(),
                _time(this_update),
                _time(next_update),
                _tlv(SEQUENCE, entries) if entries else b"",  # RFC 5280 §5.1.2.6: absent where there are none
                _tlv(_EXPLICIT_0, _tlv(SEQUENCE, extensions)),
            )
        ),
    )
    signature = _signature(key, to_be_signed, digest)
    return _tlv(SEQUENCE, to_be_signed + algorithm + _tlv(_BIT_STRING, b"\0" + signature))


def entries_of(der: bytes) -> bytes:
    """The entries of a list that `sign_list` made, as they were handed to it. ValueError: it is none."""
    tag, start, end = _read(der, 0)
    if tag != SEQUENCE or end != len(der):
        raise ValueError("not a list of revocations")
    _, at, end = _read(der, start)
    for expected in (INTEGER, SEQUENCE, SEQUENCE):  # version, signature, issuer
        tag, _, at = _read(der, at)
        if tag != expected:
            raise ValueError("not a list of this form")
    for _ in range(2):
        tag, _, at = _read(der, at)
        if tag not in (UTC_TIME, GENERALIZED_TIME):
            raise ValueError("not a list of this form")
    tag, start, stop = _read(der, at)
    if stop > end:
        raise ValueError("not a list of this form")
    return der[start:stop] if tag == SEQUENCE else b""


def _signature(key: SigningKey, data: bytes, digest: hashes.SHA256 | hashes.SHA384) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    return key.sign(data, ec.ECDSA(digest))


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _read(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, and where the content of the element at `at` starts and ends."""
    if at + 2 > len(der):
        raise ValueError("it ends too early")
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        start += octets
        length = int.from_bytes(der[at + 2 : start], "big")
    if start + length > len(der):
        raise ValueError("it ends too early")
    return tag, start, start + length


def _integer(value: int) -> bytes:
    """A number that is not negative."""
    return _tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _extension(identifier: bytes, value: bytes) -> bytes:
    return _tlv(SEQUENCE, _tlv(OBJECT_IDENTIFIER, identifier) + _tlv(OCTET_STRING, value))


def _time(at: dt.datetime) -> bytes:
    """RFC 5280 §5.1.2.4: UTCTime through 2049, GeneralizedTime from 2050 on; whole seconds."""
    at = at.astimezone(dt.UTC)
    if at.year < 2050:
        return _tlv(UTC_TIME, f"{at:%y%m%d%H%M%SZ}".encode("ascii"))
    return _tlv(GENERALIZED_TIME, f"{at:%Y%m%d%H%M%SZ}".encode("ascii"))
