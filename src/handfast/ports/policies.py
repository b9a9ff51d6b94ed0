"""The part of the registry about policies, their versions and what they are attached to."""

from __future__ import annotations

from typing import Protocol

from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingGroupName
from handfast.core.identity.records import PolicyRecord, PolicyTarget, PolicyVersionRecord, TargetKind
from handfast.ports.values import NO_TAGS, Cause, Change, Page, PageRequest, Tags


class PolicyStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def create_policy(
        self, policy: PolicyRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]: ...  # "exists"
    async def policy(self, scope: Scope, name: PolicyName) -> PolicyRecord | None: ...
    async def delete_policy(
        self, scope: Scope, name: PolicyName, cause: Cause
    ) -> list[Change]: ...  # "missing", "targets", "versions"
    async def list_policies(self, scope: Scope, page: PageRequest) -> Page[PolicyRecord]: ...
    async def attach_policy(
        self, scope: Scope, name: PolicyName, certificate_id: CertificateId, *, limit: int, cause: Cause
    ) -> list[Change]: ...  # "policy", "certificate" missing; "status" (PENDING_TRANSFER); "limit"
    async def detach_policy(
        self, scope: Scope, name: PolicyName, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]: ...
    async def attached_policies(
        self, scope: Scope, certificate_id: CertificateId, page: PageRequest
    ) -> Page[PolicyRecord]: ...  # "missing"
    async def attach_group_policy(
        self, scope: Scope, name: PolicyName, group: ThingGroupName, *, limit: int, cause: Cause
    ) -> list[Change]: ...  # "policy", "group" missing; "limit"
    async def detach_group_policy(
        self, scope: Scope, name: PolicyName, group: ThingGroupName, cause: Cause
    ) -> list[Change]: ...
    async def attached_group_policies(
        self, scope: Scope, group: ThingGroupName, page: PageRequest, *, recursive: bool
    ) -> Page[PolicyRecord]: ...  # recursive: those of its ancestors too; "missing"
    async def policy_targets(
        self, scope: Scope, name: PolicyName, page: PageRequest, *, kind: TargetKind | None = None
    ) -> Page[PolicyTarget]: ...  # "missing"

    # policy versions
    async def create_policy_version(
        self,
        scope: Scope,
        name: PolicyName,
        document: str,
        *,
        set_as_default: bool,
        limit: int,
        generation_id: str,
        cause: Cause,
    ) -> tuple[PolicyVersionRecord, list[Change]]: ...  # "missing", "limit"
    async def policy_version(self, scope: Scope, name: PolicyName, version_id: str) -> PolicyVersionRecord | None: ...
    async def policy_versions(
        self, scope: Scope, name: PolicyName
    ) -> list[PolicyVersionRecord]: ...  # the newest first; "missing"
    async def set_default_policy_version(
        self, scope: Scope, name: PolicyName, version_id: str, *, generation_id: str, cause: Cause
    ) -> list[Change]: ...  # "missing", "version" missing
    async def delete_policy_version(
        self, scope: Scope, name: PolicyName, version_id: str, *, generation_id: str, cause: Cause
    ) -> list[Change]: ...  # "missing", "version" missing, "default"
