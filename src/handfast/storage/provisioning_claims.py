"""Claims of CreateProvisioningClaim: the operations on their table, which no operation on certificates looks into."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, tuple_

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.provisioning.records import ProvisioningClaimRecord, TemplateName, TemplateType
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.certificates import in_scope
from handfast.storage.journal import record, record_all
from handfast.storage.tables import claims as counts
from handfast.storage.tables import provisioning_claims as claims
from handfast.storage.tables import provisioning_templates as templates
from handfast.storage.tombstones import CHUNK

_L = claims.c
_T = templates.c
_KEY = (_L.account_id, _L.region, _L.certificate_id)
_COUNT_KEY = (counts.c.account_id, counts.c.region, counts.c.certificate_id)


def add(connection: Connection, claim: ProvisioningClaimRecord, limit: int, cause: Cause) -> list[Change]:
    scope, name = claim.scope, claim.template_name
    template = connection.execute(
        select(_T.type, _T.enabled).where(in_scope(_T, scope), _T.template_name == name)
    ).first()
    if template is None:
        raise StoreConflict("missing", f"Provisioning template {name} does not exist")
    if template.type != TemplateType.FLEET_PROVISIONING:
        raise StoreConflict("type", f"Provisioning template {name} is of type {template.type}")
    if not template.enabled:
        raise StoreConflict("disabled", f"Provisioning template {name} is not enabled")
    count = select(func.count()).select_from(claims).where(in_scope(_L, scope), _L.not_after >= cause.at)
    if connection.execute(count).scalar_one() >= limit:
        raise StoreConflict("limit", f"There are {limit} claims", limit=limit)
    row = {
        "account_id": scope.account,
        "region": scope.region,
        "certificate_id": claim.certificate_id,
        "template_name": name,
        "pem": claim.pem,
        "not_before": claim.not_before,
        "not_after": claim.not_after,
        "creation_date": claim.creation_date,
    }
    connection.execute(insert(claims), row)
    return record(connection, cause, _change(scope, claim.certificate_id), after=_facts(name))


def end_all(connection: Connection, scope: Scope, name: TemplateName, cause: Cause) -> list[Change]:
    """The template's claims are no principals any more; called where it is deleted or disabled."""
    of_template = select(*_KEY).where(in_scope(_L, scope), _L.template_name == name)
    ended = _forget(connection, connection.execute(of_template).all())
    return record_all(connection, cause, [(_change(scope, each), _facts(name), None) for each in ended])


def sweep(connection: Connection, before: dt.datetime, limit: int) -> int:
    over = select(*_KEY).where(_L.not_after < before).order_by(_L.not_after).limit(limit)
    return len(_forget(connection, connection.execute(over).all()))


def is_live(connection: Connection, scope: Scope, certificate_id: CertificateId, at: dt.datetime) -> bool:
    """Whether the certificate is a claim that is not over."""
    where = (in_scope(_L, scope), _L.certificate_id == certificate_id, _L.not_after >= at.replace(microsecond=0))
    return connection.execute(select(_L.certificate_id).where(*where)).first() is not None


def _forget(connection: Connection, keys: Sequence[Row[*tuple[Any, ...]]]) -> list[CertificateId]:
    """The claims are gone, and what is counted of what they provisioned."""
    for start in range(0, len(keys), CHUNK):
        part = [tuple(key) for key in keys[start : start + CHUNK]]
        connection.execute(delete(claims).where(tuple_(*_KEY).in_(part)))
        connection.execute(delete(counts).where(tuple_(*_COUNT_KEY).in_(part)))
    return [CertificateId(key.certificate_id) for key in keys]


def scopes_of(connection: Connection, region: str, certificate_id: CertificateId) -> list[Scope]:
    """Where the certificate is a claim in this region."""
    query = select(_L.account_id, _L.region).where(_L.certificate_id == certificate_id, _L.region == region)
    return [Scope(AccountId(row.account_id), row.region) for row in connection.execute(query)]


def _facts(name: TemplateName) -> dict[str, str]:
    return {"templateName": name}


def _change(scope: Scope, certificate_id: CertificateId) -> Change:
    return Change(ChangeKind.PROVISIONING_CLAIM, scope, certificate_id)
