"""Billing groups: the operations on their table. Which things are in one stands with the things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from handfast.core.identity.ids import AccountId, BillingGroupName, Scope
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.identity.things import BillingGroupRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import tags
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import billing_groups, things

_B = billing_groups.c
_T = things.c
_LAST_CHARACTER = "\U0010ffff"


def create(connection: Connection, group: BillingGroupRecord, given: Mapping[str, str], cause: Cause) -> list[Change]:
    scope, name = group.scope, group.billing_group_name
    row = {
        "account_id": scope.account,
        "region": scope.region,
        "billing_group_name": name,
        "billing_group_id": group.billing_group_id,
        "description": group.description,
        "version": group.version,
        "creation_date": group.creation_date,
    }
    statement = insert_or_ignore(connection, billing_groups).returning(_B.billing_group_name)
    if connection.execute(statement, row).first() is None:
        raise StoreConflict("exists", f"Billing group {name} exists")
    after = _facts(group) | tags.attach(connection, scope, _tagged(name), given)
    return record(connection, cause, _change(scope, name), after=after)


def get(connection: Connection, scope: Scope, name: BillingGroupName) -> BillingGroupRecord | None:
    query = select(billing_groups).where(in_scope(_B, scope), _B.billing_group_name == name)
    row = connection.execute(query).first()
    return None if row is None else _group(row)


def change(
    connection: Connection,
    scope: Scope,
    name: BillingGroupName,
    *,
    description: str | None,
    expected_version: int | None,
    cause: Cause,
) -> list[Change]:
    old = _found(connection, scope, name, expected_version)
    new = replace(old, description=description, version=old.version + 1)
    connection.execute(
        update(billing_groups)
        .where(in_scope(_B, scope), _B.billing_group_name == name)
        .values(description=new.description, version=new.version)
    )
    return record(connection, cause, _change(scope, name), before=_facts(old), after=_facts(new))


def remove(
    connection: Connection, scope: Scope, name: BillingGroupName, *, expected_version: int | None, cause: Cause
) -> list[Change]:
    group = _found(connection, scope, name, expected_version)
    if connection.execute(select(exists().where(in_scope(_T, scope), _T.billing_group_name == name))).scalar():
        raise StoreConflict("things", f"Billing group {name} has things")
    before = _facts(group) | tags.forget(connection, scope, _tagged(name))
    connection.execute(delete(billing_groups).where(in_scope(_B, scope), _B.billing_group_name == name))
    return record(connection, cause, _change(scope, name), before=before)


def list_page(connection: Connection, scope: Scope, page: PageRequest, *, prefix: str | None) -> Page[BillingGroupName]:
    query = select(_B.billing_group_name).where(in_scope(_B, scope))
    if prefix is not None:
        query = query.where(_B.billing_group_name >= prefix, _B.billing_group_name <= prefix + _LAST_CHARACTER)
    listing = Listing("billing-groups", scope, [_B.billing_group_name], page, filters=[prefix])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([BillingGroupName(row.billing_group_name) for row in rows], marker)


def require(connection: Connection, scope: Scope, name: str, kind: str) -> None:
    """StoreConflict(kind) when there is no such group."""
    query = select(_B.version).where(in_scope(_B, scope), _B.billing_group_name == name)
    if connection.execute(query).scalar() is None:
        raise StoreConflict(kind, f"Billing group {name} does not exist", name=name)


def _found(
    connection: Connection, scope: Scope, name: BillingGroupName, expected_version: int | None
) -> BillingGroupRecord:
    group = get(connection, scope, name)
    if group is None:
        raise StoreConflict("missing", f"Billing group {name} does not exist")
    if expected_version is not None and expected_version != group.version:
        raise StoreConflict("version", f"Billing group {name} is at version {group.version}", version=group.version)
    return group


def _change(scope: Scope, name: BillingGroupName) -> Change:
    return Change(ChangeKind.BILLING_GROUP, scope, name)


def _tagged(name: BillingGroupName) -> TaggedResource:
    return TaggedResource(Taggable.BILLING_GROUP, name)


def _facts(group: BillingGroupRecord) -> dict[str, Any]:
    return {
        "billingGroupId": group.billing_group_id,
        "billingGroupDescription": group.description,
        "version": group.version,
    }


def _group(row: Row[*tuple[Any, ...]]) -> BillingGroupRecord:
    return BillingGroupRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        billing_group_name=BillingGroupName(row.billing_group_name),
        billing_group_id=row.billing_group_id,
        description=row.description,
        version=row.version,
        creation_date=row.creation_date,
    )
