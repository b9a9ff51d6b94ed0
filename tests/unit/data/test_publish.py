"""What of a Publish request is a legal MQTT 5 message, and the property block it becomes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from handfast.core.mqtt.properties import Property, Where, decode_block
from handfast.data.publish import PAYLOAD_LIMIT_BYTES, ReservedTopicError, read_publication
from handfast.errors import ForbiddenError, InvalidRequestError
from handfast.wire.errors import RequestEntityTooLargeError


def properties_of(**members: Any) -> Any:
    return decode_block(read_publication(topic="a/b", **members).properties, Where.PUBLISH)


def test_a_plain_message_has_no_properties() -> None:
    message = read_publication(topic="a/b", payload=b"x")
    assert ("a/b", b"x", 0, False, b"") == (
        message.topic,
        message.payload,
        message.qos,
        message.retain,
        message.properties,
    )


def test_every_member_becomes_its_property() -> None:
    got = properties_of(
        payload_format_indicator="UTF8_DATA",
        content_type="text/plain",
        response_topic="answers/é",
        correlation_data=base64.b64encode(b"\x00\xff").decode(),
        message_expiry=60,
        user_properties=[{"name": "välue"}, {"name": "2"}, {"": ""}],
    )
    assert {
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.MESSAGE_EXPIRY_INTERVAL: 60,
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "answers/é",
        Property.CORRELATION_DATA: b"\x00\xff",
    } == got.values
    assert [("name", "välue"), ("name", "2"), ("", "")] == got.user


def test_user_properties_may_be_encoded_twice_as_the_cli_does() -> None:
    assert [("a", "b")] == properties_of(user_properties=json.dumps([{"a": "b"}])).user


@pytest.mark.parametrize(
    ("given", "kept"), [(0, 1), (1, 1), (604_800, 604_800), (604_801, 604_800), (2**63 - 1, 604_800)]
)
def test_the_expiry_is_clamped_to_a_second_and_seven_days(given: int, kept: int) -> None:
    assert kept == properties_of(message_expiry=given).values[Property.MESSAGE_EXPIRY_INTERVAL]


@pytest.mark.parametrize(
    "members",
    [
        {"message_expiry": -1},
        {"content_type": "x" * 257},
        {"content_type": "é" * 129},
        {"content_type": "a\x1bb"},
        {"response_topic": "a/#"},
        {"response_topic": ""},
        {"response_topic": "x" * 257},
        {"correlation_data": "not base64!"},
        {"correlation_data": base64.b64encode(b"x" * 8193).decode()},
        {"user_properties": {"a": "b"}},
        {"user_properties": "not json"},
        {"user_properties": "[" * 100_000},
        {"user_properties": [{"a": "b", "c": "d"}]},
        {"user_properties": [{"a": 1}]},
        {"user_properties": [{}]},
        {"user_properties": ["a"]},
        {"user_properties": [{"a": "b"}] * 257},
        {"user_properties": [{"a": "x" * 8192}]},
        {"user_properties": [{"a\x00": "b"}]},
        {"user_properties": 7},
    ],
)
def test_what_cannot_stand_in_a_publish_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        read_publication(topic="a", **members)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\x00b", "a\x1b[31m", "x" * 257, "a/b/c/d/e/f/g/h/i", "é" * 129])
def test_illegal_topics_are_refused(topic: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_publication(topic=topic)


@pytest.mark.parametrize(
    "topic",
    ["$SYS/x", "$aws/events/presence/connected/c", "$aws/things/t/shadow/update", "$aws/rules/r", "$", "$share/g/t"],
)
def test_reserved_topics_are_forbidden(topic: str) -> None:
    with pytest.raises(ReservedTopicError) as caught:
        read_publication(topic=topic)
    assert isinstance(caught.value, ForbiddenError)
    assert (topic, "Forbidden") == (caught.value.topic, caught.value.message)


def test_basic_ingest_may_be_published_to_but_not_retained() -> None:
    assert "$aws/rules/r/t" == read_publication(topic="$aws/rules/r/t").topic
    with pytest.raises(ReservedTopicError):
        read_publication(topic="$aws/rules/r/t", retain=True)


def test_the_payload_is_bounded() -> None:
    assert PAYLOAD_LIMIT_BYTES == 131_072
    assert read_publication(topic="a", payload=b"x" * PAYLOAD_LIMIT_BYTES)
    with pytest.raises(RequestEntityTooLargeError):
        read_publication(topic="a", payload=b"x" * (PAYLOAD_LIMIT_BYTES + 1))
