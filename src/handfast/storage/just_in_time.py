"""Just-in-time registration: a certificate is registered on the word of a registered CA, with every guard at once."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, literal, literal_column, select

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import (
    AccountStatus,
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateRecord,
    CertificateStatus,
    TombstoneReason,
)
from handfast.core.provisioning.runs import ProvisioningRun
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change
from handfast.storage import ca_certificates, certificates, provisioning_runs
from handfast.storage.certificates import PENDING_LITERAL, in_scope
from handfast.storage.prepared import Prepared
from handfast.storage.tables import accounts
from handfast.storage.tables import ca_certificates as ca_table
from handfast.storage.tables import certificates as certificate_table
from handfast.storage.tables import tombstones as tombstones_table

_C = certificate_table.c
_CA = ca_table.c
_T = tombstones_table.c
# One statement: of the account, the CA, and the certificate here and elsewhere. All by whole keys of an index.
_GUARDS = Prepared(
    lambda _: select(
        select(accounts.c.status).where(accounts.c.account_id == bindparam("account")).scalar_subquery(),
        select(literal(1))
        .where(
            _C.region == bindparam("region"),
            _C.certificate_id == bindparam("id"),
            _C.mode == literal_column("'DEFAULT'"),  # spelled out, so that the partial index on it serves
            _C.account_id != bindparam("account"),
        )
        .exists(),
        select(literal(1))
        .where(
            _C.transfer_target == bindparam("account"),
            _C.region == bindparam("region"),
            _C.certificate_id == bindparam("id"),
            _C.status == PENDING_LITERAL,
        )
        .exists(),
        select(literal(1))
        .where(
            _CA.account_id == bindparam("account"),
            _CA.region == bindparam("region"),
            _CA.certificate_id == bindparam("ca"),
            _CA.status == CACertificateStatus.ACTIVE.value,
            _CA.auto_registration_status == AutoRegistrationStatus.ENABLE.value,
        )
        .exists(),
        select(_T.reason)
        .where(
            _T.account_id == bindparam("account"),
            _T.region == bindparam("region"),
            _T.certificate_id == bindparam("id"),
        )
        .scalar_subquery(),
    )
)


def register(
    connection: Connection, certificate: CertificateRecord, run: ProvisioningRun | None, cause: Cause
) -> list[Change]:
    require_vouched(connection, certificate.scope, certificate.certificate_id, certificate.ca_certificate_id)
    changes = certificates.insert_unknown(connection, certificate, cause)
    if run is not None:
        provisioning_runs.insert_one(connection, run)
    return changes


def require_vouched(
    connection: Connection, scope: Scope, certificate_id: CertificateId, ca_certificate_id: CertificateId | None
) -> None:
    """StoreConflict unless the CA registers devices by itself at this moment and nothing is known against this one."""
    where = {"account": scope.account, "region": scope.region, "id": certificate_id, "ca": ca_certificate_id}
    account_status, elsewhere, offered, registers, reason = _GUARDS.run(connection, where).fetchone()
    if account_status != AccountStatus.ENABLED.value:
        raise StoreConflict("account", f"Account {scope.account} is disabled")
    if not registers:
        text = "is not registered, ACTIVE and auto-registering (autoRegistrationStatus ENABLE)"
        raise StoreConflict("ca", f"CA certificate {ca_certificate_id} {text}")
    if reason is not None:
        why = TombstoneReason(reason)
        kind = "revoked" if why is TombstoneReason.REVOKED else "transferred"
        raise StoreConflict(
            kind,
            f"Certificate {certificate_id} was {why} in this account: it may not register itself back; an operator "
            "can lift that with 'handfast cert forget'",
        )
    if elsewhere:
        raise StoreConflict("elsewhere", f"Certificate {certificate_id} is registered in another account")
    if offered:
        raise StoreConflict("offered", f"The transfer of certificate {certificate_id} to this account is pending")


def registering_cas(connection: Connection) -> list[CACertificateRecord]:
    return ca_certificates.matching(
        connection,
        _CA.status == CACertificateStatus.ACTIVE.value,
        _CA.auto_registration_status == AutoRegistrationStatus.ENABLE.value,
    )


def waiting(connection: Connection, scope: Scope, ca_certificate_id: CertificateId, limit: int) -> int:
    found = (
        select(_C.certificate_id)
        .where(
            in_scope(_C, scope),
            _C.ca_certificate_id == ca_certificate_id,
            _C.status == CertificateStatus.PENDING_ACTIVATION.value,
        )
        .limit(limit)
        .subquery()
    )
    return int(connection.execute(select(func.count()).select_from(found)).scalar_one())
