"""
The checks on certificates, by the names of AWS IoT Device Defender's audit, and what a finding of each says.

Codes that begin with HANDFAST_ are ours: AWS does not look for those. `core.identity.fleet_check` runs the checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class CheckName(StrEnum):
    """AWS's `AuditCheckName`s that concern certificates, in the order of a report."""

    DEVICE_CERTIFICATE_KEY_QUALITY = "DEVICE_CERTIFICATE_KEY_QUALITY_CHECK"
    CA_CERTIFICATE_KEY_QUALITY = "CA_CERTIFICATE_KEY_QUALITY_CHECK"
    DEVICE_CERTIFICATE_SHARED = "DEVICE_CERTIFICATE_SHARED_CHECK"
    REVOKED_CA_CERTIFICATE_STILL_ACTIVE = "REVOKED_CA_CERTIFICATE_STILL_ACTIVE_CHECK"
    INTERMEDIATE_CA_REVOKED = "INTERMEDIATE_CA_REVOKED_FOR_ACTIVE_DEVICE_CERTIFICATES_CHECK"
    CONFLICTING_CLIENT_IDS = "CONFLICTING_CLIENT_IDS_CHECK"
    REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE = "REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE_CHECK"
    CA_CERTIFICATE_EXPIRING = "CA_CERTIFICATE_EXPIRING_CHECK"
    DEVICE_CERTIFICATE_EXPIRING = "DEVICE_CERTIFICATE_EXPIRING_CHECK"
    DEVICE_CERTIFICATE_AGE = "DEVICE_CERTIFICATE_AGE_CHECK"


ON_LISTS = frozenset(
    {
        CheckName.REVOKED_CA_CERTIFICATE_STILL_ACTIVE,
        CheckName.REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE,
        CheckName.INTERMEDIATE_CA_REVOKED,
    }
)
"""Those that read revocation lists, and cannot run without one."""


class Severity(StrEnum):
    """AWS's `AuditFindingSeverity`, the worst first."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class ResourceType(StrEnum):
    """AWS's `ResourceType`s that findings on certificates name, with the member of `resourceIdentifier` for each."""

    DEVICE_CERTIFICATE = "DEVICE_CERTIFICATE"
    CA_CERTIFICATE = "CA_CERTIFICATE"
    CLIENT_ID = "CLIENT_ID"


class FindingCode(StrEnum):
    """`reasonForNonComplianceCode`."""

    DEBIAN = "CERTIFICATE_KEY_VULNERABILITY_CVE-2008-0166"
    ROCA = "CERTIFICATE_KEY_VULNERABILITY_CVE-2017-15361"
    SHARED_FACTOR = "HANDFAST_CERTIFICATE_KEY_SHARES_FACTOR"
    SHARED_KEY = "HANDFAST_CERTIFICATE_KEY_SHARED"
    SMALL_FACTOR = "HANDFAST_CERTIFICATE_KEY_SMALL_FACTOR"
    CLOSE_PRIMES = "HANDFAST_CERTIFICATE_KEY_CLOSE_PRIMES"
    EXPONENT = "HANDFAST_CERTIFICATE_KEY_EXPONENT"
    SHARED = "CERTIFICATE_SHARED_BY_MULTIPLE_DEVICES"
    REVOKED = "CERTIFICATE_REVOKED_BY_ISSUER"
    INTERMEDIATE_REVOKED = "INTERMEDIATE_CA_REVOKED_BY_ISSUER"
    DUPLICATE_CLIENT_ID = "DUPLICATE_CLIENT_ID_ACROSS_CONNECTIONS"
    APPROACHING_EXPIRATION = "CERTIFICATE_APPROACHING_EXPIRATION"
    PAST_EXPIRATION = "CERTIFICATE_PAST_EXPIRATION"
    PAST_AGE = "CERTIFICATE_PAST_AGE_THRESHOLD"


class Meaning(NamedTuple):
    """What a finding says: how bad it is, what it means, and what to do next."""

    severity: Severity
    reason: str
    next_step: str


