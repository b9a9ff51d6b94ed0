"""What came of provisioning devices at their connection: the operations on the table of runs, which stays bounded."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from handfast.core.identity.ids import AccountId, CertificateId, Scope, ThingName
from handfast.core.identity.records import CertificateStatus
from handfast.core.provisioning.plan import FailureKind
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.ports import Page, PageRequest
from handfast.storage.certificates import in_scope
from handfast.storage.paging import Listing
from handfast.storage.prepared import Prepared
from handfast.storage.tables import certificates, provisioning_runs

KEPT = 10_000
"""Runs of one scope."""
KEPT_FOR = dt.timedelta(days=30)
_PRUNE_EVERY = 256

_C = certificates.c
_R = provisioning_runs.c
_INSERT = Prepared(
    lambda _: (
        insert(provisioning_runs)
        .values(
            {
                column.name: bindparam(column.name, type_=column.type)
                for column in provisioning_runs.columns
                if column.name != "sequence"
            }
        )
        .returning(_R.sequence)
    )
)


def insert_one(connection: Connection, run: ProvisioningRun) -> None:
    """Part of the transaction that it is about."""
    (sequence,) = _INSERT.run(connection, _row(run)).fetchone()
    if sequence % _PRUNE_EVERY == 0:
        _prune(connection, run.scope, run.at)


def add(connection: Connection, run: ProvisioningRun) -> ProvisioningRun:
    query = (
        select(provisioning_runs)
        .where(in_scope(_R, run.scope), _R.certificate_id == run.certificate_id)
        .order_by(_R.sequence.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    latest = None if row is None else _record(row)
    if row is None or latest is None or not _alike(run, latest):
        insert_one(connection, run)
        return run
    again = dataclasses.replace(latest, at=run.at, attempts=latest.attempts + 1)
    where = _R.sequence == row.sequence
    connection.execute(update(provisioning_runs).where(where).values(at=again.at, attempts=again.attempts))
    return again


def get(connection: Connection, scope: Scope, run_id: str) -> ProvisioningRun | None:
    row = connection.execute(select(provisioning_runs).where(in_scope(_R, scope), _R.run_id == run_id)).first()
    return None if row is None else _record(row)


def list_page(
    connection: Connection,
    scope: Scope,
    page: PageRequest,
    *,
    outcome: RunOutcome | None,
    certificate_id: CertificateId | None,
    latest: bool = False,
) -> Page[ProvisioningRun]:
    query = select(provisioning_runs).where(in_scope(_R, scope))
    if latest:
        later = provisioning_runs.alias()
        query = query.where(
            ~select(later.c.sequence)
            .where(
                in_scope(later.c, scope),
                later.c.certificate_id == _R.certificate_id,
                later.c.sequence > _R.sequence,
            )
            .exists()
        )
    if outcome is not None:
        query = query.where(_R.outcome == outcome.value)
    if latest and outcome is RunOutcome.FAILED:
        # Somebody has decided about the certificate since: by its primary key, so one look for each run.
        decided = select(_C.certificate_id).where(
            in_scope(_C, scope),
            _C.certificate_id == _R.certificate_id,
            _C.status != CertificateStatus.PENDING_ACTIVATION.value,
        )
        query = query.where(~decided.exists())
    if certificate_id is not None:
        query = query.where(_R.certificate_id == certificate_id)
    filters = [outcome, certificate_id, *(["latest"] if latest else [])]
    listing = Listing("provisioning_runs", scope, [_R.at, _R.run_id], page, ascending=page.ascending, filters=filters)
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([_record(row) for row in rows], marker)


def _alike(run: ProvisioningRun, other: ProvisioningRun) -> bool:
    """Both failed in one way."""
    if run.outcome is not RunOutcome.FAILED:
        return False
    return dataclasses.replace(run, run_id=other.run_id, at=other.at, attempts=other.attempts) == other


def _prune(connection: Connection, scope: Scope, now: dt.datetime) -> None:
    beyond = select(_R.at).where(in_scope(_R, scope)).order_by(_R.at.desc()).offset(KEPT).limit(1)
    newest_beyond = connection.execute(beyond).scalar()
    limit = now - KEPT_FOR if newest_beyond is None else max(now - KEPT_FOR, newest_beyond)
    connection.execute(delete(provisioning_runs).where(in_scope(_R, scope), _R.at <= limit))


def _row(run: ProvisioningRun) -> dict[str, Any]:
    return {
        "account_id": run.scope.account,
        "region": run.scope.region,
        "run_id": run.run_id,
        "at": run.at,
        "certificate_id": run.certificate_id,
        "ca_certificate_id": run.ca_certificate_id,
        "template_name": run.template_name,
        "template_version": run.template_version,
        "outcome": run.outcome.value,
        "attempts": run.attempts,
        "thing_name": run.thing_name,
        "resource": run.resource,
        "kind": None if run.kind is None else run.kind.value,
        "message": run.message,
    }


def _record(row: Row[*tuple[Any, ...]]) -> ProvisioningRun:
    return ProvisioningRun(
        scope=Scope(AccountId(row.account_id), row.region),
        run_id=row.run_id,
        at=row.at,
        certificate_id=CertificateId(row.certificate_id),
        ca_certificate_id=CertificateId(row.ca_certificate_id),
        template_name=row.template_name,
        template_version=row.template_version,
        outcome=RunOutcome(row.outcome),
        attempts=row.attempts,
        thing_name=None if row.thing_name is None else ThingName(row.thing_name),
        resource=row.resource,
        kind=None if row.kind is None else FailureKind(row.kind),
        message=row.message,
    )
