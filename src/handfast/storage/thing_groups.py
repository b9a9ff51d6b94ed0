"""Thing groups and their hierarchies: the operations on their tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, select, update

from handfast.core.identity.ids import AccountId, Scope, ThingGroupName
from handfast.core.identity.records import ThingGroupRecord
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import tags
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import (
    thing_group_ancestors,
    thing_group_members,
    thing_group_policies,
    thing_groups,
)
from handfast.storage.tags import Tags

_G = thing_groups.c
_A = thing_group_ancestors.c
_M = thing_group_members.c
_P = thing_group_policies.c
_LAST_CHARACTER = "\U0010ffff"


def create(
    connection: Connection,
    group: ThingGroupRecord,
    cause: Cause,
    *,
    depth_limit: int,
    children_limit: int,
    given: Tags,
) -> list[Change]:
    scope, name, parent = group.scope, group.group_name, group.parent_group_name
    if get(connection, scope, name) is not None:
        raise StoreConflict("exists", f"Thing group {name} exists")
    lineage: tuple[ThingGroupName, ...] = ()
    if parent is not None:
        lineage = _room_below(connection, scope, parent, depth_limit=depth_limit, children_limit=children_limit)
    key = {"account_id": scope.account, "region": scope.region, "group_name": name}
    inserted = connection.execute(
        insert_or_ignore(connection, thing_groups).returning(_G.group_name),
        key
        | {
            "group_id": group.group_id,
            "parent_name": parent,
            "description": group.description,
            "attributes": _json(group),
            "version": group.version,
            "creation_date": group.creation_date,
        },
    ).first()
    if inserted is None:
        raise StoreConflict("exists", f"Thing group {name} exists")
    chain = [key | {"ancestor_name": name, "distance": 0}]
    chain += [
        key | {"ancestor_name": each, "distance": distance} for distance, each in enumerate(reversed(lineage), start=1)
    ]
    connection.execute(insert(thing_group_ancestors), chain)
    after = _facts(connection, group, lineage) | tags.attach(connection, scope, _tagged(name), given)
    return record(connection, cause, _change(scope, name), after=after)


def _room_below(
    connection: Connection, scope: Scope, parent: ThingGroupName, *, depth_limit: int, children_limit: int
) -> tuple[ThingGroupName, ...]:
    """The groups above a child of `parent`, the root first."""
    above = get(connection, scope, parent)
    if above is None:
        raise StoreConflict("parent", f"Thing group {parent} does not exist")
    lineage = (*above.ancestors, parent)
    if len(lineage) >= depth_limit:
        raise StoreConflict("depth", f"Thing group {parent} is {len(lineage)} levels deep", limit=depth_limit)
    children = select(func.count()).where(in_scope(_G, scope), _G.parent_name == parent)
    if connection.execute(children).scalar_one() >= children_limit:
        raise StoreConflict("children", f"Thing group {parent} has {children_limit} child groups", limit=children_limit)
    return lineage


def get(connection: Connection, scope: Scope, name: ThingGroupName) -> ThingGroupRecord | None:
    row = connection.execute(select(thing_groups).where(in_scope(_G, scope), _G.group_name == name)).first()
    return None if row is None else _group(row, _lineage(connection, scope, name) if row.parent_name else ())


def _lineage(connection: Connection, scope: Scope, name: ThingGroupName) -> tuple[ThingGroupName, ...]:
    query = select(_A.ancestor_name).where(in_scope(_A, scope), _A.group_name == name, _A.distance > 0)
    return tuple(map(ThingGroupName, connection.execute(query.order_by(_A.distance.desc())).scalars()))


def root_of(connection: Connection, scope: Scope, name: ThingGroupName) -> ThingGroupName | None:
    """The root of the group's hierarchy, which may be itself; None: there is no such group."""
    query = select(_A.ancestor_name).where(in_scope(_A, scope), _A.group_name == name)
    found = connection.execute(query.order_by(_A.distance.desc()).limit(1)).scalar()
    return None if found is None else ThingGroupName(found)


def change(connection: Connection, group: ThingGroupRecord, cause: Cause) -> list[Change]:
    scope, name = group.scope, group.group_name
    before = _require(connection, scope, name)
    if before.version != group.version - 1:
        raise StoreConflict("version", f"Thing group {name} is at version {before.version}", version=before.version)
    connection.execute(
        update(thing_groups)
        .where(in_scope(_G, scope), _G.group_name == name)
        .values(description=group.description, attributes=_json(group), version=group.version)
    )
    told = [_facts(connection, each, before.ancestors) for each in (before, group)]
    return record(connection, cause, _change(scope, name), before=told[0], after=told[1])


