"""Certificates by the end of their validity."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from handfast.control.context import Handler, Result, page_request, present, scope_of
from handfast.core.identity.arns import ca_certificate_arn, certificate_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.core.identity.records import (
    CACertificateRecord,
    CACertificateStatus,
    CertificateRecord,
    CertificateStatus,
)
from handfast.errors import InvalidRequestError
from handfast.services.ca_certificates import CACertificates
from handfast.services.certificates import Certificates

DEVICE, CA = "DEVICE", "CA"
S = TypeVar("S", bound=StrEnum)


class ExpiryHandlers:
    """Handlers by operation name in `handlers`, of /handfast/v1."""

    def __init__(self, certificates: Certificates, ca_certificates: CACertificates) -> None:
        self._certificates = certificates
        self._cas = ca_certificates
        self.handlers: dict[str, Handler] = {"ListCertificatesByExpiry": self.list_certificates_by_expiry}

    async def list_certificates_by_expiry(
        self,
        ctx: Caller,
        *,
        kind: str | None = None,
        until: dt.datetime | None = None,
        status: Sequence[str] | None = None,
        page_size: int | None = None,
        marker: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = page_request(page_size, marker)
        if kind == CA:
            cas = await self._cas.by_expiry(
                scope, page, until=until, statuses=_statuses(CACertificateStatus, status, "a CA certificate")
            )
            return present(certificates=[_ca(record) for record in cas.items], next_marker=cas.marker)
        found = await self._certificates.by_expiry(
            scope, page, until=until, statuses=_statuses(CertificateStatus, status, "a certificate")
        )
        return present(certificates=[_device(record, scope) for record in found.items], next_marker=found.marker)


def _device(record: CertificateRecord, scope: Scope) -> Result:
    """`scope`: who asks, where that may be another account, to which the certificate is offered."""
    return _described(record, DEVICE, certificate_arn(scope, record.certificate_id)) | present(
        ca_certificate_id=record.ca_certificate_id, previous_owned_by=record.previous_owned_by
    )


def _ca(record: CACertificateRecord) -> Result:
    return _described(record, CA, ca_certificate_arn(record.scope, record.certificate_id)) | {
        "auto_registration_status": record.auto_registration_status.value
    }


def _described(record: CertificateRecord | CACertificateRecord, kind: str, arn: str) -> Result:
    return {
        "kind": kind,
        "certificate_arn": arn,
        "certificate_id": record.certificate_id,
        "status": record.status.value,
        "certificate_mode": record.mode.value,
        "owned_by": record.scope.account,
        "creation_date": record.creation_date,
        "last_modified_date": record.last_modified_date,
        "validity": {"not_before": record.not_before, "not_after": record.not_after},
    }


def _statuses(kind: type[S], given: Sequence[str] | None, what: str) -> frozenset[S]:
    try:
        return frozenset(kind(status) for status in given or ())
    except ValueError:
        raise InvalidRequestError(f"The status of {what} is one of {', '.join(kind)}") from None
