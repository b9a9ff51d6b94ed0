"""Device certificates: the operations on their table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    literal_column,
    or_,
    select,
    update,
)

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.lifecycle import KEPT_FROM_DELETION
from handfast.core.identity.records import (
    CertificateMode,
    CertificateRecord,
    CertificateStatus,
    TombstoneReason,
    TransferRecord,
)
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import revocations, tombstones
from handfast.storage.expiry import expiry_listing
from handfast.storage.journal import Facts, insert_or_ignore, record, record_all
from handfast.storage.paging import Listing
from handfast.storage.prepared import Prepared
from handfast.storage.tables import certificate_policies, certificates, thing_principals

_C = certificates.c

COLUMNS = (
    "account_id",
    "region",
    "certificate_id",
    "pem",
    "status",
    "mode",
    "creation_date",
    "last_modified_date",
    "not_before",
    "not_after",
    "generation_id",
    "customer_version",
    "ca_certificate_id",
    "previous_owned_by",
    "transfer_message",
    "reject_reason",
    "transfer_date",
    "accept_date",
    "reject_date",
    "transfer_target",
)
"""The order that `certificate_record` reads."""
_SELECT = select(*[_C[name] for name in COLUMNS])

_STATUSES = {status.value: status for status in CertificateStatus}
_MODES = {mode.value: mode for mode in CertificateMode}
_NO_TRANSFER = TransferRecord()
_EMPTY = (None,) * 5

PENDING_LITERAL: ColumnElement[str] = literal_column("'PENDING_TRANSFER'")
"""Spelled out in the statement, so that the partial indexes on it serve."""


def certificate_record(row: Sequence[Any], instant: Callable[[Any], dt.datetime]) -> CertificateRecord:
    """A row in the order of `COLUMNS` as a record; `instant` reads a non-empty instant as this row holds it."""
    transfer = _NO_TRANSFER
    if tuple(row[14:19]) != _EMPTY:
        transfer = TransferRecord(
            transfer_message=row[14],
            reject_reason=row[15],
            transfer_date=None if row[16] is None else instant(row[16]),
            accept_date=None if row[17] is None else instant(row[17]),
            reject_date=None if row[18] is None else instant(row[18]),
        )
    return CertificateRecord(
        scope=Scope(row[0], row[1]),
        certificate_id=row[2],
        pem=row[3],
        status=_STATUSES[row[4]],
        mode=_MODES[row[5]],
        creation_date=instant(row[6]),
        last_modified_date=instant(row[7]),
        not_before=instant(row[8]),
        not_after=instant(row[9]),
        generation_id=row[10],
        customer_version=row[11],
        ca_certificate_id=row[12],
        previous_owned_by=row[13],
        transfer=transfer,
        transfer_target=row[19],
    )


def _from_core(row: Row[*tuple[Any, ...]]) -> CertificateRecord:
    return certificate_record(row, lambda value: value)


def in_scope(table_columns: Any, scope: Scope) -> Any:
    """The condition that every statement on a resource carries."""
    return and_(table_columns.account_id == scope.account, table_columns.region == scope.region)


def at_scope(table_columns: Any) -> Any:
    """The same condition for a statement that is made once: `scope_values` fill it."""
    return and_(table_columns.account_id == bindparam("account_"), table_columns.region == bindparam("region_"))


def scope_values(scope: Scope) -> dict[str, Any]:
    """What `at_scope` asks for."""
    return {"account_": scope.account, "region_": scope.region}


def offered_to(account: AccountId, region: str) -> Any:
    """The condition of the certificates that other accounts offer to this one."""
    return and_(_C.transfer_target == account, _C.region == region, _C.status == PENDING_LITERAL)


def select_certificates() -> Select[Any]:
    """What `page_of` makes records of."""
    return _SELECT


_INSERT = Prepared(lambda c: insert_or_ignore(c, certificates).returning(_C.certificate_id))
_STATUS = Prepared(lambda _: select(_C.status).where(at_scope(_C), _C.certificate_id == bindparam("id")))
_SET_STATUS = Prepared(
    lambda _: (
        update(certificates)
        .where(at_scope(_C), _C.certificate_id == bindparam("id"), _C.status == bindparam("expected"))
        .values(status=bindparam("new"), last_modified_date=bindparam("at"))
    )
)


def insert_many(
    connection: Connection, records: Sequence[CertificateRecord], cause: Cause
) -> list[Change | StoreConflict]:
    by_key: dict[tuple[Scope, CertificateId], CertificateRecord] = {}
    for item in records:
        by_key.setdefault((item.scope, item.certificate_id), item)
    if not by_key:
        return []
    revoked = tombstones.revoked(connection, by_key)
    fresh: set[tuple[Scope, CertificateId]] = set()
    if wanted := [_row(item) for key, item in by_key.items() if key not in revoked]:
        statement = insert_or_ignore(connection, certificates).returning(_C.account_id, _C.region, _C.certificate_id)
        rows = connection.execute(statement, wanted)
        fresh = {(Scope(AccountId(row[0]), row[1]), CertificateId(row[2])) for row in rows}
    tombstones.lift_transferred(connection, fresh)
    results: list[Change | StoreConflict] = []
    entries: list[tuple[Change, Facts | None, Facts | None]] = []
    for item in records:
        key = (item.scope, item.certificate_id)
        if key in revoked:
            results.append(_revoked(item))
            continue
        if key not in fresh:
            results.append(_taken(connection, item))
            continue
        fresh.discard(key)  # the same once more in this batch is a duplicate
        change = Change(ChangeKind.CERTIFICATE, item.scope, item.certificate_id)
        entries.append((change, None, _audited(item)))
        results.append(change)
    record_all(connection, cause, entries)
    return results


def _audited(item: CertificateRecord) -> Facts:
    facts = {"status": item.status.value, "mode": item.mode.value}
    if item.ca_certificate_id is not None:
        facts["caCertificateId"] = item.ca_certificate_id
    return facts


def _taken(connection: Connection, item: CertificateRecord) -> StoreConflict:
    same_scope = in_scope(_C, item.scope)
    query = (
        select(_C.account_id, _C.region)
        .where(_C.certificate_id == item.certificate_id, _C.region == item.scope.region)
        .where(or_(same_scope, _C.mode == CertificateMode.DEFAULT.value))
        .order_by(same_scope.desc())
    )
    row = connection.execute(query).first()
    scope = item.scope if row is None else Scope(AccountId(row.account_id), row.region)
    return StoreConflict(
        "exists",
        f"Certificate {item.certificate_id} is registered",
        scope=scope,
        certificate_id=item.certificate_id,
    )


def _revoked(item: CertificateRecord) -> StoreConflict:
    return StoreConflict("revoked", f"Certificate {item.certificate_id} was revoked here")


def insert_one(connection: Connection, item: CertificateRecord, cause: Cause) -> list[Change]:
    tombstone = tombstones.get(connection, item.scope, item.certificate_id)
    if tombstone is TombstoneReason.REVOKED:
        raise _revoked(item)
    changes = insert_unknown(connection, item, cause)
    if tombstone is not None:  # registered on purpose: that it once was transferred away is over
        tombstones.lift(connection, item.scope, item.certificate_id)
    return changes


def insert_unknown(connection: Connection, item: CertificateRecord, cause: Cause) -> list[Change]:
    """`insert_one` for a certificate that has no tombstone, which this very transaction knows."""
    if not _INSERT.run(connection, _row(item)).fetchall():
        raise _taken(connection, item)
    change = Change(ChangeKind.CERTIFICATE, item.scope, item.certificate_id)
    return record(connection, cause, change, after=_audited(item))


def get(connection: Connection, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None:
    row = connection.execute(_SELECT.where(in_scope(_C, scope), _C.certificate_id == certificate_id)).first()
    return None if row is None else _from_core(row)


def statuses(
    connection: Connection, scope: Scope, certificate_ids: Sequence[CertificateId]
) -> dict[CertificateId, CertificateStatus]:
    found: dict[CertificateId, CertificateStatus] = {}
    for start in range(0, len(certificate_ids), tombstones.CHUNK):
        wanted = _C.certificate_id.in_(certificate_ids[start : start + tombstones.CHUNK])
        rows = connection.execute(select(_C.certificate_id, _C.status).where(in_scope(_C, scope), wanted))
        found.update((CertificateId(row[0]), _STATUSES[row[1]]) for row in rows)
    return found


def get_or_offer(connection: Connection, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None:
    own = get(connection, scope, certificate_id)
    if own is not None:
        return own
    query = _SELECT.where(offered_to(scope.account, scope.region), _C.certificate_id == certificate_id)
    row = connection.execute(query).first()
    return None if row is None else _from_core(row)


def require_attachable(connection: Connection, scope: Scope, certificate_id: CertificateId) -> None:
    """A certificate under way to another account takes no policies or things along."""
    status = require(connection, scope, certificate_id, "certificate")
    if status == CertificateStatus.PENDING_TRANSFER.value:
        raise StoreConflict("status", f"Certificate {certificate_id} is {status}", status=status)


def require(connection: Connection, scope: Scope, certificate_id: CertificateId, kind: str = "missing") -> str:
    """The certificate's status; StoreConflict(kind) where there is no such certificate."""
    row = _STATUS.run(connection, {**scope_values(scope), "id": certificate_id}).fetchone()
    if row is None:
        raise StoreConflict(kind, f"Certificate {certificate_id} does not exist")
    return str(row[0])


