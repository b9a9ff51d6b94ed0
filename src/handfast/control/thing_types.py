"""The operations on thing types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import thing_type_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import ThingTypeName
from handfast.core.identity.things import PropagatingAttribute, ThingTypeProperties, ThingTypeRecord
from handfast.services.thing_types import ThingTypes


class ThingTypeHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, thing_types: ThingTypes) -> None:
        self._types = thing_types
        self.handlers: dict[str, Handler] = {
            "CreateThingType": self.create_thing_type,
            "DescribeThingType": self.describe_thing_type,
            "UpdateThingType": self.update_thing_type,
            "DeprecateThingType": self.deprecate_thing_type,
            "DeleteThingType": self.delete_thing_type,
            "ListThingTypes": self.list_thing_types,
        }

    async def create_thing_type(
        self,
        ctx: Caller,
        *,
        thing_type_name: str,
        thing_type_properties: Mapping[str, Any] | None = None,
        tags: Sequence[Mapping[str, Any]] | None = None,
    ) -> Result:
        record = await self._types.create(
            scope_of(ctx),
            cause_of(ctx, "CreateThingType"),
            ThingTypeName(thing_type_name),
            _properties(thing_type_properties),
            given_tags(tags),
        )
        return _identified(record)

    async def describe_thing_type(self, ctx: Caller, *, thing_type_name: str) -> Result:
        record = await self._types.describe(scope_of(ctx), ThingTypeName(thing_type_name))
        return _identified(record) | _described(record)

    async def update_thing_type(
        self, ctx: Caller, *, thing_type_name: str, thing_type_properties: Mapping[str, Any] | None = None
    ) -> Result:
        await self._types.update(
            scope_of(ctx),
            cause_of(ctx, "UpdateThingType"),
            ThingTypeName(thing_type_name),
            _properties(thing_type_properties),
        )
        return {}

    async def deprecate_thing_type(
        self, ctx: Caller, *, thing_type_name: str, undo_deprecate: bool | None = None
    ) -> Result:
        await self._types.deprecate(
            scope_of(ctx),
            cause_of(ctx, "DeprecateThingType"),
            ThingTypeName(thing_type_name),
            undo=bool(undo_deprecate),
        )
        return {}

    async def delete_thing_type(self, ctx: Caller, *, thing_type_name: str) -> Result:
        await self._types.delete(scope_of(ctx), cause_of(ctx, "DeleteThingType"), ThingTypeName(thing_type_name))
        return {}

    async def list_thing_types(
        self,
        ctx: Caller,
        *,
        next_token: str | None = None,
        max_results: int | None = None,
        thing_type_name: str | None = None,
    ) -> Result:
        page = await self._types.list_page(
            scope_of(ctx),
            page_request(max_results, next_token),
            name=None if thing_type_name is None else ThingTypeName(thing_type_name),
        )
        items = [
            {"thing_type_name": record.thing_type_name, "thing_type_arn": _arn(record)} | _described(record)
            for record in page.items
        ]
        return present(thing_types=items, next_token=page.marker)


def _arn(record: ThingTypeRecord) -> str:
    return thing_type_arn(record.scope, record.thing_type_name)


def _identified(record: ThingTypeRecord) -> Result:
    return {
        "thing_type_name": record.thing_type_name,
        "thing_type_arn": _arn(record),
        "thing_type_id": record.thing_type_id,
    }


def _described(record: ThingTypeRecord) -> Result:
    properties = record.properties
    propagating = properties.propagating_attributes
    return {
        "thing_type_properties": present(
            thing_type_description=properties.description,
            searchable_attributes=(
                None if properties.searchable_attributes is None else list(properties.searchable_attributes)
            ),
            mqtt5_configuration=(
                None
                if propagating is None
                else {"propagating_attributes": [present(**attribute._asdict()) for attribute in propagating]}
            ),
        ),
        "thing_type_metadata": present(
            deprecated=record.deprecation_date is not None,
            deprecation_date=record.deprecation_date,
            creation_date=record.creation_date,
        ),
    }


def _properties(given: Mapping[str, Any] | None) -> ThingTypeProperties:
    members = given or {}
    searchable = members.get("searchable_attributes")
    configuration = members.get("mqtt5_configuration")
    propagating = None if configuration is None else configuration.get("propagating_attributes") or ()
    return ThingTypeProperties(
        description=members.get("thing_type_description"),
        searchable_attributes=None if searchable is None else tuple(searchable),
        propagating_attributes=(
            None
            if propagating is None
            else tuple(
                PropagatingAttribute(
                    each.get("user_property_key"), each.get("thing_attribute"), each.get("connection_attribute")
                )
                for each in propagating
            )
        ),
    )
