"""The part of the registry about thing groups and the things in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from handfast.core.identity.ids import Scope, ThingGroupName, ThingName
from handfast.core.identity.records import AttachedGroup, ThingGroupRecord
from handfast.ports.values import NO_TAGS, Cause, Change, Page, PageRequest, Tags


class ThingGroupStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def create_thing_group(
        self, group: ThingGroupRecord, cause: Cause, *, depth_limit: int, children_limit: int, tags: Tags = NO_TAGS
    ) -> list[Change]:
        """Below its parent, for good. In this order: "exists", "parent": missing, "depth" (a root has 1), "children":
        the parent has its share."""
        ...

    async def thing_group(self, scope: Scope, name: ThingGroupName) -> ThingGroupRecord | None: ...
    async def update_thing_group(self, group: ThingGroupRecord, cause: Cause) -> list[Change]:
        """Description and attributes are these, if it is at the version before `group.version`. "missing",
        "version" (facts: version)."""
        ...

    async def delete_thing_group(
        self, scope: Scope, name: ThingGroupName, *, expected_version: int | None, cause: Cause
    ) -> list[Change]: ...  # with memberships and attachments; "missing", "version" (facts: version), "children"
    async def list_thing_groups(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        parent: ThingGroupName | None,
        prefix: str | None,
        recursive: bool,
    ) -> Page[ThingGroupName]: ...  # by name, below the parent or the roots, or all below them; "missing": the parent
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
        """The thing has left the one and joined the other groups, all or none. "thing", "group" (facts: group)
        missing; "hierarchy" (facts: group, other): it is in another group of the hierarchy; "limit"."""
        ...

    async def things_in_group(
        self, scope: Scope, name: ThingGroupName, page: PageRequest, *, recursive: bool
    ) -> Page[ThingName]: ...  # "missing"
    async def groups_of_thing(
        self, scope: Scope, name: ThingName, page: PageRequest
    ) -> Page[ThingGroupName]: ...  # those that it is in itself; "missing"
    async def attached_group(self, scope: Scope, name: ThingGroupName) -> AttachedGroup | None: ...
    async def attached_groups(self, scope: Scope, name: ThingName) -> tuple[AttachedGroup, ...] | None:
        """As `principals` gives them: the groups that the thing is in, with all of their ancestors; None: no thing."""
        ...
