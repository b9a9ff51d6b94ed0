"""Certificate providers: the operations on their table. Its key is the scope, so that none has two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select, update

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.provisioning.records import CertificateProviderName, CertificateProviderRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage import tags
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.tables import certificate_providers as providers
from handfast.storage.tags import Tags

_P = providers.c


def create(connection: Connection, made: CertificateProviderRecord, given: Tags, cause: Cause) -> list[Change]:
    scope, name = made.scope, made.name
    row = {
        "account_id": scope.account,
        "region": scope.region,
        "name": name,
        "function_arn": made.function_arn,
        "request_digest": made.request_digest,
        "creation_date": made.creation_date,
        "last_modified_date": made.last_modified_date,
    }
    if connection.execute(insert_or_ignore(connection, providers).returning(_P.name), row).first() is None:
        there = get(connection, scope)
        same = there is not None and there.name == name
        raise StoreConflict("exists" if same else "limit", f"The account has a certificate provider: {name}")
    after = _facts(made) | tags.attach(connection, scope, _tagged(name), given)
    return record(connection, cause, _change(scope, name), after=after)


def get(connection: Connection, scope: Scope) -> CertificateProviderRecord | None:
    row = connection.execute(select(providers).where(in_scope(_P, scope))).first()
    if row is None:
        return None
    return CertificateProviderRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        name=CertificateProviderName(row.name),
        function_arn=row.function_arn,
        request_digest=row.request_digest,
        creation_date=row.creation_date,
        last_modified_date=row.last_modified_date,
    )


def change(
    connection: Connection, scope: Scope, name: CertificateProviderName, function_arn: str, cause: Cause
) -> list[Change]:
    old = _require(connection, scope, name)
    if old.function_arn == function_arn:
        return []
    values = {"function_arn": function_arn, "last_modified_date": cause.at}
    connection.execute(update(providers).where(in_scope(_P, scope)), values)
    return record(
        connection, cause, _change(scope, name), before=_facts(old), after={"lambdaFunctionArn": function_arn}
    )


def remove(connection: Connection, scope: Scope, name: CertificateProviderName, cause: Cause) -> list[Change]:
    old = _require(connection, scope, name)
    before = _facts(old) | tags.forget(connection, scope, _tagged(name))
    connection.execute(delete(providers).where(in_scope(_P, scope)))
    return record(connection, cause, _change(scope, name), before=before)


def _require(connection: Connection, scope: Scope, name: CertificateProviderName) -> CertificateProviderRecord:
    found = get(connection, scope)
    if found is None or found.name != name:
        raise StoreConflict("missing", f"Certificate provider {name} does not exist")
    return found


def _facts(provider: CertificateProviderRecord) -> dict[str, Any]:
    return {"lambdaFunctionArn": provider.function_arn}


def _change(scope: Scope, name: CertificateProviderName) -> Change:
    return Change(ChangeKind.CERTIFICATE_PROVIDER, scope, name)


def _tagged(name: CertificateProviderName) -> TaggedResource:
    return TaggedResource(Taggable.CERTIFICATE_PROVIDER, name)
