"""The certificates of a PKCS#7 file: SignedData that carries certificates and signs nothing (RFC 2315, RFC 5652)."""

from __future__ import annotations

import warnings

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from handfast.errors import CertificateInputError

# `openssl crl2pkcs7` leaves the SET of certificates in the order of its input, which DER does not; it is read all the
# same, and the library's remark about it is not for the user. Set once: `catch_warnings` is not safe between threads.
warnings.filterwarnings("ignore", message="PKCS#7 certificates could not be parsed as DER", category=UserWarning)

MAX_PKCS7_BYTES = 18 * 1024 * 1024
"""Read as a whole: about 20,000 certificates."""


def certificates(der: bytes) -> list[bytes]:
    """
    DER of each certificate, in the order of the file. Signatures in the SignedData are not looked at.

    Raises:
        CertificateInputError: `der_too_long`, `der_syntax`, or `pkcs7_empty`.
    """
    if len(der) > MAX_PKCS7_BYTES:
        raise CertificateInputError(
            f"The PKCS#7 data has {len(der)} bytes; at most {MAX_PKCS7_BYTES} are read: split the file.", "der_too_long"
        )
    try:
        found = pkcs7.load_der_pkcs7_certificates(der)
        encoded = [certificate.public_bytes(Encoding.DER) for certificate in found]
    except Exception as error:  # ValueError, UnsupportedAlgorithm and the parser's own: all mean the same here
        raise CertificateInputError(
            "The data is not PKCS#7 SignedData with certificates that can be read.", "der_syntax"
        ) from error
    if not encoded:
        raise CertificateInputError("The PKCS#7 data holds no certificates.", "pkcs7_empty")
    return encoded


def is_pkcs7(der: bytes) -> bool:
    """
    Whether DER begins as PKCS#7 does: a SEQUENCE that begins with an OID, where a certificate begins with a SEQUENCE.

    The first sixteen bytes are enough.
    """
    if len(der) < 3 or der[0] != 0x30:
        return False
    length = der[1]
    start = 2 if length <= 0x80 else 2 + (length & 0x7F)
    return len(der) > start and der[start] == 0x06
