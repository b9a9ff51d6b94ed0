"""Refusals as data: who was refused, where in the verdict, and every reason found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from handfast.core.identity.ids import AccountId


class Stage(StrEnum):
    """The step of the verdict that said no, in its order."""

    TLS = "tls"
    ACCOUNT = "account"
    CERTIFICATE = "certificate"
    PROTOCOL = "protocol"
    CONNECT = "connect"
    WILL = "will"
    PUBLISH = "publish"
    RETAIN = "retain"
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"
    API = "api"


class ReasonCode(StrEnum):
    """Why. `AWS_LOG_REASON` in services.refusals maps each to the reason AWS IoT logs, where there is one."""

    # TLS
    PROXY_HEADER_INVALID = "PROXY_HEADER_INVALID"
    NOT_TLS = "NOT_TLS"
    MALFORMED_CLIENT_HELLO = "MALFORMED_CLIENT_HELLO"
    OVERSIZED_CLIENT_HELLO = "OVERSIZED_CLIENT_HELLO"
    CLIENT_HELLO_TIMEOUT = "CLIENT_HELLO_TIMEOUT"
    HANDSHAKE_TIMEOUT = "HANDSHAKE_TIMEOUT"
    NO_COMMON_VERSION = "NO_COMMON_VERSION"
    NO_COMMON_CIPHER = "NO_COMMON_CIPHER"
    UNKNOWN_ALPN = "UNKNOWN_ALPN"
    CUSTOM_AUTH_UNSUPPORTED = "CUSTOM_AUTH_UNSUPPORTED"
    HELLO_CHANGED = "HELLO_CHANGED"
    NO_CLIENT_CERTIFICATE = "NO_CLIENT_CERTIFICATE"
    CLIENT_CERTIFICATE_TOO_LARGE = "CLIENT_CERTIFICATE_TOO_LARGE"
    CLIENT_KEY_UNUSABLE = "CLIENT_KEY_UNUSABLE"
    POSSESSION_NOT_PROVEN = "POSSESSION_NOT_PROVEN"
    CLIENT_REJECTED_SERVER = "CLIENT_REJECTED_SERVER"
    CONNECTION_LOST_IN_HANDSHAKE = "CONNECTION_LOST_IN_HANDSHAKE"
    TOO_MANY_HANDSHAKES = "TOO_MANY_HANDSHAKES"
    TLS_FAILURE = "TLS_FAILURE"
    # account and region
    ENDPOINT_UNKNOWN = "ENDPOINT_UNKNOWN"
    ENDPOINT_OF_ANOTHER_ACCOUNT = "ENDPOINT_OF_ANOTHER_ACCOUNT"
    SNI_REQUIRED = "SNI_REQUIRED"
    ACCOUNT_AMBIGUOUS = "ACCOUNT_AMBIGUOUS"
    ACCOUNT_DISABLED = "ACCOUNT_DISABLED"
    DOMAIN_CONFIGURATION_DISABLED = "DOMAIN_CONFIGURATION_DISABLED"
    DOMAIN_CONFIGURATION_INVALID = "DOMAIN_CONFIGURATION_INVALID"
    PROTOCOL_NOT_OF_DOMAIN = "PROTOCOL_NOT_OF_DOMAIN"
    ENDPOINT_SERVICE_NOT_BUILT = "ENDPOINT_SERVICE_NOT_BUILT"
    # certificate
    CERTIFICATE_NOT_REGISTERED = "CERTIFICATE_NOT_REGISTERED"
    CERTIFICATE_INACTIVE = "CERTIFICATE_INACTIVE"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    CERTIFICATE_PENDING_TRANSFER = "CERTIFICATE_PENDING_TRANSFER"
    CERTIFICATE_PENDING_ACTIVATION = "CERTIFICATE_PENDING_ACTIVATION"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_NOT_YET_VALID = "CERTIFICATE_NOT_YET_VALID"
    CERTIFICATE_KEY_REFUSED = "CERTIFICATE_KEY_REFUSED"
    CERTIFICATE_SIGNATURE_REFUSED = "CERTIFICATE_SIGNATURE_REFUSED"
    CERTIFICATE_EXTENSION_REFUSED = "CERTIFICATE_EXTENSION_REFUSED"
    CERTIFICATE_PURPOSE_REFUSED = "CERTIFICATE_PURPOSE_REFUSED"
    PROVISIONING_CLAIM_ENDED = "PROVISIONING_CLAIM_ENDED"
    # first connections
    CERTIFICATE_JUST_REGISTERED = "CERTIFICATE_JUST_REGISTERED"
    CERTIFICATE_JUST_PROVISIONED = "CERTIFICATE_JUST_PROVISIONED"
    PROVISIONING_FAILED = "PROVISIONING_FAILED"
    FLEET_REQUEST_REJECTED = "FLEET_REQUEST_REJECTED"
    FIRST_CONNECTION_OVER_HTTPS = "FIRST_CONNECTION_OVER_HTTPS"
    CA_DOES_NOT_REGISTER = "CA_DOES_NOT_REGISTER"
    CA_DOES_NOT_VOUCH = "CA_DOES_NOT_VOUCH"
    CERTIFICATE_TRANSFERRED = "CERTIFICATE_TRANSFERRED"
    # protocol
    FIRST_PACKET_NOT_CONNECT = "FIRST_PACKET_NOT_CONNECT"
    UNSUPPORTED_PROTOCOL_VERSION = "UNSUPPORTED_PROTOCOL_VERSION"
    MQTT5_AT_LEGACY_ENDPOINT = "MQTT5_AT_LEGACY_ENDPOINT"
    CONNECT_TIMEOUT = "CONNECT_TIMEOUT"
    MALFORMED_PACKET = "MALFORMED_PACKET"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    PACKET_TOO_LARGE = "PACKET_TOO_LARGE"
    CLIENT_IDENTIFIER_NOT_VALID = "CLIENT_IDENTIFIER_NOT_VALID"
    TOPIC_NOT_VALID = "TOPIC_NOT_VALID"
    QOS_NOT_SUPPORTED = "QOS_NOT_SUPPORTED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    # policy
    NO_POLICY_ATTACHED = "NO_POLICY_ATTACHED"
    EXPLICIT_DENY = "EXPLICIT_DENY"
    IMPLICIT_DENY = "IMPLICIT_DENY"
    # API
    API_MISSING_SIGNATURE = "API_MISSING_SIGNATURE"
    API_UNKNOWN_KEY = "API_UNKNOWN_KEY"
    API_WRONG_SIGNATURE = "API_WRONG_SIGNATURE"
    API_CLOCK_SKEW = "API_CLOCK_SKEW"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Reason:
    """
    One reason. `detail` is plain text for a person; it may quote a peer and is escaped where it is shown.

    `subject` is the id of what the advice is about where that is not the presented
    certificate, such as the certificateId of the CA that signed it; never a peer's words.
    """

    code: ReasonCode
    detail: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """
    One refusal. `at` is the server's clock at that moment; `reasons` holds every reason found, the decisive one first.

    `facts` are strings for a person and for `--json` (offered versions, suites,
    groups, negotiated version and cipher, certificate subject, issuer, serial,
    validity, key, the statement that decided …), already bounded in size by the maker.
    `account` is None when the refusal belongs to no account.
    """

    trace_id: str
    at: dt.datetime
    stage: Stage
    reasons: tuple[Reason, ...]
    address: str = ""
    account: AccountId | None = None
    region: str | None = None
    sni: str | None = None
    alpn: str | None = None
    certificate_id: str | None = None
    serial_number: str | None = None
    client_id: str | None = None
    resource: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
