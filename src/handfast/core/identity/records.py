"""The registry's records: frozen values, as the store keeps them and services hand them on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope, ThingGroupName, ThingName


class CertificateStatus(StrEnum):
    """DescribeCertificate `status` (AWS IoT model, shape CertificateStatus)."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"
    PENDING_TRANSFER = "PENDING_TRANSFER"
    REGISTER_INACTIVE = "REGISTER_INACTIVE"
    PENDING_ACTIVATION = "PENDING_ACTIVATION"


class CertificateMode(StrEnum):
    """How the account is found: by the certificate alone (DEFAULT) or only by SNI (SNI_ONLY)."""

    DEFAULT = "DEFAULT"
    SNI_ONLY = "SNI_ONLY"


class CACertificateStatus(StrEnum):
    """DescribeCACertificate `status`: any may follow any."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class AutoRegistrationStatus(StrEnum):
    """DescribeCACertificate `autoRegistrationStatus`."""

    ENABLE = "ENABLE"
    DISABLE = "DISABLE"


class TombstoneReason(StrEnum):
    """Why a registration that is gone is remembered."""

    REVOKED = "REVOKED"  # deleted when it was revoked: it may not come back
    TRANSFERRED = "TRANSFERRED"  # another account took it over: it may not register itself back


class AccountStatus(StrEnum):
    """A disabled account keeps its resources; its keys and devices are refused."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class ThingPrincipalType(StrEnum):
    """AttachThingPrincipal `thingPrincipalType`."""

    EXCLUSIVE_THING = "EXCLUSIVE_THING"
    NON_EXCLUSIVE_THING = "NON_EXCLUSIVE_THING"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """An account; `name` is for people."""

    account_id: AccountId
    name: str
    status: AccountStatus
    creation_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKeyRecord:
    """A SigV4 key. `account_id` is None for the operator's key. `secret` is never logged (repr hides it)."""

    access_key_id: str
    secret: str = field(repr=False)
    account_id: AccountId | None
    creation_date: dt.datetime
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRecord:
    """The stable prefix of an account's endpoints in a region: `{prefix}-ats.iot.{region}.{domain}`."""

    scope: Scope
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRecord:
    """DescribeCertificate `transferData`; all absent when there never was a transfer."""

    transfer_message: str | None = None
    reject_reason: str | None = None
    transfer_date: dt.datetime | None = None
    accept_date: dt.datetime | None = None
    reject_date: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """A device certificate's registration in one scope. Instants are aware UTC; `pem` is as it was given."""

    scope: Scope
    certificate_id: CertificateId
    pem: str = field(repr=False)
    status: CertificateStatus
    mode: CertificateMode
    creation_date: dt.datetime
    last_modified_date: dt.datetime
    not_before: dt.datetime
    not_after: dt.datetime
    generation_id: str
    customer_version: int = 1
    ca_certificate_id: CertificateId | None = None
    previous_owned_by: AccountId | None = None
    transfer: TransferRecord = field(default_factory=TransferRecord)
    transfer_target: AccountId | None = None
    """Whom it was last offered to; who may accept it while it is PENDING_TRANSFER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationConfig:
    """
    DescribeCACertificate `registrationConfig`: how devices that the CA signed are provisioned when they first connect.

    Either `template_name` (a provisioning template of type JITP) or `template_body` with `role_arn`; never both.
    """

    template_name: str | None = None
    template_body: str | None = None
    role_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CACertificateRecord:
    """A customer's CA, registered in one scope; `pem` is as it was given. Its certificateId is that of its DER."""

    scope: Scope
    certificate_id: CertificateId
    pem: str = field(repr=False)
    subject: str
    """Digest of the subject's DER, by which the CAs of a leaf's issuer name are found."""
    status: CACertificateStatus
    auto_registration_status: AutoRegistrationStatus
    mode: CertificateMode
    creation_date: dt.datetime
    last_modified_date: dt.datetime
    not_before: dt.datetime
    not_after: dt.datetime
    generation_id: str
    customer_version: int = 1
    registration_config: RegistrationConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingRecord:
    """A thing. `attributes` maps names to values; `version` starts at 1."""

    scope: Scope
    thing_name: ThingName
    thing_id: str
    thing_type_name: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    billing_group_name: str | None = None
    version: int = 1
    creation_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """A policy with the document of its default version."""

    scope: Scope
    policy_name: PolicyName
    default_version_id: str
    document: str
    creation_date: dt.datetime
    last_modified_date: dt.datetime
    generation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersionRecord:
    """One version of a policy; `generation_id` is the policy's. Ids are decimal and never come back."""

    scope: Scope
    policy_name: PolicyName
    version_id: str
    document: str
    is_default: bool
    creation_date: dt.datetime
    generation_id: str


class TargetKind(StrEnum):
    """What a policy can be attached to."""

    CERTIFICATE = "cert"
    THING_GROUP = "thinggroup"


class PolicyTarget(NamedTuple):
    """What a policy is attached to: a certificateId or the name of a thing group."""

    kind: TargetKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingGroupRecord:
    """
    A static thing group. `version` starts at 1.

    `ancestors` leads from the root to the parent. The store knows it: of a
    group that is to be created only the parent counts.
    """

    scope: Scope
    group_name: ThingGroupName
    group_id: str
    ancestors: tuple[ThingGroupName, ...] = ()
    description: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    creation_date: dt.datetime

    @property
    def parent_group_name(self) -> ThingGroupName | None:
        """None for a root."""
        return self.ancestors[-1] if self.ancestors else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedPolicy:
    """A policy as a principal sees it: the default version's document."""

    policy_name: PolicyName
    version_id: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedGroup:
    """
    A group that a thing is in, itself or through a descendant, with the policies attached to this very group.

    `group_id` tells it from another group of the same name, made after it was deleted.
    """

    group_name: ThingGroupName
    group_id: str
    policies: tuple[AttachedPolicy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedThing:
    """A thing as a principal sees it. `groups`: those that it is in, with all of their ancestors, by name."""

    thing_name: ThingName
    thing_type_name: str | None
    attributes: Mapping[str, str]
    thing_principal_type: ThingPrincipalType
    groups: tuple[AttachedGroup, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalRecord:
    """
    Everything that a gateway needs about a registered certificate, in one read.

    `claim_of`: the certificate is none of the registry's but a claim for the
    provisioning template of this name, of whom the gateway alone may know.
    """

    certificate: CertificateRecord
    account_status: AccountStatus
    things: tuple[AttachedThing, ...] = ()
    policies: tuple[AttachedPolicy, ...] = ()
    claim_of: str | None = None
