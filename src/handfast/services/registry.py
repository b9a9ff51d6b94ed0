"""The registry's use cases in one hand: certificates, CAs, things and policies over one store."""

from __future__ import annotations

from handfast.ports import Entropy, Notify, Store
from handfast.services.billing_groups import BillingGroups
from handfast.services.bulk_registration import BulkRegistration
from handfast.services.ca_certificates import CACertificates
from handfast.services.certificates import Certificates, Issuer
from handfast.services.claims import Claims
from handfast.services.commit import Committer
from handfast.services.effective import EffectivePolicies
from handfast.services.event_configurations import EventConfigurations
from handfast.services.hooks import KnowsHooks, NoHooks
from handfast.services.judging import Ask, in_thread
from handfast.services.policies import Policies
from handfast.services.policy_versions import PolicyVersions
from handfast.services.provisioner import Provisioner
from handfast.services.provisioning_claims import ProvisioningClaims
from handfast.services.provisioning_templates import ProvisioningTemplates
from handfast.services.rotations import Rotations
from handfast.services.tags import ResourceTags
from handfast.services.template_gate import TemplateGate
from handfast.services.thing_groups import ThingGroups
from handfast.services.thing_registration import ThingRegistration
from handfast.services.thing_types import ThingTypes
from handfast.services.things import Things
from handfast.services.transfers import Transfers


class Registry:
    """
    What the control plane does to the registry.

    Every method takes the scope that it works in and, where it changes
    something, the cause for the audit row. `notify` is awaited after a commit
    and before the method returns.
    """

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        entropy: Entropy,
        notify: Notify,
        *,
        ask: Ask = in_thread,
        template_gate: TemplateGate | None = None,
        hooks: KnowsHooks | None = None,
    ) -> None:
        self._commit = Committer(notify)
        self.template_gate = template_gate or TemplateGate()
        self.certificates = Certificates(store, issuer, entropy, self._commit)
        self.bulk = BulkRegistration(store, entropy, self._commit, ask)
        self.ca_certificates = CACertificates(store, entropy, self._commit, self.template_gate)
        self.transfers = Transfers(store, self._commit)
        self.rotations = Rotations(store, issuer, entropy, self._commit)
        self.things = Things(store, entropy, self._commit)
        self.thing_types = ThingTypes(store, entropy, self._commit)
        self.billing_groups = BillingGroups(store, entropy, self._commit)
        self.tags = ResourceTags(store, self._commit)
        self.event_configurations = EventConfigurations(store, self._commit)
        self.thing_groups = ThingGroups(store, entropy, self._commit)
        self.policies = Policies(store, entropy, self._commit)
        self.effective_policies = EffectivePolicies(store)
        self.policy_versions = PolicyVersions(store, entropy, self._commit)
        self.claims = Claims(store, self._commit)
        self.provisioner = Provisioner(store, entropy, self._commit, self.template_gate)
        self.thing_registration = ThingRegistration(store, self.certificates, self.provisioner)
        self.provisioning_templates = ProvisioningTemplates(store, self._commit, self.template_gate, hooks or NoHooks())
        self.provisioning_claims = ProvisioningClaims(store, issuer, self._commit)

    @property
    def commit(self) -> Committer:
        """Through which every write of this process goes."""
        return self._commit

    async def settle(self) -> None:
        """Every write under way is committed and announced; for shutdown, before the store closes."""
        await self._commit.settle()
