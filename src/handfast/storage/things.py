"""Things and the principals attached to them: the operations on their tables."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, exists, insert, or_, select, update

from handfast.core.identity.ids import AccountId, BillingGroupName, CertificateId, Scope, ThingName
from handfast.core.identity.records import ThingPrincipalType, ThingRecord
from handfast.core.identity.things import ThingEdit, edited
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import billing_groups, certificates, thing_group_members, thing_types
from handfast.storage.certificates import at_scope, in_scope, scope_values
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.prepared import Prepared
from handfast.storage.tables import thing_attributes, thing_principals, things

_T = things.c
_A = thing_attributes.c
_P = thing_principals.c
_EXCLUSIVE = ThingPrincipalType.EXCLUSIVE_THING
_LAST_CHARACTER = "\U0010ffff"

_INSERT = Prepared(lambda c: insert_or_ignore(c, things).returning(_T.thing_name))
_INSERT_ATTRIBUTE = Prepared(lambda _: insert(thing_attributes))
_INSERT_PRINCIPAL = Prepared(lambda _: insert(thing_principals))
_ID = Prepared(lambda _: select(_T.thing_id).where(at_scope(_T), _T.thing_name == bindparam("name")))
_IN_THE_WAY = select(_P.thing_name, _P.thing_principal_type).where(at_scope(_P), _P.certificate_id == bindparam("id"))
# Either the certificate serves one thing exclusively, or any number without exclusiveness.
_IN_THE_WAY_OF_EXCLUSIVE = Prepared(lambda _: _IN_THE_WAY.limit(2))
_IN_THE_WAY_OF_ANY = Prepared(
    lambda _: _IN_THE_WAY.where(
        or_(_P.thing_name == bindparam("name"), _P.thing_principal_type == _EXCLUSIVE.value)
    ).limit(2)
)
_PRINCIPALS = Prepared(
    lambda _: select(_P.certificate_id, _P.thing_principal_type).where(at_scope(_P), _P.thing_name == bindparam("name"))
)


def create(connection: Connection, thing: ThingRecord, cause: Cause) -> list[Change]:
    scope = thing.scope
    key = {"account_id": scope.account, "region": scope.region, "thing_name": thing.thing_name}
    inserted = _INSERT.run(
        connection,
        key
        | {
            "thing_id": thing.thing_id,
            "thing_type_name": thing.thing_type_name,
            "attributes": _json(thing),
            "billing_group_name": thing.billing_group_name,
            "version": thing.version,
            "creation_date": thing.creation_date,
        },
    ).fetchall()
    if not inserted:
        raise StoreConflict("exists", f"Thing {thing.thing_name} exists")
    # A conflict from here on takes the row back: the transaction ends with it.
    if thing.thing_type_name is not None:
        thing_types.require_usable(connection, scope, thing.thing_type_name)
    if thing.billing_group_name is not None:
        billing_groups.require(connection, scope, thing.billing_group_name, "billing_group")
    _index_attributes(connection, thing)
    return record(connection, cause, Change(ChangeKind.THING, scope, thing.thing_name), after=_facts(thing))


def change(connection: Connection, scope: Scope, name: ThingName, edit: ThingEdit, cause: Cause) -> list[Change]:
    thing = _found(connection, scope, name)
    new = edited(thing, edit)
    if new.thing_type_name is not None and new.thing_type_name != thing.thing_type_name:
        thing_types.require_usable(connection, scope, new.thing_type_name)
    connection.execute(
        update(things)
        .where(in_scope(_T, scope), _T.thing_name == name)
        .values(attributes=_json(new), thing_type_name=new.thing_type_name, version=new.version)
    )
    if new.attributes != thing.attributes:
        connection.execute(delete(thing_attributes).where(in_scope(_A, scope), _A.thing_name == name))
        _index_attributes(connection, new)
    return record(connection, cause, Change(ChangeKind.THING, scope, name), before=_facts(thing), after=_facts(new))


def set_billing_group(
    connection: Connection,
    scope: Scope,
    name: ThingName,
    *,
    old: BillingGroupName | None,
    new: BillingGroupName | None,
    cause: Cause,
) -> list[Change]:
    thing = get(connection, scope, name)
    if thing is None:
        raise StoreConflict("thing", f"Thing {name} does not exist")
    for group in (old, new):
        if group is not None:
            billing_groups.require(connection, scope, group, "billing_group")
    if thing.billing_group_name == new or (new is None and thing.billing_group_name != old):
        return []
    if thing.billing_group_name != old:
        raise StoreConflict(
            "member", f"Thing {name} is in billing group {thing.billing_group_name}", group=thing.billing_group_name
        )
    connection.execute(update(things).where(in_scope(_T, scope), _T.thing_name == name).values(billing_group_name=new))
    after = _facts(replace(thing, billing_group_name=new))
    return record(connection, cause, Change(ChangeKind.THING, scope, name), before=_facts(thing), after=after)


def of_billing_group_page(
    connection: Connection, scope: Scope, group: BillingGroupName, page: PageRequest
) -> Page[ThingName]:
    billing_groups.require(connection, scope, group, "missing")
    query = select(_T.thing_name).where(in_scope(_T, scope), _T.billing_group_name == group)
    listing = Listing("billing-group-things", scope, [_T.thing_name], page, filters=[group])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([ThingName(row.thing_name) for row in rows], marker)


def _index_attributes(connection: Connection, thing: ThingRecord) -> None:
    if thing.attributes:
        key = {"account_id": thing.scope.account, "region": thing.scope.region, "thing_name": thing.thing_name}
        rows = [key | {"name": name, "value": value} for name, value in thing.attributes.items()]
        _INSERT_ATTRIBUTE.run_many(connection, rows)


def get(connection: Connection, scope: Scope, name: ThingName) -> ThingRecord | None:
    row = connection.execute(select(things).where(in_scope(_T, scope), _T.thing_name == name)).first()
    return None if row is None else _thing(row)


def list_page(
    connection: Connection,
    scope: Scope,
    page: PageRequest,
    *,
    attribute_name: str | None,
    attribute_value: str | None,
    prefix: bool,
    thing_type_name: str | None,
) -> Page[ThingRecord]:
    query = select(things).where(in_scope(_T, scope))
    if thing_type_name is not None:
        query = query.where(_T.thing_type_name == thing_type_name)
    if attribute_name is not None or attribute_value is not None:
        match = and_(in_scope(_A, scope), _A.thing_name == _T.thing_name)
        if attribute_name is not None:
            match = and_(match, _A.name == attribute_name)
        if attribute_value is not None and prefix:
            match = and_(match, _A.value >= attribute_value, _A.value <= attribute_value + _LAST_CHARACTER)
        elif attribute_value is not None:
            match = and_(match, _A.value == attribute_value)
        query = query.where(exists().where(match))
    filters = [attribute_name, attribute_value, prefix, thing_type_name]
    listing = Listing("things", scope, [_T.thing_name], page, filters=filters)
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([_thing(row) for row in rows], marker)


def remove(
    connection: Connection, scope: Scope, name: ThingName, *, expected_version: int | None, cause: Cause
) -> list[Change]:
    thing = _found(connection, scope, name)
    if expected_version is not None and expected_version != thing.version:
        raise StoreConflict("version", f"Thing {name} is at version {thing.version}", version=thing.version)
    if connection.execute(select(exists().where(in_scope(_P, scope), _P.thing_name == name))).scalar():
        raise StoreConflict("principals", f"Principals are attached to thing {name}")
    left = thing_group_members.leave_all(connection, scope, name, cause)
    connection.execute(delete(thing_attributes).where(in_scope(_A, scope), _A.thing_name == name))
    connection.execute(delete(things).where(in_scope(_T, scope), _T.thing_name == name))
    return left + record(connection, cause, Change(ChangeKind.THING, scope, name), before=_facts(thing))


def attach(
    connection: Connection,
    scope: Scope,
    name: ThingName,
    certificate_id: CertificateId,
    principal_type: ThingPrincipalType,
    cause: Cause,
) -> list[Change]:
    _require(connection, scope, name, "thing")
    certificates.require_attachable(connection, scope, certificate_id)
    return attach_known(connection, scope, name, certificate_id, principal_type, cause)


def attach_known(
    connection: Connection,
    scope: Scope,
    name: ThingName,
    certificate_id: CertificateId,
    principal_type: ThingPrincipalType,
    cause: Cause,
    *,
    alone: bool = False,
) -> list[Change]:
    """
    `attach` for a thing and a certificate that are there, which this very transaction knows.

    `alone`: it knows, too, that the certificate is attached to nothing.
    """
    query = _IN_THE_WAY_OF_EXCLUSIVE if principal_type is _EXCLUSIVE else _IN_THE_WAY_OF_ANY
    where = {**scope_values(scope), "id": certificate_id, "name": name}
    for other, kind in () if alone else query.run(connection, where).fetchall():
        if other != name:
            raise StoreConflict("exclusive", f"Certificate {certificate_id} is attached to thing {other}")
        if kind == principal_type.value:
            return []
        raise StoreConflict("exclusive", f"Certificate {certificate_id} is attached as {kind}")
    _INSERT_PRINCIPAL.run(
        connection,
        {
            "account_id": scope.account,
            "region": scope.region,
            "certificate_id": certificate_id,
            "thing_name": name,
            "thing_principal_type": principal_type.value,
        },
    )
    change = Change(ChangeKind.PRINCIPAL_THINGS, scope, certificate_id)
    return record(connection, cause, change, after={"thing": name, "type": principal_type.value})


def detach(
    connection: Connection, scope: Scope, name: ThingName, certificate_id: CertificateId, cause: Cause
) -> list[Change]:
    _require(connection, scope, name, "thing")
    certificates.require(connection, scope, certificate_id, "certificate")
    deleted = connection.execute(
        delete(thing_principals).where(in_scope(_P, scope), _P.thing_name == name, _P.certificate_id == certificate_id)
    )
    if deleted.rowcount == 0:
        return []
    return record(connection, cause, Change(ChangeKind.PRINCIPAL_THINGS, scope, certificate_id), before={"thing": name})


def principals_of(connection: Connection, scope: Scope, name: ThingName) -> dict[CertificateId, ThingPrincipalType]:
    """Every certificate that is attached to the thing."""
    rows = _PRINCIPALS.run(connection, {**scope_values(scope), "name": name}).fetchall()
    return {CertificateId(row[0]): ThingPrincipalType(row[1]) for row in rows}


def principals_page(
    connection: Connection,
    scope: Scope,
    name: ThingName,
    page: PageRequest,
    principal_type: ThingPrincipalType | None,
) -> Page[tuple[CertificateId, ThingPrincipalType]]:
    _require(connection, scope, name, "missing")
    query: Select[Any] = select(_P.certificate_id, _P.thing_principal_type).where(
        in_scope(_P, scope), _P.thing_name == name
    )
    query = _of_type(query, principal_type)
    listing = Listing("thing-principals", scope, [_P.certificate_id], page, filters=[name, principal_type])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page(
        [(CertificateId(row.certificate_id), ThingPrincipalType(row.thing_principal_type)) for row in rows], marker
    )


def things_page(
    connection: Connection,
    scope: Scope,
    certificate_id: CertificateId,
    page: PageRequest,
    principal_type: ThingPrincipalType | None,
) -> Page[tuple[ThingName, ThingPrincipalType]]:
    certificates.require(connection, scope, certificate_id)
    query: Select[Any] = select(_P.thing_name, _P.thing_principal_type).where(
        in_scope(_P, scope), _P.certificate_id == certificate_id
    )
    query = _of_type(query, principal_type)
    listing = Listing("principal-things", scope, [_P.thing_name], page, filters=[certificate_id, principal_type])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([(ThingName(row.thing_name), ThingPrincipalType(row.thing_principal_type)) for row in rows], marker)


def _found(connection: Connection, scope: Scope, name: ThingName) -> ThingRecord:
    thing = get(connection, scope, name)
    if thing is None:
        raise StoreConflict("missing", f"Thing {name} does not exist")
    return thing


def _of_type(query: Select[Any], principal_type: ThingPrincipalType | None) -> Select[Any]:
    return query if principal_type is None else query.where(_P.thing_principal_type == principal_type.value)


def _require(connection: Connection, scope: Scope, name: ThingName, kind: str) -> None:
    if _ID.run(connection, {**scope_values(scope), "name": name}).fetchone() is None:
        raise StoreConflict(kind, f"Thing {name} does not exist")


def _json(thing: ThingRecord) -> str:
    return json.dumps(dict(thing.attributes), ensure_ascii=False, separators=(",", ":"))


def _facts(thing: ThingRecord) -> dict[str, Any]:
    return {
        "thingId": thing.thing_id,
        "thingTypeName": thing.thing_type_name,
        "attributes": dict(thing.attributes),
        "billingGroupName": thing.billing_group_name,
        "version": thing.version,
    }


def _thing(row: Row[*tuple[Any, ...]]) -> ThingRecord:
    return ThingRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        thing_name=ThingName(row.thing_name),
        thing_id=row.thing_id,
        thing_type_name=row.thing_type_name,
        attributes=json.loads(row.attributes),
        billing_group_name=row.billing_group_name,
        version=row.version,
        creation_date=row.creation_date,
    )
