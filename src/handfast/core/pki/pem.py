"""
Exactly one certificate, or one certificate signing request, out of text that somebody sent.

Strict on purpose (RFC 7468 §3): one armour and nothing round it, base64 without foreign
characters, DER without trailing bytes. What a person pasted wrongly is told apart by `rule`:

    text_empty, text_too_long, text_characters    the text as a whole
    armour_missing, armour_label, armour_several, armour_surroundings
    base64
    der_empty, der_too_long, der_syntax, der_canonical
    version, serial_number, signature_algorithms, signature_parameters, signature_bits
    name, validity, extensions
    key_…                                         as in `spki`, where no library reads the rest

Whether the key and the signature algorithm are good enough is `keys`' question.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from handfast.core.pki import der as asn1
from handfast.core.pki.form import check_certificate, check_request, subject_public_key_info
from handfast.core.pki.ids import CertificateId, certificate_id
from handfast.core.pki.spki import form_refusals
from handfast.errors import CertificateInputError

__all__ = [
    "MAX_CERTIFICATE_CHARACTERS",
    "MAX_REQUEST_CHARACTERS",
    "CertificateId",
    "ParsedCertificate",
    "ParsedRequest",
    "certificate_id",
    "encode_certificate",
    "read_certificate",
    "read_certificate_der",
    "read_certificates",
    "read_request",
]

MAX_CERTIFICATE_CHARACTERS = 65536  # AWS IoT model, shape CertificatePem
MAX_REQUEST_CHARACTERS = 4096  # AWS IoT model, shape CertificateSigningRequest

# What the parser would tell stderr about a peer's certificate, where nobody who could act reads it. Set once, here,
# because `catch_warnings` is not safe between threads. A common name of 65 characters (X.520 allows 64) is accepted.
warnings.filterwarnings(
    "ignore", message="Parsed a serial number which wasn't positive", category=CryptographyDeprecationWarning
)
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)

_BEGIN = re.compile(r"-----BEGIN ([^\n-]{1,64})-----")
_CERTIFICATE = frozenset({"CERTIFICATE"})
_REQUEST = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})  # RFC 7468 §7: both are in use
_WHITE = " \t\r\n"
_DROP_WHITE = str.maketrans("", "", _WHITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedCertificate:
    """
    One certificate, wholly parsed: reading any field of `cert` but its public key cannot fail.

    `pem` is the text as it was given; instants are aware UTC.
    """

    pem: str = field(repr=False)
    der: bytes = field(repr=False)
    certificate_id: CertificateId
    cert: x509.Certificate = field(repr=False)
    not_before: dt.datetime
    not_after: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """One PKCS#10 request, wholly parsed; its self-signature is not verified here (`issue.prepare` does)."""

    pem: str = field(repr=False)
    der: bytes = field(repr=False)
    request: x509.CertificateSigningRequest = field(repr=False)


def read_certificate(pem: str) -> ParsedCertificate:
    """
    The one certificate that `pem` holds.

    Args:
        pem: Text of at most 65536 characters.

    Raises:
        CertificateInputError: Anything else than one certificate; `rule` as listed above.
    """
    der = _unwrap(pem, _CERTIFICATE, "certificate", MAX_CERTIFICATE_CHARACTERS)
    return _parsed(pem, der)


def read_certificate_der(der: bytes) -> ParsedCertificate:
    """
    The one certificate that `der` is; `pem` of the result is its usual armour.

    Raises:
        CertificateInputError: Not DER of one certificate, or longer than any text may hold.
    """
    if not der:
        raise CertificateInputError("The certificate is empty.", "der_empty")
    if len(der) > MAX_CERTIFICATE_CHARACTERS:
        raise CertificateInputError(
            f"The certificate has {len(der)} bytes; at most {MAX_CERTIFICATE_CHARACTERS} are read.", "der_too_long"
        )
    return _parsed(encode_certificate(der), der)


def read_certificates(pem: str, *, at_most: int = 16) -> list[ParsedCertificate]:
    """
    The certificates of a chain or bundle file, in order, at least one and at most `at_most`.

    For files of our own; what a caller of the API sends is read by `read_certificate`.

    Raises:
        CertificateInputError: As `read_certificate`, for the first block that breaks a rule.
    """
    marker = "-----END CERTIFICATE-----"
    if pem.count(marker) > at_most:
        raise CertificateInputError(f"More than {at_most} certificates in one file.", "armour_several")
    head, *rest = pem.split(marker)
    blocks = [head + marker] if rest else [head]
    blocks += [block + marker for block in rest[:-1]]
    if rest and rest[-1].strip(_WHITE):
        blocks.append(rest[-1])
    return [read_certificate(block.strip(_WHITE) + "\n") for block in blocks]