_REPLACE = (
    "Make a new key on the device with a good generator, issue it a new certificate, then revoke this one with "
    "'handfast cert revoke'."
)
MEANINGS: Mapping[FindingCode, Meaning] = {
    FindingCode.DEBIAN: Meaning(
        Severity.CRITICAL,
        "The key was made by the OpenSSL of Debian that knew only 32,768 keys of each size (CVE-2008-0166): anybody "
        "can have the private key.",
        _REPLACE,
    ),
    FindingCode.ROCA: Meaning(
        Severity.CRITICAL,
        "The key was made by Infineon's RSALib (ROCA, CVE-2017-15361): the private key can be computed from it.",
        "Update the security chip's firmware or make the key outside of it, issue a new certificate, then revoke this "
        "one with 'handfast cert revoke'.",
    ),
    FindingCode.SHARED_FACTOR: Meaning(
        Severity.CRITICAL,
        "The RSA modulus has a prime in common with another certificate's: whoever sees both has both private keys.",
        "The devices made their keys before they had enough randomness. " + _REPLACE,
    ),
    FindingCode.SHARED_KEY: Meaning(
        Severity.HIGH,
        "Another certificate here has the same key: after a renewal one of the two is no longer needed, between "
        "devices each can pass for the other.",
        "After a renewal deactivate the old certificate; otherwise give each device a key of its own.",
    ),
    FindingCode.SMALL_FACTOR: Meaning(
        Severity.CRITICAL,
        "The RSA modulus is divisible by a small prime: it was not made by a sound generator, and can be factored.",
        _REPLACE,
    ),
    FindingCode.CLOSE_PRIMES: Meaning(
        Severity.CRITICAL,
        "The primes of the RSA key are so close together that Fermat's method finds them at once (CVE-2022-26320).",
        _REPLACE,
    ),
    FindingCode.EXPONENT: Meaning(
        Severity.CRITICAL,
        "The public exponent of the RSA key is below 3 or even: its signatures prove nothing.",
        _REPLACE,
    ),
    FindingCode.SHARED: Meaning(
        Severity.CRITICAL,
        "Two or more connections were open with this certificate at the same time under different client ids.",
        "Find the devices by their client ids and addresses; give each a certificate of its own, then revoke this one.",
    ),
    FindingCode.REVOKED: Meaning(
        Severity.CRITICAL,
        "Its issuer's revocation list names this certificate, and it is still ACTIVE here.",
        "Revoke it here with 'handfast cert revoke', a CA with 'handfast ca deactivate'.",
    ),
    FindingCode.INTERMEDIATE_REVOKED: Meaning(
        Severity.CRITICAL,
        "A CA above this certificate is on its issuer's revocation list, and the certificate is still ACTIVE here.",
        "Find out why the CA was revoked; issue the device a certificate of another CA, then revoke this one.",
    ),
    FindingCode.DUPLICATE_CLIENT_ID: Meaning(
        Severity.HIGH,
        "Connections with different certificates took this client id from each other.",
        "Give each device a client id of its own, and a policy that allows it no other: "
        "client/${iot:Connection.Thing.ThingName}.",
    ),
    FindingCode.APPROACHING_EXPIRATION: Meaning(
        Severity.MEDIUM,
        "The certificate expires soon; its connections are cut at that moment.",
        "Renew it before: 'handfast cert rotate' for a device; another CA needs its devices' certificates issued anew.",
    ),
    FindingCode.PAST_EXPIRATION: Meaning(
        Severity.MEDIUM,
        "The certificate has expired and is still ACTIVE; it lets nobody in any more.",
        "Issue a new one if the device still exists, and deactivate this one.",
    ),
    FindingCode.PAST_AGE: Meaning(
        Severity.LOW,
        "The certificate has been registered for longer than the age that was asked for.",
        "Replace it: a key that has been in use for long has had long to leak.",
    ),
}


class Resource(NamedTuple):
    """What a finding is about, or what belongs to it."""

    type: ResourceType
    identifier: str
    info: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One resource that does not comply. Never holds anything that helps to break a key."""

    check: CheckName
    severity: Severity
    resource: Resource
    related: tuple[Resource, ...] = field(default=())
    reason: str
    code: FindingCode


MAX_RELATED = 20
"""Related resources that a finding names."""


def finding(
    check: CheckName,
    code: FindingCode,
    resource_type: ResourceType,
    identifier: str,
    *,
    info: Mapping[str, str] | None = None,
    related: tuple[Resource, ...] = (),
) -> Finding:
    """A finding with the words that belong to its code."""
    meaning = MEANINGS[code]
    severity = meaning.severity
    if check is CheckName.REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE:
        severity = Severity.MEDIUM  # AWS: CRITICAL for a CA, MEDIUM for a leaf, by one code
    return Finding(
        check=check,
        severity=severity,
        resource=Resource(resource_type, identifier, tuple(sorted((info or {}).items()))),
        related=related[:MAX_RELATED],
        reason=meaning.reason,
        code=code,
    )
