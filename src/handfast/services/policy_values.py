"""What a connection puts in place of policy variables and condition keys: one source for gateway and what-if alike."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cryptography import x509

from handfast.core.identity.records import AttachedThing
from handfast.core.pki.names import certificate_variables
from handfast.core.pki.pem import read_certificate
from handfast.core.policy.evaluate import Policy
from handfast.core.policy.variables import (
    CERTIFICATE_ID,
    CERTIFICATE_PREFIX,
    CLIENT_ID,
    CONNECT_ATTRIBUTES,
    DOMAIN_NAME,
    IS_ATTACHED,
    LAST_WILL_TOPIC,
    SOURCE_IP,
    THING_ATTRIBUTE_PREFIX,
    THING_NAME,
    THING_TYPE_NAME,
    Values,
)
from handfast.errors import CertificateInputError

PERSISTENT_CONNECT = "PersistentConnect"
LAST_WILL = "LastWill"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectContext:
    """What only the CONNECT packet tells. `last_will_topic` is the ARN of the Will's topic."""

    persistent: bool
    last_will_topic: str | None

    def add_to(self, values: dict[str, tuple[str, ...]]) -> None:
        """The keys of conditions on iot:Connect; a key without a value is absent."""
        attributes = []
        if self.persistent:
            attributes.append(PERSISTENT_CONNECT)
        if self.last_will_topic is not None:
            attributes.append(LAST_WILL)
            values[LAST_WILL_TOPIC] = (self.last_will_topic,)
        if attributes:
            values[CONNECT_ATTRIBUTES] = tuple(attributes)


def asked_of(policies: Iterable[Policy]) -> frozenset[str]:
    """Every name, without an index, that the policies ask of a connection."""
    return frozenset[str]().union(*(policy.names for policy in policies))


def connection_values(
    names: Collection[str],
    *,
    client_id: str | None,
    thing: AttachedThing | None,
    source_ip: str | None,
    domain_name: str | None,
    certificate_der: bytes,
) -> dict[str, tuple[str, ...]]:
    """
    The values of a connection, of which the policies ask for `names`.

    Without a client id (HTTPS) there is no thing and no thing variable. `thing`
    is the one that the connection is associated with. The certificate is read
    only when a name asks for it: that costs more than everything else here.
    """
    values: dict[str, tuple[str, ...]] = {}
    if source_ip is not None:
        values[SOURCE_IP] = (source_ip,)
    if domain_name is not None:
        values[DOMAIN_NAME] = (domain_name,)
    if client_id is not None:
        values[CLIENT_ID] = (client_id,)
        values[IS_ATTACHED] = ("false" if thing is None else "true",)
        if thing is not None:
            values[THING_NAME] = (thing.thing_name,)
            if thing.thing_type_name is not None:
                values[THING_TYPE_NAME] = (thing.thing_type_name,)
            for name, value in thing.attributes.items():
                values[f"{THING_ATTRIBUTE_PREFIX}{name}]"] = (value,)
    if CERTIFICATE_ID in names:
        values[CERTIFICATE_ID] = (hashlib.sha256(certificate_der).hexdigest(),)
    if any(name.startswith(CERTIFICATE_PREFIX) for name in names):
        values.update(_certificate_values(certificate_der))
    return values


def certificate_der(pem: str) -> bytes:
    """The registered certificate; empty when it cannot be read: then it has no variables, as in the gateway."""
    try:
        return read_certificate(pem).der
    except CertificateInputError:
        return b""


def _certificate_values(der: bytes) -> Values:
    """The certificate's variables; none when it cannot be read, since a device chooses what it says."""
    try:
        return certificate_variables(x509.load_der_x509_certificate(der))
    except Exception:
        return {}
