"""Policies, their versions and the certificates they are attached to: the operations on their tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
)

from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope
from handfast.core.identity.records import PolicyRecord, PolicyTarget, TargetKind
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import certificates, tags
from handfast.storage.certificates import at_scope, in_scope, scope_values
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.prepared import Prepared
from handfast.storage.tables import Key, certificate_policies, policies, policy_versions, thing_group_policies
from handfast.storage.tags import Tags

_P = policies.c
_V = policy_versions.c
_C = certificate_policies.c
_T = thing_group_policies.c

_DEFAULT_VERSION = and_(
    _V.account_id == _P.account_id,
    _V.region == _P.region,
    _V.policy_name == _P.policy_name,
    _V.version == _P.default_version,
)
_SELECT = select(
    _P.account_id,
    _P.region,
    _P.policy_name,
    _P.default_version,
    _V.document,
    _P.creation_date,
    _P.last_modified_date,
    _P.generation_id,
).join(policy_versions, _DEFAULT_VERSION)

_DEFAULT = Prepared(lambda _: select(_P.default_version).where(at_scope(_P), _P.policy_name == bindparam("name")))
_DOCUMENT = Prepared(
    lambda _: (
        select(_V.document)
        .select_from(policies)
        .join(policy_versions, _DEFAULT_VERSION)
        .where(at_scope(_P), _P.policy_name == bindparam("name"))
    )
)
_ATTACHED = Prepared(lambda _: select(_C.policy_name).where(at_scope(_C), _C.certificate_id == bindparam("id")))
_ATTACH = Prepared(lambda _: insert(certificate_policies))


def create(connection: Connection, policy: PolicyRecord, given: Tags, cause: Cause) -> list[Change]:
    scope = policy.scope
    key = {"account_id": scope.account, "region": scope.region, "policy_name": policy.policy_name}
    version = int(policy.default_version_id)
    inserted = connection.execute(
        insert_or_ignore(connection, policies).returning(_P.policy_name),
        key
        | {
            "default_version": version,
            "last_version": version,
            "creation_date": policy.creation_date,
            "last_modified_date": policy.last_modified_date,
            "generation_id": policy.generation_id,
        },
    ).first()
    if inserted is None:
        raise StoreConflict("exists", f"Policy {policy.policy_name} exists")
    row = key | {"version": version, "document": policy.document, "creation_date": policy.creation_date}
    connection.execute(insert(policy_versions), row)
    after = {"version": policy.default_version_id, "document": policy.document}
    after |= tags.attach(connection, scope, _tagged(policy.policy_name), given)
    return record(connection, cause, Change(ChangeKind.POLICY, scope, policy.policy_name), after=after)


def get(connection: Connection, scope: Scope, name: PolicyName) -> PolicyRecord | None:
    row = connection.execute(_SELECT.where(in_scope(_P, scope), _P.policy_name == name)).first()
    return None if row is None else policy_record(row)


def document(connection: Connection, scope: Scope, name: PolicyName) -> str | None:
    """Of the default version; None: there is no such policy."""
    row = _DOCUMENT.run(connection, {**scope_values(scope), "name": name}).fetchone()
    return None if row is None else str(row[0])


def remove(connection: Connection, scope: Scope, name: PolicyName, cause: Cause) -> list[Change]:
    policy = get(connection, scope, name)
    if policy is None:
        raise StoreConflict("missing", f"Policy {name} does not exist")
    certificate = exists().where(in_scope(_C, scope), _C.policy_name == name)
    group = exists().where(in_scope(_T, scope), _T.policy_name == name)
    if connection.execute(select(or_(certificate, group))).scalar():
        raise StoreConflict("targets", f"Policy {name} is attached")
    versions = and_(in_scope(_V, scope), _V.policy_name == name)
    if connection.execute(select(func.count()).select_from(policy_versions).where(versions)).scalar_one() > 1:
        raise StoreConflict("versions", f"Policy {name} has versions besides the default")
    connection.execute(delete(policy_versions).where(versions))
    connection.execute(delete(policies).where(in_scope(_P, scope), _P.policy_name == name))
    before = {"version": policy.default_version_id, "document": policy.document}
    before |= tags.forget(connection, scope, _tagged(name))
    return record(connection, cause, Change(ChangeKind.POLICY, scope, name), before=before)


def select_policies() -> Select[Any]:
    """What `policy_record` reads: policies with the document of their default version."""
    return _SELECT


def list_page(connection: Connection, scope: Scope, page: PageRequest) -> Page[PolicyRecord]:
    listing = Listing("policies", scope, [_P.creation_date, _P.policy_name], page, ascending=page.ascending)
    rows, marker = listing.cut(connection.execute(listing.select(_SELECT.where(in_scope(_P, scope)))).all())
    return Page([policy_record(row) for row in rows], marker)


def attach(
    connection: Connection,
    scope: Scope,
    name: PolicyName,
    certificate_id: CertificateId,
    *,
    limit: int,
    cause: Cause,
) -> list[Change]:
    require(connection, scope, name, "policy")
    certificates.require_attachable(connection, scope, certificate_id)
    return attach_known(connection, scope, name, certificate_id, limit=limit, cause=cause)


def attach_known(
    connection: Connection,
    scope: Scope,
    name: PolicyName,
    certificate_id: CertificateId,
    *,
    limit: int,
    attached: set[PolicyName] | None = None,
    cause: Cause,
) -> list[Change]:
    """
    `attach` for a policy and a certificate that are there, which this very transaction knows.

    `attached` is what the certificate has, where the transaction knows that too; the policy is added to it.
    """
    if attached is None:
        found = _ATTACHED.run(connection, {**scope_values(scope), "id": certificate_id}).fetchall()
        attached = {PolicyName(row[0]) for row in found}
    if name in attached:
        return []
    if len(attached) >= limit:
        raise StoreConflict("limit", f"Certificate {certificate_id} has {len(attached)} policies", limit=limit)
    key = {"account_id": scope.account, "region": scope.region, "certificate_id": certificate_id}
    _ATTACH.run(connection, {**key, "policy_name": name})
    attached.add(name)
    return record(
        connection, cause, Change(ChangeKind.PRINCIPAL_POLICIES, scope, certificate_id), after={"policy": name}
    )


def detach(
    connection: Connection, scope: Scope, name: PolicyName, certificate_id: CertificateId, cause: Cause
) -> list[Change]:
    deleted = connection.execute(
        delete(certificate_policies).where(
            in_scope(_C, scope), _C.policy_name == name, _C.certificate_id == certificate_id
        )
    )
    if deleted.rowcount == 0:
        return []
    return record(
        connection, cause, Change(ChangeKind.PRINCIPAL_POLICIES, scope, certificate_id), before={"policy": name}
    )


def attached_page(
    connection: Connection, scope: Scope, certificate_id: CertificateId, page: PageRequest
) -> Page[PolicyRecord]:
    certificates.require(connection, scope, certificate_id)
    joined = and_(
        _C.account_id == _P.account_id,
        _C.region == _P.region,
        _C.policy_name == _P.policy_name,
        _C.certificate_id == certificate_id,
    )
    query = _SELECT.join(certificate_policies, joined).where(in_scope(_P, scope))
    listing = Listing("attached-policies", scope, [_P.policy_name], page, filters=[certificate_id])
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([policy_record(row) for row in rows], marker)


def targets_page(
    connection: Connection, scope: Scope, name: PolicyName, page: PageRequest, *, kind: TargetKind | None
) -> Page[PolicyTarget]:
    require(connection, scope, name, "missing")
    targets = union_all(
        *[
            select(literal(each.value, Key).label("kind"), column.label("name")).where(
                in_scope(columns, scope), columns.policy_name == name
            )
            for each, columns, column in (
                (TargetKind.CERTIFICATE, _C, _C.certificate_id),
                (TargetKind.THING_GROUP, _T, _T.group_name),
            )
            if kind in (None, each)
        ]
    ).subquery()
    order: list[Any] = [targets.c.kind, targets.c.name]
    filters = [name, kind.value if kind is not None else None]
    listing = Listing("policy-targets", scope, order, page, filters=filters)
    rows, marker = listing.cut(connection.execute(listing.select(select(targets))).all())
    return Page([PolicyTarget(TargetKind(row.kind), row.name) for row in rows], marker)


def _tagged(name: PolicyName) -> TaggedResource:
    return TaggedResource(Taggable.POLICY, name)


def require(connection: Connection, scope: Scope, name: PolicyName, kind: str) -> None:
    """StoreConflict(kind) when there is no such policy."""
    if _DEFAULT.run(connection, {**scope_values(scope), "name": name}).fetchone() is None:
        raise StoreConflict(kind, f"Policy {name} does not exist")


def policy_record(row: Row[*tuple[Any, ...]]) -> PolicyRecord:
    """A row of `select_policies`."""
    return PolicyRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        policy_name=PolicyName(row.policy_name),
        default_version_id=str(row.default_version),
        document=row.document,
        creation_date=row.creation_date,
        last_modified_date=row.last_modified_date,
        generation_id=row.generation_id,
    )
