"""
What every changing operation leaves behind in its own transaction: an audit row and change rows.

The audit table is append-only (triggers refuse everything else). Change rows
are what caches follow; old ones are pruned, and a follower that was away for
longer is told to start over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from handfast.core.identity.ids import AccountId, Scope
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Cursor
from handfast.storage.tables import audit, changes

CHANGES_KEPT = 200_000
"""Change rows a follower may lag behind before its cursor is too old."""
_PRUNE_EVERY = 10_000
_CURSOR_PREFIX = "c"

_HEAD = select(func.max(changes.c.sequence))
_BOUNDS = select(func.min(changes.c.sequence), func.max(changes.c.sequence))
_FOLLOWING = (
    select(changes)
    .where(changes.c.sequence > bindparam("position"))
    .order_by(changes.c.sequence)
    .limit(bindparam("limit"))
)

Facts = Mapping[str, Any]


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
    entries: Sequence[tuple[Change, Facts | None, Facts | None]],
    *,
    account_id: AccountId | None = None,
) -> list[Change]:
    """Each (change, before, after), audited; equal changes are announced once."""
    if not entries:
        return []
    common = {
        "at": cause.at,
        "actor": cause.actor,
        "address": cause.address,
        "operation": cause.operation,
        "request_id": cause.request_id,
    }
    connection.execute(
        insert(audit),
        [
            common
            | {
                "account_id": change.scope.account if change.scope else account_id,
                "region": change.scope.region if change.scope else None,
                "what": change.kind.value,
                "subject": change.subject,
                "before": _facts(before),
                "after": _facts(after),
            }
            for change, before, after in entries
        ],
    )
    announced = list(dict.fromkeys(change for change, _, _ in entries))
    connection.execute(insert(changes), [_change_row(change) for change in announced])
    _prune(connection, len(announced))
    return announced


def _facts(facts: Facts | None) -> str | None:
    return None if facts is None else json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def _change_row(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "account_id": change.scope.account if change.scope else None,
        "region": change.scope.region if change.scope else None,
        "subject": change.subject,
    }


def _head(connection: Connection) -> int:
    return connection.execute(_HEAD).scalar_one() or 0


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
