"""Transfers of certificates between the accounts of a region."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, exists, select, update

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.records import CertificateRecord, CertificateStatus, TombstoneReason
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import rotations, tombstones
from handfast.storage.certificates import PENDING_LITERAL, get, in_scope, offered_to, require, select_certificates
from handfast.storage.certificates import page_of as certificates_page
from handfast.storage.journal import Facts, record_all
from handfast.storage.tables import accounts, certificate_policies, certificates, thing_principals

_C = certificates.c
_INACTIVE, _PENDING = CertificateStatus.INACTIVE, CertificateStatus.PENDING_TRANSFER


def offer(
    connection: Connection,
    scope: Scope,
    certificate_id: CertificateId,
    *,
    target: AccountId,
    message: str | None,
    cause: Cause,
) -> list[Change]:
    status = require(connection, scope, certificate_id)
    if status != _INACTIVE.value:
        raise StoreConflict("status", f"Certificate {certificate_id} is {status}", status=status)
    if not connection.execute(select(exists().where(accounts.c.account_id == target))).scalar():
        raise StoreConflict("target", f"Account {target} does not exist")
    for kind, table in (("policies", certificate_policies), ("things", thing_principals)):
        held = select(exists().where(in_scope(table.c, scope), table.c.certificate_id == certificate_id))
        if connection.execute(held).scalar():
            raise StoreConflict(kind, f"{kind.capitalize()} are attached to certificate {certificate_id}")
    rotations.require_none(connection, scope, certificate_id)
    pending = and_(offered_to(target, scope.region), _C.certificate_id == certificate_id)
    if connection.execute(select(exists().where(pending))).scalar():
        raise StoreConflict("offered", f"Certificate {certificate_id} is already offered to account {target}")
    _change(
        connection,
        scope,
        certificate_id,
        _INACTIVE,
        status=_PENDING.value,
        transfer_target=target,
        transfer_message=message,
        reject_reason=None,
        transfer_date=cause.at,
        accept_date=None,
        reject_date=None,
        last_modified_date=cause.at,
    )
    after = {"status": _PENDING.value, "transferTarget": target, "transferMessage": message}
    return _record(connection, cause, certificate_id, scope, target, {"status": _INACTIVE.value}, after)


def accept(
    connection: Connection, scope: Scope, certificate_id: CertificateId, *, status: CertificateStatus, cause: Cause
) -> list[Change]:
    source, version = _pending_offer(connection, scope, certificate_id)
    if tombstones.get(connection, scope, certificate_id) is TombstoneReason.REVOKED:
        raise StoreConflict("revoked", f"Certificate {certificate_id} was revoked here")
    if get(connection, scope, certificate_id) is not None:
        raise StoreConflict("exists", f"Certificate {certificate_id} is registered here")
    # Nothing refers to the row: its policies and things were off when it was offered, and none can be attached since.
    _change(
        connection,
        source,
        certificate_id,
        _PENDING,
        account_id=scope.account,
        status=status.value,
        previous_owned_by=source.account,
        customer_version=version + 1,
        accept_date=cause.at,
        last_modified_date=cause.at,
    )
    tombstones.put(connection, source, certificate_id, TombstoneReason.TRANSFERRED, cause)
    tombstones.lift(connection, scope, certificate_id)
    before = {"status": _PENDING.value, "ownedBy": source.account, "customerVersion": version}
    after = {"status": status.value, "ownedBy": scope.account, "customerVersion": version + 1}
    return _record(connection, cause, certificate_id, source, scope.account, before, after)


def reject(
    connection: Connection, scope: Scope, certificate_id: CertificateId, *, reason: str | None, cause: Cause
) -> list[Change]:
    source, _ = _pending_offer(connection, scope, certificate_id)
    _change(
        connection,
        source,
        certificate_id,
        _PENDING,
        status=_INACTIVE.value,
        reject_reason=reason,
        reject_date=cause.at,
        last_modified_date=cause.at,
    )
    after = {"status": _INACTIVE.value, "transferTarget": None, "rejectReason": reason}
    before = {"status": _PENDING.value, "transferTarget": scope.account}
    return _record(connection, cause, certificate_id, source, scope.account, before, after)


def cancel(connection: Connection, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
    query = select(_C.status, _C.transfer_target).where(in_scope(_C, scope), _C.certificate_id == certificate_id)
    row = connection.execute(query).first()
    if row is None:
        query = select(_C.status, _C.transfer_target).where(
            _C.region == scope.region, _C.certificate_id == certificate_id, _C.previous_owned_by == scope.account
        )
        row = connection.execute(query).first()
        if row is None:
            raise StoreConflict("missing", f"Certificate {certificate_id} does not exist")
    elif row.status == _PENDING.value:
        _change(connection, scope, certificate_id, _PENDING, status=_INACTIVE.value, last_modified_date=cause.at)
        before: Facts = {"status": _PENDING.value, "transferTarget": row.transfer_target}
        after: Facts = {"status": _INACTIVE.value, "transferTarget": None}
        return _record(connection, cause, certificate_id, scope, row.transfer_target, before, after)
    raise StoreConflict("settled", f"No transfer of {certificate_id} is pending", status=row.status)


def outgoing_page(connection: Connection, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
    # The status is spelled out so that the partial index serves the query.
    query = select_certificates().where(in_scope(_C, scope), _C.status == PENDING_LITERAL)
    return certificates_page(connection, "outgoing", scope, [query], page)


def _pending_offer(connection: Connection, scope: Scope, certificate_id: CertificateId) -> tuple[Scope, int]:
    """Whose offer to this scope is pending, and its customer version."""
    query = (
        select(_C.account_id, _C.status, _C.customer_version)
        .where(_C.region == scope.region, _C.certificate_id == certificate_id, _C.transfer_target == scope.account)
        .order_by((_C.status == _PENDING.value).desc())
    )
    row = connection.execute(query).first()
    if row is None:
        raise StoreConflict("missing", f"Certificate {certificate_id} was not offered to {scope.account}")
    if row.status != _PENDING.value:
        raise StoreConflict("settled", f"No transfer of {certificate_id} is pending", status=row.status)
    return Scope(AccountId(row.account_id), scope.region), row.customer_version


def _change(
    connection: Connection, scope: Scope, certificate_id: CertificateId, expected: CertificateStatus, **values: Any
) -> None:
    guarded = (
        update(certificates)
        .where(in_scope(_C, scope), _C.certificate_id == certificate_id, _C.status == expected.value)
        .values(**values)
    )
    if connection.execute(guarded).rowcount == 0:
        status = require(connection, scope, certificate_id)
        raise StoreConflict("status", f"Certificate {certificate_id} is {status}, not {expected}", status=status)


def _record(
    connection: Connection,
    cause: Cause,
    certificate_id: CertificateId,
    source: Scope,
    target: AccountId,
    before: Facts,
    after: Facts,
) -> list[Change]:
    """A transfer stands in the audit of both accounts, and both sides' caches hear of it."""
    scopes = (source, Scope(target, source.region))
    entries = [(Change(ChangeKind.CERTIFICATE, scope, certificate_id), before, after) for scope in scopes]
    return record_all(connection, cause, entries)
