"""The operations on thing groups and the things in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, named, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import thing_group_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope, ThingGroupName, ThingName
from handfast.services.thing_groups import GroupProperties, ThingGroups


class ThingGroupHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, groups: ThingGroups) -> None:
        self._groups = groups
        self.handlers: dict[str, Handler] = {
            "CreateThingGroup": self.create_thing_group,
            "DescribeThingGroup": self.describe_thing_group,
            "UpdateThingGroup": self.update_thing_group,
            "DeleteThingGroup": self.delete_thing_group,
            "ListThingGroups": self.list_thing_groups,
            "AddThingToThingGroup": self.add_thing_to_thing_group,
            "RemoveThingFromThingGroup": self.remove_thing_from_thing_group,
            "UpdateThingGroupsForThing": self.update_thing_groups_for_thing,
            "ListThingsInThingGroup": self.list_things_in_thing_group,
            "ListThingGroupsForThing": self.list_thing_groups_for_thing,
        }

    async def create_thing_group(
        self,
        ctx: Caller,
        *,
        thing_group_name: str,
        parent_group_name: str | None = None,
        thing_group_properties: Mapping[str, Any] | None = None,
        tags: Sequence[Mapping[str, Any]] | None = None,
    ) -> Result:
        record = await self._groups.create(
            scope_of(ctx),
            cause_of(ctx, "CreateThingGroup"),
            ThingGroupName(thing_group_name),
            parent=None if parent_group_name is None else ThingGroupName(parent_group_name),
            properties=_properties(thing_group_properties),
            tags=given_tags(tags),
        )
        return {
            "thing_group_name": record.group_name,
            "thing_group_arn": thing_group_arn(record.scope, record.group_name),
            "thing_group_id": record.group_id,
        }

    async def describe_thing_group(self, ctx: Caller, *, thing_group_name: str) -> Result:
        record = await self._groups.describe(scope_of(ctx), ThingGroupName(thing_group_name))
        parent = record.parent_group_name
        return {
            "thing_group_name": record.group_name,
            "thing_group_id": record.group_id,
            "thing_group_arn": thing_group_arn(record.scope, record.group_name),
            "version": record.version,
            "thing_group_properties": present(
                thing_group_description=record.description,
                attribute_payload={"attributes": dict(record.attributes)} if record.attributes else None,
            ),
            "thing_group_metadata": present(
                parent_group_name=parent,
                root_to_parent_thing_groups=None if parent is None else _named(record.scope, record.ancestors),
                creation_date=record.creation_date,
            ),
        }

    async def update_thing_group(
        self,
        ctx: Caller,
        *,
        thing_group_name: str,
        thing_group_properties: Mapping[str, Any],
        expected_version: int | None = None,
    ) -> Result:
        version = await self._groups.update(
            scope_of(ctx),
            cause_of(ctx, "UpdateThingGroup"),
            ThingGroupName(thing_group_name),
            _properties(thing_group_properties),
            expected_version=expected_version,
        )
        return {"version": version}

    async def delete_thing_group(
        self, ctx: Caller, *, thing_group_name: str, expected_version: int | None = None
    ) -> Result:
        await self._groups.delete(
            scope_of(ctx),
            cause_of(ctx, "DeleteThingGroup"),
            ThingGroupName(thing_group_name),
            expected_version=expected_version,
        )
        return {}

    async def list_thing_groups(
        self,
        ctx: Caller,
        *,
        next_token: str | None = None,
        max_results: int | None = None,
        parent_group: str | None = None,
        name_prefix_filter: str | None = None,
        recursive: bool | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._groups.list_page(
            scope,
            page_request(max_results, next_token),
            parent=None if parent_group is None else ThingGroupName(parent_group),
            prefix=name_prefix_filter,
            recursive=recursive is not False,
        )
        return present(thing_groups=_named(scope, page.items), next_token=page.marker)

    async def add_thing_to_thing_group(
        self,
        ctx: Caller,
        *,
        thing_group_name: str | None = None,
        thing_group_arn: str | None = None,
        thing_name: str | None = None,
        thing_arn: str | None = None,
        override_dynamic_groups: bool | None = None,
    ) -> Result:
        del override_dynamic_groups  # there are no dynamic groups to make room in
        scope = scope_of(ctx)
        await self._groups.update_memberships(
            scope,
            cause_of(ctx, "AddThingToThingGroup"),
            _thing(scope, thing_name, thing_arn),
            add=[_group(scope, thing_group_name, thing_group_arn)],
        )
        return {}

    async def remove_thing_from_thing_group(
        self,
        ctx: Caller,
        *,
        thing_group_name: str | None = None,
        thing_group_arn: str | None = None,
        thing_name: str | None = None,
        thing_arn: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        await self._groups.update_memberships(
            scope,
            cause_of(ctx, "RemoveThingFromThingGroup"),
            _thing(scope, thing_name, thing_arn),
            remove=[_group(scope, thing_group_name, thing_group_arn)],
        )
        return {}

    async def update_thing_groups_for_thing(
        self,
        ctx: Caller,
        *,
        thing_name: str | None = None,
        thing_groups_to_add: Sequence[str] | None = None,
        thing_groups_to_remove: Sequence[str] | None = None,
        override_dynamic_groups: bool | None = None,
    ) -> Result:
        del override_dynamic_groups
        scope = scope_of(ctx)
        await self._groups.update_memberships(
            scope,
            cause_of(ctx, "UpdateThingGroupsForThing"),
            _thing(scope, thing_name, None),
            add=[ThingGroupName(each) for each in thing_groups_to_add or ()],
            remove=[ThingGroupName(each) for each in thing_groups_to_remove or ()],
        )
        return {}

    async def list_things_in_thing_group(
        self,
        ctx: Caller,
        *,
        thing_group_name: str,
        recursive: bool | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Result:
        page = await self._groups.list_things(
            scope_of(ctx),
            ThingGroupName(thing_group_name),
            page_request(max_results, next_token),
            recursive=bool(recursive),
        )
        return present(things=list(page.items), next_token=page.marker)

    async def list_thing_groups_for_thing(
        self, ctx: Caller, *, thing_name: str, next_token: str | None = None, max_results: int | None = None
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._groups.list_of_thing(scope, ThingName(thing_name), page_request(max_results, next_token))
        return present(thing_groups=_named(scope, page.items), next_token=page.marker)


def _properties(given: Mapping[str, Any] | None) -> GroupProperties:
    given = given or {}
    payload = given.get("attribute_payload")
    return GroupProperties(
        description=given.get("thing_group_description"),
        attributes=None if payload is None else payload.get("attributes") or {},
        merge=bool(payload and payload.get("merge")),
    )


def _thing(scope: Scope, name: str | None, arn: str | None) -> ThingName:
    return ThingName(named(scope, name, arn, "thing", "thing"))


def _group(scope: Scope, name: str | None, arn: str | None) -> ThingGroupName:
    return ThingGroupName(named(scope, name, arn, "thinggroup", "thingGroup"))


def _named(scope: Scope, names: Sequence[ThingGroupName]) -> list[Result]:
    return [{"group_name": name, "group_arn": thing_group_arn(scope, name)} for name in names]