def set_status(
    connection: Connection,
    scope: Scope,
    certificate_id: CertificateId,
    *,
    expected: CertificateStatus,
    new: CertificateStatus,
    cause: Cause,
    reason: str = "unspecified",
) -> list[Change]:
    values = {"id": certificate_id, "expected": expected.value, "new": new.value, "at": cause.at}
    if _SET_STATUS.run(connection, {**scope_values(scope), **values}).rowcount == 0:
        status = require(connection, scope, certificate_id)
        raise StoreConflict("status", f"Certificate {certificate_id} is {status}, not {expected}", status=status)
    after = {"status": new.value}
    if new is CertificateStatus.REVOKED:
        revocations.note(connection, scope, certificate_id, cause.at, reason)
        if reason != "unspecified":
            after["reason"] = reason
    return record(
        connection,
        cause,
        Change(ChangeKind.CERTIFICATE, scope, certificate_id),
        before={"status": expected.value},
        after=after,
    )


def remove(
    connection: Connection, scope: Scope, certificate_id: CertificateId, *, force: bool, cause: Cause
) -> list[Change]:
    removed = get(connection, scope, certificate_id)
    if removed is None:
        raise StoreConflict("missing", f"Certificate {certificate_id} does not exist")
    status = removed.status
    if status in KEPT_FROM_DELETION:
        raise StoreConflict("status", f"Certificate {certificate_id} is {status}", status=status.value)
    things, policies = thing_principals.c, certificate_policies.c
    held = select(exists().where(in_scope(things, scope), things.certificate_id == certificate_id))
    if connection.execute(held).scalar():
        raise StoreConflict("things", f"Things are attached to certificate {certificate_id}")
    attached = and_(in_scope(policies, scope), policies.certificate_id == certificate_id)
    names = list(connection.execute(select(policies.policy_name).where(attached)).scalars())
    if names and not force:
        raise StoreConflict("policies", f"Policies are attached to certificate {certificate_id}")
    if names:
        connection.execute(delete(certificate_policies).where(attached))
    connection.execute(delete(certificates).where(in_scope(_C, scope), _C.certificate_id == certificate_id))
    after = None
    if status is CertificateStatus.REVOKED:
        tombstones.put(connection, scope, certificate_id, TombstoneReason.REVOKED, cause)
        after = {"tombstone": TombstoneReason.REVOKED.value}
    detached = Change(ChangeKind.PRINCIPAL_POLICIES, scope, certificate_id)
    entries: list[tuple[Change, Facts | None, Facts | None]] = [(detached, {"policy": name}, None) for name in names]
    entries.append((Change(ChangeKind.CERTIFICATE, scope, certificate_id), _audited(removed), after))
    return record_all(connection, cause, entries)


