"""
What a template makes for one device: every value resolved, nothing looked up yet.

A plan says what is wanted. Whether it can be had is decided when it is carried
out, in one transaction of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from handfast.core.identity.ids import BillingGroupName, CertificateId, PolicyName, ThingGroupName, ThingName
from handfast.core.identity.ids import ThingTypeName as ThingTypeName
from handfast.core.identity.records import CertificateStatus
from handfast.errors import HandfastError


class Override(StrEnum):
    """OverrideSettings: what becomes of a part of a resource that exists already."""

    DO_NOTHING = "DO_NOTHING"  # it stays as it is
    REPLACE = "REPLACE"  # the template's takes its place
    FAIL = "FAIL"  # nothing is provisioned
    MERGE = "MERGE"  # both (AttributePayload and ThingGroups only)


class FailureKind(StrEnum):
    """Why a plan could not be made or carried out."""

    TEMPLATE = "template"  # it cannot be resolved for this device: a missing parameter, an index out of range …
    SUBJECT = "subject"  # the certificate's subject lacks a field that the template needs
    CONFLICT = "conflict"  # the resource exists, and the template does not say that it may be taken over
    MISSING = "missing"  # what the template names and has to exist does not
    INVALID = "invalid"  # a resolved value is not one that the registry takes
    LIMIT = "limit"  # the registry holds no more of it
    CERTIFICATE = "certificate"  # the certificate is not in a status from which it can be provisioned, or is gone


class ProvisioningFailed(HandfastError):
    """
    Nothing was provisioned; `resource` is the logical name in the template ("" for the template as a whole).

    The message says what was seen and what to do about it, and holds no secret.
    """

    def __init__(self, kind: FailureKind, resource: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.resource = resource


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingResource:
    """
    AWS::IoT::Thing. None: the template does not say, which is not the same as empty.

    `takes_over`: the template has OverrideSettings for the thing, so that one that
    exists and belongs to another certificate may be provisioned. Without them it is
    a clash.
    """

    logical_name: str
    thing_name: ThingName
    attributes: Mapping[str, str] | None = None
    thing_type_name: ThingTypeName | None = None
    thing_groups: tuple[ThingGroupName, ...] | None = None
    billing_group_name: BillingGroupName | None = None
    attributes_override: Override = Override.DO_NOTHING
    thing_type_override: Override = Override.DO_NOTHING  # never MERGE
    thing_groups_override: Override = Override.DO_NOTHING
    takes_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateResource:
    """
    AWS::IoT::Certificate: exactly one of `certificate_id`, `csr_pem` and `certificate_pem` is given.

    `status` is ACTIVE or INACTIVE. `ca_certificate_pem` only goes with `certificate_pem`.
    """

    logical_name: str
    certificate_id: CertificateId | None = None
    csr_pem: str | None = None
    certificate_pem: str | None = None
    ca_certificate_pem: str | None = None
    status: CertificateStatus = CertificateStatus.ACTIVE
    status_override: Override = Override.DO_NOTHING  # of one that is registered and not PENDING_ACTIVATION; never MERGE


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResource:
    """
    AWS::IoT::Policy. With a document the name is the one that the template gives, else derived from the document
    (`policy_name_of`); a policy of that name with the same document is used as it is. Without a document it has to
    exist.
    """

    logical_name: str
    policy_name: PolicyName
    document: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """At most one thing and one certificate, any number of policies; `device_configuration` goes back to the device."""

    thing: ThingResource | None = None
    certificate: CertificateResource | None = None
    policies: tuple[PolicyResource, ...] = ()
    device_configuration: Mapping[str, str] = field(default_factory=dict)
