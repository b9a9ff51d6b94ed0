"""The operations on versions of policies."""

from __future__ import annotations

from handfast.control.context import Handler, Result, cause_of, scope_of
from handfast.core.identity.arns import policy_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import PolicyName
from handfast.services.policy_versions import PolicyVersions


class PolicyVersionHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, versions: PolicyVersions) -> None:
        self._versions = versions
        self.handlers: dict[str, Handler] = {
            "CreatePolicyVersion": self.create_policy_version,
            "GetPolicyVersion": self.get_policy_version,
            "ListPolicyVersions": self.list_policy_versions,
            "SetDefaultPolicyVersion": self.set_default_policy_version,
            "DeletePolicyVersion": self.delete_policy_version,
        }

    async def create_policy_version(
        self, ctx: Caller, *, policy_name: str, policy_document: str, set_as_default: bool | None = None
    ) -> Result:
        record = await self._versions.create(
            scope_of(ctx),
            cause_of(ctx, "CreatePolicyVersion"),
            PolicyName(policy_name),
            policy_document,
            set_as_default=bool(set_as_default),
        )
        return {
            "policy_arn": policy_arn(record.scope, record.policy_name),
            "policy_document": record.document,
            "policy_version_id": record.version_id,
            "is_default_version": record.is_default,
        }

    async def get_policy_version(self, ctx: Caller, *, policy_name: str, policy_version_id: str) -> Result:
        record = await self._versions.get(scope_of(ctx), PolicyName(policy_name), policy_version_id)
        return {
            "policy_arn": policy_arn(record.scope, record.policy_name),
            "policy_name": record.policy_name,
            "policy_document": record.document,
            "policy_version_id": record.version_id,
            "is_default_version": record.is_default,
            "creation_date": record.creation_date,
            "last_modified_date": record.creation_date,  # a version never changes
            "generation_id": record.generation_id,
        }

    async def list_policy_versions(self, ctx: Caller, *, policy_name: str) -> Result:
        records = await self._versions.list_all(scope_of(ctx), PolicyName(policy_name))
        return {
            "policy_versions": [
                {
                    "version_id": record.version_id,
                    "is_default_version": record.is_default,
                    "create_date": record.creation_date,
                }
                for record in records
            ]
        }

    async def set_default_policy_version(self, ctx: Caller, *, policy_name: str, policy_version_id: str) -> Result:
        await self._versions.set_default(
            scope_of(ctx), cause_of(ctx, "SetDefaultPolicyVersion"), PolicyName(policy_name), policy_version_id
        )
        return {}

    async def delete_policy_version(self, ctx: Caller, *, policy_name: str, policy_version_id: str) -> Result:
        await self._versions.delete(
            scope_of(ctx), cause_of(ctx, "DeletePolicyVersion"), PolicyName(policy_name), policy_version_id
        )
        return {}
