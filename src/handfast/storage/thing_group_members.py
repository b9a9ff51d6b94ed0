"""Which things are in which groups."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, insert, select

from handfast.core.identity.ids import Scope, ThingGroupName, ThingName
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import thing_groups
from handfast.storage.certificates import in_scope
from handfast.storage.journal import Facts, record_all
from handfast.storage.paging import Listing
from handfast.storage.tables import thing_group_ancestors, thing_group_members, things

_M = thing_group_members.c
_A = thing_group_ancestors.c
_T = things.c


def change(
    connection: Connection,
    scope: Scope,
    name: ThingName,
    *,
    add: Sequence[ThingGroupName],
    remove: Sequence[ThingGroupName],
    limit: int,
    cause: Cause,
) -> list[Change]:
    _require_thing(connection, scope, name, "thing")
    roots = {group: _root(connection, scope, group) for group in dict.fromkeys((*remove, *add))}
    # What is left comes first, so that a thing can move within a hierarchy.
    held = groups_of(connection, scope, name)
    left = [group for group in dict.fromkeys(remove) if group in held]
    for group in left:
        del held[group]
    joined = [group for group in dict.fromkeys(add) if group not in held]
    for group in joined:
        there = next((each for each, root in held.items() if root == roots[group]), None)
        if there is not None:
            raise StoreConflict("hierarchy", f"Thing {name} is in thing group {there}", group=group, other=there)
        held[group] = roots[group]
    if joined and len(held) > limit:
        raise StoreConflict("limit", f"Thing {name} would be in {len(held)} groups", limit=limit)
    if left:
        connection.execute(
            delete(thing_group_members).where(in_scope(_M, scope), _M.thing_name == name, _M.group_name.in_(left))
        )
    if joined:
        key = {"account_id": scope.account, "region": scope.region, "thing_name": name}
        connection.execute(
            insert(thing_group_members),
            [key | {"group_name": group, "root_name": roots[group]} for group in joined],
        )
    return _record(connection, scope, name, left, joined, cause)


def leave_all(connection: Connection, scope: Scope, name: ThingName, cause: Cause) -> list[Change]:
    """Part of a transaction that deletes the thing."""
    left = sorted(groups_of(connection, scope, name))
    if left:
        connection.execute(delete(thing_group_members).where(in_scope(_M, scope), _M.thing_name == name))
    return _record(connection, scope, name, left, [], cause)


def _record(
    connection: Connection,
    scope: Scope,
    name: ThingName,
    left: Sequence[ThingGroupName],
    joined: Sequence[ThingGroupName],
    cause: Cause,
) -> list[Change]:
    change = Change(ChangeKind.THING_GROUPS, scope, name)
    thing_id = connection.execute(select(_T.thing_id).where(in_scope(_T, scope), _T.thing_name == name)).scalar()
    ids = thing_groups.ids_of(connection, scope, [*left, *joined])
    facts = {group: {"group": group, "groupId": ids.get(group), "thingId": thing_id} for group in (*left, *joined)}
    entries: list[tuple[Change, Facts | None, Facts | None]] = [(change, facts[group], None) for group in left]
    entries += [(change, None, facts[group]) for group in joined]
    return record_all(connection, cause, entries)


def things_page(
    connection: Connection, scope: Scope, group: ThingGroupName, page: PageRequest, *, recursive: bool
) -> Page[ThingName]:
    thing_groups.require(connection, scope, group, "missing")
    query = select(_M.thing_name).where(in_scope(_M, scope))
    if recursive:
        # A thing is in one group of a hierarchy at most, so nothing comes twice.
        inside = and_(in_scope(_A, scope), _A.ancestor_name == group, _A.group_name == _M.group_name)
        query = query.join(thing_group_ancestors, inside)
    else:
        query = query.where(_M.group_name == group)
    listing = Listing("things-in-group", scope, [_M.thing_name], page, filters=[group, recursive])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([ThingName(row.thing_name) for row in rows], marker)


def groups_page(connection: Connection, scope: Scope, name: ThingName, page: PageRequest) -> Page[ThingGroupName]:
    _require_thing(connection, scope, name, "missing")
    query = select(_M.group_name).where(in_scope(_M, scope), _M.thing_name == name)
    listing = Listing("groups-of-thing", scope, [_M.group_name], page, filters=[name])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([ThingGroupName(row.group_name) for row in rows], marker)


def groups_of(connection: Connection, scope: Scope, name: ThingName) -> dict[ThingGroupName, ThingGroupName]:
    """The groups that the thing is in itself, each with its root."""
    query = select(_M.group_name, _M.root_name).where(in_scope(_M, scope), _M.thing_name == name)
    return {ThingGroupName(row.group_name): ThingGroupName(row.root_name) for row in connection.execute(query)}


def _root(connection: Connection, scope: Scope, group: ThingGroupName) -> ThingGroupName:
    root = thing_groups.root_of(connection, scope, group)
    if root is None:
        raise StoreConflict("group", f"Thing group {group} does not exist", group=group)
    return root


def _require_thing(connection: Connection, scope: Scope, name: ThingName, kind: str) -> None:
    found = connection.execute(select(_T.thing_id).where(in_scope(_T, scope), _T.thing_name == name)).scalar()
    if found is None:
        raise StoreConflict(kind, f"Thing {name} does not exist")
