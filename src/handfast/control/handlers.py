"""Every handler by operation name: the table that the wire looks operations up in."""

from __future__ import annotations

from handfast.control.accounts import AccountHandlers
from handfast.control.audit import AuditHandlers
from handfast.control.backups import BackupHandlers, BackupMaker
from handfast.control.billing_groups import BillingGroupHandlers
from handfast.control.bulk_registration import BulkRegistrationHandlers
from handfast.control.ca_certificates import CACertificateHandlers
from handfast.control.certificate_providers import CertificateProviderHandlers, ProvisioningClaimHandlers
from handfast.control.certificates import CertificateHandlers
from handfast.control.checks import CheckHandlers
from handfast.control.claims import ClaimHandlers
from handfast.control.context import Handler, answering
from handfast.control.domains import DomainHandlers
from handfast.control.effective import EffectivePolicyHandlers
from handfast.control.endpoints import EndpointHandlers, EnsureRegion
from handfast.control.event_configurations import EventConfigurationHandlers
from handfast.control.expiry import ExpiryHandlers
from handfast.control.explain import ExplainHandlers, Refusals
from handfast.control.hooks import HookHandlers
from handfast.control.policies import PolicyHandlers
from handfast.control.policy_versions import PolicyVersionHandlers
from handfast.control.provisioning_runs import ProvisioningRunHandlers
from handfast.control.provisioning_templates import ProvisioningTemplateHandlers
from handfast.control.quotas import CallRates, limited
from handfast.control.registration_tasks import RegistrationTaskHandlers
from handfast.control.revocation import RevocationHandlers
from handfast.control.roots import RootHandlers
from handfast.control.rotations import RotationHandlers
from handfast.control.server_certificates import ServerCertificateHandlers
from handfast.control.sightings import SightingHandlers, Sightings
from handfast.control.tags import TagHandlers
from handfast.control.thing_groups import ThingGroupHandlers
from handfast.control.thing_registration import ThingRegistrationHandlers
from handfast.control.thing_types import ThingTypeHandlers
from handfast.control.things import ThingHandlers
from handfast.control.transfers import TransferHandlers
from handfast.control.what_if import WhatIfHandlers
from handfast.services.accounts import Accounts
from handfast.services.audit import Audit
from handfast.services.certificate_providers import CertificateProviders
from handfast.services.checks import Checks
from handfast.services.domains import Domains
from handfast.services.endpoints import EndpointDirectory
from handfast.services.hooks import Hooks
from handfast.services.provisioning_runs import ProvisioningRuns
from handfast.services.registration_tasks import RegistrationTasks
from handfast.services.registry import Registry
from handfast.services.revocation import Revocations
from handfast.services.rollover import Rollover
from handfast.services.server_certificates import ServerCertificates
from handfast.services.what_if import WhatIf


def build_handlers(
    registry: Registry,
    endpoints: EndpointDirectory,
    ensure_region: EnsureRegion,
    tasks: RegistrationTasks,
    providers: CertificateProviders,
    domains: Domains,
    rates: CallRates | None = None,
) -> dict[str, Handler]:
    """The operations of the `iot` model that are built. Each refuses the operator's key; `rates` limits an account."""
    handlers = (
        CertificateHandlers(registry.certificates).handlers
        | CACertificateHandlers(registry.ca_certificates).handlers
        | TransferHandlers(registry.transfers).handlers
        | ThingHandlers(registry.things).handlers
        | ThingRegistrationHandlers(registry.thing_registration).handlers
        | ThingTypeHandlers(registry.thing_types).handlers
        | BillingGroupHandlers(registry.billing_groups).handlers
        | TagHandlers(registry.tags).handlers
        | EventConfigurationHandlers(registry.event_configurations).handlers
        | ThingGroupHandlers(registry.thing_groups).handlers
        | PolicyHandlers(registry.policies).handlers
        | PolicyVersionHandlers(registry.policy_versions).handlers
        | ProvisioningTemplateHandlers(registry.provisioning_templates).handlers
        | RegistrationTaskHandlers(tasks).handlers
        | EffectivePolicyHandlers(registry.effective_policies).handlers
        | EndpointHandlers(endpoints, ensure_region).handlers
        | CertificateProviderHandlers(providers).handlers
        | ProvisioningClaimHandlers(registry.provisioning_claims).handlers
        | DomainHandlers(domains).handlers
    )
    answered = {name: answering(handler) for name, handler in handlers.items()}
    return answered if rates is None else {name: limited(rates, name, handler) for name, handler in answered.items()}


def build_handfast_handlers(
    registry: Registry,
    accounts: Accounts,
    endpoints: EndpointDirectory,
    ensure_region: EnsureRegion,
    refusals: Refusals,
    backups: BackupMaker,
    audit: Audit,
    checks: Checks,
    what_if: WhatIf,
    hooks: Hooks,
    provisioning_runs: ProvisioningRuns,
    revocations: Revocations,
    server_certificates: ServerCertificates,
    rollover: Rollover,
    sightings: Sightings,
) -> dict[str, Handler]:
    """The operations of /handfast/v1. Those on accounts and keys need the operator's key."""
    handlers = (
        AccountHandlers(accounts).handlers
        | BulkRegistrationHandlers(registry.bulk).handlers
        | TransferHandlers(registry.transfers).own_handlers
        | RotationHandlers(registry.rotations).handlers
        | EndpointHandlers(endpoints, ensure_region).own_handlers
        | ExplainHandlers(refusals).handlers
        | BackupHandlers(backups).handlers
        | ExpiryHandlers(registry.certificates, registry.ca_certificates).handlers
        | AuditHandlers(audit).handlers
        | CheckHandlers(checks).handlers
        | WhatIfHandlers(what_if).handlers
        | HookHandlers(hooks).handlers
        | ClaimHandlers(registry.claims).handlers
        | ProvisioningRunHandlers(provisioning_runs).handlers
        | RevocationHandlers(revocations).handlers
        | ServerCertificateHandlers(server_certificates).handlers
        | RootHandlers(rollover).handlers
        | SightingHandlers(sightings).handlers
    )
    return {name: answering(handler) for name, handler in handlers.items()}
