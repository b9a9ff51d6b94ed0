"""The name of a certificate: the one identifier that the PKI itself defines."""

from __future__ import annotations

import hashlib
from typing import NewType

CertificateId = NewType("CertificateId", str)
"""64 lower-case hex digits: the SHA-256 of the certificate's DER."""


def certificate_id(der: bytes) -> CertificateId:
    """
    The certificateId of a certificate.

    Args:
        der: The certificate exactly as it was signed or sent; PEM wrapping plays no part, so the
            same certificate wrapped differently has the same id.
    """
    return CertificateId(hashlib.sha256(der).hexdigest())
