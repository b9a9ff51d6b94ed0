"""
What every changing operation leaves behind in its own transaction: an audit row and change rows.

The audit table is append-only (triggers refuse everything else), numbered and chained for each account. Change rows
are what caches follow; old ones are pruned, and a follower that was away for
longer is told to start over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from handfast.core.identity.audit_chain import AuditFields
from handfast.core.identity.ids import AccountId, Scope
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Cursor
from handfast.storage.audit import chained
from handfast.storage.prepared import Prepared, driver
from handfast.storage.tables import audit, changes, from_microseconds, to_microseconds

CHANGES_KEPT = 200_000
"""Change rows a follower may lag behind before its cursor is too old."""
_PRUNE_EVERY = 10_000
_CURSOR_PREFIX = "c"

_HEAD = Prepared(lambda _: select(func.max(changes.c.sequence)))
_BOUNDS = select(func.min(changes.c.sequence), func.max(changes.c.sequence))
_FOLLOWING = (
    select(changes)
    .where(changes.c.sequence > bindparam("position"))
    .order_by(changes.c.sequence)
    .limit(bindparam("limit"))
)


def _appended(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name != "sequence"]


_APPEND = {
    table.name: f"INSERT INTO {table.name} ({', '.join(_appended(table))}) "  # noqa: S608  names of our own tables
    f"VALUES ({', '.join('?' * len(_appended(table)))})"
    for table in (audit, changes)
}

Facts = Mapping[str, Any]
Entry = tuple[Change, Facts | None, Facts | None]
"""A change with what was before and what is after."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # json.dumps would make one each time
_GATHERING = "handfast.journal.gathering"


def insert_or_ignore(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves out rows which a unique constraint forbids; RETURNING gives those that went in."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def record(
    connection: Connection,
    cause: Cause,
    change: Change,
    *,
    account_id: AccountId | None = None,
    before: Facts | None = None,
    after: Facts | None = None,
) -> list[Change]:
    """The change, audited and announced. `account_id` where the change has no scope to take it from."""
    return record_all(connection, cause, [(change, before, after)], account_id=account_id)


def record_all(
    connection: Connection,
    cause: Cause,
    entries: Sequence[Entry],
    *,
    account_id: AccountId | None = None,
) -> list[Change]:
    """Each (change, before, after), audited; equal changes are announced once."""
    if not entries:
        return []
    gathering: list[Entry] | None = connection.info.get(_GATHERING)
    if gathering is not None:
        gathering.extend(entries)
        return list(dict.fromkeys(change for change, _, _ in entries))
    at = to_microseconds(cause.at)
    rows = chained(
        connection,
        [
            AuditFields(
                at,
                cause.actor,
                cause.address,
                cause.operation,
                cause.request_id,
                change.scope.account if change.scope else account_id,
                change.scope.region if change.scope else None,
                change.kind.value,
                change.subject,
                _facts(before),
                _facts(after),
            )
            for change, before, after in entries
        ],
    )
    _append(connection, audit, [(*row.fields, row.number, row.link) for row in rows])
    announced = list(dict.fromkeys(change for change, _, _ in entries))
    _append(
        connection,
        changes,
        [
            (
                change.kind.value,
                change.scope.account if change.scope else None,
                change.scope.region if change.scope else None,
                change.subject,
            )
            for change in announced
        ],
    )
    _prune(connection, len(announced))
    return announced


@contextmanager
def gathered(connection: Connection, cause: Cause) -> Iterator[list[Change]]:
    """
    What is recorded inside is written at the end, in one go, in its order, under this cause; equal changes are
    announced once. The list holds them afterwards.

    For an operation made of others: the chain of the audit is looked up once, not once for each of them.
    """
    assert _GATHERING not in connection.info, "one operation gathers at a time"
    entries: list[Entry] = []
    announced: list[Change] = []
    connection.info[_GATHERING] = entries
    try:
        yield announced
    finally:
        del connection.info[_GATHERING]
    announced.extend(record_all(connection, cause, entries))


def _append(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Rows in the order of the table's columns after `sequence`."""
    if connection.dialect.name == "sqlite":
        # Below Core: every write passes here twice, a bulk registration twice for each certificate.
        driver(connection).executemany(_APPEND[table.name], rows)
    else:
        if table is audit:
            rows = [(from_microseconds(row[0]), *row[1:]) for row in rows]
        names = _appended(table)
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])


def _facts(facts: Facts | None) -> str | None:
    return None if facts is None else _ENCODER.encode(facts)


def _head(connection: Connection) -> int:
    return _HEAD.run(connection, {}).fetchone()[0] or 0


def _prune(connection: Connection, added: int) -> None:
    head = _head(connection)
    if head // _PRUNE_EVERY != (head - added) // _PRUNE_EVERY:
        connection.execute(delete(changes).where(changes.c.sequence <= head - CHANGES_KEPT))


def head_cursor(connection: Connection) -> Cursor:
    """The cursor behind the newest change."""
    return Cursor(f"{_CURSOR_PREFIX}{_head(connection)}")


def changes_since(connection: Connection, cursor: Cursor, limit: int) -> tuple[list[Change], Cursor]:
    """
    Up to `limit` changes after the cursor, in commit order, and the cursor behind them.

    Raises:
        StoreConflict: "cursor": not one of ours, or so old that changes after
            it are gone. Drop caches, take `head_cursor`, load anew.
    """
    position = _position(cursor)
    first, head = connection.execute(_BOUNDS).one()
    # Nothing is missing when the next change is still there, or when there is none at all.
    if position > (head or 0) or (first is not None and position + 1 < first):
        raise StoreConflict("cursor", "The cursor is too old or of another database")
    rows = connection.execute(_FOLLOWING, {"position": position, "limit": limit}).all()
    found = [
        Change(
            ChangeKind(row.kind),
            None if row.account_id is None or row.region is None else Scope(AccountId(row.account_id), row.region),
            row.subject,
        )
        for row in rows
    ]
    return found, Cursor(f"{_CURSOR_PREFIX}{rows[-1].sequence if rows else position}")


def _position(cursor: str) -> int:
    digits = cursor.removeprefix(_CURSOR_PREFIX)
    if not cursor.startswith(_CURSOR_PREFIX) or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise StoreConflict("cursor", "Not a cursor of this store")
    return int(digits)
