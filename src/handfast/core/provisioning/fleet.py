"""
Fleet provisioning over MQTT: what a device is told when it is refused, ownership tokens, and limits of claims.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.errors import HandfastError, InvalidRequestError

TOKEN_LIFE = dt.timedelta(hours=1)
"""How long a new certificate may be claimed; then it is deleted."""
SECRET_BYTES = 32
MAX_TOKEN_CHARACTERS = 512
"""Longer ones are nobody's; sample clients reserve 512 octets."""


class RejectionCode(StrEnum):
    """`errorCode` of a rejected payload, spelled as AWS IoT spells those that are known."""

    INVALID_PAYLOAD = "InvalidPayload"
    INVALID_TOKEN = "InvalidCertificateOwnershipToken"  # noqa: S105
    INVALID_CSR = "InvalidCertificateSigningRequest"
    INVALID_PARAMETERS = "InvalidParameters"
    INVALID_REQUEST = "InvalidRequest"
    ACCESS_DENIED = "AccessDenied"
    NOT_FOUND = "ResourceNotFound"
    REGISTRATION_FAILURE = "ResourceRegistrationFailure"
    CONFLICT = "ResourceConflicts"
    LIMIT_EXCEEDED = "LimitExceeded"
    THROTTLED = "Throttling"
    INTERNAL = "InternalFailure"
    UNAVAILABLE = "ServiceUnavailable"


STATUS_CODES: Mapping[RejectionCode, int] = {
    RejectionCode.INVALID_PAYLOAD: 400,
    RejectionCode.INVALID_TOKEN: 400,
    RejectionCode.INVALID_CSR: 400,
    RejectionCode.INVALID_PARAMETERS: 400,
    RejectionCode.INVALID_REQUEST: 400,
    RejectionCode.REGISTRATION_FAILURE: 400,
    RejectionCode.ACCESS_DENIED: 403,
    RejectionCode.NOT_FOUND: 404,
    RejectionCode.CONFLICT: 409,
    RejectionCode.LIMIT_EXCEEDED: 410,
    RejectionCode.THROTTLED: 429,
    RejectionCode.INTERNAL: 500,
    RejectionCode.UNAVAILABLE: 503,
}
"""`statusCode` of a rejected payload."""

_FAILED: Mapping[FailureKind, RejectionCode] = {
    FailureKind.TEMPLATE: RejectionCode.INVALID_PARAMETERS,
    FailureKind.SUBJECT: RejectionCode.INVALID_PARAMETERS,
    FailureKind.INVALID: RejectionCode.INVALID_PARAMETERS,
    FailureKind.MISSING: RejectionCode.REGISTRATION_FAILURE,
    FailureKind.CERTIFICATE: RejectionCode.REGISTRATION_FAILURE,
    FailureKind.CONFLICT: RejectionCode.CONFLICT,
    FailureKind.LIMIT: RejectionCode.LIMIT_EXCEEDED,
}
_MAX_MESSAGE_CHARACTERS = 500


