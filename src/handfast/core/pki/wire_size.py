"""What a certificate chain costs on the wire: the Certificate message of TLS 1.2 and 1.3, with its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_FRAGMENT_BYTES = 16384  # RFC 8446 §5.1
_HANDSHAKE_HEADER = 4  # msg_type and a 24-bit length
_RECORD_HEADER = 5
_AEAD_EXPANSION = 17  # RFC 8446 §5.2: the inner content type, and a tag of 16 bytes in every suite that is served


@dataclass(frozen=True, slots=True)
class CertificateMessage:
    """
    The Certificate message of one chain, in bytes.

    `certificates` is the DER alone; `message` adds the framing of the handshake, which is what has to fit a
    device's handshake buffer; `records` adds that of the fewest records which can carry it, which is what crosses
    the network.
    """

    certificates: int
    tls12: int
    tls12_records: int
    tls13: int
    tls13_records: int


def certificate_message(sizes: Sequence[int]) -> CertificateMessage:
    """
    The message that carries certificates of these sizes.

    Args:
        sizes: Bytes of DER of each certificate, as sent. Extensions of single certificates (a stapled OCSP response
            in TLS 1.3) are not counted.
    """
    der = sum(sizes)
    # RFC 5246 §7.4.2: a 24-bit length of the list, and one before each certificate
    tls12 = _HANDSHAKE_HEADER + 3 + der + 3 * len(sizes)
    # RFC 8446 §4.4.2: certificate_request_context besides, and a 16-bit length of extensions behind each certificate
    tls13 = _HANDSHAKE_HEADER + 1 + 3 + der + 5 * len(sizes)
    return CertificateMessage(
        certificates=der,
        tls12=tls12,
        tls12_records=tls12 + _records(tls12) * _RECORD_HEADER,
        tls13=tls13,
        tls13_records=tls13 + _records(tls13) * (_RECORD_HEADER + _AEAD_EXPANSION),
    )


def _records(message: int) -> int:
    return -(-message // MAX_FRAGMENT_BYTES)
