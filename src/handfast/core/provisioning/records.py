"""Provisioning templates and their versions, as the store keeps them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from handfast.core.identity.ids import CertificateId, Scope

TemplateName = NewType("TemplateName", str)
"""1..36 of `[0-9A-Za-z_-]`."""


class TemplateType(StrEnum):
    """CreateProvisioningTemplate `type`; never changes."""

    FLEET_PROVISIONING = "FLEET_PROVISIONING"
    JITP = "JITP"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreProvisioningHook:
    """`target_arn` names a hook of the operator's (shape ProvisioningHook)."""

    payload_version: str = "2020-04-01"
    target_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningTemplateRecord:
    """A template with the body of its default version. `role_arn` is kept and shown; it grants nothing here."""

    scope: Scope
    template_name: TemplateName
    type: TemplateType
    description: str | None
    enabled: bool
    role_arn: str
    hook: PreProvisioningHook | None
    default_version_id: int
    body: str
    creation_date: dt.datetime
    last_modified_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningTemplateVersionRecord:
    """One version; ids count from 1 and never come back."""

    scope: Scope
    template_name: TemplateName
    version_id: int
    body: str
    is_default: bool
    creation_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningTemplateEdit:
    """What UpdateProvisioningTemplate is to change; None: as it was. Never both `hook` and `remove_hook`."""

    description: str | None = None
    enabled: bool | None = None
    default_version_id: int | None = None
    role_arn: str | None = None
    hook: PreProvisioningHook | None = None
    remove_hook: bool = False


CertificateProviderName = NewType("CertificateProviderName", str)
"""1..128 of the model's `[\\w=,@-]`."""

PROVIDED_OPERATIONS = ("CreateCertificateFromCsr",)
"""`accountDefaultForOperations` of every certificate provider: the one value that the model has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProviderRecord:
    """
    Who issues for signing requests over MQTT in place of the built-in issuer; a scope has at most one.

    `function_arn` names a hook of the operator's. `request_digest` tells a creation that is sent again from another.
    """

    scope: Scope
    name: CertificateProviderName
    function_arn: str
    request_digest: str | None
    creation_date: dt.datetime
    last_modified_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningClaimRecord:
    """A claim certificate of CreateProvisioningClaim: in no listing, for one template, over at `not_after`."""

    scope: Scope
    certificate_id: CertificateId
    template_name: TemplateName
    pem: str = field(repr=False)
    not_before: dt.datetime
    not_after: dt.datetime
    creation_date: dt.datetime
