"""Policies on thing groups: the operations on their table."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, exists, insert, select

from handfast.core.identity.ids import PolicyName, Scope, ThingGroupName
from handfast.core.identity.records import PolicyRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import policies, thing_groups
from handfast.storage.certificates import in_scope
from handfast.storage.journal import record
from handfast.storage.paging import Listing
from handfast.storage.tables import policies as policies_table
from handfast.storage.tables import thing_group_ancestors, thing_group_policies

_P = thing_group_policies.c
_A = thing_group_ancestors.c
_N = policies_table.c


def attach(
    connection: Connection, scope: Scope, name: PolicyName, group: ThingGroupName, *, limit: int, cause: Cause
) -> list[Change]:
    policies.require(connection, scope, name, "policy")
    thing_groups.require(connection, scope, group, "group")
    attached = set(
        connection.execute(select(_P.policy_name).where(in_scope(_P, scope), _P.group_name == group)).scalars()
    )
    if name in attached:
        return []
    if len(attached) >= limit:
        raise StoreConflict("limit", f"Thing group {group} has {len(attached)} policies", limit=limit)
    connection.execute(
        insert(thing_group_policies).values(
            account_id=scope.account, region=scope.region, group_name=group, policy_name=name
        )
    )
    return record(connection, cause, Change(ChangeKind.GROUP_POLICIES, scope, group), after={"policy": name})


def detach(connection: Connection, scope: Scope, name: PolicyName, group: ThingGroupName, cause: Cause) -> list[Change]:
    deleted = connection.execute(
        delete(thing_group_policies).where(in_scope(_P, scope), _P.policy_name == name, _P.group_name == group)
    )
    if deleted.rowcount == 0:
        return []
    return record(connection, cause, Change(ChangeKind.GROUP_POLICIES, scope, group), before={"policy": name})


def attached_page(
    connection: Connection, scope: Scope, group: ThingGroupName, page: PageRequest, *, recursive: bool
) -> Page[PolicyRecord]:
    thing_groups.require(connection, scope, group, "missing")
    attached = and_(in_scope(_P, scope), _P.policy_name == _N.policy_name)
    if recursive:
        above = and_(in_scope(_A, scope), _A.group_name == group, _A.ancestor_name == _P.group_name)
        attached = and_(attached, exists().where(above))
    else:
        attached = and_(attached, _P.group_name == group)
    query = policies.select_policies().where(in_scope(_N, scope), exists().where(attached))
    filters = [group, recursive]
    listing = Listing("group-policies", scope, [_N.policy_name], page, filters=filters)
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([policies.policy_record(row) for row in rows], marker)
