"""The operations on things and their principals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.core.identity.arns import certificate_arn, principal_certificate, thing_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import ThingName, ThingTypeName
from handfast.core.identity.records import ThingPrincipalType
from handfast.core.identity.things import ThingEdit
from handfast.errors import InvalidRequestError
from handfast.services.things import Things


class ThingHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, things: Things) -> None:
        self._things = things
        self.handlers: dict[str, Handler] = {
            "CreateThing": self.create_thing,
            "UpdateThing": self.update_thing,
            "DescribeThing": self.describe_thing,
            "ListThings": self.list_things,
            "DeleteThing": self.delete_thing,
            "AttachThingPrincipal": self.attach_thing_principal,
            "DetachThingPrincipal": self.detach_thing_principal,
            "ListThingPrincipals": self.list_thing_principals,
            "ListPrincipalThings": self.list_principal_things,
            "ListThingPrincipalsV2": self.list_thing_principals_v2,
            "ListPrincipalThingsV2": self.list_principal_things_v2,
        }

    async def create_thing(
        self,
        ctx: Caller,
        *,
        thing_name: str,
        thing_type_name: str | None = None,
        attribute_payload: Mapping[str, Any] | None = None,
        billing_group_name: str | None = None,
    ) -> Result:
        # `merge` of the payload changes nothing here: there is nothing yet to merge into.
        record = await self._things.create(
            scope_of(ctx),
            cause_of(ctx, "CreateThing"),
            ThingName(thing_name),
            attributes=(attribute_payload or {}).get("attributes") or {},
            thing_type_name=thing_type_name,
            billing_group_name=billing_group_name,
        )
        return {
            "thing_name": record.thing_name,
            "thing_arn": thing_arn(record.scope, record.thing_name),
            "thing_id": record.thing_id,
        }

    async def update_thing(
        self,
        ctx: Caller,
        *,
        thing_name: str,
        thing_type_name: str | None = None,
        attribute_payload: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        remove_thing_type: bool | None = None,
    ) -> Result:
        payload = attribute_payload or {}
        edit = ThingEdit(
            attributes=payload.get("attributes"),
            merge=bool(payload.get("merge")),
            thing_type_name=None if thing_type_name is None else ThingTypeName(thing_type_name),
            remove_thing_type=bool(remove_thing_type),
            expected_version=expected_version,
        )
        await self._things.update(scope_of(ctx), cause_of(ctx, "UpdateThing"), ThingName(thing_name), edit)
        return {}

    async def describe_thing(self, ctx: Caller, *, thing_name: str) -> Result:
        record = await self._things.describe(scope_of(ctx), ThingName(thing_name))
        return present(
            default_client_id=record.thing_name,
            thing_name=record.thing_name,
            thing_id=record.thing_id,
            thing_arn=thing_arn(record.scope, record.thing_name),
            thing_type_name=record.thing_type_name,
            attributes=dict(record.attributes),
            version=record.version,
            billing_group_name=record.billing_group_name,
        )

    async def list_things(
        self,
        ctx: Caller,
        *,
        next_token: str | None = None,
        max_results: int | None = None,
        attribute_name: str | None = None,
        attribute_value: str | None = None,
        thing_type_name: str | None = None,
        use_prefix_attribute_value: bool | None = None,
    ) -> Result:
        page = await self._things.list_page(
            scope_of(ctx),
            page_request(max_results, next_token),
            attribute_name=attribute_name,
            attribute_value=attribute_value,
            prefix=bool(use_prefix_attribute_value),
            thing_type_name=thing_type_name,
        )
        items = [
            present(
                thing_name=record.thing_name,
                thing_type_name=record.thing_type_name,
                thing_arn=thing_arn(record.scope, record.thing_name),
                attributes=dict(record.attributes),
                version=record.version,
            )
            for record in page.items
        ]
        return present(things=items, next_token=page.marker)

    async def delete_thing(self, ctx: Caller, *, thing_name: str, expected_version: int | None = None) -> Result:
        await self._things.delete(
            scope_of(ctx), cause_of(ctx, "DeleteThing"), ThingName(thing_name), expected_version=expected_version
        )
        return {}

    async def attach_thing_principal(
        self, ctx: Caller, *, thing_name: str, principal: str, thing_principal_type: str | None = None
    ) -> Result:
        scope = scope_of(ctx)
        await self._things.attach_principal(
            scope,
            cause_of(ctx, "AttachThingPrincipal"),
            ThingName(thing_name),
            principal_certificate(scope, principal),
            _principal_type(thing_principal_type) or ThingPrincipalType.NON_EXCLUSIVE_THING,
        )
        return {}

    async def detach_thing_principal(self, ctx: Caller, *, thing_name: str, principal: str) -> Result:
        scope = scope_of(ctx)
        await self._things.detach_principal(
            scope,
            cause_of(ctx, "DetachThingPrincipal"),
            ThingName(thing_name),
            principal_certificate(scope, principal),
        )
        return {}

    async def list_thing_principals(
        self, ctx: Caller, *, thing_name: str, next_token: str | None = None, max_results: int | None = None
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._things.list_principals(scope, ThingName(thing_name), page_request(max_results, next_token))
        principals = [certificate_arn(scope, certificate_id) for certificate_id, _ in page.items]
        return present(principals=principals, next_token=page.marker)

    async def list_principal_things(
        self, ctx: Caller, *, principal: str, next_token: str | None = None, max_results: int | None = None
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._things.list_of_principal(
            scope, principal_certificate(scope, principal), page_request(max_results, next_token)
        )
        return present(things=[name for name, _ in page.items], next_token=page.marker)

    async def list_thing_principals_v2(
        self,
        ctx: Caller,
        *,
        thing_name: str,
        next_token: str | None = None,
        max_results: int | None = None,
        thing_principal_type: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._things.list_principals(
            scope,
            ThingName(thing_name),
            page_request(max_results, next_token),
            principal_type=_principal_type(thing_principal_type),
        )
        found = [
            {"principal": certificate_arn(scope, certificate_id), "thing_principal_type": str(kind)}
            for certificate_id, kind in page.items
        ]
        return present(thing_principal_objects=found, next_token=page.marker)

    async def list_principal_things_v2(
        self,
        ctx: Caller,
        *,
        principal: str,
        next_token: str | None = None,
        max_results: int | None = None,
        thing_principal_type: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._things.list_of_principal(
            scope,
            principal_certificate(scope, principal),
            page_request(max_results, next_token),
            principal_type=_principal_type(thing_principal_type),
        )
        found = [{"thing_name": name, "thing_principal_type": str(kind)} for name, kind in page.items]
        return present(principal_thing_objects=found, next_token=page.marker)


def _principal_type(text: str | None) -> ThingPrincipalType | None:
    if text is None:
        return None
    try:
        return ThingPrincipalType(text)
    except ValueError:
        raise InvalidRequestError(f"thingPrincipalType must be one of {', '.join(ThingPrincipalType)}") from None
