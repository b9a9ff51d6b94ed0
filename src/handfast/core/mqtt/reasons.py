"""Every Reason Code that handfast sends or understands: one row each."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Row(NamedTuple):
    """
    One Reason Code (MQTT 5 §2.4).

    `v311` is its form in a 3.1.1 CONNACK or SUBACK; None where 3.1.1 has no
    form and closing the connection is all that can be said.
    """

    value: int
    name: str
    v311: int | None
    text: str


TABLE: tuple[Row, ...] = (
    Row(0x00, "SUCCESS", 0x00, "Success"),
    Row(0x01, "GRANTED_QOS_1", 0x01, "Granted QoS 1"),
    Row(0x02, "GRANTED_QOS_2", 0x02, "Granted QoS 2"),
    Row(0x04, "DISCONNECT_WITH_WILL_MESSAGE", None, "Disconnect with Will Message"),
    Row(0x10, "NO_MATCHING_SUBSCRIBERS", None, "No matching subscribers"),
    Row(0x11, "NO_SUBSCRIPTION_EXISTED", None, "No subscription existed"),
    Row(0x80, "UNSPECIFIED_ERROR", 0x80, "Unspecified error"),
    Row(0x81, "MALFORMED_PACKET", None, "Malformed Packet"),
    Row(0x82, "PROTOCOL_ERROR", None, "Protocol Error"),
    Row(0x83, "IMPLEMENTATION_SPECIFIC_ERROR", None, "Implementation specific error"),
    Row(0x84, "UNSUPPORTED_PROTOCOL_VERSION", 0x01, "Unsupported Protocol Version"),
    Row(0x85, "CLIENT_IDENTIFIER_NOT_VALID", 0x02, "Client Identifier not valid"),
    Row(0x86, "BAD_USER_NAME_OR_PASSWORD", 0x04, "Bad User Name or Password"),
    Row(0x87, "NOT_AUTHORIZED", 0x05, "Not authorized"),
    Row(0x88, "SERVER_UNAVAILABLE", 0x03, "Server unavailable"),
    Row(0x89, "SERVER_BUSY", 0x03, "Server busy"),
    Row(0x8B, "SERVER_SHUTTING_DOWN", None, "Server shutting down"),
    Row(0x8C, "BAD_AUTHENTICATION_METHOD", None, "Bad authentication method"),
    Row(0x8D, "KEEP_ALIVE_TIMEOUT", None, "Keep Alive timeout"),
    Row(0x8E, "SESSION_TAKEN_OVER", None, "Session taken over"),
    Row(0x8F, "TOPIC_FILTER_INVALID", 0x80, "Topic Filter invalid"),
    Row(0x90, "TOPIC_NAME_INVALID", None, "Topic Name invalid"),
    Row(0x91, "PACKET_IDENTIFIER_IN_USE", 0x80, "Packet Identifier in use"),
    Row(0x93, "RECEIVE_MAXIMUM_EXCEEDED", None, "Receive Maximum exceeded"),
    Row(0x94, "TOPIC_ALIAS_INVALID", None, "Topic Alias invalid"),
    Row(0x95, "PACKET_TOO_LARGE", None, "Packet too large"),
    Row(0x97, "QUOTA_EXCEEDED", 0x80, "Quota exceeded"),
    Row(0x98, "ADMINISTRATIVE_ACTION", None, "Administrative action"),
    Row(0x99, "PAYLOAD_FORMAT_INVALID", None, "Payload format invalid"),
    Row(0x9A, "RETAIN_NOT_SUPPORTED", None, "Retain not supported"),
    Row(0x9B, "QOS_NOT_SUPPORTED", None, "QoS not supported"),
    Row(0x9E, "SHARED_SUBSCRIPTIONS_NOT_SUPPORTED", 0x80, "Shared Subscriptions not supported"),
    Row(0xA1, "SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED", 0x80, "Subscription Identifiers not supported"),
    Row(0xA2, "WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED", 0x80, "Wildcard Subscriptions not supported"),
)

_BY_VALUE: dict[int, Row] = {row.value: row for row in TABLE}


class Code(IntEnum):
    """The rows by name, for the code that decides; `TABLE` holds what is said about each."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    QOS_NOT_SUPPORTED = 0x9B
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1


def reason_text(value: int) -> str:
    """The standard's words for a Reason Code; the bare number for one that has no row."""
    row = _BY_VALUE.get(value)
    return row.text if row is not None else f"Reason Code 0x{value:02X}"


def v311_form(value: int) -> int | None:
    """The 3.1.1 CONNACK or SUBACK return code for a Reason Code; None: 3.1.1 has none, close the connection."""
    row = _BY_VALUE.get(value)
    return row.v311 if row is not None else None
