"""CA certificates and registration codes: the operations on their tables."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateMode,
    CertificateRecord,
    RegistrationConfig,
)
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import registration_configs, tables, tags
from handfast.storage.certificates import in_scope
from handfast.storage.expiry import expiry_listing
from handfast.storage.journal import Facts, insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import ca_certificates, registration_codes
from handfast.storage.tags import Tags

_C = ca_certificates.c
_R = registration_codes.c
_SELECT = select(ca_certificates, *registration_configs.COLUMNS).outerjoin(
    tables.registration_configs, registration_configs.OF_CA
)


def insert_one(
    connection: Connection,
    ca: CACertificateRecord,
    *,
    registration_code: str | None,
    subject_limit: int,
    given: Tags,
    cause: Cause,
) -> list[Change]:
    scope = ca.scope
    statement = insert_or_ignore(connection, ca_certificates).returning(_C.certificate_id)
    if connection.execute(statement, [_row(ca)]).first() is None:
        raise StoreConflict(
            "exists", f"CA certificate {ca.certificate_id} is registered", scope=scope, certificate_id=ca.certificate_id
        )
    # A conflict from here on takes the row back: the transaction ends with it.
    if registration_code is not None and get_code(connection, scope) != registration_code:
        raise StoreConflict("code", "The registration code is another one by now")
    same = select(func.count()).select_from(ca_certificates).where(in_scope(_C, scope), _C.subject == ca.subject)
    if connection.execute(same).scalar_one() > subject_limit:
        raise StoreConflict("limit", f"{subject_limit} CA certificates have this subject", limit=subject_limit)
    if ca.registration_config is not None:
        registration_configs.store(connection, scope, ca.certificate_id, ca.registration_config)
    tagged = tags.attach(connection, scope, _tagged(ca.certificate_id), given)
    return record(connection, cause, _change(scope, ca.certificate_id), after={**_audited(ca), **tagged})


def get(connection: Connection, scope: Scope, certificate_id: CertificateId) -> CACertificateRecord | None:
    row = connection.execute(_SELECT.where(in_scope(_C, scope), _C.certificate_id == certificate_id)).first()
    return None if row is None else _record(row)


def of_subject(connection: Connection, scope: Scope, subject: str) -> list[CACertificateRecord]:
    query = _SELECT.where(in_scope(_C, scope), _C.subject == subject).order_by(_C.creation_date, _C.certificate_id)
    return [_record(row) for row in connection.execute(query)]


def change(
    connection: Connection,
    scope: Scope,
    certificate_id: CertificateId,
    *,
    status: CACertificateStatus | None,
    auto_registration_status: AutoRegistrationStatus | None,
    registration_config: RegistrationConfig | None,
    remove_registration_config: bool,
    cause: Cause,
) -> list[Change]:
    ca = _require(connection, scope, certificate_id)
    config = None if remove_registration_config else registration_config or ca.registration_config
    new = dataclasses.replace(
        ca,
        status=status or ca.status,
        auto_registration_status=auto_registration_status or ca.auto_registration_status,
        registration_config=config,
    )
    if new == ca:
        return []
    if config != ca.registration_config:
        registration_configs.store(connection, scope, certificate_id, config)
    connection.execute(
        update(ca_certificates)
        .where(in_scope(_C, scope), _C.certificate_id == certificate_id)
        .values(
            status=new.status.value,
            auto_registration_status=new.auto_registration_status.value,
            last_modified_date=cause.at,
        )
    )
    return record(connection, cause, _change(scope, certificate_id), before=_changeable(ca), after=_changeable(new))


def remove(connection: Connection, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
    ca = _require(connection, scope, certificate_id)
    if ca.status is CACertificateStatus.ACTIVE:
        raise StoreConflict("status", f"CA certificate {certificate_id} is ACTIVE", status=ca.status.value)
    connection.execute(delete(ca_certificates).where(in_scope(_C, scope), _C.certificate_id == certificate_id))
    tagged = tags.forget(connection, scope, _tagged(certificate_id))
    return record(connection, cause, _change(scope, certificate_id), before={**_audited(ca), **tagged})


def list_page(
    connection: Connection, scope: Scope, page: PageRequest, *, template_name: str | None
) -> Page[CACertificateRecord]:
    columns = [_C.creation_date, _C.certificate_id]
    query, filters = _SELECT.where(in_scope(_C, scope)), []
    if template_name is not None:
        query = query.where(tables.registration_configs.c.template_name == template_name)
        filters.append(template_name)
    listing = Listing("ca_certificates", scope, columns, page, ascending=page.ascending, filters=filters)
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([_record(row) for row in rows], marker)


def by_expiry_page(
    connection: Connection,
    scope: Scope,
    page: PageRequest,
    *,
    until: dt.datetime | None,
    statuses: Collection[CACertificateStatus],
) -> Page[CACertificateRecord]:
    listing, wanted = expiry_listing(
        "ca_certificates_by_expiry", _C, scope, page, until, statuses or list(CACertificateStatus)
    )
    queries = [_SELECT.where(in_scope(_C, scope), *conditions) for conditions in wanted]
    rows, marker = listing.read(connection, queries)
    return Page([_record(row) for row in rows], marker)


def default_of_region(connection: Connection, region: str) -> list[CACertificateRecord]:
    return matching(connection, _C.region == region, _C.mode == CertificateMode.DEFAULT.value)


def matching(connection: Connection, *conditions: ColumnElement[bool]) -> list[CACertificateRecord]:
    return [_record(row) for row in connection.execute(_SELECT.where(*conditions))]


def is_active(connection: Connection, scope: Scope, certificate_id: CertificateId) -> bool:
    query = select(_C.status).where(in_scope(_C, scope), _C.certificate_id == certificate_id)
    return connection.execute(query).scalar() == CACertificateStatus.ACTIVE.value


def without_active(
    connection: Connection, records: Iterable[CertificateRecord]
) -> dict[tuple[Scope, CertificateId | None], StoreConflict]:
    """The CAs that the records name which are not registered and ACTIVE, with what to answer for their records."""
    named = {(record.scope, record.ca_certificate_id) for record in records}
    return {
        (scope, ca): StoreConflict("ca", f"CA certificate {ca} is not registered and ACTIVE")
        for scope, ca in named
        if ca is None or not is_active(connection, scope, ca)
    }


def ensure_code(connection: Connection, scope: Scope, code: str, cause: Cause) -> str:
    stored = get_code(connection, scope)
    if stored is not None:
        return stored
    connection.execute(
        insert(registration_codes).values(
            account_id=scope.account, region=scope.region, code=code, creation_date=cause.at
        )
    )
    record(connection, cause, _code_change(scope), after=_code_facts(code))
    return code


def get_code(connection: Connection, scope: Scope) -> str | None:
    return connection.execute(select(_R.code).where(in_scope(_R, scope))).scalar()


def remove_code(connection: Connection, scope: Scope, cause: Cause) -> list[Change]:
    code = get_code(connection, scope)
    if code is None:
        raise StoreConflict("missing", "There is no registration code")
    connection.execute(delete(registration_codes).where(in_scope(_R, scope)))
    return record(connection, cause, _code_change(scope), before=_code_facts(code))


def _tagged(certificate_id: CertificateId) -> TaggedResource:
    return TaggedResource(Taggable.CA_CERTIFICATE, certificate_id)


def _require(connection: Connection, scope: Scope, certificate_id: CertificateId) -> CACertificateRecord:
    ca = get(connection, scope, certificate_id)
    if ca is None:
        raise StoreConflict("missing", f"CA certificate {certificate_id} does not exist")
    return ca


def _change(scope: Scope, certificate_id: CertificateId) -> Change:
    return Change(ChangeKind.CA_CERTIFICATE, scope, certificate_id)


def _code_change(scope: Scope) -> Change:
    return Change(ChangeKind.REGISTRATION_CODE, scope, scope.account)


def _audited(ca: CACertificateRecord) -> Facts:
    return {"mode": ca.mode.value, **_changeable(ca)}


def _changeable(ca: CACertificateRecord) -> Facts:
    return {
        "status": ca.status.value,
        "autoRegistrationStatus": ca.auto_registration_status.value,
        **registration_configs.audited(ca.registration_config),
    }


def _code_facts(code: str) -> Facts:
    """Which code it was; the code itself proves possession of CAs and has no place in a log."""
    return {"codeSha256": hashlib.sha256(code.encode()).hexdigest()}


def _record(row: Row[*tuple[Any, ...]]) -> CACertificateRecord:
    return CACertificateRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        certificate_id=CertificateId(row.certificate_id),
        pem=row.pem,
        subject=row.subject,
        status=CACertificateStatus(row.status),
        auto_registration_status=AutoRegistrationStatus(row.auto_registration_status),
        mode=CertificateMode(row.mode),
        creation_date=row.creation_date,
        last_modified_date=row.last_modified_date,
        not_before=row.not_before,
        not_after=row.not_after,
        generation_id=row.generation_id,
        customer_version=row.customer_version,
        registration_config=registration_configs.of_row(row),
    )


def _row(ca: CACertificateRecord) -> dict[str, Any]:
    return {
        "account_id": ca.scope.account,
        "region": ca.scope.region,
        "certificate_id": ca.certificate_id,
        "pem": ca.pem,
        "subject": ca.subject,
        "status": ca.status.value,
        "auto_registration_status": ca.auto_registration_status.value,
        "mode": ca.mode.value,
        "creation_date": ca.creation_date,
        "last_modified_date": ca.last_modified_date,
        "not_before": ca.not_before,
        "not_after": ca.not_after,
        "generation_id": ca.generation_id,
        "customer_version": ca.customer_version,
    }