def remove(
    connection: Connection, scope: Scope, name: ThingGroupName, *, expected_version: int | None, cause: Cause
) -> list[Change]:
    group = _require(connection, scope, name)
    if expected_version is not None and expected_version != group.version:
        raise StoreConflict("version", f"Thing group {name} is at version {group.version}", version=group.version)
    if connection.execute(select(exists().where(in_scope(_G, scope), _G.parent_name == name))).scalar():
        raise StoreConflict("children", f"Thing group {name} has child groups")
    attached = select(_P.policy_name).where(in_scope(_P, scope), _P.group_name == name).order_by(_P.policy_name)
    policies = list(connection.execute(attached).scalars())
    before = _facts(connection, group, group.ancestors)
    members = connection.execute(delete(thing_group_members).where(in_scope(_M, scope), _M.group_name == name)).rowcount
    connection.execute(delete(thing_group_policies).where(in_scope(_P, scope), _P.group_name == name))
    connection.execute(delete(thing_group_ancestors).where(in_scope(_A, scope), _A.group_name == name))
    connection.execute(delete(thing_groups).where(in_scope(_G, scope), _G.group_name == name))
    before |= {"things": members, "policies": policies}
    before |= tags.forget(connection, scope, _tagged(name))
    return record(connection, cause, _change(scope, name), before=before)


def list_page(
    connection: Connection,
    scope: Scope,
    page: PageRequest,
    *,
    parent: ThingGroupName | None,
    prefix: str | None,
    recursive: bool,
) -> Page[ThingGroupName]:
    query = select(_G.group_name).where(in_scope(_G, scope))
    if parent is not None:
        require(connection, scope, parent, "missing")
        if recursive:
            below = and_(
                in_scope(_A, scope), _A.ancestor_name == parent, _A.group_name == _G.group_name, _A.distance > 0
            )
            query = query.where(exists().where(below))
        else:
            query = query.where(_G.parent_name == parent)
    elif not recursive:
        query = query.where(_G.parent_name.is_(None))
    if prefix:
        query = query.where(_G.group_name >= prefix, _G.group_name <= prefix + _LAST_CHARACTER)
    listing = Listing("thing-groups", scope, [_G.group_name], page, filters=[parent, prefix, recursive])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([ThingGroupName(row.group_name) for row in rows], marker)


def require(connection: Connection, scope: Scope, name: ThingGroupName, kind: str) -> None:
    """StoreConflict(kind) when there is no such group."""
    if root_of(connection, scope, name) is None:
        raise StoreConflict(kind, f"Thing group {name} does not exist", group=name)


def _require(connection: Connection, scope: Scope, name: ThingGroupName) -> ThingGroupRecord:
    group = get(connection, scope, name)
    if group is None:
        raise StoreConflict("missing", f"Thing group {name} does not exist")
    return group


def _change(scope: Scope, name: ThingGroupName) -> Change:
    return Change(ChangeKind.THING_GROUP, scope, name)


def _tagged(name: ThingGroupName) -> TaggedResource:
    return TaggedResource(Taggable.THING_GROUP, name)


def _json(group: ThingGroupRecord) -> str:
    return json.dumps(dict(group.attributes), ensure_ascii=False, separators=(",", ":"))


def ids_of(connection: Connection, scope: Scope, names: Sequence[ThingGroupName]) -> dict[ThingGroupName, str]:
    """The groups' ids by name."""
    if not names:
        return {}
    query = select(_G.group_name, _G.group_id).where(in_scope(_G, scope), _G.group_name.in_(names))
    return {ThingGroupName(row.group_name): row.group_id for row in connection.execute(query)}


def _facts(connection: Connection, group: ThingGroupRecord, ancestors: Sequence[ThingGroupName]) -> dict[str, Any]:
    ids = ids_of(connection, group.scope, ancestors)
    return {
        "thingGroupId": group.group_id,
        "parentGroupName": group.parent_group_name,
        "rootToParentThingGroups": [{"groupName": name, "groupId": ids[name]} for name in ancestors],
        "thingGroupDescription": group.description,
        "attributes": dict(group.attributes),
        "version": group.version,
    }


def _group(row: Row[*tuple[Any, ...]], ancestors: tuple[ThingGroupName, ...]) -> ThingGroupRecord:
    return ThingGroupRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        group_name=ThingGroupName(row.group_name),
        group_id=row.group_id,
        ancestors=ancestors,
        description=row.description,
        attributes=json.loads(row.attributes),
        version=row.version,
        creation_date=row.creation_date,
    )
