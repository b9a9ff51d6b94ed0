"""Changes to DER that stay DER enough to get past the first look, and changes that do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support import der

MAX_DEPTH = 40
INTERESTING = (
    der.integer(0), der.integer(-1), der.integer(1 << 159), der.integer(1 << 160), der.tlv(der.INTEGER, b"\0\1"),
    der.null(), der.boolean(True), der.boolean(False), der.tlv(der.BOOLEAN, b"\1"), der.bits(b""), der.bits(b"\x80", 7),
    der.octets(b""), der.sequence(), der.set_of(), der.text(""), der.text("a\0b"), der.text("\U0001f4a1"),
    der.text("a", der.PRINTABLE), der.tlv(der.PRINTABLE, b"_"), der.tlv(der.TELETEX, b"\xe9"), der.tlv(der.BMP, b"\0"),
    der.tlv(der.UTF8, b"\xff"), der.tlv(der.UTC_TIME, b"500101000000Z"), der.tlv(der.UTC_TIME, b"9912312359Z"),
    der.tlv(der.GENERALIZED_TIME, b"00000101000000Z"), der.tlv(der.GENERALIZED_TIME, b"99991231235959Z"),
    der.oid("2.5.4.3"), der.oid("2.5.29.17"), der.oid("2.5.29.37"), der.oid("1.2.840.113549.1.1.10"),
    der.oid("1.2.840.10045.3.1.7"), der.oid("2.999.1"), der.tlv(der.OID, b"\x80\x01"), der.tlv(der.OID, b"\x2a\x86"),
    der.context(0), der.context(3), der.context(1, b"\0", constructed=False), der.long_form(der.sequence()),
    der.indefinite(der.sequence()), b"\x1f\x81\x01\x00", b"\0\0", b"\x30\x84\xff\xff\xff\xff",
    b"\x04\x88" + b"\xff" * 8,
)  # fmt: skip


@dataclass(slots=True)
class Node:
    """An element read loosely. `children` None: `content` is what it holds; `prefix` stands before the children."""

    tag: int
    content: bytes = b""
    children: list[Node] | None = None
    prefix: bytes = b""
    encode: Callable[[bytes], bytes] | None = field(default=None)

    def der(self) -> bytes:
        content = self.content
        if self.children is not None:
            content = self.prefix + b"".join(child.der() for child in self.children)
        element = der.tlv(self.tag, content)
        return self.encode(element) if self.encode else element


def parse(content: bytes, depth: int = 0) -> list[Node] | None:
    """The elements that fill the octets; None where they do not."""
    nodes: list[Node] = []
    at = 0
    while at < len(content):
        if at + 2 > len(content) or depth > MAX_DEPTH:
            return None
        tag, length, start = content[at], content[at + 1], at + 2
        if length >= 0x80:
            count = length & 0x7F
            if count == 0 or count > 4:
                return None
            length = int.from_bytes(content[start : start + count], "big")
            start += count
        end = start + length
        if end > len(content):
            return None
        nodes.append(_node(tag, content[start:end], depth))
        at = end
    return nodes


def _node(tag: int, content: bytes, depth: int) -> Node:
    prefix = b"\0" if tag == der.BIT_STRING and content[:1] == b"\0" else b""
    if tag & 0x20 or tag in (der.OCTET_STRING, der.BIT_STRING):
        children = parse(content[len(prefix) :], depth + 1)
        if children is not None and (tag & 0x20 or children):
            return Node(tag, b"", children, prefix)
    return Node(tag, content)


def mutate(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """The octets after one to four changes; `others` lend their parts."""
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        nodes = parse(content)
        if nodes and rng.random() < 0.75:
            _change_tree(nodes, others, rng)
            content = b"".join(node.der() for node in nodes)
        else:
            content = _change_octets(content, others, rng)
    return content


def _all(nodes: list[Node]) -> list[tuple[list[Node], int]]:
    """Every node as its place: the list that holds it and where."""
    places = []
    waiting = [nodes]
    while waiting:
        siblings = waiting.pop()
        for at, node in enumerate(siblings):
            places.append((siblings, at))
            if node.children:
                waiting.append(node.children)
    return places


def _change_tree(nodes: list[Node], others: Sequence[bytes], rng: random.Random) -> None:
    siblings, at = rng.choice(_all(nodes))
    node = siblings[at]
    match rng.randrange(16):
        case 0:
            node.tag = rng.choice((rng.randrange(256), node.tag ^ 0x20, 0x30, 0x31, 0x0C, 0x13, 0x04, 0x03, 0x02, 0x17))
        case 1:
            siblings.insert(at, node)
        case 2:
            del siblings[at]
        case 3:
            other = rng.randrange(len(siblings))
            siblings[at], siblings[other] = siblings[other], node
        case 4:
            lent = parse(rng.choice(others))
            if lent:
                there, where = rng.choice(_all(lent))
                siblings[at] = there[where]
        case 5 | 6:
            made = parse(interesting := rng.choice(INTERESTING))
            # What cannot be read as an element stands inside an OCTET STRING's place, as it is.
            siblings[at] = made[0] if made else Node(node.tag, interesting)
        case 7:
            node.encode = rng.choice((der.long_form, der.indefinite, _cut, _grown))
        case 8:
            for _ in range(rng.choice((1, 1, 3, 30, 200))):
                node = Node(rng.choice((0x30, 0x31, 0xA0)), b"", [node])
            siblings[at] = node
        case 9:
            siblings[at : at + 1] = [node] * rng.choice((2, 3, 70, 400))
        case 10:
            node.children = None
            node.content = rng.randbytes(rng.choice((0, 1, 2, 20, 33, 65, 129, 300)))
        case _:
            while node.children:
                node = rng.choice(node.children)
            if node.children is None and node.content:
                node.content = _change_octets(node.content, others, rng)
            else:
                node.prefix = rng.choice((b"", b"\1", b"\7", b"\0\0"))


def _cut(element: bytes) -> bytes:
    return element[:-1]


def _grown(element: bytes) -> bytes:
    return element + b"\0"


def _change_octets(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    if not content:
        return rng.randbytes(rng.randrange(4))
    at = rng.randrange(len(content))
    end = min(len(content), at + rng.choice((1, 2, 4, 30)))
    match rng.randrange(7):
        case 0 | 1:
            return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        case 2:
            return content[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0x81, 0x84, 0xFF))]) + content[at + 1 :]
        case 3:
            return content[:at] + content[end:]
        case 4:
            return content[:at] + rng.choice((rng.randbytes(end - at), content[at:end])) + content[at:]
        case 5:
            return content[:at] if rng.random() < 0.5 else content[at:]
        case _:
            other = rng.choice(others)
            return content[:at] + other[rng.randrange(len(other)) :][: rng.choice((4, 60, 4000))]


def mutate_text(text: str, rng: random.Random) -> str:
    """PEM with one change to its text."""
    at = rng.randrange(len(text) + 1)
    match rng.randrange(6):
        case 0:
            return (
                text[:at]
                + rng.choice(("\0", "\n", " ", "-", "=", "\r\n", "\u00e9", "\ud800", "A", "-----"))
                + text[at:]
            )
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at] + text
        case 3:
            return text.replace("CERTIFICATE", rng.choice(("PRIVATE KEY", "certificate", "X509 CRL", "A" * 70)))
        case 4:
            return text[:at]
        case _:
            return text + rng.choice((text, "x", " \n\t", "\n" * 70_000, "A" * 70_000))
