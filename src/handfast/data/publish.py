"""A message to be published through HTTP: what of a Publish request is legal, and its form for the router."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from handfast.core.mqtt.connection import DEFAULT_LIMITS, Limits
from handfast.core.mqtt.properties import Properties, Property, encode_block
from handfast.core.topics.name import forbidden_character, name_problem
from handfast.core.topics.reserved import TopicClass, classify_topic
from handfast.errors import ForbiddenError, InvalidRequestError
from handfast.wire.errors import RequestEntityTooLargeError

MAX_EXPIRY_S: Final = 604_800
"""Seven days; AWS IoT takes more as this, and 0 as 1."""
PAYLOAD_LIMIT_BYTES: Final = DEFAULT_LIMITS.payload_bytes
MAX_USER_PROPERTIES: Final = 256

_FORMATS: Final = {"UNSPECIFIED_BYTES": 0, "UTF8_DATA": 1}


class ReservedTopicError(ForbiddenError):
    """The topic begins with `$` and is not for publishing; `topic` names it."""

    def __init__(self, topic: str) -> None:
        super().__init__("Forbidden")
        self.topic = topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A legal message. `properties` is its MQTT 5 property block without the length, Message Expiry included."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: bytes


def read_publication(
    *,
    topic: str,
    qos: int = 0,
    retain: bool = False,
    payload: bytes = b"",
    user_properties: Any = None,
    payload_format_indicator: str | None = None,
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation_data: str | None = None,
    message_expiry: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Publication:
    """
    Check the members of a Publish request, already valid by the model.

    Args:
        topic: The Topic Name, decoded.
        user_properties: The decoded JSON of `x-amz-mqtt5-user-properties`: a list of objects of one
            string each, or (as SDKs send it, encoded twice) a string that holds that list.
        correlation_data: Base64.
        message_expiry: Seconds.

    Raises:
        InvalidRequestError: Something cannot stand in an MQTT 5 PUBLISH, or is beyond a limit.
        RequestEntityTooLargeError: The payload is beyond `limits.payload_bytes`.
        ReservedTopicError: The topic begins with `$` and is not `$aws/rules/<rule>/…`, or retain is asked for one.
    """
    problem = name_problem(topic)
    if problem is not None:
        raise InvalidRequestError(f"The topic cannot be published to: {problem}.")
    if len(payload) > limits.payload_bytes:
        raise RequestEntityTooLargeError(f"The payload is longer than {limits.payload_bytes} bytes.")
    kind = classify_topic(topic)
    if not kind.is_routed or (retain and kind is not TopicClass.ORDINARY):
        raise ReservedTopicError(topic)
    properties = Properties()
    if payload_format_indicator is not None:
        properties.values[Property.PAYLOAD_FORMAT_INDICATOR] = _FORMATS[payload_format_indicator]
    if message_expiry is not None:
        if message_expiry < 0:
            raise InvalidRequestError("messageExpiry must not be negative.")
        properties.values[Property.MESSAGE_EXPIRY_INTERVAL] = min(max(message_expiry, 1), MAX_EXPIRY_S)
    if content_type is not None:
        _check_text("contentType", content_type, limits.content_type_bytes)
        properties.values[Property.CONTENT_TYPE] = content_type
    if response_topic is not None:
        problem = name_problem(response_topic)
        if problem is not None:
            raise InvalidRequestError(f"responseTopic cannot be used: {problem}.")
        properties.values[Property.RESPONSE_TOPIC] = response_topic
    if correlation_data is not None:
        properties.values[Property.CORRELATION_DATA] = _correlation_data(correlation_data, limits)
    if user_properties is not None:
        properties.user = _user_properties(user_properties, limits)
    return Publication(topic=topic, payload=payload, qos=qos, retain=retain, properties=encode_block(properties))


def _check_text(name: str, text: str, limit: int) -> None:
    if len(text.encode()) > limit:
        raise InvalidRequestError(f"{name} must be at most {limit} bytes of UTF-8.")
    bad = forbidden_character(text)
    if bad is not None:
        raise InvalidRequestError(f"{name} must not hold the character U+{ord(bad):04X}.")


def _correlation_data(text: str, limits: Limits) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequestError("correlationData must be base64.") from error
    if len(data) > limits.correlation_data_bytes:
        raise InvalidRequestError(f"correlationData must be at most {limits.correlation_data_bytes} bytes.")
    return data


def _user_properties(document: Any, limits: Limits) -> list[tuple[str, str]]:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError("userProperties must be JSON.") from error
    if not isinstance(document, list):
        raise InvalidRequestError('userProperties must be a JSON array of objects, as in [{"name": "value"}].')
    if len(document) > MAX_USER_PROPERTIES:
        raise InvalidRequestError(f"userProperties must hold at most {MAX_USER_PROPERTIES} properties.")
    pairs = [_user_property(entry) for entry in document]
    size = 0
    for name, value in pairs:
        _check_text("userProperties", name, limits.user_property_bytes)
        _check_text("userProperties", value, limits.user_property_bytes)
        size += len(name.encode()) + len(value.encode())
    if size > limits.user_property_bytes:
        raise InvalidRequestError(f"userProperties must be at most {limits.user_property_bytes} bytes together.")
    return pairs


def _user_property(entry: Any) -> tuple[str, str]:
    if isinstance(entry, dict) and len(entry) == 1:
        items: Sequence[tuple[Any, Any]] = list(entry.items())
        name, value = items[0]
        if isinstance(name, str) and isinstance(value, str):
            return name, value
    raise InvalidRequestError("Each of userProperties must be an object of one name with a string.")
