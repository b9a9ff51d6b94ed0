"""The part of `ports.Store` about thing groups, what policies are attached to, and versions of policies."""

from __future__ import annotations

from collections.abc import Sequence

from handfast.core.identity.ids import PolicyName, Scope, ThingGroupName, ThingName
from handfast.core.identity.records import (
    AttachedGroup,
    PolicyRecord,
    PolicyTarget,
    PolicyVersionRecord,
    TargetKind,
    ThingGroupRecord,
)
from handfast.ports import NO_TAGS, Cause, Change, Page, PageRequest, Tags
from handfast.storage import group_policies, policies, policy_versions, principals, thing_group_members, thing_groups
from handfast.storage.sqlite import SQLiteDatabase


class GroupOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    # thing groups

    async def create_thing_group(
        self, group: ThingGroupRecord, cause: Cause, *, depth_limit: int, children_limit: int, tags: Tags = NO_TAGS
    ) -> list[Change]:
        return await self._write(
            lambda c: thing_groups.create(
                c, group, cause, depth_limit=depth_limit, children_limit=children_limit, given=tags
            )
        )

    async def thing_group(self, scope: Scope, name: ThingGroupName) -> ThingGroupRecord | None:
        return await self._read(lambda c: thing_groups.get(c, scope, name))

    async def update_thing_group(self, group: ThingGroupRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: thing_groups.change(c, group, cause))

    async def delete_thing_group(
        self, scope: Scope, name: ThingGroupName, *, expected_version: int | None, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: thing_groups.remove(c, scope, name, expected_version=expected_version, cause=cause)
        )

    async def list_thing_groups(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        parent: ThingGroupName | None,
        prefix: str | None,
        recursive: bool,
    ) -> Page[ThingGroupName]:
        return await self._read(
            lambda c: thing_groups.list_page(c, scope, page, parent=parent, prefix=prefix, recursive=recursive)
        )

    async def update_thing_groups(
        self,
        scope: Scope,
        name: ThingName,
        *,
        add: Sequence[ThingGroupName],
        remove: Sequence[ThingGroupName],
        limit: int,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(
            lambda c: thing_group_members.change(c, scope, name, add=add, remove=remove, limit=limit, cause=cause)
        )

    async def things_in_group(
        self, scope: Scope, name: ThingGroupName, page: PageRequest, *, recursive: bool
    ) -> Page[ThingName]:
        return await self._read(lambda c: thing_group_members.things_page(c, scope, name, page, recursive=recursive))

    async def groups_of_thing(self, scope: Scope, name: ThingName, page: PageRequest) -> Page[ThingGroupName]:
        return await self._read(lambda c: thing_group_members.groups_page(c, scope, name, page))

    async def attached_group(self, scope: Scope, name: ThingGroupName) -> AttachedGroup | None:
        return await self._read(lambda c: principals.group(c, scope, name))

    async def attached_groups(self, scope: Scope, name: ThingName) -> tuple[AttachedGroup, ...] | None:
        return await self._read(lambda c: principals.groups_of_thing(c, scope, name))

    # policies on groups

    async def attach_group_policy(
        self, scope: Scope, name: PolicyName, group: ThingGroupName, *, limit: int, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: group_policies.attach(c, scope, name, group, limit=limit, cause=cause))

    async def detach_group_policy(
        self, scope: Scope, name: PolicyName, group: ThingGroupName, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: group_policies.detach(c, scope, name, group, cause))

    async def attached_group_policies(
        self, scope: Scope, group: ThingGroupName, page: PageRequest, *, recursive: bool
    ) -> Page[PolicyRecord]:
        return await self._read(lambda c: group_policies.attached_page(c, scope, group, page, recursive=recursive))

    async def policy_targets(
        self, scope: Scope, name: PolicyName, page: PageRequest, *, kind: TargetKind | None = None
    ) -> Page[PolicyTarget]:
        return await self._read(lambda c: policies.targets_page(c, scope, name, page, kind=kind))

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
    ) -> tuple[PolicyVersionRecord, list[Change]]:
        return await self._write(
            lambda c: policy_versions.create(
                c,
                scope,
                name,
                document,
                set_as_default=set_as_default,
                limit=limit,
                generation_id=generation_id,
                cause=cause,
            )
        )

    async def policy_version(self, scope: Scope, name: PolicyName, version_id: str) -> PolicyVersionRecord | None:
        return await self._read(lambda c: policy_versions.get(c, scope, name, version_id))

    async def policy_versions(self, scope: Scope, name: PolicyName) -> list[PolicyVersionRecord]:
        return await self._read(lambda c: policy_versions.list_all(c, scope, name))

    async def set_default_policy_version(
        self, scope: Scope, name: PolicyName, version_id: str, *, generation_id: str, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: policy_versions.set_default(c, scope, name, version_id, generation_id=generation_id, cause=cause)
        )

    async def delete_policy_version(
        self, scope: Scope, name: PolicyName, version_id: str, *, generation_id: str, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: policy_versions.remove(c, scope, name, version_id, generation_id=generation_id, cause=cause)
        )
