"""Provisioning templates and their versions, as the store keeps them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from handfast.core.identity.ids import Scope

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
