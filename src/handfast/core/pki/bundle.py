"""
The certificates of a PEM bundle, one after the other, each with the line it begins on.

Lenient where `pem` is strict, because a manufacturer's file is not a caller's field: text between the blocks is
ignored, blocks of other kinds are named and passed over, and a broken block is an item with its reason, after which
reading goes on. Memory is bounded by one block, whatever the length of the bundle.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from handfast.core.pki.pem import MAX_CERTIFICATE_CHARACTERS

MAX_PKCS7_CHARACTERS = 24 * 1024 * 1024
"""Of base64 in one PKCS#7 block, which is read as a whole: about 20,000 certificates."""
MAX_LINE_BYTES = MAX_CERTIFICATE_CHARACTERS
"""What a reader should give as one line; a block may stand on one."""

CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})  # RFC 7468 §5.1, and what older tools write
PKCS7_LABELS = frozenset({"PKCS7", "CMS"})  # RFC 7468 §8, §9
_LIMITS = {
    **dict.fromkeys(CERTIFICATE_LABELS, MAX_CERTIFICATE_CHARACTERS),
    **dict.fromkeys(PKCS7_LABELS, MAX_PKCS7_CHARACTERS),
}

_BEGIN = re.compile(rb"-----BEGIN ([ -,.-~]{1,64})-----")
_END = re.compile(rb"-----END ([ -,.-~]{1,64})-----")


@dataclass(frozen=True, slots=True)
class Block:
    """
    One armoured block.

    `data` is what the base64 holds, for a certificate or PKCS#7; None for
    another kind, whose `label` says what it is, and where `error` is a
    sentence that says what is wrong. `line` counts from one.
    """

    line: int
    label: str
    data: bytes | None = field(default=None, repr=False)
    error: str | None = None


def blocks(lines: Iterable[bytes]) -> Iterator[Block]:
    """Every block of the text, in order. `lines` as a binary file gives them, ideally bounded by `MAX_LINE_BYTES`."""
    label: str | None = None
    started = size = limit = 0
    body: list[bytes] = []
    number = 0
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if line.startswith(b"-----"):
            opening = _BEGIN.fullmatch(line)
            if opening is not None:
                if label is not None:
                    yield Block(started, label, error="The block has no -----END line before the next one begins.")
                label, started, size, body = opening[1].decode("ascii"), number, 0, []
                limit = _LIMITS.get(label, 0)
                continue
            closing = _END.fullmatch(line)
            if closing is not None and label is not None:
                ended = closing[1].decode("ascii")
                if ended != label:
                    yield Block(started, label, error="The block's -----END line has another label.")
                else:
                    yield _closed(started, label, body, size, limit)
                label, body = None, []
                continue
        if label is not None and limit:
            size += len(line)
            if size <= limit:
                body.append(line)
            else:
                body = []
    if label is not None:
        yield Block(started, label, error="The file ends inside the block: it has no -----END line.")


def _closed(line: int, label: str, body: list[bytes], size: int, limit: int) -> Block:
    if not limit:
        return Block(line, label)
    if size > limit:
        return Block(line, label, error=f"The block has {size} characters; at most {limit} are read.")
    try:
        data = base64.b64decode(b"".join(body), validate=True)
    except (binascii.Error, ValueError):
        return Block(line, label, error="The block is not base64 between its BEGIN and END lines.")
    if not data:
        return Block(line, label, error="The block is empty.")
    return Block(line, label, data)
