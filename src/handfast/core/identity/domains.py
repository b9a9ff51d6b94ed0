"""
Domain configurations: the names under which an account's devices connect, and how a connection by each is served.

`iot:Data-ATS` is the configuration of the account's own endpoint and always
there. The others have a name that the server generates below its own domain
(AWS_MANAGED) or one that is the customer's (CUSTOMER_MANAGED). All of them lead
to the same account and region; they differ in certificate, TLS policy, way to
authenticate and protocol only.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, NewType

from handfast.core.identity.ids import Scope
from handfast.errors import InvalidRequestError

DomainConfigurationName = NewType("DomainConfigurationName", str)
ServerCertificateId = NewType("ServerCertificateId", str)
"""The UUID at the end of a server certificate's ARN."""

DATA_ATS: Final = DomainConfigurationName("iot:Data-ATS")
"""The configuration of the account's own endpoint; no other can have a name that begins so."""
RESERVED_PREFIX: Final = "iot:"
DISABLED_BEFORE_DELETION: Final = dt.timedelta(days=7)
"""How long an AWS-managed domain is DISABLED before it can be deleted; a customer's can be at once."""
MAX_DOMAIN_NAME_CHARACTERS: Final = 253

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class DomainStatus(StrEnum):
    """Whether connections by the name are let in."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class DomainType(StrEnum):
    """Whose the name is: the account's endpoint itself, one more that was generated, or the customer's own."""

    ENDPOINT = "ENDPOINT"
    AWS_MANAGED = "AWS_MANAGED"
    CUSTOMER_MANAGED = "CUSTOMER_MANAGED"


class AuthenticationType(StrEnum):
    """How a client by the name proves who it is; DEFAULT: as its port and ALPN say."""

    DEFAULT = "DEFAULT"
    AWS_X509 = "AWS_X509"
    AWS_SIGV4 = "AWS_SIGV4"
    CUSTOM_AUTH = "CUSTOM_AUTH"
    CUSTOM_AUTH_X509 = "CUSTOM_AUTH_X509"


class ApplicationProtocol(StrEnum):
    """What a client by the name speaks inside TLS; DEFAULT: as its port and ALPN say."""

    DEFAULT = "DEFAULT"
    SECURE_MQTT = "SECURE_MQTT"
    MQTT_WSS = "MQTT_WSS"
    HTTPS = "HTTPS"


PROTOCOLS: Final[Mapping[AuthenticationType, frozenset[ApplicationProtocol]]] = {
    AuthenticationType.DEFAULT: frozenset({ApplicationProtocol.DEFAULT}),
    AuthenticationType.AWS_X509: frozenset({ApplicationProtocol.SECURE_MQTT, ApplicationProtocol.HTTPS}),
    AuthenticationType.AWS_SIGV4: frozenset({ApplicationProtocol.MQTT_WSS, ApplicationProtocol.HTTPS}),
}
"""The pairs that can be had. Custom authorizers are not supported, so theirs are not here."""


class CertificateHealth(StrEnum):
    """`serverCertificateStatus`: INVALID when the newest import, or what is served itself, is of no use."""

    VALID = "VALID"
    INVALID = "INVALID"


class Stapling(NamedTuple):
    """
    Whether OCSP responses are stapled for the server certificate (`serverCertificateConfig`).

    `responder_id`: the certificate whose signature on them counts, besides the issuer's.
    """

    enabled: bool = False
    responder_id: ServerCertificateId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfigurationRecord:
    """
    One domain configuration as the registry keeps it.

    `suffix` ends its ARN. `prefix` is the generated label of an AWS-managed name,
    `domain_name` the whole of a customer's; the endpoint's own has neither.
    `security_policy` None: the server's.
    """

    scope: Scope
    name: DomainConfigurationName
    suffix: str
    domain_type: DomainType
    prefix: str | None
    domain_name: str | None
    status: DomainStatus
    status_changed_at: dt.datetime
    security_policy: str | None
    authentication_type: AuthenticationType
    application_protocol: ApplicationProtocol
    certificate_id: ServerCertificateId | None
    validation_certificate_id: ServerCertificateId | None
    stapling: Stapling

    @property
    def resource(self) -> str:
        """What follows `domainconfiguration/` in its ARN."""
        return f"{self.name}/{self.suffix}" if self.suffix else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfigurationEdit:
    """What an update changes; None leaves it."""

    status: DomainStatus | None = None
    security_policy: str | None = None
    authentication_type: AuthenticationType | None = None
    application_protocol: ApplicationProtocol | None = None
    stapling: Stapling | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificateRecord:
    """
    A server certificate that the operator imported for an account and region.

    `chain_pem` is what was imported, leaf first; a root at its end is never
    served. `key_name` is its private key in the key folder, None for one that
    only vouches for others. A later import that could not replace it leaves it
    as it is: `health` is then INVALID, and `detail` says why.
    """

    scope: Scope
    certificate_id: ServerCertificateId
    name: str
    chain_pem: str = field(repr=False)
    key_name: str | None
    health: CertificateHealth
    detail: str
    imported_at: dt.datetime


def check_pair(authentication: AuthenticationType, protocol: ApplicationProtocol) -> None:
    """InvalidRequestError unless the two go together and are supported."""
    if authentication not in PROTOCOLS:
        raise InvalidRequestError(
            f"authenticationType {authentication} needs a custom authorizer, which is not supported; use AWS_X509, "
            "AWS_SIGV4 or DEFAULT"
        )
    if protocol not in PROTOCOLS[authentication]:
        allowed = " or ".join(sorted(PROTOCOLS[authentication]))
        raise InvalidRequestError(f"authenticationType {authentication} goes with applicationProtocol {allowed} only")


def check_domain_name(text: str) -> str:
    """
    The customer's domain name in lower case.

    Raises:
        InvalidRequestError: Not a host's name as a client can send it (SNI, RFC 6066 §3): letters, digits and hyphens
            in labels of up to 63, the last not all digits; no wildcard, no address, no final dot.
    """
    name = text.lower() if text.isascii() else ""
    labels = name.split(".")
    if len(name) > MAX_DOMAIN_NAME_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidRequestError(
            "domainName must be one host name, such as mqtt.example.com: labels of letters, digits and hyphens, "
            "without a wildcard or a final dot (write other scripts in their xn-- form)"
        )
    if labels[-1].isdigit():
        raise InvalidRequestError("domainName must be a name: clients send no server name for an address")
    return name
