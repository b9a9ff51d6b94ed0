"""Server certificates that the operator imported: the operations on their table. Their private keys are not here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, update

from handfast.core.identity.domains import CertificateHealth, ServerCertificateId, ServerCertificateRecord
from handfast.core.identity.ids import AccountId, Scope
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.accounts import get_account
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.tables import domain_configurations as domains
from handfast.storage.tables import server_certificates as certificates

_S = certificates.c
_D = domains.c
_USERS_TOLD = 10


def create(connection: Connection, made: ServerCertificateRecord, limit: int, cause: Cause) -> list[Change]:
    scope = made.scope
    if get_account(connection, scope.account) is None:
        raise StoreConflict("account", f"Account {scope.account} does not exist")
    if connection.execute(insert_or_ignore(connection, certificates).returning(_S.name), _row(made)).first() is None:
        taken = select(_S.certificate_id, _S.key_name).where(in_scope(_S, scope), _S.name == made.name)
        row = connection.execute(taken).one()
        raise StoreConflict(
            "exists",
            f"A server certificate is named {made.name}",
            certificate_id=row.certificate_id,
            has_key=row.key_name is not None,
        )
    mine = select(func.count()).select_from(certificates).where(in_scope(_S, scope))
    if connection.execute(mine).scalar_one() > limit:
        raise StoreConflict("limit", f"There are {limit} server certificates", limit=limit)
    return record(connection, cause, _change(made), after=_facts(made))


def get(connection: Connection, scope: Scope, certificate_id: ServerCertificateId) -> ServerCertificateRecord | None:
    row = connection.execute(select(certificates).where(_its(scope, certificate_id))).first()
    return None if row is None else _certificate(row)


def list_all(connection: Connection, account: AccountId | None) -> list[ServerCertificateRecord]:
    query = select(certificates).order_by(_S.account_id, _S.region, _S.name)
    if account is not None:
        query = query.where(_S.account_id == account)
    return [_certificate(row) for row in connection.execute(query)]


def replace_served(
    connection: Connection, made: ServerCertificateRecord, expected: ServerCertificateRecord, cause: Cause
) -> list[Change]:
    old = _require(connection, made.scope, made.certificate_id)
    if (old.chain_pem, old.key_name) != (expected.chain_pem, expected.key_name):
        raise StoreConflict("changed", "Another certificate was imported meanwhile")
    return _store(connection, old, made, cause)


def set_health(
    connection: Connection,
    scope: Scope,
    certificate_id: ServerCertificateId,
    health: CertificateHealth,
    detail: str,
    cause: Cause,
) -> list[Change]:
    old = _require(connection, scope, certificate_id)
    values = {"health": health.value, "detail": detail}
    connection.execute(update(certificates).where(_its(scope, certificate_id)).values(**values))
    before = {"status": old.health.value, "detail": old.detail}
    return record(connection, cause, _change(old), before=before, after={"status": health.value, "detail": detail})


def remove(connection: Connection, scope: Scope, certificate_id: ServerCertificateId, cause: Cause) -> list[Change]:
    old = _require(connection, scope, certificate_id)
    uses = (_D.certificate_id, _D.validation_certificate_id, _D.ocsp_responder_id)
    named = or_(*[column == certificate_id for column in uses])
    users = connection.execute(
        select(_D.name).where(in_scope(_D, scope), named).order_by(_D.name).limit(_USERS_TOLD)
    ).all()
    if users:
        names = [row.name for row in users]
        raise StoreConflict("domains", f"Domain configurations name it: {', '.join(names)}", names=names)
    connection.execute(delete(certificates).where(_its(scope, certificate_id)))
    return record(connection, cause, _change(old), before=_facts(old))


def _store(
    connection: Connection, old: ServerCertificateRecord, new: ServerCertificateRecord, cause: Cause
) -> list[Change]:
    connection.execute(update(certificates).where(_its(old.scope, old.certificate_id)).values(**_row(new)))
    return record(connection, cause, _change(new), before=_facts(old), after=_facts(new))


def _require(connection: Connection, scope: Scope, certificate_id: ServerCertificateId) -> ServerCertificateRecord:
    found = get(connection, scope, certificate_id)
    if found is None:
        raise StoreConflict("missing", f"Server certificate {certificate_id} does not exist")
    return found


def _its(scope: Scope, certificate_id: ServerCertificateId) -> Any:
    return in_scope(_S, scope) & (_S.certificate_id == certificate_id)


def _row(made: ServerCertificateRecord) -> dict[str, Any]:
    return {
        "account_id": made.scope.account,
        "region": made.scope.region,
        "certificate_id": made.certificate_id,
        "name": made.name,
        "chain_pem": made.chain_pem,
        "key_name": made.key_name,
        "health": made.health.value,
        "detail": made.detail,
        "imported_at": made.imported_at,
    }


def _certificate(row: Row[*tuple[Any, ...]]) -> ServerCertificateRecord:
    return ServerCertificateRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        certificate_id=ServerCertificateId(row.certificate_id),
        name=row.name,
        chain_pem=row.chain_pem,
        key_name=row.key_name,
        health=CertificateHealth(row.health),
        detail=row.detail,
        imported_at=row.imported_at,
    )


def _facts(made: ServerCertificateRecord) -> dict[str, Any]:
    return {"name": made.name, "chain": made.chain_pem, "status": made.health.value, "detail": made.detail}


def _change(made: ServerCertificateRecord) -> Change:
    return Change(ChangeKind.SERVER_CERTIFICATE, made.scope, made.certificate_id)
