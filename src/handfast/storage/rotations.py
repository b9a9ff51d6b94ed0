"""Rotations: a certificate and its successor, from the making of the one to the end of the other."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, literal_column, or_, select, update

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.core.identity.rotation import (
    DeadlineAction,
    RetireAction,
    RotationEnd,
    RotationRecord,
    RotationState,
)
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import certificates
from handfast.storage.certificates import in_scope
from handfast.storage.journal import Facts, record, record_all
from handfast.storage.paging import Listing
from handfast.storage.tables import certificate_policies, rotations, thing_principals

_R = rotations.c
_WAITING: ColumnElement[bool] = _R.state == literal_column("'WAITING'")
"""Spelled out in the statement, so that the partial indexes on it serve."""
_ACTIVE, _INACTIVE, _REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
_RETIRED_STATUS = {RetireAction.DEACTIVATE: _INACTIVE, RetireAction.REVOKE: _REVOKED}


def begin(
    connection: Connection, rotation: RotationRecord, successor: CertificateRecord, *, limit: int, cause: Cause
) -> list[Change]:
    scope, old = rotation.scope, rotation.certificate_id
    status = certificates.require(connection, scope, old)
    if status != _ACTIVE.value:
        raise StoreConflict("status", f"Certificate {old} is {status}, not ACTIVE", status=status)
    involved = _open(connection, scope, old)
    if involved is not None:
        kind = "rotating" if involved.certificate_id == old else "successor"
        raise StoreConflict(kind, f"Certificate {old} takes part in a rotation", rotation=involved)
    waiting = select(literal_column("1")).where(in_scope(_R, scope), _WAITING).limit(limit).subquery()
    if connection.execute(select(func.count()).select_from(waiting)).scalar_one() >= limit:
        raise StoreConflict("limit", f"{limit} rotations are under way", limit=limit)
    changes = certificates.insert_one(connection, successor, cause)
    changes += _attach_alike(connection, scope, old, successor.certificate_id, cause)
    connection.execute(insert(rotations).values(**_values(rotation)))
    return changes + record(
        connection,
        cause,
        _change(rotation),
        after={
            "state": rotation.state.value,
            "certificate": old,
            "retire": rotation.retire_action.value,
            "on_deadline": rotation.on_deadline.value,
            "deadline": rotation.deadline.isoformat(),
        },
    )


def _attach_alike(
    connection: Connection, scope: Scope, old: CertificateId, new: CertificateId, cause: Cause
) -> list[Change]:
    """The new certificate has the old one's policies and things; an exclusive thing is exclusive for either."""
    key = {"account_id": scope.account, "region": scope.region, "certificate_id": new}
    entries: list[tuple[Change, Facts | None, Facts | None]] = []
    policies, things = certificate_policies.c, thing_principals.c
    attached = select(policies.policy_name).where(in_scope(policies, scope), policies.certificate_id == old)
    names = list(connection.execute(attached).scalars())
    if names:
        connection.execute(insert(certificate_policies), [key | {"policy_name": name} for name in names])
        change = Change(ChangeKind.PRINCIPAL_POLICIES, scope, new)
        entries += [(change, None, {"policy": name}) for name in names]
    served = select(things.thing_name, things.thing_principal_type).where(
        in_scope(things, scope), things.certificate_id == old
    )
    rows = connection.execute(served).all()
    if rows:
        connection.execute(
            insert(thing_principals),
            [key | {"thing_name": name, "thing_principal_type": kind} for name, kind in rows],
        )
        change = Change(ChangeKind.PRINCIPAL_THINGS, scope, new)
        entries += [(change, None, {"thing": name, "type": kind}) for name, kind in rows]
    return record_all(connection, cause, entries)


def finish(
    connection: Connection, scope: Scope, successor_id: CertificateId, end: RotationEnd, cause: Cause
) -> list[Change]:
    rotation = _get(connection, and_(in_scope(_R, scope), _R.successor_id == successor_id))
    if rotation is None:
        raise StoreConflict("missing", f"There is no rotation to certificate {successor_id}")
    if rotation.state is not RotationState.WAITING:
        raise StoreConflict("settled", f"The rotation to certificate {successor_id} is {rotation.state}")
    match end:
        case RotationEnd.REQUEST:
            # Nothing has connected with the successor: a good certificate that nobody uses is only a risk.
            changes = _end(connection, rotation, RotationState.CANCELLED, end, cause)
            return changes + _set(connection, scope, successor_id, _INACTIVE, cause)
        case RotationEnd.DEADLINE if rotation.on_deadline is DeadlineAction.KEEP:
            return _end(connection, rotation, RotationState.CANCELLED, end, cause)
        case _:
            changes = _end(connection, rotation, RotationState.RETIRED, end, cause)
            new = _RETIRED_STATUS[rotation.retire_action]
            return changes + _set(connection, scope, rotation.certificate_id, new, cause)


