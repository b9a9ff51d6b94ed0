"""
A device's trust store, read from whatever form it was handed over in: certificates and pins, and what else lay there.

    PEM             CERTIFICATE blocks, PKCS7 and CMS blocks; text between the blocks is ignored
    DER             certificates, one straight after the other, or PKCS#7
    text            one pin a line: `sha256/BASE64`, curl's `sha256//BASE64`, `pin-sha256="BASE64"`, or 64 hex digits
                    with or without colons; `#` begins a comment

Nothing is judged here: `trust_lint` does that.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509

from handfast.core.pki import pkcs7
from handfast.core.pki.bundle import CERTIFICATE_LABELS, PKCS7_LABELS, Block, blocks
from handfast.core.pki.pem import read_certificate_der
from handfast.errors import CertificateInputError

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_CERTIFICATES = 1000
"""Of a whole store; the public bundles have about 150."""
MAX_PINS = 1000
MAX_REMARKS = 100
MAX_PIN_LINE_CHARACTERS = 1000
WRONG_PINS = 3
"""A file without any pin and with more lines that are none is no list of pins: it is remarked on once."""

_PIN = re.compile(r"(?:(?:pin-)?sha256\s*[=/:]\s*(/?))?\s*\"?([0-9A-Za-z+/:=_-]{43,95})\"?", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate of the store, and where it stood."""

    certificate: x509.Certificate
    place: str


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned SHA-256, 32 bytes: of a key if it was made rightly, of a whole certificate if not."""

    digest: bytes
    place: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something in the store that is neither. `code`: `unreadable`, `private_key` or `ignored`."""

    code: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class TrustStore:
    """What a device holds, in the order in which it was read; duplicates are kept."""

    certificates: tuple[Held, ...]
    pins: tuple[Pin, ...]
    remarks: tuple[Remark, ...] = ()


def read_store(files: Iterable[tuple[str, bytes]]) -> TrustStore:
    """
    The store that these files make together.

    Args:
        files: The name of each, as a person knows it, and its content. One that holds nothing readable is a remark.

    Raises:
        CertificateInputError: `store_too_large`: a file, or all of them together, hold more than the limits above.
    """
    reader = _Reader()
    for name, content in files:
        reader.read(name, content)
    return TrustStore(tuple(reader.certificates), tuple(reader.pins), tuple(reader.remarks))


class _Reader:
    def __init__(self) -> None:
        self.certificates: list[Held] = []
        self.pins: list[Pin] = []
        self.remarks: list[Remark] = []

    def read(self, name: str, content: bytes) -> None:
        if len(content) > MAX_FILE_BYTES:
            raise CertificateInputError(
                f"{name} has more than {MAX_FILE_BYTES} bytes: that is no device's trust store.", "store_too_large"
            )
        if b"-----BEGIN" in content:
            for block in blocks(content.splitlines()):
                self._block(f"{name}, line {block.line}", block)
        elif content[:1] == b"\x30" and content[1:2] >= b"\x80":
            # A certificate is longer than 127 octets; "0" and a digit begin a pin.
            self._der(name, content)
        else:
            self._text(name, content)

    def _block(self, place: str, block: Block) -> None:
        if block.error is not None:
            self._remark("unreadable", place, block.error)
        elif block.data is not None and block.label in CERTIFICATE_LABELS:
            self._certificate(place, block.data)
        elif block.data is not None and block.label in PKCS7_LABELS:
            self._pkcs7(place, block.data)
        elif "PRIVATE KEY" in block.label:
            self._remark("private_key", place, f"A {block.label} lies in the trust store.")
        else:
            self._remark("ignored", place, f"A block {block.label} is neither certificate nor pin.")

    def _der(self, name: str, content: bytes) -> None:
        if pkcs7.is_pkcs7(content):
            self._pkcs7(name, content)
            return
        at = number = 0
        while at < len(content):
            number += 1
            end = _end_of(content, at)
            place = name if number == 1 and end == len(content) else f"{name}, certificate {number}"
            if end is None:
                self._remark("unreadable", place, "The octets from here on are not DER.")
                return
            self._certificate(place, content[at:end])
            at = end

    def _pkcs7(self, place: str, der: bytes) -> None:
        try:
            found = pkcs7.certificates(der)
        except CertificateInputError as error:
            self._remark("unreadable", place, str(error))
            return
        for number, each in enumerate(found, start=1):
            self._certificate(f"{place}, certificate {number}", each)

    def _certificate(self, place: str, der: bytes) -> None:
        try:
            certificate = read_certificate_der(der).cert
        except CertificateInputError as error:
            self._remark("unreadable", place, str(error))
            return
        self.certificates.append(Held(certificate, place))
        if len(self.certificates) > MAX_CERTIFICATES:
            raise CertificateInputError(
                f"The trust store holds more than {MAX_CERTIFICATES} certificates.", "store_too_large"
            )

    def _text(self, name: str, content: bytes) -> None:
        before = len(self.pins)
        wrong = []
        for number, raw in enumerate(content.splitlines(), start=1):
            line = raw.partition(b"#")[0].strip()
            if not line:
                continue
            digest = pinned(line.decode("ascii", "replace")) if len(line) <= MAX_PIN_LINE_CHARACTERS else None
            if digest is None:
                wrong.append(number)
                continue
            self.pins.append(Pin(digest, f"{name}, line {number}"))
            if len(self.pins) > MAX_PINS:
                raise CertificateInputError(f"The trust store holds more than {MAX_PINS} pins.", "store_too_large")
        if len(self.pins) == before and not 0 < len(wrong) <= WRONG_PINS:
            self._remark("unreadable", name, "The file holds neither a certificate nor a pin.")
            return
        for number in wrong:
            self._remark("unreadable", f"{name}, line {number}", "This is no pin: expected sha256/BASE64 or hex.")

    def _remark(self, code: str, place: str, message: str) -> None:
        if len(self.remarks) < MAX_REMARKS:
            self.remarks.append(Remark(code, place, message))


def pinned(text: str) -> bytes | None:
    """The 32 bytes of a pin in any of its forms, or None."""
    found = _PIN.fullmatch(text.strip().rstrip(";,"))
    if found is None:
        return None
    plain = found[2].replace(":", "")
    if _HEX.fullmatch(plain):
        return bytes.fromhex(plain)
    # A second slash is curl's, or the first digit of the pin.
    return _decoded(found[2]) or (_decoded(f"/{found[2]}") if found[1] else None)


def _decoded(body: str) -> bytes | None:
    try:
        digest = base64.b64decode(body.replace("-", "+").replace("_", "/").rstrip("=") + "=", validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 32 else None


def _end_of(content: bytes, at: int) -> int | None:
    """Where the SEQUENCE that begins at `at` ends; None where none begins or it is cut off."""
    if content[at] != 0x30 or at + 2 > len(content):
        return None
    first = content[at + 1]
    if first < 0x80:
        end = at + 2 + first
    else:
        octets = first & 0x7F
        if not 1 <= octets <= 4 or at + 2 + octets > len(content):
            return None
        end = at + 2 + octets + int.from_bytes(content[at + 2 : at + 2 + octets], "big")
    return end if end <= len(content) else None
