"""Which registry events a scope has enabled, and the committed changes that they tell: reads of the audit trail."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from handfast.core.identity.events import CommittedChange, EventConfigurationsRecord, EventType
from handfast.core.identity.ids import AccountId, Scope
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.certificates import in_scope
from handfast.storage.journal import record
from handfast.storage.tables import audit, event_configurations

_E = event_configurations.c
_U = audit.c


def get(connection: Connection, scope: Scope) -> EventConfigurationsRecord | None:
    row = connection.execute(select(event_configurations).where(in_scope(_E, scope))).first()
    return None if row is None else _configurations(row)


def get_all(connection: Connection) -> list[EventConfigurationsRecord]:
    return [_configurations(row) for row in connection.execute(select(event_configurations))]


def change(connection: Connection, scope: Scope, settings: Mapping[EventType, bool], cause: Cause) -> list[Change]:
    old = get(connection, scope)
    before = frozenset[EventType]() if old is None else old.enabled
    after = (before | {each for each, on in settings.items() if on}) - {each for each, on in settings.items() if not on}
    if before == after:
        return []
    values = {"enabled": json.dumps(sorted(after)), "last_modified_date": cause.at}
    if old is None:
        key = {"account_id": scope.account, "region": scope.region, "creation_date": cause.at}
        connection.execute(insert(event_configurations), key | values)
    else:
        connection.execute(update(event_configurations).where(in_scope(_E, scope)), values)
    return record(
        connection,
        cause,
        Change(ChangeKind.EVENT_CONFIGURATIONS, scope, scope.account),
        before={"enabled": sorted(before)},
        after={"enabled": sorted(after)},
    )


def newest(connection: Connection, kind: ChangeKind | None) -> int:
    """The sequence number of the newest row of the audit trail, or of the newest of this kind; 0: there is none."""
    query = select(_U.sequence) if kind is None else select(_U.sequence).where(_U.what == kind.value)
    return connection.execute(query.order_by(_U.sequence.desc()).limit(1)).scalar() or 0


def changes_after(
    connection: Connection, sequence: int, kinds: Collection[str], limit: int
) -> tuple[list[CommittedChange], int]:
    head = newest(connection, None)
    query = select(audit).where(
        _U.sequence > sequence, _U.sequence <= head, _U.what.in_(sorted(kinds)), _U.region.is_not(None)
    )
    rows = [_change(row) for row in connection.execute(query.order_by(_U.sequence).limit(limit))]
    return rows, rows[-1].sequence if len(rows) == limit else max(head, sequence)


def _change(row: Row[*tuple[Any, ...]]) -> CommittedChange:
    return CommittedChange(
        sequence=row.sequence,
        at=row.at,
        scope=Scope(AccountId(row.account_id), row.region),
        kind=row.what,
        subject=row.subject,
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
    )


def _configurations(row: Row[*tuple[Any, ...]]) -> EventConfigurationsRecord:
    return EventConfigurationsRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        enabled=frozenset(EventType(name) for name in json.loads(row.enabled)),
        creation_date=row.creation_date,
        last_modified_date=row.last_modified_date,
    )
