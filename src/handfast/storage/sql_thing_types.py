"""The part of `ports.Store` about what surrounds things: types, billing groups, tags and event configurations."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from handfast.core.identity.events import CommittedChange, EventConfigurationsRecord, EventType
from handfast.core.identity.ids import BillingGroupName, Scope, ThingName, ThingTypeName
from handfast.core.identity.tags import TaggedResource
from handfast.core.identity.things import BillingGroupRecord, ThingTypeProperties, ThingTypeRecord
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Page, PageRequest, Tags
from handfast.storage import billing_groups, event_configurations, thing_types, things
from handfast.storage import tags as _tags
from handfast.storage.sqlite import SQLiteDatabase


class ThingTypeOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    # thing types

    async def create_thing_type(
        self, thing_type: ThingTypeRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]:
        return await self._write(lambda c: thing_types.create(c, thing_type, tags, cause))

    async def thing_type(self, scope: Scope, name: ThingTypeName) -> ThingTypeRecord | None:
        return await self._read(lambda c: thing_types.get(c, scope, name))

    async def update_thing_type(
        self, scope: Scope, name: ThingTypeName, properties: ThingTypeProperties, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: thing_types.change(c, scope, name, properties, cause))

    async def deprecate_thing_type(
        self, scope: Scope, name: ThingTypeName, *, undo: bool, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: thing_types.deprecate(c, scope, name, undo=undo, cause=cause))

    async def delete_thing_type(
        self, scope: Scope, name: ThingTypeName, *, deprecated_until: dt.datetime, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: thing_types.remove(c, scope, name, deprecated_until=deprecated_until, cause=cause)
        )

    async def list_thing_types(
        self, scope: Scope, page: PageRequest, *, name: ThingTypeName | None = None
    ) -> Page[ThingTypeRecord]:
        return await self._read(lambda c: thing_types.list_page(c, scope, page, name=name))

    # billing groups

    async def create_billing_group(
        self, group: BillingGroupRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]:
        return await self._write(lambda c: billing_groups.create(c, group, tags, cause))

    async def billing_group(self, scope: Scope, name: BillingGroupName) -> BillingGroupRecord | None:
        return await self._read(lambda c: billing_groups.get(c, scope, name))

    async def update_billing_group(
        self,
        scope: Scope,
        name: BillingGroupName,
        *,
        description: str | None,
        expected_version: int | None,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(
            lambda c: billing_groups.change(
                c, scope, name, description=description, expected_version=expected_version, cause=cause
            )
        )

    async def delete_billing_group(
        self, scope: Scope, name: BillingGroupName, *, expected_version: int | None, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: billing_groups.remove(c, scope, name, expected_version=expected_version, cause=cause)
        )

    async def list_billing_groups(
        self, scope: Scope, page: PageRequest, *, prefix: str | None = None
    ) -> Page[BillingGroupName]:
        return await self._read(lambda c: billing_groups.list_page(c, scope, page, prefix=prefix))

    async def billing_group_things(self, scope: Scope, name: BillingGroupName, page: PageRequest) -> Page[ThingName]:
        return await self._read(lambda c: things.of_billing_group_page(c, scope, name, page))

    async def set_billing_group(
        self,
        scope: Scope,
        name: ThingName,
        *,
        old: BillingGroupName | None,
        new: BillingGroupName | None,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(lambda c: things.set_billing_group(c, scope, name, old=old, new=new, cause=cause))

    # tags

    async def tag_resource(
        self, scope: Scope, resource: TaggedResource, tags: Tags, *, limit: int, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: _tags.set_tags(c, scope, resource, tags, limit=limit, cause=cause))

    async def untag_resource(
        self, scope: Scope, resource: TaggedResource, keys: Collection[str], cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: _tags.remove(c, scope, resource, keys, cause))

    async def tags(self, scope: Scope, resource: TaggedResource) -> Tags:
        return await self._read(lambda c: _tags.get(c, scope, resource))

    # registry events

    async def event_configurations(self, scope: Scope) -> EventConfigurationsRecord | None:
        return await self._read(lambda c: event_configurations.get(c, scope))

    async def all_event_configurations(self) -> list[EventConfigurationsRecord]:
        return await self._read(event_configurations.get_all)

    async def set_event_configurations(
        self, scope: Scope, settings: Mapping[EventType, bool], cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: event_configurations.change(c, scope, settings, cause))

    async def newest_committed(self, kind: ChangeKind | None) -> int:
        return await self._read(lambda c: event_configurations.newest(c, kind))

    async def committed_after(
        self, sequence: int, kinds: Collection[str], limit: int
    ) -> tuple[list[CommittedChange], int]:
        return await self._read(lambda c: event_configurations.changes_after(c, sequence, kinds, limit))
