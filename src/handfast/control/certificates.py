"""The operations on device certificates."""

from __future__ import annotations

from typing import Final

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.core.identity.arns import certificate_arn, fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.errors import InvalidRequestError
from handfast.ports import Page
from handfast.services.certificates import Certificates

BODY_LIMITS: Final = dict.fromkeys(
    ("CreateCertificateFromCsr", "RegisterCertificate", "RegisterCertificateWithoutCA", "RegisterCACertificate"),
    3 * 1024 * 1024,
)
"""
Bytes of a request. A certificate of a megabyte, or two of them in one request, is answered with the model's own error
and the member that is too long; a body beyond this with 413.
"""


class CertificateHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self.handlers: dict[str, Handler] = {
            "CreateKeysAndCertificate": self.create_keys_and_certificate,
            "CreateCertificateFromCsr": self.create_certificate_from_csr,
            "RegisterCertificateWithoutCA": self.register_certificate_without_ca,
            "RegisterCertificate": self.register_certificate,
            "UpdateCertificate": self.update_certificate,
            "DescribeCertificate": self.describe_certificate,
            "DeleteCertificate": self.delete_certificate,
            "ListCertificates": self.list_certificates,
        }

    async def create_keys_and_certificate(self, ctx: Caller, *, set_as_active: bool | None = None) -> Result:
        made = await self._certificates.create_keys_and_certificate(
            scope_of(ctx), cause_of(ctx, "CreateKeysAndCertificate"), set_as_active=bool(set_as_active)
        )
        return _identified(made.certificate) | {
            "certificate_pem": made.certificate.pem,
            "key_pair": {"public_key": made.public_key_pem, "private_key": made.private_key_pem},
        }

    async def create_certificate_from_csr(
        self, ctx: Caller, *, certificate_signing_request: str, set_as_active: bool | None = None
    ) -> Result:
        record = await self._certificates.create_from_csr(
            scope_of(ctx),
            cause_of(ctx, "CreateCertificateFromCsr"),
            certificate_signing_request,
            set_as_active=bool(set_as_active),
        )
        return _identified(record) | {"certificate_pem": record.pem}

    async def register_certificate_without_ca(
        self, ctx: Caller, *, certificate_pem: str, status: str | None = None
    ) -> Result:
        record = await self._certificates.register_without_ca(
            scope_of(ctx),
            cause_of(ctx, "RegisterCertificateWithoutCA"),
            certificate_pem,
            None if status is None else status_named(status),
        )
        return _identified(record)

    async def register_certificate(
        self,
        ctx: Caller,
        *,
        certificate_pem: str,
        ca_certificate_pem: str | None = None,
        set_as_active: bool | None = None,
        status: str | None = None,
    ) -> Result:
        wanted = None if status is None else status_named(status)
        if set_as_active is not None:  # deprecated, and the same as ACTIVE or INACTIVE
            asked = CertificateStatus.ACTIVE if set_as_active else CertificateStatus.INACTIVE
            if wanted not in (None, asked):
                raise InvalidRequestError("setAsActive and status say different things; give status alone")
            wanted = asked
        record = await self._certificates.register(
            scope_of(ctx),
            cause_of(ctx, "RegisterCertificate"),
            certificate_pem,
            ca_pem=ca_certificate_pem,
            status=wanted,
        )
        return _identified(record)

    async def update_certificate(self, ctx: Caller, *, certificate_id: str, new_status: str) -> Result:
        await self._certificates.update_status(
            scope_of(ctx),
            cause_of(ctx, "UpdateCertificate"),
            fold_certificate_id(certificate_id),
            status_named(new_status),
        )
        return {}

    async def describe_certificate(self, ctx: Caller, *, certificate_id: str) -> Result:
        scope = scope_of(ctx)
        record = await self._certificates.describe_or_offer(scope, fold_certificate_id(certificate_id))
        transfer = record.transfer
        description = _identified(record, scope) | present(
            ca_certificate_id=record.ca_certificate_id,
            status=record.status.value,
            certificate_pem=record.pem,
            owned_by=record.scope.account,
            previous_owned_by=record.previous_owned_by,
            creation_date=record.creation_date,
            last_modified_date=record.last_modified_date,
            customer_version=record.customer_version,
            transfer_data=present(  # an empty object when there never was a transfer
                transfer_message=transfer.transfer_message,
                reject_reason=transfer.reject_reason,
                transfer_date=transfer.transfer_date,
                accept_date=transfer.accept_date,
                reject_date=transfer.reject_date,
            ),
            generation_id=record.generation_id,
            validity={"not_before": record.not_before, "not_after": record.not_after},
            certificate_mode=record.mode.value,
        )
        return {"certificate_description": description}

    async def delete_certificate(self, ctx: Caller, *, certificate_id: str, force_delete: bool | None = None) -> Result:
        await self._certificates.delete(
            scope_of(ctx),
            cause_of(ctx, "DeleteCertificate"),
            fold_certificate_id(certificate_id),
            force=bool(force_delete),
        )
        return {}

    async def list_certificates(
        self,
        ctx: Caller,
        *,
        page_size: int | None = None,
        marker: str | None = None,
        ascending_order: bool | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._certificates.list_page(scope, page_request(page_size, marker, ascending=ascending_order))
        return listed(scope, page)


def listed(scope: Scope, page: Page[CertificateRecord]) -> Result:
    """The page as ListCertificates and ListCertificatesByCA answer it to `scope`."""
    items = [
        _identified(record, scope)
        | {
            "status": record.status.value,
            "certificate_mode": record.mode.value,
            "creation_date": record.creation_date,
        }
        for record in page.items
    ]
    return present(certificates=items, next_marker=page.marker)


def _identified(record: CertificateRecord, scope: Scope | None = None) -> Result:
    """`scope`: who asks, where that may be another account, to which the certificate is offered."""
    return {
        "certificate_arn": certificate_arn(scope or record.scope, record.certificate_id),
        "certificate_id": record.certificate_id,
    }


def status_named(text: str) -> CertificateStatus:
    """The status that a request names, or InvalidRequestError."""
    try:
        return CertificateStatus(text)
    except ValueError:
        raise InvalidRequestError(f"The status must be one of {', '.join(CertificateStatus)}") from None
