"""DER by its grammar: what the writer writes is read back part by part, every other encoding of it is refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import der as written

from handfast.core.pki.der import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    Element,
    NotDER,
    dotted,
    identifier,
    integer_of,
    outline,
    read,
    text_of,
)

ARC = st.one_of(st.integers(0, 300), st.integers(0, 1 << 70))
OIDS = st.tuples(
    st.one_of(
        st.tuples(st.integers(0, 1), st.integers(0, 39)),
        st.tuples(st.just(2), ARC),
    ),
    st.lists(ARC, max_size=6),
).map(lambda parts: ".".join(map(str, (*parts[0], *parts[1]))))

PRIMITIVES = st.one_of(
    st.integers(-(1 << 200), 1 << 200).map(written.integer),
    st.booleans().map(written.boolean),
    st.binary(max_size=200).map(written.octets),
    st.binary(max_size=200).map(written.bits),
    st.just(written.null()),
    OIDS.map(written.oid),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80).map(written.text),
    st.binary(max_size=20).map(lambda content: written.context(2, content, constructed=False)),
)
VALUES = st.recursive(
    PRIMITIVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(lambda parts: written.sequence(*parts)),
        st.lists(inner, max_size=5).map(lambda parts: written.set_of(*sorted(parts))),
        st.lists(inner, max_size=3).map(lambda parts: written.context(3, *parts)),
    ),
    max_leaves=20,
)


def elements(root: Element) -> list[Element]:
    return [root, *(each for child in root.inside for each in elements(child))]


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_what_is_der_is_read_whole(content: bytes) -> None:
    root = read(content)
    assert content == root.whole(content)
    for element in elements(root):
        if element.inside:
            assert element.content(content) == b"".join(each.whole(content) for each in element.inside)
            again = outline(element.whole(content))
            assert [each.whole(content) for each in element.inside] == [
                each.whole(element.whole(content)) for each in again
            ]


@settings(max_examples=60, deadline=None)
@given(VALUES, st.data())
def test_no_other_encoding_of_the_same_is_read(content: bytes, data: st.DataObject) -> None:
    element = data.draw(st.sampled_from(elements(read(content))))
    other = data.draw(st.sampled_from([written.long_form, written.indefinite]))(element.whole(content))
    spoiled = content[: element.at] + other + content[element.end :]
    with pytest.raises(NotDER):
        read(spoiled)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.binary(min_size=1, max_size=9))
def test_nothing_may_follow_or_be_missing(content: bytes, more: bytes) -> None:
    for spoiled in (content + more, content[: -min(len(more), len(content))]):
        with pytest.raises(NotDER):
            read(spoiled)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_are_read_or_refused(content: bytes) -> None:
    try:
        assert content == read(content).whole(content)
    except NotDER:
        return


@settings(max_examples=60, deadline=None)
@given(OIDS)
def test_object_identifiers_go_to_numbers_and_back(name: str) -> None:
    content = written.content_of(written.oid(name))
    assert content == identifier(name)
    assert name == dotted(content)
    assert name == x509.ObjectIdentifier(name).dotted_string


def test_a_long_object_identifier_is_shown_in_part() -> None:
    assert len(dotted(b"\x2a" + b"\x01" * 5000)) < 300


@settings(max_examples=60, deadline=None)
@given(st.integers(-(1 << 300), 1 << 300))
def test_integers(value: int) -> None:
    content = written.integer(value)
    assert value == integer_of(content, read(content))


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_texts(value: str) -> None:
    content = written.text(value)
    assert value == text_of(content, read(content))


@pytest.mark.parametrize("tag", [written.INTEGER, written.SEQUENCE])
def test_what_is_no_text_has_none(tag: int) -> None:
    content = written.tlv(tag, b"\x02\x01\x05" if tag == written.SEQUENCE else b"\x05")
    assert text_of(content, read(content)) is None


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ("cut off at byte 0", b""),
        ("cut off at byte 0", b"\x30"),
        ("is longer than what holds it", b"\x04\x05ab"),
        ("longer than the text itself", b"\x04\x85\x00\x00\x00\x00\x01a"),
        ("neither 00 nor FF", written.tlv(written.BOOLEAN, b"\x01")),
        ("neither 00 nor FF", written.tlv(written.BOOLEAN, b"\0\0")),
        ("INTEGER at byte 0 is empty", written.tlv(written.INTEGER)),
        ("more octets than needed", written.tlv(written.INTEGER, b"\0\x7f")),
        ("more octets than needed", written.tlv(written.INTEGER, b"\xff\x80")),
        ("BIT STRING at byte 0 is empty", written.tlv(written.BIT_STRING)),
        ("8 bits of its last octet", written.bits(b"a", 8)),
        ("1 bits of its last octet", written.bits(b"", 1)),
        ("bits set that it says are not used", written.bits(b"\x01", 1)),
        ("NULL at byte 0 is not empty", written.tlv(written.NULL, b"\0")),
        ("OBJECT IDENTIFIER at byte 0", written.tlv(written.OID)),
        ("OBJECT IDENTIFIER at byte 0", written.tlv(written.OID, b"\x2a\x80\x01")),
        ("OBJECT IDENTIFIER at byte 0", written.tlv(written.OID, b"\x2a\x86")),
        ("UTF8String at byte 2 is not UTF-8", written.sequence(written.tlv(written.UTF8, b"\xc0\x80"))),
        ("UTF8String at byte 0 is not UTF-8", written.tlv(written.UTF8, b"\xed\xa0\x80")),
        ("BMPString at byte 0", written.tlv(written.BMP, b"a")),
        ("UTCTime at byte 0", written.tlv(written.UTC_TIME, b"300102030405+0000")),
        ("GeneralizedTime at byte 0", written.tlv(written.GENERALIZED_TIME, b"20300102030405")),
        ("a OCTET STRING at byte 0 is in several pieces", written.tlv(0x24, written.octets(b"a"))),
        ("several octets", b"\x1f\x81\x01\x00"),
        ("tag 0x00", b"\0\0"),
        ("not sorted", written.set_of(written.integer(2), written.integer(1))),
        (f"more than {MAX_ELEMENTS} elements", written.sequence(written.null() * MAX_ELEMENTS)),
    ],
)
def test_refused(said: str, content: bytes) -> None:
    with pytest.raises(NotDER) as caught:
        read(content)
    assert said in str(caught.value)


def test_depth_is_bounded() -> None:
    content = written.null()
    for _ in range(MAX_DEPTH):
        content = written.sequence(content)
    read(content)
    with pytest.raises(NotDER, match="inside one another"):
        read(written.sequence(content))
