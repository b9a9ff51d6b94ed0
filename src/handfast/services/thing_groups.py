"""Static thing groups, their hierarchies, and the things in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from handfast.core.identity.arns import thing_group_arn
from handfast.core.identity.ids import Scope, ThingGroupName, ThingName
from handfast.core.identity.records import ThingGroupRecord
from handfast.core.identity.things import GROUPS_PER_THING
from handfast.errors import (
    InternalFailureError,
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreConflict,
    VersionConflictError,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store, Tags
from handfast.services.commit import Committer
from handfast.services.paging import page_of
from handfast.services.things import not_found as thing_not_found

DEPTH_MAX = 7
"""Levels of a hierarchy, its root included."""
CHILDREN_MAX = 100
ATTRIBUTES_MAX = 50
_UPDATE_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupProperties:
    """`thingGroupProperties` as given; None: not given."""

    description: str | None = None
    attributes: Mapping[str, str] | None = None
    merge: bool = False


class ThingGroups:
    """The use cases of thing groups. Raises ServiceErrors; the next packet obeys what a call returned from."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: ThingGroupName,
        *,
        parent: ThingGroupName | None,
        properties: GroupProperties,
        tags: Tags = NO_TAGS,
    ) -> ThingGroupRecord:
        """The group below its parent, for good. The same once more is the same group; with another parent or other
        properties the name is taken. `tags` are those of a new group; an existing one keeps its own."""
        record = ThingGroupRecord(
            scope=scope,
            group_name=name,
            group_id=self._entropy.uuid(),
            ancestors=() if parent is None else (parent,),
            description=properties.description or None,
            attributes=_attributes({}, properties),
            creation_date=cause.at,
        )
        try:
            await self._commit(
                self._store.create_thing_group(
                    record, cause, depth_limit=DEPTH_MAX, children_limit=CHILDREN_MAX, tags=tags
                ),
                suspects=_suspects(scope, name),
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "exists":
                    return await self._same(record)
                case "parent":
                    raise InvalidRequestError(f"Parent thing group {parent} does not exist") from None
                case "depth":
                    raise InvalidRequestError(
                        f"Thing group {parent} is on level {DEPTH_MAX} of its hierarchy, the last one: it can have no "
                        "child groups"
                    ) from None
                case "children":
                    raise InvalidRequestError(
                        f"Thing group {parent} already has {CHILDREN_MAX} child groups, which is the maximum"
                    ) from None
                case _:
                    raise
        return record

    async def _same(self, record: ThingGroupRecord) -> ThingGroupRecord:
        existing = await self._store.thing_group(record.scope, record.group_name)
        if existing is None:
            raise InternalFailureError(f"Thing group {record.group_name} was deleted meanwhile; try again")
        if _configuration(existing) != _configuration(record):
            raise ResourceAlreadyExistsError(
                f"Thing group {record.group_name} already exists with another parent or other properties",
                resourceId=existing.group_id,
                resourceArn=thing_group_arn(record.scope, record.group_name),
            )
        return existing

    async def describe(self, scope: Scope, name: ThingGroupName) -> ThingGroupRecord:
        """The group, or ResourceNotFoundError."""
        record = await self._store.thing_group(scope, name)
        if record is None:
            raise not_found(name)
        return record

    async def update(
        self,
        scope: Scope,
        cause: Cause,
        name: ThingGroupName,
        properties: GroupProperties,
        *,
        expected_version: int | None,
    ) -> int:
        """The group's new version. What is not given stays; an attribute with an empty value goes."""
        for _ in range(_UPDATE_ATTEMPTS):
            current = await self.describe(scope, name)
            if expected_version is not None and expected_version != current.version:
                raise _version_conflict(name, current.version, expected_version)
            updated = dataclasses.replace(
                current,
                description=current.description if properties.description is None else properties.description or None,
                attributes=_attributes(current.attributes, properties),
                version=current.version + 1,
            )
            try:
                await self._commit(self._store.update_thing_group(updated, cause), suspects=_suspects(scope, name))
            except StoreConflict as conflict:
                if conflict.kind == "missing":
                    raise not_found(name) from None
                if conflict.kind != "version":
                    raise
                continue  # someone else was faster: merge into what is there now
            return updated.version
        raise VersionConflictError(f"Thing group {name} changes faster than it can be updated; try again")

    async def delete(self, scope: Scope, cause: Cause, name: ThingGroupName, *, expected_version: int | None) -> None:
        """There is no such group, no thing in it and no policy on it: deleting what does not exist is success."""
        try:
            await self._commit(
                self._store.delete_thing_group(scope, name, expected_version=expected_version, cause=cause),
                suspects=_suspects(scope, name),
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    return
                case "version":
                    raise _version_conflict(name, conflict.facts["version"], expected_version) from None
                case "children":
                    raise InvalidRequestError(
                        f"Cannot delete thing group : {name} when there are still child groups attached to it"
                    ) from None
                case _:
                    raise

    async def list_page(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        parent: ThingGroupName | None,
        prefix: str | None,
        recursive: bool,
    ) -> Page[ThingGroupName]:
        """One page by name: the children of `parent`, or the roots; recursive: with everything below them."""
        try:
            return await page_of(
                self._store.list_thing_groups(scope, page, parent=parent, prefix=prefix, recursive=recursive)
            )
        except StoreConflict as conflict:
            if conflict.kind != "missing" or parent is None:
                raise
            raise not_found(parent) from None

    async def update_memberships(
        self,
        scope: Scope,
        cause: Cause,
        thing: ThingName,
        *,
        add: Sequence[ThingGroupName] = (),
        remove: Sequence[ThingGroupName] = (),
    ) -> None:
        """The thing has left the one and joined the other groups, all or none; what is so already is success."""
        both = sorted(set(add) & set(remove))
        if both:
            raise InvalidRequestError(f"Thing group {both[0]} is to be joined and left at once")
        try:
            await self._commit(
                self._store.update_thing_groups(
                    scope, thing, add=add, remove=remove, limit=GROUPS_PER_THING, cause=cause
                ),
                suspects=[Change(ChangeKind.THING_GROUPS, scope, thing)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "thing":
                    raise thing_not_found(thing) from None
                case "group":
                    raise not_found(conflict.facts["group"]) from None
                case "hierarchy":
                    raise InvalidRequestError(
                        f"Thing {thing} is already in thing group {conflict.facts['other']} of the hierarchy of thing "
                        f"group {conflict.facts['group']}; a thing can be in one group of a hierarchy"
                    ) from None
                case "limit":
                    raise InvalidRequestError(
                        f"Thing {thing} can be in at most {GROUPS_PER_THING} thing groups"
                    ) from None
                case _:
                    raise

    async def list_things(
        self, scope: Scope, name: ThingGroupName, page: PageRequest, *, recursive: bool
    ) -> Page[ThingName]:
        """One page, by name, of the things in the group; recursive: and in the groups below it."""
        try:
            return await page_of(self._store.things_in_group(scope, name, page, recursive=recursive))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise not_found(name) from None

    async def list_of_thing(self, scope: Scope, thing: ThingName, page: PageRequest) -> Page[ThingGroupName]:
        """One page, by name, of the groups that the thing is in itself."""
        try:
            return await page_of(self._store.groups_of_thing(scope, thing, page))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise thing_not_found(thing) from None


def not_found(name: ThingGroupName) -> ResourceNotFoundError:
    """The answer for an unknown thing group, another account's included."""
    return ResourceNotFoundError(f"Thing group {name} does not exist in this account and region")


def _attributes(current: Mapping[str, str], properties: GroupProperties) -> dict[str, str]:
    if properties.attributes is None:
        return dict(current)
    wanted = {**(current if properties.merge else {}), **properties.attributes}
    attributes = {name: value for name, value in wanted.items() if value != ""}
    if len(attributes) > ATTRIBUTES_MAX:
        raise InvalidRequestError(f"A thing group has at most {ATTRIBUTES_MAX} attributes, not {len(attributes)}")
    return attributes


def _configuration(group: ThingGroupRecord) -> tuple[object, ...]:
    return (group.parent_group_name, group.description, dict(group.attributes))


def _version_conflict(name: ThingGroupName, found: int, expected: int | None) -> VersionConflictError:
    return VersionConflictError(f"The version of thing group {name} is {found}, not {expected}")


def _suspects(scope: Scope, name: ThingGroupName) -> list[Change]:
    return [Change(ChangeKind.THING_GROUP, scope, name)]
