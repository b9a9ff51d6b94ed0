"""Versions of policies: the operations on their table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from handfast.core.identity.ids import AccountId, PolicyName, Scope
from handfast.core.identity.records import PolicyVersionRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.certificates import in_scope
from handfast.storage.journal import record
from handfast.storage.tables import policies, policy_versions

_P = policies.c
_V = policy_versions.c

_SELECT = select(policy_versions, _P.default_version, _P.generation_id).join(
    policies, and_(_P.account_id == _V.account_id, _P.region == _V.region, _P.policy_name == _V.policy_name)
)
_VERSION_DIGITS = 9
"""More than ever are made, and an INTEGER of every engine."""


def create(
    connection: Connection,
    scope: Scope,
    name: PolicyName,
    document: str,
    *,
    set_as_default: bool,
    limit: int,
    generation_id: str,
    cause: Cause,
) -> tuple[PolicyVersionRecord, list[Change]]:
    policy = _policy(connection, scope, name)
    mine = and_(in_scope(_V, scope), _V.policy_name == name)
    if connection.execute(select(func.count()).select_from(policy_versions).where(mine)).scalar_one() >= limit:
        raise StoreConflict("limit", f"Policy {name} has {limit} versions", limit=limit)
    version = policy.last_version + 1
    connection.execute(
        insert(policy_versions).values(
            account_id=scope.account,
            region=scope.region,
            policy_name=name,
            version=version,
            document=document,
            creation_date=cause.at,
        )
    )
    changed: dict[str, Any] = {
        "last_version": version,
        "last_modified_date": cause.at,
        "generation_id": generation_id,
    }
    if set_as_default:
        changed["default_version"] = version
    _update(connection, scope, name, changed)
    after = {"version": str(version), "document": document, "default": set_as_default}
    changes = record(connection, cause, _change(scope, name), after=after)
    made = get(connection, scope, name, str(version))
    assert made is not None
    return made, changes


def get(connection: Connection, scope: Scope, name: PolicyName, version_id: str) -> PolicyVersionRecord | None:
    number = _number(version_id)
    if number is None:
        return None
    query = _SELECT.where(in_scope(_V, scope), _V.policy_name == name, _V.version == number)
    row = connection.execute(query).first()
    return None if row is None else _record(row)


def list_all(connection: Connection, scope: Scope, name: PolicyName) -> list[PolicyVersionRecord]:
    query = _SELECT.where(in_scope(_V, scope), _V.policy_name == name).order_by(_V.version.desc())
    rows = connection.execute(query).all()
    if not rows:
        raise StoreConflict("missing", f"Policy {name} does not exist")
    return [_record(row) for row in rows]


def set_default(
    connection: Connection, scope: Scope, name: PolicyName, version_id: str, *, generation_id: str, cause: Cause
) -> list[Change]:
    before, chosen = _chosen(connection, scope, name, version_id)
    if chosen.is_default:
        return []
    _update(
        connection,
        scope,
        name,
        {
            "default_version": int(chosen.version_id),
            "last_modified_date": cause.at,
            "generation_id": generation_id,
        },
    )
    return record(
        connection,
        cause,
        _change(scope, name),
        before={"default": str(before.default_version)},
        after={"default": chosen.version_id},
    )


def remove(
    connection: Connection, scope: Scope, name: PolicyName, version_id: str, *, generation_id: str, cause: Cause
) -> list[Change]:
    _, chosen = _chosen(connection, scope, name, version_id)
    if chosen.is_default:
        raise StoreConflict("default", f"Version {version_id} is the default of policy {name}")
    connection.execute(
        delete(policy_versions).where(in_scope(_V, scope), _V.policy_name == name, _V.version == int(chosen.version_id))
    )
    _update(connection, scope, name, {"last_modified_date": cause.at, "generation_id": generation_id})
    before = {"version": chosen.version_id, "document": chosen.document}
    return record(connection, cause, _change(scope, name), before=before)


def _chosen(
    connection: Connection, scope: Scope, name: PolicyName, version_id: str
) -> tuple[Row[*tuple[Any, ...]], PolicyVersionRecord]:
    policy = _policy(connection, scope, name)
    chosen = get(connection, scope, name, version_id)
    if chosen is None:
        raise StoreConflict("version", f"Policy {name} has no version {version_id}")
    return policy, chosen


def _policy(connection: Connection, scope: Scope, name: PolicyName) -> Row[*tuple[Any, ...]]:
    query = select(_P.default_version, _P.last_version).where(in_scope(_P, scope), _P.policy_name == name)
    row = connection.execute(query).first()
    if row is None:
        raise StoreConflict("missing", f"Policy {name} does not exist")
    return row


def _update(connection: Connection, scope: Scope, name: PolicyName, values: dict[str, Any]) -> None:
    connection.execute(update(policies).where(in_scope(_P, scope), _P.policy_name == name).values(**values))


def _number(version_id: str) -> int | None:
    """None for what is no version's id: they are written without leading zeros."""
    plain = version_id.isascii() and version_id.isdigit() and version_id[0] != "0"
    return int(version_id) if plain and len(version_id) <= _VERSION_DIGITS else None


def _change(scope: Scope, name: PolicyName) -> Change:
    return Change(ChangeKind.POLICY, scope, name)


def _record(row: Row[*tuple[Any, ...]]) -> PolicyVersionRecord:
    return PolicyVersionRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        policy_name=PolicyName(row.policy_name),
        version_id=str(row.version),
        document=row.document,
        is_default=row.version == row.default_version,
        creation_date=row.creation_date,
        generation_id=row.generation_id,
    )
