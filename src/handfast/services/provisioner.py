"""A provisioning plan carried out: in one transaction of the store, and obeyed by this process when a call returns."""

from __future__ import annotations

from handfast.core.identity.ids import CertificateId, PolicyName, Scope
from handfast.core.identity.records import CertificateRecord
from handfast.core.identity.things import GROUPS_PER_THING
from handfast.core.provisioning.fleet import OwnershipProof
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.runs import ProvisioningRun
from handfast.core.provisioning.tasks import TaskLine
from handfast.ports import Cause, Change, ChangeKind, Entropy, Store
from handfast.ports.provisioning import Provisioned, ProvisioningOrder
from handfast.services.commit import Committer
from handfast.services.policies import POLICIES_PER_CERTIFICATE
from handfast.services.template_gate import TemplateGate


class Provisioner:
    """Carries out plans, whoever asks for it: just-in-time and fleet provisioning, RegisterThing, bulk tasks."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer, gate: TemplateGate) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit
        self._gate = gate

    async def carry_out(
        self,
        scope: Scope,
        cause: Cause,
        plan: Plan,
        *,
        register: CertificateRecord | None = None,
        certificate_id: CertificateId | None = None,
        require_auto_registration: bool = False,
        ownership: OwnershipProof | None = None,
        task_line: TaskLine | None = None,
        run: ProvisioningRun | None = None,
    ) -> Provisioned:
        """
        The whole plan is true, durable, and obeyed by caches and live connections; or nothing changed.

        Args:
            register: The plan's certificate where it is not registered yet; it
                is, with the plan. One that was registered here meanwhile is
                judged as it stands.
            certificate_id: The plan's certificate where it is registered.
            require_auto_registration: Its CA is registered, ACTIVE and
                auto-registering at that moment, and it was never revoked or
                transferred away: nobody but the device itself asks for it.
            ownership: Proves that the device that asks was given the
                certificate; spent with the plan, kept when it fails.
            run: Recorded with the plan, and not when it fails.
            task_line: The line of a bulk registration task that is done with it.

        Raises:
            ProvisioningFailed: Which resource, and why.
            StoreConflict: The proof cannot be spent, or the line's task does not
                go on; the kinds are those of `ProvisioningStore.provision`.
            StoreUnavailable: It may have happened.
        """
        self._gate.check_plan(scope, plan, await self._named_policies(scope, plan))
        order = ProvisioningOrder(
            scope=scope,
            plan=plan,
            certificate_id=certificate_id,
            register=register,
            require_auto_registration=require_auto_registration,
            ownership=ownership,
            task_line=task_line,
            run=run,
            thing_id=self._entropy.uuid(),
            generation_id=self._entropy.token_bytes(32).hex(),
            policies_per_certificate=POLICIES_PER_CERTIFICATE,
            groups_per_thing=GROUPS_PER_THING,
        )
        done: list[Provisioned] = []

        async def write() -> list[Change]:
            provisioned, changes = await self._store.provision(order, cause)
            done.append(provisioned)
            return changes

        await self._commit(write(), suspects=_suspects(order))
        return done[0]

    async def _named_policies(self, scope: Scope, plan: Plan) -> dict[PolicyName, str]:
        """The documents of policies that the plan names without one, where anybody asks."""
        found: dict[PolicyName, str] = {}
        for policy in plan.policies if self._gate.refuses else ():
            record = None if policy.document is not None else await self._store.policy(scope, policy.policy_name)
            if record is not None:
                found[record.policy_name] = record.document
        return found


def _suspects(order: ProvisioningOrder) -> list[Change]:
    """What may have changed when the store gives no answer."""
    scope, plan = order.scope, order.plan
    certificate_id = order.certificate_id if order.register is None else order.register.certificate_id
    found = [Change(ChangeKind.POLICY, scope, policy.policy_name) for policy in plan.policies]
    if certificate_id is not None:
        kinds = (ChangeKind.CERTIFICATE, ChangeKind.PRINCIPAL_POLICIES, ChangeKind.PRINCIPAL_THINGS)
        found += [Change(kind, scope, certificate_id) for kind in kinds]
    if plan.thing is not None:
        name = plan.thing.thing_name
        found += [Change(kind, scope, name) for kind in (ChangeKind.THING, ChangeKind.THING_GROUPS)]
    return found
