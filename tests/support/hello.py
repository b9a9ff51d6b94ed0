"""ClientHellos built field by field, so that exactly one thing is wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def u16s(numbers: Sequence[int]) -> bytes:
    return b"".join(struct.pack(">H", number) for number in numbers)


def vector(body: bytes, length_bytes: int = 2) -> bytes:
    return len(body).to_bytes(length_bytes, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(body)


def sni(host_name: bytes) -> bytes:
    return extension(0, vector(b"\0" + vector(host_name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(b"".join(vector(name, 1) for name in names)))


def versions(*numbers: int) -> bytes:
    return extension(43, vector(u16s(numbers), 1))


def groups(*numbers: int) -> bytes:
    return extension(10, vector(u16s(numbers)))


def signature_algorithms(*numbers: int) -> bytes:
    return extension(13, vector(u16s(numbers)))


def signature_algorithms_cert(*numbers: int) -> bytes:
    return extension(50, vector(u16s(numbers)))


RSA_PSS, RSA, ECDSA = 0x0804, 0x0401, 0x0403
USUAL_SUITES = (0x1302, 0x1303, 0x1301, 0xC02C, 0xC030, 0xC02B, 0xC02F, 0x009D, 0x009C)
USUAL_EXTENSIONS = (
    sni(b"localhost"),
    groups(0x001D, 0x0017, 0x0018),
    signature_algorithms(ECDSA, RSA_PSS, RSA),
    versions(0x0304, 0x0303),
)


def body(
    suites: Sequence[int] = USUAL_SUITES,
    extensions: Sequence[bytes] | None = USUAL_EXTENSIONS,
    *,
    legacy_version: int = 0x0303,
    session_id: bytes = b"",
    compression: bytes = b"\0",
) -> bytes:
    """The message without its header; `extensions` None: no extension block at all."""
    fixed = struct.pack(">H", legacy_version) + bytes(range(32)) + vector(session_id, 1)
    fixed += vector(u16s(suites)) + vector(compression, 1)
    return fixed if extensions is None else fixed + vector(b"".join(extensions))


def message(content: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + vector(content, 3)


def records(data: bytes, size: int = 16384, kind: int = 22) -> bytes:
    """`data` cut into records of `size` bytes."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(bytes([kind, 3, 1]) + vector(piece) for piece in pieces)


def hello(*args: object, **fields: object) -> bytes:
    """The usual hello as it comes over the wire, with `body`'s arguments."""
    return records(message(body(*args, **fields)))  # type: ignore[arg-type]
