"""A tiny writer of DER, and of what is nearly DER: every part is bytes, so that any one of them can be wrong."""

from __future__ import annotations

import base64

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8, PRINTABLE, TELETEX, IA5, UTC_TIME, GENERALIZED_TIME, BMP = 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1E
SEQUENCE, SET = 0x30, 0x31


def tlv(tag: int, *parts: bytes) -> bytes:
    """An element whose length is in the shortest form."""
    content = b"".join(parts)
    return bytes([tag]) + _length(len(content)) + content


def long_form(element: bytes, octets: int = 4) -> bytes:
    """The same element with its length in more octets than needed: BER."""
    content = content_of(element)
    return bytes([element[0], 0x80 | octets]) + len(content).to_bytes(octets, "big") + content


def indefinite(element: bytes) -> bytes:
    """The same element with an indefinite length: BER."""
    return bytes([element[0], 0x80]) + content_of(element) + b"\0\0"


def content_of(element: bytes) -> bytes:
    """What stands behind tag and length."""
    if element[1] < 0x80:
        return element[2:]
    return element[2 + (element[1] & 0x7F) :]


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, *parts)


def set_of(*parts: bytes) -> bytes:
    """In the order given, which DER wants sorted."""
    return tlv(SET, *parts)


def integer(value: int) -> bytes:
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool) -> bytes:
    return tlv(BOOLEAN, b"\xff" if value else b"\0")


def null() -> bytes:
    return tlv(NULL)


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return tlv(OID, *map(_base128, (first * 40 + second, *rest)))


def octets(*parts: bytes) -> bytes:
    return tlv(OCTET_STRING, *parts)


def bits(content: bytes, unused: int = 0) -> bytes:
    return tlv(BIT_STRING, bytes([unused]), content)


def text(value: str, tag: int = UTF8) -> bytes:
    return tlv(tag, value.encode("utf-16-be" if tag == BMP else "utf-8"))


def context(number: int, *parts: bytes, constructed: bool = True) -> bytes:
    """[number], constructed as EXPLICIT is, or primitive as IMPLICIT of a string is."""
    return tlv((0xA0 if constructed else 0x80) | number, *parts)


def armour(content: bytes, label: str = "CERTIFICATE") -> str:
    """PEM with lines of 64 characters."""
    encoded = base64.b64encode(content).decode("ascii")
    lines = [encoded[i : i + 64] for i in range(0, len(encoded), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def _base128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(0x80 | number & 0x7F)
    return bytes(reversed(octets))