class Rejected(HandfastError):
    """The request is answered on `…/rejected`. The message goes to the device and holds no secret."""

    def __init__(self, code: RejectionCode, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def payload(self) -> dict[str, str | int]:
        """The members of a rejected payload."""
        text = str(self)
        if len(text) > _MAX_MESSAGE_CHARACTERS:
            text = text[:_MAX_MESSAGE_CHARACTERS] + "…"
        return {"statusCode": STATUS_CODES[self.code], "errorCode": self.code.value, "errorMessage": text}


def plan_rejected(failed: ProvisioningFailed) -> Rejected:
    """What a device is told of a plan that could not be made or carried out."""
    where = f"{failed.resource}: " if failed.resource else ""
    return Rejected(_FAILED[failed.kind], f"{where}{failed}")


# --- ownership tokens


class OwnershipToken(NamedTuple):
    """
    What a device shows to claim the certificate that it was given; whoever holds it may.

    As text: base64url of the certificateId's 32 octets and 32 random ones, 86 characters.
    """

    certificate_id: CertificateId
    secret: bytes

    def __repr__(self) -> str:
        return f"OwnershipToken({self.certificate_id!r})"

    @property
    def text(self) -> str:
        """As it goes to the device, once."""
        raw = bytes.fromhex(self.certificate_id) + self.secret
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    def digest(self, scope: Scope, claim_certificate_id: CertificateId) -> str:
        """
        What is stored of it: SHA-256 in hex over the token and whom it is for, so that it opens nothing elsewhere.

        The secret has 256 random bits: a plain digest cannot be searched through.
        """
        parts = ("ownership token", *scope, claim_certificate_id, self.certificate_id)
        bound = "\0".join(parts).encode()
        return hashlib.sha256(bound + b"\0" + self.secret).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipTokenRecord:
    """A token as the store keeps it, while its certificate may be claimed and until it would have expired."""

    scope: Scope
    certificate_id: CertificateId
    claim_certificate_id: CertificateId
    digest: str
    expires_at: dt.datetime
    spent_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipProof:
    """A token that was shown, to be spent together with what it allows."""

    certificate_id: CertificateId
    claim_certificate_id: CertificateId
    digest: str


def read_token(text: str) -> OwnershipToken:
    """
    The token that the text is.

    Raises:
        Rejected: It is empty, or cannot be one of ours.
    """
    if not text:
        raise Rejected(RejectionCode.INVALID_TOKEN, "Certificate ownership token cannot be empty.")
    raw = b""
    if len(text) <= MAX_TOKEN_CHARACTERS and text.isascii():
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raw = b""
    if len(raw) != 32 + SECRET_BYTES:
        raise _invalid()
    return OwnershipToken(CertificateId(raw[:32].hex()), raw[32:])


def prove(
    token: OwnershipToken,
    record: OwnershipTokenRecord | None,
    scope: Scope,
    claim_certificate_id: CertificateId,
    now: dt.datetime,
) -> OwnershipProof:
    """
    The proof that whoever shows the token owns its certificate; `record` is what the store has of it.

    A token of another account, of another claim, and one that never was are told apart for nobody.

    Raises:
        Rejected: It proves nothing.
    """
    digest = token.digest(scope, claim_certificate_id)
    stored = record.digest if record is not None else "0" * len(digest)
    if not hmac.compare_digest(digest, stored) or record is None or record.expires_at <= now:
        raise _invalid()
    if record.spent_at is not None:
        raise spent()
    return OwnershipProof(certificate_id=token.certificate_id, claim_certificate_id=claim_certificate_id, digest=digest)


def _invalid() -> Rejected:
    return Rejected(RejectionCode.INVALID_TOKEN, "Certificate ownership token is not valid, or has expired.")


def spent() -> Rejected:
    """Only told to who holds the token."""
    return Rejected(RejectionCode.INVALID_TOKEN, "Certificate ownership token has been used.")


# --- limits of a claim certificate

MAX_ADDRESSES = 64
MAX_COUNT = 10**9
MAX_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """
    What devices may do with a claim certificate; None and an empty tuple: nothing is said.

    `devices`: how many it provisions in all. `per_minute`: how many certificates are made, and how many devices
    provisioned, in a minute. `addresses`: the networks (CIDR) from which it is used.
    """

    devices: int | None = None
    per_minute: int | None = None
    addresses: tuple[str, ...] = ()

    def admits(self, address: str) -> bool:
        """Whether the claim may be used from this IP address."""
        if not self.addresses:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in ipaddress.ip_network(network) for network in self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """A claim certificate's limits, and how many devices it has provisioned."""

    scope: Scope
    certificate_id: CertificateId
    limits: ClaimLimits
    provisioned: int


def claim_limits(devices: int | None, per_minute: int | None, addresses: tuple[str, ...]) -> ClaimLimits:
    """
    The limits, checked; networks in their shortest form.

    Raises:
        InvalidRequestError: A number out of range, or no network.
    """
    if devices is not None and not 0 <= devices <= MAX_COUNT:
        raise InvalidRequestError(f"devices must be 0 to {MAX_COUNT}")
    if per_minute is not None and not 1 <= per_minute <= MAX_PER_MINUTE:
        raise InvalidRequestError(f"perMinute must be 1 to {MAX_PER_MINUTE}")
    if len(addresses) > MAX_ADDRESSES:
        raise InvalidRequestError(f"{len(addresses)} addresses are given; at most {MAX_ADDRESSES} are kept")
    networks: list[str] = []
    for text in addresses:
        try:
            networks.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise InvalidRequestError(f"addresses: {error}; give a network such as 192.0.2.0/24") from None
    return ClaimLimits(devices=devices, per_minute=per_minute, addresses=tuple(dict.fromkeys(networks)))
