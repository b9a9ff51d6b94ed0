"""
Microchip Trust Platform manifests: a JSON array with one signed object for each secure element.

Each object is a JWS (RFC 7515, flattened JSON serialization, ES256): `payload` is the SecureElement, `protected`
names algorithm and signer, `header` repeats the uniqueId for a reader, and is not signed. Nothing of a payload is used
before its signature is verified with the signer's certificate that the caller trusts. Only the device's own
certificates come out, never those above them in `x5c`.

An array of any length is read one object at a time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.core.pki.chain import subject_key_identifier
from handfast.core.pki.pem import MAX_CERTIFICATE_CHARACTERS
from handfast.errors import CertificateInputError

MAX_ELEMENT_CHARACTERS = 256 * 1024
MAX_KEYS = 64
MAX_UNIQUE_ID_CHARACTERS = 128

_WHITE = re.compile(r"[ \t\r\n]*")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_P256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Element:
    """
    One object of a manifest: its device certificates in DER, or why there are none.

    `index` counts from one. `unique_id` is signed where there is no `error`; with
    one it is what the object claims, cut to a bounded length, or None.
    """

    index: int
    unique_id: str | None
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    error: str | None = None


class ManifestSigner:
    """The certificate whose key must have signed every object."""

    def __init__(self, certificate: x509.Certificate) -> None:
        """
        CertificateInputError (`key_curve`): its key is not P-256, so it can have made no ES256 signature.

        The certificate's dates are not looked at: a manifest outlives them.
        """
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise CertificateInputError("The manifest signer's certificate must hold a P-256 key (ES256).", "key_curve")
        self._key = key
        own = subject_key_identifier(certificate)
        computed = x509.SubjectKeyIdentifier.from_public_key(key).digest
        self._kids = [_encode(digest) for digest in (own, computed) if digest is not None]
        self._thumbprint = _encode(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())

    def names(self, header: dict[str, Any]) -> bool:
        """Whether the protected header names this certificate: by `kid` or `x5t#S256`, and by neither another one."""
        kid, thumbprint = header.get("kid"), header.get("x5t#S256")
        if kid is None and thumbprint is None:
            return False
        return (kid is None or kid in self._kids) and (thumbprint is None or thumbprint == self._thumbprint)

    def signed(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (r and s, 32 bytes each: RFC 7518 §3.4) is this key's over `data`."""
        if len(signature) != 2 * _P256_BYTES:
            return False
        r = int.from_bytes(signature[:_P256_BYTES], "big")
        s = int.from_bytes(signature[_P256_BYTES:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class _Refused(Exception):
    """Why an object gives no certificates."""


def elements(text: Iterable[str], signer: ManifestSigner) -> Iterator[Element]:
    """
    Every object of the manifest, verified. Never raises for what the text holds.

    Args:
        text: The file in pieces, ideally larger than an object (a few KB).

    Where the text is not an array of JSON, the last item says so; what stands behind that place is not read.
    """
    for index, value in _objects(text):
        if isinstance(value, _Refused):
            yield Element(index, None, error=str(value))
            continue
        claimed = _claimed_id(value)
        try:
            unique_id, certificates = _verified(value, signer)
        except _Refused as refused:
            yield Element(index, claimed, error=str(refused))
        else:
            yield Element(index, unique_id, certificates)


# --- the array ------------------------------------------------------------------------------------------------------


class _Text:
    """The part of the text that is in memory, and a position in it."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)
        self._decoder = json.JSONDecoder(object_pairs_hook=_unique)
        self.buffer = ""
        self.at = 0

    def more(self) -> bool:
        """One more piece is in memory; False at the end of the text."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self.buffer = self.buffer[self.at :] + piece
        self.at = 0
        return True

    def next_character(self) -> str:
        """The next character that is not white space, not consumed; empty at the end."""
        while True:
            match = _WHITE.match(self.buffer, self.at)
            assert match is not None
            self.at = match.end()
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""

    def value(self) -> Any:
        """The next JSON value, consumed. _Refused: too long, or not JSON."""
        while True:
            try:
                found, end = self._decoder.raw_decode(self.buffer, self.at)
            except (ValueError, RecursionError) as error:
                if isinstance(error, _Duplicate):
                    raise _Refused("A member stands twice in the object.") from None
                if len(self.buffer) - self.at > MAX_ELEMENT_CHARACTERS or not self.more():
                    raise _Refused("The text is not JSON here, or the object is too long.") from None
            else:
                self.at = end
                return found


class _Duplicate(ValueError):
    """A JSON object with two members of one name: readers disagree on which one counts."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Duplicate
    return found


def _objects(pieces: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Each value of the array with its number; a `_Refused` in place of the first one that cannot be read."""
    text = _Text(pieces)
    if text.next_character() != "[":
        yield 1, _Refused("The text is not a JSON array, which a manifest is.")
        return
    text.at += 1
    index = 0
    if text.next_character() == "]":
        return
    while True:
        index += 1
        text.next_character()
        try:
            value = text.value()
        except _Refused as refused:
            yield index, refused
            return
        yield index, value
        following = text.next_character()
        text.at += 1
        if following == "]":
            return
        if following != ",":
            yield index + 1, _Refused("The array is broken off here: expected a comma or its end.")
            return


# --- one object -----------------------------------------------------------------------------------------------------


def _verified(value: Any, signer: ManifestSigner) -> tuple[str, tuple[bytes, ...]]:
    """The unique id and the device certificates of a signed object."""
    if not isinstance(value, dict):
        raise _Refused("It is not a JSON object.")
    protected, payload, signature = (value.get(name) for name in ("protected", "payload", "signature"))
    if not (isinstance(protected, str) and isinstance(payload, str) and isinstance(signature, str)):
        raise _Refused("It is not a signed object: protected, payload and signature are needed.")
    header = _json_object(protected, "protected header")
    if header.get("alg") != "ES256":
        raise _Refused("It is not signed with ES256.")
    if "crit" in header or "b64" in header:
        raise _Refused("Its header demands an extension of JWS that is not known here.")
    if not signer.names(header):
        raise _Refused("It was signed by another certificate than the one given (kid, x5t#S256).")
    if not signer.signed(_decode(signature, "signature"), f"{protected}.{payload}".encode("ascii", "replace")):
        raise _Refused("Its signature is wrong.")
    element = _json_object(payload, "payload")
    unique_id = element.get("uniqueId")
    if not isinstance(unique_id, str) or not 0 < len(unique_id) <= MAX_UNIQUE_ID_CHARACTERS:
        raise _Refused("Its payload has no uniqueId.")
    unsigned = value.get("header")
    if isinstance(unsigned, dict) and unsigned.get("uniqueId", unique_id) != unique_id:
        raise _Refused("Its uniqueId outside the signature is not the one inside.")
    return unique_id, _device_certificates(element)


def _device_certificates(element: dict[str, Any]) -> tuple[bytes, ...]:
    """The first of each `x5c`, which certifies the key that it stands with (RFC 7517 §4.7)."""
    key_set = element.get("publicKeySet")
    keys = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise _Refused(f"Its payload has no publicKeySet of at most {MAX_KEYS} keys.")
    found: dict[bytes, None] = {}
    for key in keys:
        chain = key.get("x5c") if isinstance(key, dict) else None
        if chain is None:
            continue  # a key without a certificate
        if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
            raise _Refused("The x5c of one of its keys is not a list of certificates.")
        found[_leaf(chain[0], key)] = None
    if not found:
        raise _Refused("It has no certificate: none of its keys has an x5c.")
    return tuple(found)


def _leaf(text: str, key: dict[str, Any]) -> bytes:
    if len(text) > MAX_CERTIFICATE_CHARACTERS:
        raise _Refused("The certificate in its x5c is too long.")
    try:
        der = base64.b64decode(text, validate=True)  # not base64url: RFC 7517 §4.7
        certified = x509.load_der_x509_certificate(der).public_key()
    except Exception:  # whatever base64 and the parser find wrong with it
        raise _Refused("The certificate in its x5c cannot be read.") from None
    if isinstance(certified, ec.EllipticCurvePublicKey):
        numbers, size = certified.public_numbers(), (certified.curve.key_size + 7) // 8
        point = {"x": _encode(numbers.x.to_bytes(size, "big")), "y": _encode(numbers.y.to_bytes(size, "big"))}
        if any(key.get(name, value) != value for name, value in point.items()):
            raise _Refused("The certificate in its x5c is for another key than the one it stands with.")
    return der


def _json_object(text: str, what: str) -> dict[str, Any]:
    data = _decode(text, what)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _Refused(f"Its {what} is not JSON.") from None
    if not isinstance(value, dict):
        raise _Refused(f"Its {what} is not a JSON object.")
    return value


def _claimed_id(value: Any) -> str | None:
    header = value.get("header") if isinstance(value, dict) else None
    claimed = header.get("uniqueId") if isinstance(header, dict) else None
    return claimed[:MAX_UNIQUE_ID_CHARACTERS] if isinstance(claimed, str) else None


def _decode(text: str, what: str) -> bytes:
    """Base64url without padding (RFC 7515 §2)."""
    if not _BASE64URL.fullmatch(text):
        raise _Refused(f"Its {what} is not base64url without padding.")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise _Refused(f"Its {what} is not base64url.") from None


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
