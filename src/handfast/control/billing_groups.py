"""The operations on billing groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, named, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import billing_group_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import BillingGroupName, Scope, ThingName
from handfast.core.identity.things import BillingGroupRecord
from handfast.services.billing_groups import BillingGroups


class BillingGroupHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, billing_groups: BillingGroups) -> None:
        self._groups = billing_groups
        self.handlers: dict[str, Handler] = {
            "CreateBillingGroup": self.create_billing_group,
            "DescribeBillingGroup": self.describe_billing_group,
            "UpdateBillingGroup": self.update_billing_group,
            "DeleteBillingGroup": self.delete_billing_group,
            "ListBillingGroups": self.list_billing_groups,
            "AddThingToBillingGroup": self.add_thing_to_billing_group,
            "RemoveThingFromBillingGroup": self.remove_thing_from_billing_group,
            "ListThingsInBillingGroup": self.list_things_in_billing_group,
        }

    async def create_billing_group(
        self,
        ctx: Caller,
        *,
        billing_group_name: str,
        billing_group_properties: Mapping[str, Any] | None = None,
        tags: Sequence[Mapping[str, Any]] | None = None,
    ) -> Result:
        record = await self._groups.create(
            scope_of(ctx),
            cause_of(ctx, "CreateBillingGroup"),
            BillingGroupName(billing_group_name),
            (billing_group_properties or {}).get("billing_group_description"),
            given_tags(tags),
        )
        return _identified(record)

    async def describe_billing_group(self, ctx: Caller, *, billing_group_name: str) -> Result:
        record = await self._groups.describe(scope_of(ctx), BillingGroupName(billing_group_name))
        return _identified(record) | {
            "version": record.version,
            "billing_group_properties": present(billing_group_description=record.description),
            "billing_group_metadata": {"creation_date": record.creation_date},
        }

    async def update_billing_group(
        self,
        ctx: Caller,
        *,
        billing_group_name: str,
        billing_group_properties: Mapping[str, Any],
        expected_version: int | None = None,
    ) -> Result:
        version = await self._groups.update(
            scope_of(ctx),
            cause_of(ctx, "UpdateBillingGroup"),
            BillingGroupName(billing_group_name),
            description=billing_group_properties.get("billing_group_description"),
            expected_version=expected_version,
        )
        return {"version": version}

    async def delete_billing_group(
        self, ctx: Caller, *, billing_group_name: str, expected_version: int | None = None
    ) -> Result:
        await self._groups.delete(
            scope_of(ctx),
            cause_of(ctx, "DeleteBillingGroup"),
            BillingGroupName(billing_group_name),
            expected_version=expected_version,
        )
        return {}

    async def list_billing_groups(
        self,
        ctx: Caller,
        *,
        next_token: str | None = None,
        max_results: int | None = None,
        name_prefix_filter: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._groups.list_page(scope, page_request(max_results, next_token), prefix=name_prefix_filter)
        items = [{"group_name": name, "group_arn": billing_group_arn(scope, name)} for name in page.items]
        return present(billing_groups=items, next_token=page.marker)

    async def add_thing_to_billing_group(
        self,
        ctx: Caller,
        *,
        billing_group_name: str | None = None,
        billing_group_arn: str | None = None,
        thing_name: str | None = None,
        thing_arn: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        membership = _membership(scope, billing_group_name, billing_group_arn, thing_name, thing_arn)
        await self._groups.add_thing(scope, cause_of(ctx, "AddThingToBillingGroup"), *membership)
        return {}

    async def remove_thing_from_billing_group(
        self,
        ctx: Caller,
        *,
        billing_group_name: str | None = None,
        billing_group_arn: str | None = None,
        thing_name: str | None = None,
        thing_arn: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        membership = _membership(scope, billing_group_name, billing_group_arn, thing_name, thing_arn)
        cause = cause_of(ctx, "RemoveThingFromBillingGroup")
        await self._groups.remove_thing(scope, cause, *membership)
        return {}

    async def list_things_in_billing_group(
        self, ctx: Caller, *, billing_group_name: str, next_token: str | None = None, max_results: int | None = None
    ) -> Result:
        page = await self._groups.list_things(
            scope_of(ctx), BillingGroupName(billing_group_name), page_request(max_results, next_token)
        )
        return present(things=list(page.items), next_token=page.marker)


def _membership(
    scope: Scope, group_name: str | None, group_arn: str | None, thing_name: str | None, thing_arn: str | None
) -> tuple[BillingGroupName, ThingName]:
    group = named(scope, group_name, group_arn, "billinggroup", "billingGroup")
    return BillingGroupName(group), ThingName(named(scope, thing_name, thing_arn, "thing", "thing"))


def _identified(record: BillingGroupRecord) -> Result:
    return {
        "billing_group_name": record.billing_group_name,
        "billing_group_arn": billing_group_arn(record.scope, record.billing_group_name),
        "billing_group_id": record.billing_group_id,
    }