def list_page(connection: Connection, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
    # Two queries, each a range of its own index: with OR in one, it would be a scan and a sort.
    queries = [_SELECT.where(in_scope(_C, scope)), _SELECT.where(offered_to(scope.account, scope.region))]
    return page_of(connection, "certificates", scope, queries, page)


def by_ca_page(
    connection: Connection, scope: Scope, ca_certificate_id: CertificateId, page: PageRequest
) -> Page[CertificateRecord]:
    query = _SELECT.where(in_scope(_C, scope), _C.ca_certificate_id == ca_certificate_id)
    return page_of(connection, "certificates_by_ca", scope, [query], page, filters=[ca_certificate_id])


def page_of(
    connection: Connection,
    name: str,
    scope: Scope,
    queries: Sequence[Select[Any]],
    page: PageRequest,
    *,
    filters: Sequence[object] = (),
) -> Page[CertificateRecord]:
    """One page of what the queries find together, by creation."""
    columns = [_C.creation_date, _C.certificate_id]
    listing = Listing(name, scope, columns, page, ascending=page.ascending, filters=filters)
    rows, marker = listing.read(connection, queries)
    return Page([_from_core(row) for row in rows], marker)


def by_expiry_page(
    connection: Connection,
    scope: Scope,
    page: PageRequest,
    *,
    until: dt.datetime | None,
    statuses: Collection[CertificateStatus],
) -> Page[CertificateRecord]:
    wanted = statuses or list(CertificateStatus)
    listing, conditions = expiry_listing("certificates_by_expiry", _C, scope, page, until, wanted)
    queries = [_SELECT.where(in_scope(_C, scope), *each) for each in conditions]
    if CertificateStatus.PENDING_TRANSFER in wanted:
        soon = [] if until is None else [_C.not_after <= until]
        queries.append(_SELECT.where(offered_to(scope.account, scope.region), *soon))
    rows, marker = listing.read(connection, queries)
    return Page([_from_core(row) for row in rows], marker)


def default_registrations(connection: Connection, region: str, certificate_id: CertificateId) -> list[Scope]:
    query = select(_C.account_id).where(
        _C.region == region, _C.certificate_id == certificate_id, _C.mode == CertificateMode.DEFAULT.value
    )
    return [Scope(AccountId(account), region) for account in connection.execute(query).scalars()]


def _row(item: CertificateRecord) -> dict[str, Any]:
    transfer = item.transfer
    return {
        "account_id": item.scope.account,
        "region": item.scope.region,
        "certificate_id": item.certificate_id,
        "pem": item.pem,
        "status": item.status.value,
        "mode": item.mode.value,
        "creation_date": item.creation_date,
        "last_modified_date": item.last_modified_date,
        "not_before": item.not_before,
        "not_after": item.not_after,
        "generation_id": item.generation_id,
        "customer_version": item.customer_version,
        "ca_certificate_id": item.ca_certificate_id,
        "previous_owned_by": item.previous_owned_by,
        "transfer_message": transfer.transfer_message,
        "reject_reason": transfer.reject_reason,
        "transfer_date": transfer.transfer_date,
        "accept_date": transfer.accept_date,
        "reject_date": transfer.reject_date,
        "transfer_target": item.transfer_target,
    }