def read_request(pem: str) -> ParsedRequest:
    """
    The one certificate signing request that `pem` holds.

    Args:
        pem: Text of at most 4096 characters, labelled CERTIFICATE REQUEST or NEW CERTIFICATE REQUEST.

    Raises:
        CertificateInputError: Anything else; `rule` as listed above.
    """
    der = _unwrap(pem, _REQUEST, "certificate signing request", MAX_REQUEST_CHARACTERS)
    check_request(der)
    try:
        request = x509.load_der_x509_csr(der)
    except x509.InvalidVersion as error:
        raise CertificateInputError("The request is not of PKCS#10 version 1.", "version") from error
    except Exception as error:
        raise _reason(der, "request", "The request is not DER of one PKCS#10 request.") from error
    _readable("request", "name", lambda: list(request.subject))
    _readable("request", "extensions", lambda: list(request.extensions))
    _canonical(request.public_bytes(Encoding.DER), der, "request")
    return ParsedRequest(pem=pem, der=der, request=request)


def encode_certificate(der: bytes) -> str:
    """PEM of a certificate: lines of 64 characters and a trailing newline."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _unwrap(text: str, labels: frozenset[str], what: str, limit: int) -> bytes:
    """The bytes inside the one armour of `text`."""
    if not text.strip(_WHITE):
        raise CertificateInputError(f"The {what} is empty.", "text_empty")
    if len(text) > limit:
        raise CertificateInputError(
            f"The {what} has {len(text)} characters; at most {limit} are allowed.", "text_too_long"
        )
    if not text.isascii():
        raise CertificateInputError(f"The {what} holds characters that are not ASCII.", "text_characters")
    opening = _BEGIN.search(text)
    if opening is None:
        raise CertificateInputError(
            f"The {what} has no -----BEGIN line: it must be PEM, not DER or bare base64.", "armour_missing"
        )
    label = opening[1]
    if label not in labels:
        # The label is the sender's text: named only where it is one of the usual ones.
        seen = f" a {label}" if label in _USUAL_LABELS else " something else"
        raise CertificateInputError(f"The text is{seen}, where a {what} was expected.", "armour_label")
    closing = f"-----END {label}-----"
    end = text.find(closing, opening.end())
    if end < 0:
        raise CertificateInputError(f"The {what} has no -----END line of the same label.", "armour_missing")
    after = text[end + len(closing) :]
    body = text[opening.end() : end]
    if "-----BEGIN" in after or "-----" in body:
        raise CertificateInputError(f"More than one PEM block; exactly one {what} is expected.", "armour_several")
    if text[: opening.start()].strip(_WHITE) or after.strip(_WHITE):
        raise CertificateInputError(
            f"There is text before or after the {what}; remove everything outside the BEGIN and END lines.",
            "armour_surroundings",
        )
    try:
        der = base64.b64decode(body.translate(_DROP_WHITE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CertificateInputError(f"The {what} is not base64 between its BEGIN and END lines.", "base64") from error
    if not der:
        raise CertificateInputError(f"The {what} holds nothing between its BEGIN and END lines.", "der_empty")
    return der


_USUAL_LABELS = frozenset(
    {
        "CERTIFICATE",
        "TRUSTED CERTIFICATE",
        "X509 CERTIFICATE",
        "CERTIFICATE REQUEST",
        "NEW CERTIFICATE REQUEST",
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "EC PARAMETERS",
        "PUBLIC KEY",
        "PKCS7",
        "X509 CRL",
    }
)


def _parsed(pem: str, der: bytes) -> ParsedCertificate:
    """Every field of the certificate touched once, so that nothing fails later and elsewhere."""
    check_certificate(der)
    try:
        cert = x509.load_der_x509_certificate(der)
    except x509.InvalidVersion as error:
        raise CertificateInputError("The certificate is not of X.509 version 3 or 1.", "version") from error
    except Exception as error:
        raise _reason(der, "certificate", "The certificate is not DER of one X.509 certificate.") from error
    _readable("certificate", "name", lambda: (list(cert.subject), list(cert.issuer)))
    _readable("certificate", "validity", lambda: (cert.not_valid_before_utc, cert.not_valid_after_utc))
    _readable("certificate", "extensions", lambda: list(cert.extensions))
    _canonical(cert.public_bytes(Encoding.DER), der, "certificate")
    return ParsedCertificate(
        pem=pem,
        der=der,
        certificate_id=certificate_id(der),
        cert=cert,
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
    )


def _reason(der: bytes, what: str, otherwise: str) -> CertificateInputError:
    """Why the parser refuses what has the right form: most often its key's algorithm."""
    body = asn1.read(der).inside[0]
    for broken in form_refusals(subject_public_key_info(body.whole(der))):
        return CertificateInputError(f"The {what}'s key cannot be read: {broken.message}", broken.rule)
    return CertificateInputError(otherwise, "der_syntax")


def _readable(what: str, rule: str, read: Callable[[], object]) -> None:
    """The parser is lazy: names, dates and extensions fail only when they are asked for."""
    try:
        read()
    except Exception as error:
        raise CertificateInputError(f"The {what}'s {rule.replace('_', ' ')} cannot be read.", rule) from error


def _canonical(again: bytes, der: bytes, what: str) -> None:
    if again != der:
        raise CertificateInputError(f"The {what} is not in DER: written again it differs.", "der_canonical")
