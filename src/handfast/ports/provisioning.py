"""The part of the registry that provisions: a plan carried out in one transaction, and the templates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope, ThingName
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.core.provisioning.fleet import OwnershipProof
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.records import (
    ProvisioningTemplateEdit,
    ProvisioningTemplateRecord,
    ProvisioningTemplateVersionRecord,
    TemplateName,
)
from handfast.core.provisioning.runs import ProvisioningRun
from handfast.core.provisioning.tasks import TaskLine
from handfast.ports.values import NO_TAGS, Cause, Change, Page, PageRequest, Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningOrder:
    """
    A plan and the certificate that it is for.

    `register` is the certificate when it is not registered yet: it is, in the same
    transaction, with the guards of `insert_certificate` (its CA, where it has one,
    is registered and ACTIVE); one that is registered here meanwhile is taken as it
    stands. Else `certificate_id` names a registered one. Neither: a plan without a
    certificate. `ownership` is spent with it.

    With `require_auto_registration` nobody asks for it but the device: its CA is
    registered, ACTIVE and auto-registering at that moment, there is no tombstone,
    and one that is registered is PENDING_ACTIVATION under that CA.

    `task_line` is done with it: the line of a bulk registration task that asks.
    """

    scope: Scope
    plan: Plan
    certificate_id: CertificateId | None = None
    register: CertificateRecord | None = None
    require_auto_registration: bool = False
    ownership: OwnershipProof | None = None
    task_line: TaskLine | None = None
    run: ProvisioningRun | None = None  # recorded with the plan
    thing_id: str
    generation_id: str  # of whatever is created and has one
    policies_per_certificate: int  # at most
    groups_per_thing: int  # at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """What is there now. `resource_arns` by logical name, as RegisterThing answers them."""

    certificate_id: CertificateId | None
    certificate_status: CertificateStatus | None
    thing_name: ThingName | None
    resource_arns: Mapping[str, str] = field(default_factory=dict)


class ProvisioningStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def provision(self, order: ProvisioningOrder, cause: Cause) -> tuple[Provisioned, list[Change]]:
        """
        The whole plan is true, or nothing changed.

        Raises:
            ProvisioningFailed: Which resource, and why.
            StoreConflict: Of `ownership`, in this order. "claim": the claim certificate is not ACTIVE, "token": spent
                meanwhile or expired, "exhausted" (facts: devices): the claim has provisioned all that it may.
                "task": the task of `task_line` does not go on, or not with this line.
        """
        ...


class ProvisioningTemplateStore(Protocol):
    """
    Part of `ports.Store`.

    `created`: the creation date of the template that the caller has looked at.
    "replaced": it was deleted since then, and another one made under its name.
    """

    async def create_provisioning_template(
        self, template: ProvisioningTemplateRecord, cause: Cause, *, limit: int, tags: Tags = NO_TAGS
    ) -> list[Change]:
        """The body is version 1. In this order: "exists", "limit": of templates in the scope."""
        ...

    async def provisioning_template(self, scope: Scope, name: TemplateName) -> ProvisioningTemplateRecord | None: ...
    async def update_provisioning_template(
        self, scope: Scope, name: TemplateName, edit: ProvisioningTemplateEdit, *, created: dt.datetime, cause: Cause
    ) -> list[Change]: ...  # "missing", "replaced", "version" missing
    async def delete_provisioning_template(
        self, scope: Scope, name: TemplateName, *, created: dt.datetime, cause: Cause
    ) -> list[Change]:
        """In this order: "missing", "replaced", "versions": it has some besides the default, "cas": CA certificates
        provision by it."""
        ...

    async def list_provisioning_templates(
        self, scope: Scope, page: PageRequest
    ) -> Page[ProvisioningTemplateRecord]: ...  # by name

    # versions
    async def create_provisioning_template_version(
        self,
        scope: Scope,
        name: TemplateName,
        body: str,
        *,
        set_as_default: bool,
        limit: int,
        created: dt.datetime,
        cause: Cause,
    ) -> tuple[ProvisioningTemplateVersionRecord, list[Change]]: ...  # "missing", "replaced", "limit": of versions
    async def provisioning_template_version(
        self, scope: Scope, name: TemplateName, version_id: int
    ) -> ProvisioningTemplateVersionRecord | None: ...
    async def list_provisioning_template_versions(
        self, scope: Scope, name: TemplateName, page: PageRequest
    ) -> Page[ProvisioningTemplateVersionRecord]: ...  # the newest first; "missing"
    async def delete_provisioning_template_version(
        self, scope: Scope, name: TemplateName, version_id: int, *, created: dt.datetime, cause: Cause
    ) -> list[Change]: ...  # "missing", "replaced", "version" missing, "default"
