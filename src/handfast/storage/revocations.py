"""Revocations of certificates that were issued here, for the device issuing CA's list: kept when registrations go."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Connection, bindparam, literal, select

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateMode
from handfast.ports.revocations import RevocationRecord
from handfast.storage.journal import insert_or_ignore
from handfast.storage.tables import certificates, revocations

_R, _C = revocations.c, certificates.c


def note(connection: Connection, scope: Scope, certificate_id: CertificateId, at: dt.datetime, reason: str) -> None:
    """
    Part of the transaction in which the certificate became REVOKED; nothing where it cannot have been issued here.

    What is issued here is registered in DEFAULT mode under no CA, which nobody can do with another's certificate: that
    takes a CA whose key was proven, or makes it SNI_ONLY. Otherwise any account could revoke any other's devices.
    """
    found = select(
        _C.account_id, _C.region, _C.certificate_id, _C.pem, literal(at, _R.revoked_at.type), literal(reason)
    )
    issued = found.where(
        _C.account_id == scope.account,
        _C.region == scope.region,
        _C.certificate_id == certificate_id,
        _C.mode == CertificateMode.DEFAULT.value,
        _C.ca_certificate_id.is_(None),
    )
    names = ["account_id", "region", "certificate_id", "pem", "revoked_at", "reason"]
    connection.execute(insert_or_ignore(connection, revocations).from_select(names, issued))


_AFTER = (
    select(_R.sequence, _R.pem, _R.revoked_at, _R.reason)
    .where(_R.sequence > bindparam("after"))
    .order_by(_R.sequence)
    .limit(bindparam("most"))
)


def after(connection: Connection, sequence: int, limit: int) -> list[RevocationRecord]:
    """Up to `limit` of them above the sequence number, in its order."""
    rows = connection.execute(_AFTER, {"after": sequence, "most": limit})
    return [RevocationRecord(row[0], row[1], row[2], row[3]) for row in rows]
