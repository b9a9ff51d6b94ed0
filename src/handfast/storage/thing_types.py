"""Thing types: the operations on their table."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from handfast.core.identity.ids import AccountId, Scope, ThingTypeName
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.identity.things import PropagatingAttribute, ThingTypeProperties, ThingTypeRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import tags
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import thing_types, things, to_microseconds

_Y = thing_types.c
_T = things.c


def create(connection: Connection, made: ThingTypeRecord, given: Mapping[str, str], cause: Cause) -> list[Change]:
    scope, name = made.scope, made.thing_type_name
    row = {
        "account_id": scope.account,
        "region": scope.region,
        "thing_type_name": name,
        "thing_type_id": made.thing_type_id,
        "creation_date": made.creation_date,
        "deprecation_date": made.deprecation_date,
    }
    statement = insert_or_ignore(connection, thing_types).returning(_Y.thing_type_name)
    if connection.execute(statement, row | _columns(made.properties)).first() is None:
        raise StoreConflict("exists", f"Thing type {name} exists")
    after = _facts(made) | tags.attach(connection, scope, _tagged(name), given)
    return record(connection, cause, _change(scope, name), after=after)


def get(connection: Connection, scope: Scope, name: str) -> ThingTypeRecord | None:
    row = connection.execute(select(thing_types).where(in_scope(_Y, scope), _Y.thing_type_name == name)).first()
    return None if row is None else _thing_type(row)


def change(
    connection: Connection, scope: Scope, name: ThingTypeName, properties: ThingTypeProperties, cause: Cause
) -> list[Change]:
    old = _require(connection, scope, name)
    new = replace(old, properties=old.properties.updated(properties))
    return _store(connection, old, new, cause)


def deprecate(connection: Connection, scope: Scope, name: ThingTypeName, *, undo: bool, cause: Cause) -> list[Change]:
    old = _require(connection, scope, name)
    if undo:
        return _store(connection, old, replace(old, deprecation_date=None), cause)
    # The first deprecation counts: the wait before deletion does not begin anew.
    return _store(connection, old, replace(old, deprecation_date=old.deprecation_date or cause.at), cause)


def remove(
    connection: Connection, scope: Scope, name: ThingTypeName, *, deprecated_until: dt.datetime, cause: Cause
) -> list[Change]:
    old = _require(connection, scope, name)
    if old.deprecation_date is None:
        raise StoreConflict("deprecated", f"Thing type {name} is not deprecated")
    if connection.execute(select(exists().where(in_scope(_T, scope), _T.thing_type_name == name))).scalar():
        raise StoreConflict("things", f"Thing type {name} has things")
    if old.deprecation_date > deprecated_until:
        raise StoreConflict("waiting", f"Thing type {name} was deprecated {old.deprecation_date}")
    before = _facts(old) | tags.forget(connection, scope, _tagged(name))
    connection.execute(delete(thing_types).where(in_scope(_Y, scope), _Y.thing_type_name == name))
    return record(connection, cause, _change(scope, name), before=before)


def list_page(
    connection: Connection, scope: Scope, page: PageRequest, *, name: ThingTypeName | None
) -> Page[ThingTypeRecord]:
    query = select(thing_types).where(in_scope(_Y, scope))
    if name is not None:
        query = query.where(_Y.thing_type_name == name)
    listing = Listing("thing-types", scope, [_Y.thing_type_name], page, filters=[name])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([_thing_type(row) for row in rows], marker)


def require_usable(connection: Connection, scope: Scope, name: str) -> None:
    """StoreConflict "type": there is none of this name; "deprecated": it takes no new things."""
    found = get(connection, scope, name)
    if found is None:
        raise StoreConflict("type", f"Thing type {name} does not exist", name=name)
    if found.deprecation_date is not None:
        raise StoreConflict("deprecated", f"Thing type {name} is deprecated", name=name)


def _store(connection: Connection, old: ThingTypeRecord, new: ThingTypeRecord, cause: Cause) -> list[Change]:
    if old == new:
        return []
    scope, name = old.scope, old.thing_type_name
    connection.execute(
        update(thing_types).where(in_scope(_Y, scope), _Y.thing_type_name == name),
        {"deprecation_date": new.deprecation_date} | _columns(new.properties),
    )
    return record(connection, cause, _change(scope, name), before=_facts(old), after=_facts(new))


def _require(connection: Connection, scope: Scope, name: ThingTypeName) -> ThingTypeRecord:
    found = get(connection, scope, name)
    if found is None:
        raise StoreConflict("missing", f"Thing type {name} does not exist")
    return found


def _change(scope: Scope, name: ThingTypeName) -> Change:
    return Change(ChangeKind.THING_TYPE, scope, name)


def _tagged(name: ThingTypeName) -> TaggedResource:
    return TaggedResource(Taggable.THING_TYPE, name)


def _columns(properties: ThingTypeProperties) -> dict[str, Any]:
    return {
        "description": properties.description,
        "searchable_attributes": _json(properties.searchable_attributes),
        "propagating_attributes": _json(properties.propagating_attributes),
    }


def _json(items: tuple[Any, ...] | None) -> str | None:
    return None if items is None else json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def _facts(made: ThingTypeRecord) -> dict[str, Any]:
    propagating = made.properties.propagating_attributes
    return {
        "thingTypeId": made.thing_type_id,
        "description": made.properties.description,
        "searchableAttributes": made.properties.searchable_attributes,
        "propagatingAttributes": None if propagating is None else [_propagation(each) for each in propagating],
        "deprecationDate": None if made.deprecation_date is None else to_microseconds(made.deprecation_date) // 1000,
    }


def _propagation(attribute: PropagatingAttribute) -> dict[str, str]:
    named = {
        "userPropertyKey": attribute.user_property_key,
        "thingAttribute": attribute.thing_attribute,
        "connectionAttribute": attribute.connection_attribute,
    }
    return {name: value for name, value in named.items() if value is not None}


def _thing_type(row: Row[*tuple[Any, ...]]) -> ThingTypeRecord:
    searchable, propagating = row.searchable_attributes, row.propagating_attributes
    return ThingTypeRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        thing_type_name=ThingTypeName(row.thing_type_name),
        thing_type_id=row.thing_type_id,
        properties=ThingTypeProperties(
            description=row.description,
            searchable_attributes=None if searchable is None else tuple(json.loads(searchable)),
            propagating_attributes=(
                None if propagating is None else tuple(PropagatingAttribute(*each) for each in json.loads(propagating))
            ),
        ),
        creation_date=row.creation_date,
        deprecation_date=row.deprecation_date,
    )
