"""
DER, checked element by element (X.690 §8, §10, §11), so that a refusal can say what is wrong and at which byte.

Two readers that disagree about one encoding are how a certificate means one thing to a signer and
another to a verifier. Nothing here knows what a certificate is; `form` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

MAX_DEPTH = 32
MAX_ELEMENTS = 4096
"""Real certificates have about a hundred; this many are read in a few milliseconds."""

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OBJECT_IDENTIFIER = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
SEQUENCE, SET = 0x30, 0x31
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
UTF8_STRING, TELETEX_STRING, BMP_STRING, UNIVERSAL_STRING = 0x0C, 0x14, 0x1E, 0x1C
CONSTRUCTED, CONTEXT = 0x20, 0x80

_ENUMERATED, _NUMERIC, _PRINTABLE, _IA5, _VISIBLE = 0x0A, 0x12, 0x13, 0x16, 0x1A
STRINGS = {
    UTF8_STRING: "utf-8",
    _NUMERIC: "ascii",
    _PRINTABLE: "ascii",
    TELETEX_STRING: "latin-1",
    _IA5: "ascii",
    _VISIBLE: "ascii",
    UNIVERSAL_STRING: "utf-32-be",
    BMP_STRING: "utf-16-be",
}
"""Tags of the character strings, and how each is decoded."""

_NAMES = {
    BOOLEAN: "BOOLEAN", INTEGER: "INTEGER", BIT_STRING: "BIT STRING", OCTET_STRING: "OCTET STRING", NULL: "NULL",
    OBJECT_IDENTIFIER: "OBJECT IDENTIFIER", _ENUMERATED: "ENUMERATED", UTF8_STRING: "UTF8String",
    SEQUENCE: "SEQUENCE", SET: "SET", _NUMERIC: "NumericString", _PRINTABLE: "PrintableString",
    TELETEX_STRING: "TeletexString", _IA5: "IA5String", UTC_TIME: "UTCTime", GENERALIZED_TIME: "GeneralizedTime",
    _VISIBLE: "VisibleString", UNIVERSAL_STRING: "UniversalString", BMP_STRING: "BMPString",
}  # fmt: skip

_PRINTABLE_SET = re.compile(rb"[A-Za-z0-9 '()+,\-./:=?]*")  # X.680 §41.4
# X.690 §8.19: numbers in base 128, none of which begins with a zero
_IDENTIFIER = re.compile(rb"(?:[\x00-\x7f]|[\x81-\xff][\x80-\xff]*[\x00-\x7f])+")
_UTC = re.compile(rb"[0-9]{12}Z")
_GENERALIZED = re.compile(rb"[0-9]{14}Z")


class NotDER(ValueError):
    """Octets that are not DER. The message ends a sentence that names what they should have been."""


class Element(NamedTuple):
    """One element: `at` is its first octet, its content lies between `start` and `end`, `inside` is in order."""

    tag: int
    at: int
    start: int
    end: int
    inside: tuple[Element, ...]

    def content(self, der: bytes) -> bytes:
        """Without tag and length."""
        return der[self.start : self.end]

    def whole(self, der: bytes) -> bytes:
        """With tag and length."""
        return der[self.at : self.end]


_new = tuple.__new__  # an Element by itself, without the call that names its fields: half the time of reading


def read(der: bytes) -> Element:
    """
    The one element that `der` is, with every element inside it well-formed.

    The content of OCTET STRINGs, BIT STRINGs and primitive context tags is opaque.

    Raises:
        NotDER: The first octet from the front that is wrong, or more than `MAX_ELEMENTS` or `MAX_DEPTH`.
    """
    _, stop = _header(der, 0, len(der))
    if stop != len(der):
        raise NotDER(f"{len(der) - stop} octets follow its end at byte {stop}")
    return _elements(der, 0, stop, 0, [MAX_ELEMENTS])[0]


def _elements(der: bytes, at: int, end: int, depth: int, left: list[int]) -> tuple[Element, ...]:
    """The elements that fill the octets from `at` to `end`; `left` is how many more there may be in the whole."""
    if depth > MAX_DEPTH:
        raise NotDER(f"more than {MAX_DEPTH} elements lie inside one another at byte {at}")
    elements: list[Element] = []
    while at < end:
        left[0] -= 1
        if left[0] < 0:
            raise NotDER(f"it has more than {MAX_ELEMENTS} elements")
        start = at + 2
        if (
            start <= end
            and (length := der[at + 1]) < 0x80
            and start + length <= end
            and (tag := der[at]) & 0x1F != 0x1F
        ):
            stop = start + length  # most elements, without a call
        else:
            start, stop = _header(der, at, end)
            tag = der[at]
        inside: tuple[Element, ...] = ()
        if tag & CONSTRUCTED:
            if tag < 0x40 and tag != SEQUENCE and tag != SET:
                raise NotDER(f"a {name_of(tag & ~CONSTRUCTED)} at byte {at} is in several pieces, which is BER")
            inside = _elements(der, start, stop, depth + 1, left)
            if tag == SET and len(inside) > 1:
                _sorted(der, inside)
        elif tag < 0x40:
            rule = _RULES.get(tag)
            if rule is None:
                raise NotDER(f"an element of {name_of(tag)} stands at byte {at}")
            if rule is not _any and (fault := rule(der, start, stop)):
                raise NotDER(f"the {name_of(tag)} at byte {at} {fault}")
        elements.append(_new(Element, (tag, at, start, stop, inside)))
        at = stop
    return tuple(elements)


def _header(der: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the content of the element at `at` starts and ends."""
    start = at + 2
    if start > end:
        raise NotDER(f"an element is cut off at byte {at}")
    if der[at] & 0x1F == 0x1F:
        raise NotDER(f"the tag at byte {at} has several octets")
    length = der[at + 1]
    if length >= 0x80:
        count = length & 0x7F
        if count == 0:
            raise NotDER(f"the element at byte {at} has an indefinite length, which is BER")
        if count > 4 or start + count > end:
            raise NotDER(f"the length at byte {at + 1} is longer than the text itself")
        length = int.from_bytes(der[start : start + count], "big")
        if length < 0x80 or length >> (8 * (count - 1)) == 0:
            raise NotDER(f"the length at byte {at + 1} is written with more octets than needed, which is BER")
        start += count
    if start + length > end:
        raise NotDER(f"the element at byte {at} is longer than what holds it: something is cut off")
    return start, start + length