def follow(connection: Connection, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
    """Part of a transaction that changed or deleted the certificate: its rotation ends where it has no point left."""
    rotation = _open(connection, scope, certificate_id)
    if rotation is None:
        return []
    found = certificates.get(connection, scope, certificate_id)
    status = None if found is None else found.status
    if status is _ACTIVE:
        return []
    if certificate_id == rotation.successor_id:
        return _end(connection, rotation, RotationState.CANCELLED, RotationEnd.SUCCESSOR_CHANGED, cause)
    if status is _INACTIVE and rotation.retire_action is RetireAction.REVOKE:
        return []  # what was asked for is more than what has happened
    return _end(connection, rotation, RotationState.RETIRED, RotationEnd.CERTIFICATE_CHANGED, cause)


def require_none(connection: Connection, scope: Scope, certificate_id: CertificateId) -> None:
    """StoreConflict("rotation") while the certificate takes part in one."""
    if _open(connection, scope, certificate_id) is not None:
        raise StoreConflict("rotation", f"Certificate {certificate_id} is being rotated")


def find(connection: Connection, scope: Scope, certificate_id: CertificateId) -> RotationRecord | None:
    either = or_(_R.certificate_id == certificate_id, _R.successor_id == certificate_id)
    return _get(connection, and_(in_scope(_R, scope), either))


def list_page(
    connection: Connection, scope: Scope, page: PageRequest, *, state: RotationState | None
) -> Page[RotationRecord]:
    query = select(rotations).where(in_scope(_R, scope))
    if state is not None:
        query = query.where(_WAITING if state is RotationState.WAITING else _R.state == state.value)
    columns = [_R.started_at, _R.successor_id]
    filters = [state.value if state is not None else None]
    listing = Listing("rotations", scope, columns, page, ascending=page.ascending, filters=filters)
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([_record(row) for row in rows], marker)


def waiting(connection: Connection) -> list[tuple[Scope, CertificateId]]:
    rows = connection.execute(select(_R.account_id, _R.region, _R.successor_id).where(_WAITING))
    return [(Scope(AccountId(account), region), CertificateId(successor)) for account, region, successor in rows]


def upcoming(connection: Connection, limit: int) -> list[RotationRecord]:
    query = select(rotations).where(_WAITING).order_by(_R.deadline).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def _open(connection: Connection, scope: Scope, certificate_id: CertificateId) -> RotationRecord | None:
    """The WAITING rotation that the certificate takes part in; it is the old one of one, or the successor of one."""
    # Two searches of their own index each: with OR in one, the partial index would not serve.
    for column in (_R.certificate_id, _R.successor_id):
        found = _get(connection, and_(in_scope(_R, scope), column == certificate_id, _WAITING))
        if found is not None:
            return found
    return None


def _get(connection: Connection, condition: ColumnElement[bool]) -> RotationRecord | None:
    """The one that is WAITING, else the newest."""
    query = select(rotations).where(condition).order_by(_WAITING.desc(), _R.started_at.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _record(row)


def _end(
    connection: Connection, rotation: RotationRecord, state: RotationState, end: RotationEnd, cause: Cause
) -> list[Change]:
    guarded = (
        update(rotations)
        .where(in_scope(_R, rotation.scope), _R.successor_id == rotation.successor_id, _WAITING)
        .values(state=state.value, ended_at=cause.at, ended_by=end.value)
    )
    if connection.execute(guarded).rowcount == 0:
        raise StoreConflict("settled", f"The rotation to certificate {rotation.successor_id} has ended")
    return record(
        connection,
        cause,
        _change(rotation),
        before={"state": rotation.state.value},
        after={"state": state.value, "ended_by": end.value, "certificate": rotation.certificate_id},
    )


def _set(
    connection: Connection, scope: Scope, certificate_id: CertificateId, new: CertificateStatus, cause: Cause
) -> list[Change]:
    """The certificate has the status, unless it is as far already."""
    found = certificates.get(connection, scope, certificate_id)
    if found is None or found.status not in (_ACTIVE, _INACTIVE) or found.status is new:
        return []
    return certificates.set_status(
        connection, scope, certificate_id, expected=found.status, new=new, cause=cause, reason="superseded"
    )


def _change(rotation: RotationRecord) -> Change:
    return Change(ChangeKind.ROTATION, rotation.scope, rotation.successor_id)


def _values(rotation: RotationRecord) -> dict[str, Any]:
    return {
        "account_id": rotation.scope.account,
        "region": rotation.scope.region,
        "certificate_id": rotation.certificate_id,
        "successor_id": rotation.successor_id,
        "state": rotation.state.value,
        "retire_action": rotation.retire_action.value,
        "on_deadline": rotation.on_deadline.value,
        "started_at": rotation.started_at,
        "deadline": rotation.deadline,
        "ended_at": rotation.ended_at,
        "ended_by": None if rotation.ended_by is None else rotation.ended_by.value,
    }


def _record(row: Row[*tuple[Any, ...]]) -> RotationRecord:
    return RotationRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        certificate_id=CertificateId(row.certificate_id),
        successor_id=CertificateId(row.successor_id),
        state=RotationState(row.state),
        retire_action=RetireAction(row.retire_action),
        on_deadline=DeadlineAction(row.on_deadline),
        started_at=row.started_at,
        deadline=row.deadline,
        ended_at=row.ended_at,
        ended_by=None if row.ended_by is None else RotationEnd(row.ended_by),
    )
