"""Tombstones: certificates whose registration is gone, and why they may not come back by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.records import TombstoneReason
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.journal import record
from handfast.storage.prepared import Prepared
from handfast.storage.tables import tombstones

_T = tombstones.c
CHUNK = 250
"""Ids in one statement: SQLite counts its parameters."""
_GET = Prepared(
    lambda _: select(_T.reason).where(
        _T.account_id == bindparam("account"),
        _T.region == bindparam("region"),
        _T.certificate_id == bindparam("id"),
    )
)


def put(
    connection: Connection, scope: Scope, certificate_id: CertificateId, reason: TombstoneReason, cause: Cause
) -> None:
    """Part of a transaction that takes the registration away. What was revoked stays so."""
    if get(connection, scope, certificate_id) is TombstoneReason.REVOKED:
        return
    lift(connection, scope, certificate_id)
    connection.execute(
        insert(tombstones).values(
            account_id=scope.account,
            region=scope.region,
            certificate_id=certificate_id,
            reason=reason.value,
            creation_date=cause.at,
        )
    )


def get(connection: Connection, scope: Scope, certificate_id: CertificateId) -> TombstoneReason | None:
    row = _GET.run(connection, {"account": scope.account, "region": scope.region, "id": certificate_id}).fetchone()
    return None if row is None else TombstoneReason(row[0])


def lift(connection: Connection, scope: Scope, certificate_id: CertificateId) -> None:
    connection.execute(delete(tombstones).where(_key(scope, certificate_id)))


def revoked(connection: Connection, keys: Iterable[tuple[Scope, CertificateId]]) -> set[tuple[Scope, CertificateId]]:
    """Those of the keys that were deleted as REVOKED."""
    by_scope: dict[Scope, list[CertificateId]] = {}
    for scope, certificate_id in keys:
        by_scope.setdefault(scope, []).append(certificate_id)
    found: set[tuple[Scope, CertificateId]] = set()
    for scope, ids in by_scope.items():
        for start in range(0, len(ids), CHUNK):
            query = select(_T.certificate_id).where(
                _T.account_id == scope.account,
                _T.region == scope.region,
                _T.certificate_id.in_(ids[start : start + CHUNK]),
                _T.reason == TombstoneReason.REVOKED.value,
            )
            found.update((scope, CertificateId(each)) for each in connection.execute(query).scalars())
    return found


def lift_transferred(connection: Connection, keys: Iterable[tuple[Scope, CertificateId]]) -> None:
    """Registered on purpose: that they once were transferred away is over."""
    by_scope: dict[Scope, list[CertificateId]] = {}
    for scope, certificate_id in keys:
        by_scope.setdefault(scope, []).append(certificate_id)
    for scope, ids in by_scope.items():
        for start in range(0, len(ids), CHUNK):
            connection.execute(
                delete(tombstones).where(
                    _T.account_id == scope.account,
                    _T.region == scope.region,
                    _T.certificate_id.in_(ids[start : start + CHUNK]),
                    _T.reason == TombstoneReason.TRANSFERRED.value,
                )
            )


def forget(connection: Connection, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
    reason = get(connection, scope, certificate_id)
    if reason is None:
        raise StoreConflict("missing", f"No tombstone of certificate {certificate_id}")
    lift(connection, scope, certificate_id)
    change = Change(ChangeKind.CERTIFICATE, scope, certificate_id)
    return record(connection, cause, change, before={"tombstone": reason.value})


def _key(scope: Scope, certificate_id: CertificateId) -> Any:
    return and_(
        _T.account_id == AccountId(scope.account), _T.region == scope.region, _T.certificate_id == certificate_id
    )