def outline(der: bytes) -> list[Element]:
    """The elements directly inside the one that `der` begins with, themselves unread: cheap, for what passed `read`."""
    at, end = _header(der, 0, len(der))
    elements: list[Element] = []
    while at < end:
        start = at + 2
        if start <= end and (length := der[at + 1]) < 0x80 and start + length <= end and der[at] & 0x1F != 0x1F:
            stop = start + length
        else:
            start, stop = _header(der, at, end)
        elements.append(_new(Element, (der[at], at, start, stop, ())))
        at = stop
    return elements


def name_of(tag: int) -> str:
    """The tag's type, as X.680 spells it, or its number."""
    if tag >= CONTEXT and tag < 0xC0:
        return f"[{tag & 0x1F}]"
    return _NAMES.get(tag, f"tag {tag:#04x}")


def text_of(der: bytes, element: Element) -> str | None:
    """What a character string says; None for an element of another type."""
    encoding = STRINGS.get(element.tag)
    return None if encoding is None else element.content(der).decode(encoding)


def identifier(dotted: str) -> bytes:
    """The content of an OBJECT IDENTIFIER that is written as numbers with dots."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray()
    for number in (40 * first + second, *rest):
        octets = [number & 0x7F]
        while number := number >> 7:
            octets.append(0x80 | number & 0x7F)
        content += bytes(reversed(octets))
    return bytes(content)


def integer_of(der: bytes, element: Element) -> int:
    """The value of an INTEGER."""
    return int.from_bytes(der[element.start : element.end], "big", signed=True)


def dotted(content: bytes) -> str:
    """An OBJECT IDENTIFIER's content as numbers with dots, at most 64 octets of it."""
    numbers: list[int] = []
    value = 0
    for octet in content[:64]:
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            if numbers:
                numbers.append(value)
            else:
                first = min(value // 40, 2)
                numbers += [first, value - 40 * first]
            value = 0
    return ".".join(map(str, numbers))


def _sorted(der: bytes, children: tuple[Element, ...]) -> None:
    # X.690 §11.6: the elements of a SET OF are sorted by their octets.
    previous = b""
    for child in children:
        octets = child.whole(der)
        if octets < previous:
            raise NotDER(f"the SET at byte {child.at} is not sorted")
        previous = octets


# Each rule says what is wrong with the content of its type, or "".


def _boolean(der: bytes, start: int, end: int) -> str:
    return "" if end - start == 1 and der[start] in (0x00, 0xFF) else "is neither 00 nor FF"


def _integer(der: bytes, start: int, end: int) -> str:
    if start == end:
        return "is empty"
    if end - start > 1 and (
        (der[start] == 0 and der[start + 1] < 0x80) or (der[start] == 0xFF and der[start + 1] > 0x7F)
    ):
        return "is written with more octets than needed"
    return ""


def _bits(der: bytes, start: int, end: int) -> str:
    if start == end:
        return "is empty"
    unused = der[start]
    if unused > 7 or (unused and end - start == 1):
        return f"says that {unused} bits of its last octet are not used"
    if unused and der[end - 1] & ((1 << unused) - 1):
        return "has bits set that it says are not used"
    return ""


def _null(der: bytes, start: int, end: int) -> str:
    return "" if start == end else "is not empty"


def _identifier(der: bytes, start: int, end: int) -> str:
    return "" if _IDENTIFIER.fullmatch(der, start, end) else "is empty, cut off or written with more octets than needed"


def _printable(der: bytes, start: int, end: int) -> str:
    return "" if _PRINTABLE_SET.fullmatch(der, start, end) else "holds a character that is not in its set"


def _any(der: bytes, start: int, end: int) -> str:
    return ""


def _time(pattern: re.Pattern[bytes], form: str) -> Callable[[bytes, int, int], str]:
    def rule(der: bytes, start: int, end: int) -> str:
        return "" if pattern.fullmatch(der, start, end) else f"is not of the form {form}"

    return rule


def _string(encoding: str) -> Callable[[bytes, int, int], str]:
    def rule(der: bytes, start: int, end: int) -> str:
        try:
            der[start:end].decode(encoding)
        except UnicodeDecodeError:
            return f"is not {encoding.upper()}"
        return ""

    return rule


_RULES: dict[int, Callable[[bytes, int, int], str]] = {
    BOOLEAN: _boolean,
    INTEGER: _integer,
    _ENUMERATED: _integer,
    BIT_STRING: _bits,
    OCTET_STRING: _any,
    NULL: _null,
    OBJECT_IDENTIFIER: _identifier,
    **{tag: _string(encoding) for tag, encoding in STRINGS.items()},
    _PRINTABLE: _printable,
    UTC_TIME: _time(_UTC, "YYMMDDHHMMSSZ"),
    GENERALIZED_TIME: _time(_GENERALIZED, "YYYYMMDDHHMMSSZ"),
}
