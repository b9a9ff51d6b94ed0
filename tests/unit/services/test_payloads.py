"""Payloads of requests: JSON and CBOR, read within bounds."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.core.provisioning.fleet import Rejected, RejectionCode
from handfast.core.topics.reserved import PayloadFormat
from handfast.services.payloads import (
    MAX_DEPTH,
    MAX_PARAMETERS,
    MAX_PAYLOAD_BYTES,
    MAX_VALUE_CHARACTERS,
    parameters_member,
    read_payload,
    text_member,
    write_payload,
)

JSON, CBOR = PayloadFormat.JSON, PayloadFormat.CBOR
MEMBERS = {"certificateOwnershipToken": "t", "parameters": {"SerialNumber": "7", "Ort": "Tür"}}


@pytest.mark.parametrize("format_", PayloadFormat)
def test_what_is_written_is_read(format_: PayloadFormat) -> None:
    assert MEMBERS == read_payload(write_payload(MEMBERS, format_), format_)


def test_vectors_of_the_standard() -> None:
    # RFC 8949 appendix A: {"a": "A", …}; the same map of indefinite length; and statusCode as its integer 400.
    assert {"a": "A", "b": "B"} == read_payload(bytes.fromhex("a26161614161626142"), CBOR)
    assert {"a": "A", "b": "B"} == read_payload(bytes.fromhex("bf6161614161626142ff"), CBOR)
    assert {"Fun": True, "Amt": -2} == read_payload(bytes.fromhex("bf6346756ef563416d7421ff"), CBOR)
    assert bytes.fromhex("a16a737461747573436f6465190190") == write_payload({"statusCode": 400}, CBOR)


@pytest.mark.parametrize("format_", PayloadFormat)
def test_no_octets_are_as_good_as_an_empty_map_where_that_is_said(format_: PayloadFormat) -> None:
    assert {} == read_payload(b"", format_, may_be_empty=True)
    with pytest.raises(Rejected):
        read_payload(b"", format_)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    "not JSON": (b"\xa0", JSON),
    "JSON that is no map": (b"[]", JSON),
    "JSON with a repeated key": (b'{"a":"1","a":"2"}', JSON),
    "JSON with a repeated key below": (b'{"parameters":{"a":"1","a":"2"}}', JSON),
    "JSON too deep": (json.dumps({"a": nested(MAX_DEPTH)}).encode(), JSON),
    "JSON far too deep": (b'{"a":' + b"[" * 60_000, JSON),
    "JSON that is not UTF-8": (b'{"a":"\xff"}', JSON),
    "JSON in UTF-16": ('{"a":"b"}'.encode("utf-16"), JSON),
    "JSON with something behind": (b"{}{}", JSON),
    "JSON too large": (b" " * MAX_PAYLOAD_BYTES + b"{}", JSON),
    "not CBOR": (b"{}", CBOR),
    "CBOR that is no map": (b"\x80", CBOR),
    "CBOR with a key that is no text": (bytes.fromhex("a10161"), CBOR),
    "CBOR with a whole key that is no text": (bytes.fromhex("a1016161"), CBOR),
    "CBOR with a repeated key": (bytes.fromhex("a2616161316161" + "6132"), CBOR),
    "CBOR too deep": (cbor2.dumps({"a": nested(MAX_DEPTH)}), CBOR),
    "CBOR far too deep": (b"\xa1\x61a" + b"\x81" * 60_000, CBOR),
    "CBOR with something behind": (bytes.fromhex("a000"), CBOR),
    "CBOR cut off": (bytes.fromhex("a16161"), CBOR),
    "CBOR that claims more than there is": (bytes.fromhex("bbffffffffffffffff"), CBOR),
    "a CBOR string that claims more than there is": (bytes.fromhex("a161617bffffffffffffffff"), CBOR),
    "a CBOR date": (bytes.fromhex("a16161c11a514b67b0"), CBOR),
    "a CBOR regular expression": (bytes.fromhex("a16161d8236161"), CBOR),
    "a CBOR big number": (bytes.fromhex("a16161c24101"), CBOR),
    "a CBOR shared value": (bytes.fromhex("a16161d81c6161"), CBOR),
    "a CBOR map that says it is CBOR": (bytes.fromhex("d9d9f7a0"), CBOR),
    "CBOR text that is not UTF-8": (bytes.fromhex("a1616161ff"), CBOR),
    "a break without a beginning": (b"\xff", CBOR),
}


@pytest.mark.parametrize(("data", "format_"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(data: bytes, format_: PayloadFormat) -> None:
    with pytest.raises(Rejected) as refused:
        read_payload(data, format_)
    assert (RejectionCode.INVALID_PAYLOAD, 400) == (refused.value.code, refused.value.payload["statusCode"])


def test_as_deep_as_may_be() -> None:
    deep = {"a": nested(MAX_DEPTH - 1)}
    assert deep == read_payload(json.dumps(deep).encode(), JSON)
    assert deep == read_payload(cbor2.dumps(deep), CBOR)


def test_members() -> None:
    members = {"a": "x", "n": None, "i": 1, "parameters": {"k": "v"}}
    assert ("x", "", "") == (text_member(members, "a"), text_member(members, "n"), text_member(members, "absent"))
    assert {"k": "v"} == parameters_member(members)
    assert {} == parameters_member({}) == parameters_member({"parameters": None})
    for wrong in (
        {"parameters": ["k", "v"]},
        {"parameters": {"k": 1}},
        {"parameters": {"k": None}},
        {"parameters": {1: "v"}},
        {"parameters": {"k": {"deep": "v"}}},
        {"parameters": {str(number): "" for number in range(MAX_PARAMETERS + 1)}},
        {"parameters": {"k": "x" * (MAX_VALUE_CHARACTERS + 1)}},
        {"parameters": {"k": "\ud800"}},
    ):
        with pytest.raises(Rejected):
            parameters_member(wrong)
    for value in (1, ["x"], "\udfff", "x" * (MAX_VALUE_CHARACTERS + 1)):
        with pytest.raises(Rejected):
            text_member({"a": value}, "a")


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(PayloadFormat))
def test_whatever_a_device_sends_is_a_map_of_text_keys_or_rejected(data: bytes, format_: PayloadFormat) -> None:
    try:
        members = read_payload(data, format_)
        parameters_member(members)
        text_member(members, "certificateSigningRequest")
    except Rejected as refused:
        write_payload(refused.payload, format_)
    else:
        assert all(isinstance(key, str) for key in members)


_WHOLE = [
    cbor2.dumps(MEMBERS),
    cbor2.dumps({"parameters": {"a": 1.5, "b": [None, True, b"x", -7]}, "x": {"y": {"z": 2**70}}}),
    bytes.fromhex("bf6a706172616d6574657273bf61617f61626163ffffff"),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_WHOLE), st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=4))
def test_damaged_cbor_is_read_or_rejected(whole: bytes, damage: list[tuple[int, int]]) -> None:
    raw = bytearray(whole)
    for at, value in damage:
        raw[at % len(raw)] = value
    try:
        parameters = parameters_member(read_payload(bytes(raw), CBOR))
    except Rejected:
        return
    assert all(isinstance(text, str) for pair in parameters.items() for text in pair)
