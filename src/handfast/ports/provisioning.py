"""The part of the registry that provisions: a plan carried out in one transaction, and the templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope, ThingName
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.records import (
    ProvisioningTemplateRecord,
    ProvisioningTemplateVersionRecord,
    TemplateName,
)
from handfast.ports.values import Cause, Change


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningOrder:
    """
    A plan and the certificate that it is for.

    `register` is the certificate when it is not registered yet: it is, in the same
    transaction, with the guards of `insert_certificate`; with `require_auto_registration`
    its CA must be registered, ACTIVE and auto-registering at that moment too. Else
    `certificate_id` names a registered one. Neither: a plan without a certificate.
    """

    scope: Scope
    plan: Plan
    certificate_id: CertificateId | None = None
    register: CertificateRecord | None = None
    require_auto_registration: bool = False
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
        """
        ...


class ProvisioningTemplateStore(Protocol):
    """Part of `ports.Store`."""

    async def provisioning_template(self, scope: Scope, name: TemplateName) -> ProvisioningTemplateRecord | None: ...
    async def provisioning_template_version(
        self, scope: Scope, name: TemplateName, version_id: int
    ) -> ProvisioningTemplateVersionRecord | None: ...
