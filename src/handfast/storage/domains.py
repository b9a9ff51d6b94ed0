"""Domain configurations: the operations on their table. Which name leads to whom its unique indexes decide."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from handfast.core.identity.domains import (
    DATA_ATS,
    ApplicationProtocol,
    AuthenticationType,
    DomainConfigurationEdit,
    DomainConfigurationName,
    DomainConfigurationRecord,
    DomainStatus,
    DomainType,
    ServerCertificateId,
    Stapling,
)
from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest, Tags
from handfast.storage import server_certificates, tags
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import domain_configurations as domains

_D = domains.c


def create(
    connection: Connection, domain: DomainConfigurationRecord, limit: int, given: Tags, cause: Cause
) -> list[Change]:
    scope, name = domain.scope, domain.name
    there = get(connection, scope, name)
    if there is not None:
        raise StoreConflict("exists", f"Domain configuration {name} exists", resource=there.resource)
    _require_certificates(connection, domain)
    if connection.execute(insert_or_ignore(connection, domains).returning(_D.name), _row(domain)).first() is None:
        raise StoreConflict("domain", "The name leads elsewhere already")
    mine = select(func.count()).select_from(domains).where(in_scope(_D, scope), _D.domain_type != DomainType.ENDPOINT)
    if connection.execute(mine).scalar_one() > limit:
        raise StoreConflict("limit", f"There are {limit} domain configurations", limit=limit)
    after = _facts(domain) | tags.attach(connection, scope, _tagged(domain), given)
    return record(connection, cause, _change(scope, name), after=after)


def get(connection: Connection, scope: Scope, name: DomainConfigurationName) -> DomainConfigurationRecord | None:
    row = connection.execute(select(domains).where(in_scope(_D, scope), _D.name == name)).first()
    return None if row is None else _domain(row)


def list_all(connection: Connection) -> list[DomainConfigurationRecord]:
    query = select(domains).order_by(_D.account_id, _D.region, _D.name)
    return [_domain(row) for row in connection.execute(query)]


def list_page(connection: Connection, scope: Scope, page: PageRequest) -> Page[str]:
    query = select(_D.name, _D.resource).where(in_scope(_D, scope), _D.name != DATA_ATS)
    listing = Listing("domain-configurations", scope, [_D.name], page)
    found = [(row.name, row.resource) for row in connection.execute(listing.select(query))]
    # The endpoint's own is always there, with a row or without.
    after = listing.position()
    if after is None or after[0] < DATA_ATS:
        found = sorted([*found, (DATA_ATS, DATA_ATS)])
    shown = found[: page.limit]
    marker = listing.marker_after([shown[-1][0]]) if len(found) > page.limit else None
    return Page([resource for _, resource in shown], marker)


def change(
    connection: Connection, scope: Scope, name: DomainConfigurationName, edit: DomainConfigurationEdit, cause: Cause
) -> list[Change]:
    old = _require(connection, scope, name)
    said = {
        "status": edit.status,
        "security_policy": edit.security_policy,
        "authentication_type": edit.authentication_type,
        "application_protocol": edit.application_protocol,
        "stapling": edit.stapling,
    }
    new: DomainConfigurationRecord = replace(
        old,
        **{member: value for member, value in said.items() if value is not None},  # type: ignore[arg-type]
    )
    if new.status is not old.status:
        new = replace(new, status_changed_at=cause.at)
    return _store(connection, old, new, cause)


def set_endpoint_policy(connection: Connection, domain: DomainConfigurationRecord, cause: Cause) -> list[Change]:
    old = get(connection, domain.scope, domain.name)
    if old is not None:
        return _store(connection, old, replace(old, security_policy=domain.security_policy), cause)
    connection.execute(domains.insert(), _row(domain))
    return record(connection, cause, _change(domain.scope, domain.name), after=_facts(domain))


def remove(
    connection: Connection,
    scope: Scope,
    name: DomainConfigurationName,
    *,
    disabled_until: dt.datetime | None,
    cause: Cause,
) -> list[Change]:
    old = _require(connection, scope, name)
    if old.status is not DomainStatus.DISABLED:
        raise StoreConflict("status", f"Domain configuration {name} is {old.status}", status=old.status)
    since = old.status_changed_at
    if disabled_until is not None and old.domain_type is DomainType.AWS_MANAGED and since > disabled_until:
        raise StoreConflict("waiting", f"Domain configuration {name} is DISABLED since {since}", since=since)
    before = _facts(old) | tags.forget(connection, scope, _tagged(old))
    connection.execute(delete(domains).where(in_scope(_D, scope), _D.name == name))
    return record(connection, cause, _change(scope, name), before=before)


def _store(
    connection: Connection, old: DomainConfigurationRecord, new: DomainConfigurationRecord, cause: Cause
) -> list[Change]:
    if new == old:
        return []
    _require_certificates(connection, new)
    statement = update(domains).where(in_scope(_D, old.scope), _D.name == old.name).values(**_row(new))
    connection.execute(statement)
    return record(connection, cause, _change(old.scope, old.name), before=_facts(old), after=_facts(new))


def _require_certificates(connection: Connection, domain: DomainConfigurationRecord) -> None:
    for certificate_id in (domain.certificate_id, domain.validation_certificate_id, domain.stapling.responder_id):
        if certificate_id is not None and server_certificates.get(connection, domain.scope, certificate_id) is None:
            raise StoreConflict("certificate", "The server certificate does not exist", certificate_id=certificate_id)


def _require(connection: Connection, scope: Scope, name: DomainConfigurationName) -> DomainConfigurationRecord:
    found = get(connection, scope, name)
    if found is None:
        raise StoreConflict("missing", f"Domain configuration {name} does not exist")
    return found


def _row(domain: DomainConfigurationRecord) -> dict[str, Any]:
    return {
        "account_id": domain.scope.account,
        "region": domain.scope.region,
        "name": domain.name,
        "resource": domain.resource,
        "suffix": domain.suffix,
        "domain_type": domain.domain_type.value,
        "prefix": domain.prefix,
        "domain_name": domain.domain_name,
        "status": domain.status.value,
        "status_changed_at": domain.status_changed_at,
        "security_policy": domain.security_policy,
        "authentication_type": domain.authentication_type.value,
        "application_protocol": domain.application_protocol.value,
        "certificate_id": domain.certificate_id,
        "validation_certificate_id": domain.validation_certificate_id,
        "ocsp": domain.stapling.enabled,
        "ocsp_responder_id": domain.stapling.responder_id,
    }


def _domain(row: Row[*tuple[Any, ...]]) -> DomainConfigurationRecord:
    def certificate(value: str | None) -> ServerCertificateId | None:
        return None if value is None else ServerCertificateId(value)

    return DomainConfigurationRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        name=DomainConfigurationName(row.name),
        suffix=row.suffix,
        domain_type=DomainType(row.domain_type),
        prefix=row.prefix,
        domain_name=row.domain_name,
        status=DomainStatus(row.status),
        status_changed_at=row.status_changed_at,
        security_policy=row.security_policy,
        authentication_type=AuthenticationType(row.authentication_type),
        application_protocol=ApplicationProtocol(row.application_protocol),
        certificate_id=certificate(row.certificate_id),
        validation_certificate_id=certificate(row.validation_certificate_id),
        stapling=Stapling(row.ocsp, certificate(row.ocsp_responder_id)),
    )


def _facts(domain: DomainConfigurationRecord) -> dict[str, Any]:
    facts = {
        "domainType": domain.domain_type.value,
        "domainName": domain.domain_name,
        "prefix": domain.prefix,
        "domainConfigurationStatus": domain.status.value,
        "securityPolicy": domain.security_policy,
        "authenticationType": domain.authentication_type.value,
        "applicationProtocol": domain.application_protocol.value,
        "serverCertificate": domain.certificate_id,
        "validationCertificate": domain.validation_certificate_id,
        "enableOCSPCheck": domain.stapling.enabled,
        "ocspAuthorizedResponder": domain.stapling.responder_id,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _change(scope: Scope, name: DomainConfigurationName) -> Change:
    return Change(ChangeKind.DOMAIN_CONFIGURATION, scope, name)


def _tagged(domain: DomainConfigurationRecord) -> TaggedResource:
    return TaggedResource(Taggable.DOMAIN_CONFIGURATION, domain.resource)
