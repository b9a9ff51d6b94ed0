"""The tags of every kind of resource that can have them: the operations on their table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, delete, exists, insert, select

from handfast.core.identity.ids import Scope
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.certificates import in_scope
from handfast.storage.journal import record
from handfast.storage.tables import (
    billing_groups,
    ca_certificates,
    certificate_providers,
    domain_configurations,
    policies,
    provisioning_templates,
    tags,
    thing_groups,
    thing_types,
)

Tags: TypeAlias = Mapping[str, str]

_G = tags.c
_HOMES = {  # where a resource of each kind stands, and the column that names it
    Taggable.CA_CERTIFICATE: ca_certificates.c.certificate_id,
    Taggable.POLICY: policies.c.policy_name,
    Taggable.THING_TYPE: thing_types.c.thing_type_name,
    Taggable.BILLING_GROUP: billing_groups.c.billing_group_name,
    Taggable.THING_GROUP: thing_groups.c.group_name,
    Taggable.PROVISIONING_TEMPLATE: provisioning_templates.c.template_name,
    Taggable.CERTIFICATE_PROVIDER: certificate_providers.c.name,
    Taggable.DOMAIN_CONFIGURATION: domain_configurations.c.resource,
}


def attach(connection: Connection, scope: Scope, resource: TaggedResource, given: Tags) -> dict[str, Any]:
    """The new resource has these tags; what its audit row says of them."""
    if not given:
        return {}
    key = {"account_id": scope.account, "region": scope.region, "kind": resource.kind.value, "name": resource.name}
    connection.execute(insert(tags), [key | {"key": name, "value": value} for name, value in given.items()])
    return {"tags": dict(given)}


def forget(connection: Connection, scope: Scope, resource: TaggedResource) -> dict[str, Any]:
    """The resource that goes has no tags any more; what its audit row says of them."""
    had = _of(connection, scope, resource)
    if not had:
        return {}
    connection.execute(delete(tags).where(_its(scope, resource)))
    return {"tags": had}


def set_tags(
    connection: Connection, scope: Scope, resource: TaggedResource, given: Tags, *, limit: int, cause: Cause
) -> list[Change]:
    old = get(connection, scope, resource)
    return _store(connection, scope, resource, old, old | dict(given), limit, cause)


def remove(
    connection: Connection, scope: Scope, resource: TaggedResource, keys: Collection[str], cause: Cause
) -> list[Change]:
    old = get(connection, scope, resource)
    new = {key: value for key, value in old.items() if key not in keys}
    return _store(connection, scope, resource, old, new, len(old), cause)


def get(connection: Connection, scope: Scope, resource: TaggedResource) -> dict[str, str]:
    """The resource's tags by key, in their order."""
    home = _HOMES[resource.kind]
    if not connection.execute(select(exists().where(in_scope(home.table.c, scope), home == resource.name))).scalar():
        raise StoreConflict("missing", f"{resource.kind} {resource.name} does not exist")
    return _of(connection, scope, resource)


def _store(
    connection: Connection,
    scope: Scope,
    resource: TaggedResource,
    old: dict[str, str],
    new: dict[str, str],
    limit: int,
    cause: Cause,
) -> list[Change]:
    if len(new) > limit:
        raise StoreConflict("limit", f"{resource.kind} {resource.name} would have {len(new)} tags", limit=limit)
    if new == old:
        return []
    connection.execute(delete(tags).where(_its(scope, resource)))
    attach(connection, scope, resource, new)
    change = Change(ChangeKind.TAGS, scope, f"{resource.kind}/{resource.name}")
    return record(connection, cause, change, before={"tags": old}, after={"tags": new})


def _of(connection: Connection, scope: Scope, resource: TaggedResource) -> dict[str, str]:
    query = select(_G.key, _G.value).where(_its(scope, resource)).order_by(_G.key)
    return {row.key: row.value for row in connection.execute(query)}


def _its(scope: Scope, resource: TaggedResource) -> Any:
    return and_(in_scope(_G, scope), _G.kind == resource.kind.value, _G.name == resource.name)
