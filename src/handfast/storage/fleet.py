"""Ownership tokens and claims: the operations on their tables. `spend` is part of the transaction that provisions."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.core.provisioning.fleet import ClaimLimits, ClaimRecord, OwnershipProof, OwnershipTokenRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage import certificates, provisioning_claims
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.tables import claims, ownership_tokens

_T = ownership_tokens.c
_C = claims.c


def insert_unclaimed(
    connection: Connection, certificate: CertificateRecord, token: OwnershipTokenRecord, cause: Cause
) -> list[Change]:
    claim_id = token.claim_certificate_id
    _require_active(connection, token.scope, claim_id, cause.at)
    known = claim(connection, token.scope, claim_id)
    if known is not None and known.limits.devices is not None and known.provisioned >= known.limits.devices:
        raise _exhausted(claim_id, known.limits.devices)
    changes = certificates.insert_one(connection, certificate, cause)
    # One of a certificate that was deleted before its time came, and is here again.
    connection.execute(delete(ownership_tokens).where(_of(token.scope, token.certificate_id)))
    connection.execute(
        insert(ownership_tokens).values(
            account_id=token.scope.account,
            region=token.scope.region,
            certificate_id=token.certificate_id,
            claim_certificate_id=claim_id,
            digest=token.digest,
            expires_at=token.expires_at,
            spent_at=token.spent_at,
        )
    )
    return changes


def token(connection: Connection, scope: Scope, certificate_id: CertificateId) -> OwnershipTokenRecord | None:
    row = connection.execute(select(ownership_tokens).where(_of(scope, certificate_id))).first()
    return None if row is None else _token(row)


def spend(connection: Connection, scope: Scope, proof: OwnershipProof, at: dt.datetime) -> None:
    """
    The token is spent and the claim's count one up: part of the transaction that carries out what it allows.

    Raises:
        StoreConflict: In this order "claim": its certificate is not ACTIVE, "token": spent meanwhile, expired or
            another's, "exhausted" (facts: devices).
    """
    claim_id = proof.claim_certificate_id
    _require_active(connection, scope, claim_id, at)
    guarded = (
        update(ownership_tokens)
        .where(_of(scope, proof.certificate_id), _T.claim_certificate_id == claim_id, _T.digest == proof.digest)
        .where(_T.spent_at.is_(None), _T.expires_at > at)
        .values(spent_at=at)
    )
    if connection.execute(guarded).rowcount == 0:
        raise StoreConflict("token", f"The ownership token of certificate {proof.certificate_id} cannot be spent")
    counted = (
        update(claims)
        .where(_of_claim(scope, claim_id), or_(_C.devices.is_(None), _C.provisioned < _C.devices))
        .values(provisioned=_C.provisioned + 1)
    )
    if connection.execute(counted).rowcount == 0:
        known = claim(connection, scope, claim_id)
        if known is not None:
            raise _exhausted(claim_id, known.limits.devices)
        connection.execute(insert(claims).values(**_claim_row(scope, claim_id, ClaimLimits()), provisioned=1))


def expire(connection: Connection, limit: int, cause: Cause) -> tuple[list[Change], int]:
    due = select(ownership_tokens).where(_T.expires_at <= cause.at).order_by(_T.expires_at).limit(limit)
    tokens = [_token(row) for row in connection.execute(due)]
    changes: list[Change] = []
    for each in tokens:
        connection.execute(delete(ownership_tokens).where(_of(each.scope, each.certificate_id)))
        if each.spent_at is None:
            changes += _remove_unclaimed(connection, each, cause)
    return changes, len(tokens)


def _remove_unclaimed(connection: Connection, unclaimed: OwnershipTokenRecord, cause: Cause) -> list[Change]:
    scope, certificate_id = unclaimed.scope, unclaimed.certificate_id
    found = certificates.statuses(connection, scope, [certificate_id])
    if found.get(certificate_id) is not CertificateStatus.PENDING_ACTIVATION:
        return []
    try:
        return certificates.remove(connection, scope, certificate_id, force=False, cause=cause)
    except StoreConflict:
        return []  # somebody has given it a thing or a policy: it is wanted


def next_expiry(connection: Connection) -> dt.datetime | None:
    return connection.execute(select(_T.expires_at).order_by(_T.expires_at).limit(1)).scalar()


def claim(connection: Connection, scope: Scope, certificate_id: CertificateId) -> ClaimRecord | None:
    row = connection.execute(select(claims).where(_of_claim(scope, certificate_id))).first()
    if row is None:
        return None
    limits = ClaimLimits(
        devices=row.devices, per_minute=row.per_minute, addresses=tuple(json.loads(row.addresses or "[]"))
    )
    return ClaimRecord(scope=scope, certificate_id=certificate_id, limits=limits, provisioned=row.provisioned)


def set_limits(
    connection: Connection, scope: Scope, certificate_id: CertificateId, limits: ClaimLimits, cause: Cause
) -> list[Change]:
    certificates.require(connection, scope, certificate_id)
    before = claim(connection, scope, certificate_id)
    values = _claim_row(scope, certificate_id, limits)
    connection.execute(insert_or_ignore(connection, claims).values(**values, provisioned=0))
    connection.execute(update(claims).where(_of_claim(scope, certificate_id)).values(**values))
    return record(
        connection,
        cause,
        Change(ChangeKind.CLAIM, scope, certificate_id),
        before=None if before is None else _audited(before.limits),
        after=_audited(limits),
    )


def forget_claim(connection: Connection, scope: Scope, certificate_id: CertificateId) -> None:
    """Part of the transaction that deletes the certificate."""
    connection.execute(delete(claims).where(_of_claim(scope, certificate_id)))


def _require_active(connection: Connection, scope: Scope, claim_id: CertificateId, at: dt.datetime) -> None:
    """The claim's connection is cut when it is deactivated; what was under way then must not succeed either."""
    found = certificates.statuses(connection, scope, [claim_id])
    if claim_id not in found and provisioning_claims.is_live(connection, scope, claim_id, at):
        return
    if found.get(claim_id) is not CertificateStatus.ACTIVE:
        raise StoreConflict("claim", f"Claim certificate {claim_id} is not ACTIVE")


def _exhausted(claim_id: CertificateId, devices: int | None) -> StoreConflict:
    return StoreConflict("exhausted", f"Claim certificate {claim_id} has provisioned all its devices", devices=devices)


def _of(scope: Scope, certificate_id: CertificateId) -> Any:
    return and_(in_scope(_T, scope), _T.certificate_id == certificate_id)


def _of_claim(scope: Scope, certificate_id: CertificateId) -> Any:
    return and_(in_scope(_C, scope), _C.certificate_id == certificate_id)


def _claim_row(scope: Scope, certificate_id: CertificateId, limits: ClaimLimits) -> dict[str, Any]:
    return {
        "account_id": scope.account,
        "region": scope.region,
        "certificate_id": certificate_id,
        "devices": limits.devices,
        "per_minute": limits.per_minute,
        "addresses": json.dumps(list(limits.addresses)),
    }


def _audited(limits: ClaimLimits) -> dict[str, Any]:
    facts = {"devices": limits.devices, "perMinute": limits.per_minute, "addresses": list(limits.addresses) or None}
    return {name: value for name, value in facts.items() if value is not None}


def _token(row: Row[*tuple[Any, ...]]) -> OwnershipTokenRecord:
    return OwnershipTokenRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        certificate_id=CertificateId(row.certificate_id),
        claim_certificate_id=CertificateId(row.claim_certificate_id),
        digest=row.digest,
        expires_at=row.expires_at,
        spent_at=row.spent_at,
    )
