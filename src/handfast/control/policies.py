"""The operations on policies and what they are attached to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import policy_arn, policy_target, principal_certificate, target_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import PolicyName, Scope
from handfast.core.identity.records import PolicyRecord, PolicyTarget, TargetKind
from handfast.errors import ResourceNotFoundError
from handfast.services.policies import Policies


class PolicyHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.handlers: dict[str, Handler] = {
            "CreatePolicy": self.create_policy,
            "GetPolicy": self.get_policy,
            "DeletePolicy": self.delete_policy,
            "ListPolicies": self.list_policies,
            "AttachPolicy": self.attach_policy,
            "DetachPolicy": self.detach_policy,
            "ListAttachedPolicies": self.list_attached_policies,
            "ListTargetsForPolicy": self.list_targets_for_policy,
            "AttachPrincipalPolicy": self.attach_principal_policy,
            "DetachPrincipalPolicy": self.detach_principal_policy,
            "ListPrincipalPolicies": self.list_principal_policies,
            "ListPolicyPrincipals": self.list_policy_principals,
        }

    async def create_policy(
        self, ctx: Caller, *, policy_name: str, policy_document: str, tags: Sequence[Mapping[str, Any]] | None = None
    ) -> Result:
        record = await self._policies.create(
            scope_of(ctx), cause_of(ctx, "CreatePolicy"), PolicyName(policy_name), policy_document, given_tags(tags)
        )
        return _named(record) | {
            "policy_document": record.document,
            "policy_version_id": record.default_version_id,
        }

    async def get_policy(self, ctx: Caller, *, policy_name: str) -> Result:
        record = await self._policies.get(scope_of(ctx), PolicyName(policy_name))
        return _named(record) | {
            "policy_document": record.document,
            "default_version_id": record.default_version_id,
            "creation_date": record.creation_date,
            "last_modified_date": record.last_modified_date,
            "generation_id": record.generation_id,
        }

    async def delete_policy(self, ctx: Caller, *, policy_name: str) -> Result:
        await self._policies.delete(scope_of(ctx), cause_of(ctx, "DeletePolicy"), PolicyName(policy_name))
        return {}

    async def list_policies(
        self,
        ctx: Caller,
        *,
        marker: str | None = None,
        page_size: int | None = None,
        ascending_order: bool | None = None,
    ) -> Result:
        page = await self._policies.list_page(scope_of(ctx), page_request(page_size, marker, ascending=ascending_order))
        return present(policies=[_named(record) for record in page.items], next_marker=page.marker)

    async def attach_policy(self, ctx: Caller, *, policy_name: str, target: str) -> Result:
        scope = scope_of(ctx)
        await self._policies.attach(
            scope, cause_of(ctx, "AttachPolicy"), PolicyName(policy_name), policy_target(scope, target)
        )
        return {}

    async def detach_policy(self, ctx: Caller, *, policy_name: str, target: str) -> Result:
        scope = scope_of(ctx)
        try:
            wanted = policy_target(scope, target)
        except ResourceNotFoundError:
            return {}  # the model has no such error for this operation: what is not attached is detached
        await self._policies.detach(scope, cause_of(ctx, "DetachPolicy"), PolicyName(policy_name), wanted)
        return {}

    async def list_attached_policies(
        self,
        ctx: Caller,
        *,
        target: str,
        recursive: bool | None = None,
        marker: str | None = None,
        page_size: int | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._policies.list_attached(
            scope, policy_target(scope, target), page_request(page_size, marker), recursive=bool(recursive)
        )
        return present(policies=[_named(record) for record in page.items], next_marker=page.marker)

    async def list_targets_for_policy(
        self, ctx: Caller, *, policy_name: str, marker: str | None = None, page_size: int | None = None
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._policies.list_targets(scope, PolicyName(policy_name), page_request(page_size, marker))
        return present(targets=[target_arn(scope, target) for target in page.items], next_marker=page.marker)

    # --- deprecated by AWS, still sent by SDKs and scripts ---

    async def attach_principal_policy(self, ctx: Caller, *, policy_name: str, principal: str) -> Result:
        scope = scope_of(ctx)
        await self._policies.attach(
            scope, cause_of(ctx, "AttachPrincipalPolicy"), PolicyName(policy_name), _certificate(scope, principal)
        )
        return {}

    async def detach_principal_policy(self, ctx: Caller, *, policy_name: str, principal: str) -> Result:
        # Unlike DetachPolicy this one has an error for what is not there.
        scope = scope_of(ctx)
        name, target = PolicyName(policy_name), _certificate(scope, principal)
        await self._policies.get(scope, name)
        await self._policies.list_attached(scope, target, page_request(1, None), recursive=False)
        await self._policies.detach(scope, cause_of(ctx, "DetachPrincipalPolicy"), name, target)
        return {}

    async def list_principal_policies(
        self,
        ctx: Caller,
        *,
        principal: str,
        marker: str | None = None,
        page_size: int | None = None,
        ascending_order: bool | None = None,
    ) -> Result:
        del ascending_order  # when a policy was attached is not kept: the order is that of names
        scope = scope_of(ctx)
        page = await self._policies.list_attached(
            scope, _certificate(scope, principal), page_request(page_size, marker), recursive=False
        )
        return present(policies=[_named(record) for record in page.items], next_marker=page.marker)

    async def list_policy_principals(
        self,
        ctx: Caller,
        *,
        policy_name: str,
        marker: str | None = None,
        page_size: int | None = None,
        ascending_order: bool | None = None,
    ) -> Result:
        del ascending_order  # as above
        scope = scope_of(ctx)
        page = await self._policies.list_targets(
            scope, PolicyName(policy_name), page_request(page_size, marker), kind=TargetKind.CERTIFICATE
        )
        return present(principals=[target_arn(scope, target) for target in page.items], next_marker=page.marker)


def _certificate(scope: Scope, principal: str) -> PolicyTarget:
    return PolicyTarget(TargetKind.CERTIFICATE, principal_certificate(scope, principal))


def _named(record: PolicyRecord) -> Result:
    return {"policy_name": record.policy_name, "policy_arn": policy_arn(record.scope, record.policy_name)}
