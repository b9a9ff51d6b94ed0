"""The codec against hand-written vectors, and against itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handfast.core.mqtt import codec, packets
from handfast.core.mqtt.connection import frames
from handfast.core.mqtt.packets import Packet
from handfast.core.mqtt.primitives import Reader, decode_header, encode_variable
from handfast.core.mqtt.properties import Properties, Property, Where, decode_block, encode_block
from handfast.core.mqtt.reasons import TABLE, Code, reason_text, v311_form
from handfast.errors import ProtocolViolation

VECTORS = Path(__file__).parents[2] / "vectors" / "mqtt"
VALID = json.loads((VECTORS / "valid.json").read_text())
MALFORMED = json.loads((VECTORS / "malformed.json").read_text())


def raw(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"].replace(" ", ""))


def split(data: bytes) -> tuple[int, bytes]:
    ((first, body),), rest = frames(data)
    assert b"" == rest
    return first, body


def properties_of(fields: dict[str, Any]) -> Properties:
    values = {
        int(which): bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
        for which, value in fields.pop("properties", {}).items()
    }
    return Properties(values, [(name, value) for name, value in fields.pop("user", [])])


def packet_of(described: dict[str, Any]) -> Packet:
    fields = dict(described)
    kind = getattr(packets, fields.pop("type"))
    if kind in (packets.PingReq, packets.PingResp):
        return kind()
    fields["properties"] = properties_of(fields)
    if "will" in fields:
        will = dict(fields["will"])
        will["payload"] = bytes.fromhex(will["payload"])
        will["properties"] = properties_of(will)
        fields["will"] = packets.Will(**will)
    if "payload" in fields:
        fields["payload"] = bytes.fromhex(fields["payload"])
    if "password" in fields:
        fields["password"] = bytes.fromhex(fields["password"])
    if "subscriptions" in fields:
        fields["subscriptions"] = tuple(packets.Subscription(**each) for each in fields["subscriptions"])
    for name in ("reasons", "topic_filters"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return kind(**fields)


@pytest.mark.parametrize("vector", VALID, ids=lambda v: v["name"])
def test_a_valid_packet_decodes_to_what_it_says(vector: dict[str, Any]) -> None:
    assert packet_of(vector["packet"]) == codec.decode(vector["version"], *split(raw(vector)))


@pytest.mark.parametrize("vector", VALID, ids=lambda v: v["name"])
def test_a_packet_encodes_to_its_vector(vector: dict[str, Any]) -> None:
    encoded = codec.encode(vector["version"], packet_of(vector["packet"]))
    if "a Will and its properties" in vector["name"]:  # ours are in ascending order
        assert packet_of(vector["packet"]) == codec.decode(vector["version"], *split(encoded))
    else:
        assert raw(vector) == encoded


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda v: v["name"])
def test_a_bad_packet_ends_with_its_reason_code(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        codec.decode(vector["version"], *split(raw(vector)))
    assert vector["error"] == caught.value.reason


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001"), (268435455, "ffffff7f")],
)
def test_variable_byte_integers(value: int, encoded: str) -> None:
    assert bytes.fromhex(encoded) == encode_variable(value)
    assert value == Reader(bytes.fromhex(encoded)).variable("number")


def test_a_remaining_length_is_read_when_it_is_there() -> None:
    assert (-1, 0) == decode_header(b"\x30", 0, 1)
    assert (-1, 0) == decode_header(b"\x30\x80\x80", 0, 3)
    assert (16384, 4) == decode_header(b"\x30\x80\x80\x01", 0, 4)


@pytest.mark.parametrize("header", ["30ffffffff", "30ffffff8000", "308000", "30808000"])
def test_a_remaining_length_that_is_too_long_or_padded_is_malformed(header: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode_header(bytes.fromhex(header), 0, len(header) // 2)
    assert Code.MALFORMED_PACKET == caught.value.reason


def test_what_a_version_cannot_hold_is_refused_when_encoding() -> None:
    with pytest.raises(ValueError, match="65535"):
        codec.encode(4, packets.Publish(topic="x" * 65_536, payload=b""))
    with pytest.raises(ValueError, match="does not fit"):
        encode_variable(268_435_456)


def test_the_reason_codes_agree_with_their_table() -> None:
    names = {row.value: row.name for row in TABLE}
    assert len(TABLE) == len(names)
    for code in Code:
        assert code.name == names[code.value]
    assert "Not authorized" == reason_text(0x87)
    assert "Reason Code 0x7E" == reason_text(0x7E)
    assert 5 == v311_form(0x87)
    assert None is v311_form(0x8E)


# property tests

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
BINARY = st.binary(max_size=20)
IDS = st.integers(1, 65_535)
QOS = st.integers(0, 1)
MESSAGE_VALUES = st.fixed_dictionaries(
    {},
    optional={
        int(Property.PAYLOAD_FORMAT_INDICATOR): st.integers(0, 1),
        int(Property.MESSAGE_EXPIRY_INTERVAL): st.integers(0, 2**32 - 1),
        int(Property.CONTENT_TYPE): TEXT,
        int(Property.RESPONSE_TOPIC): TEXT,
        int(Property.CORRELATION_DATA): BINARY,
    },
)
USER = st.lists(st.tuples(TEXT, TEXT), max_size=3)
MESSAGE_PROPERTIES = st.builds(Properties, MESSAGE_VALUES, USER)
USER_PROPERTIES = st.builds(Properties, st.just({}), USER)
CONNECT_PROPERTIES = st.builds(
    Properties,
    st.fixed_dictionaries(
        {},
        optional={
            int(Property.SESSION_EXPIRY_INTERVAL): st.integers(0, 2**32 - 1),
            int(Property.RECEIVE_MAXIMUM): st.integers(1, 65_535),
            int(Property.TOPIC_ALIAS_MAXIMUM): st.integers(0, 65_535),
            int(Property.MAXIMUM_PACKET_SIZE): st.integers(1, 2**32 - 1),
            int(Property.REQUEST_PROBLEM_INFORMATION): st.integers(0, 1),
        },
    ),
    USER,
)


@st.composite
def packets_of(draw: st.DrawFn, version: int) -> Packet:
    def props(strategy: st.SearchStrategy[Properties]) -> Properties:
        return draw(strategy) if version == 5 else Properties()

    kind = draw(st.sampled_from(["connect", "publish", "puback", "subscribe", "unsubscribe", "suback", "disconnect"]))
    if kind == "connect":
        will = None
        if draw(st.booleans()):
            will = packets.Will(
                topic=draw(TEXT),
                payload=draw(BINARY),
                qos=draw(st.integers(0, 2)),
                retain=draw(st.booleans()),
                properties=props(MESSAGE_PROPERTIES),
            )
        username = draw(st.none() | TEXT)
        return packets.Connect(
            version=version,
            client_id=draw(TEXT),
            clean_start=draw(st.booleans()),
            keep_alive=draw(st.integers(0, 65_535)),
            will=will,
            username=username,
            password=draw(st.none() | BINARY) if username is not None else None,
            properties=props(CONNECT_PROPERTIES),
        )
    if kind == "publish":
        qos = draw(st.integers(0, 2))
        return packets.Publish(
            topic=draw(TEXT),
            payload=draw(BINARY),
            qos=qos,
            retain=draw(st.booleans()),
            dup=draw(st.booleans()) if qos else False,
            packet_id=draw(IDS) if qos else 0,
            properties=props(MESSAGE_PROPERTIES),
        )
    if kind == "puback":
        return packets.PubAck(
            packet_id=draw(IDS),
            reason=draw(st.integers(0, 255)) if version == 5 else 0,
            properties=props(USER_PROPERTIES),
        )
    if kind == "subscribe":
        five = version == 5
        each = st.builds(
            packets.Subscription,
            topic_filter=TEXT,
            qos=st.integers(0, 2),
            no_local=st.booleans() if five else st.just(False),
            retain_as_published=st.booleans() if five else st.just(False),
            retain_handling=st.integers(0, 2) if five else st.just(0),
        )
        subscriptions = tuple(draw(st.lists(each, min_size=1, max_size=4)))
        return packets.Subscribe(packet_id=draw(IDS), subscriptions=subscriptions, properties=props(USER_PROPERTIES))
    if kind == "unsubscribe":
        names = tuple(draw(st.lists(TEXT, min_size=1, max_size=4)))
        return packets.Unsubscribe(packet_id=draw(IDS), topic_filters=names, properties=props(USER_PROPERTIES))
    if kind == "suback":
        reasons = tuple(draw(st.lists(st.integers(0, 255), min_size=1, max_size=4)))
        return packets.SubAck(packet_id=draw(IDS), reasons=reasons, properties=props(USER_PROPERTIES))
    return packets.Disconnect(
        reason=draw(st.integers(0, 255)) if version == 5 else 0, properties=props(USER_PROPERTIES)
    )


@pytest.mark.parametrize("version", [4, 5])
@given(data=st.data())
def test_what_is_encoded_decodes_to_the_same_packet(version: int, data: st.DataObject) -> None:
    packet = data.draw(packets_of(version))
    assert packet == codec.decode(version, *split(codec.encode(version, packet)))


@given(version=st.sampled_from([4, 5]), first=st.integers(0, 255), body=st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_protocol_violations(version: int, first: int, body: bytes) -> None:
    reason = 0
    try:
        codec.decode(version, first, body)
    except ProtocolViolation as violation:
        reason = violation.reason
    assert reason in {row.value for row in TABLE}


@given(st.data())
def test_a_valid_packet_with_one_byte_changed_raises_nothing_else(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([4, 5]))
    encoded = bytearray(codec.encode(version, data.draw(packets_of(version))))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    try:
        whole, _rest = frames(bytes(encoded))
        for first, body in whole:
            codec.decode(version, first, body)
    except ProtocolViolation:
        pass


@given(MESSAGE_PROPERTIES)
def test_a_property_block_goes_round(properties: Properties) -> None:
    assert properties == decode_block(encode_block(properties), Where.PUBLISH)


@given(block=st.binary(max_size=40), where=st.sampled_from(list(Where)))
def test_an_arbitrary_property_block_raises_nothing_else(block: bytes, where: Where) -> None:
    try:
        decode_block(block, where)
    except ProtocolViolation:
        pass
