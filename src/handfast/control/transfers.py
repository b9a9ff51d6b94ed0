"""The operations on transfers between accounts, and ForgetCertificate (/handfast/v1)."""

from __future__ import annotations

from handfast.control.context import (
    Handler,
    Result,
    cause_of,
    page_request,
    present,
    require_operator,
    scope_of,
)
from handfast.core.identity.arns import certificate_arn, fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.services.endpoints import check_region
from handfast.services.transfers import Transfers


class TransferHandlers:
    """Handlers by operation name: of the `iot` model in `handlers`, of /handfast/v1 in `own_handlers`."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self.handlers: dict[str, Handler] = {
            "TransferCertificate": self.transfer_certificate,
            "AcceptCertificateTransfer": self.accept_certificate_transfer,
            "RejectCertificateTransfer": self.reject_certificate_transfer,
            "CancelCertificateTransfer": self.cancel_certificate_transfer,
            "ListOutgoingCertificates": self.list_outgoing_certificates,
        }
        self.own_handlers: dict[str, Handler] = {"ForgetCertificate": self.forget_certificate}

    async def transfer_certificate(
        self, ctx: Caller, *, certificate_id: str, target_aws_account: str, transfer_message: str | None = None
    ) -> Result:
        arn = await self._transfers.transfer(
            scope_of(ctx),
            cause_of(ctx, "TransferCertificate"),
            fold_certificate_id(certificate_id),
            target=target_aws_account,
            message=transfer_message,
        )
        return {"transferred_certificate_arn": arn}

    async def accept_certificate_transfer(
        self, ctx: Caller, *, certificate_id: str, set_as_active: bool | None = None
    ) -> Result:
        await self._transfers.accept(
            scope_of(ctx),
            cause_of(ctx, "AcceptCertificateTransfer"),
            fold_certificate_id(certificate_id),
            set_as_active=bool(set_as_active),
        )
        return {}

    async def reject_certificate_transfer(
        self, ctx: Caller, *, certificate_id: str, reject_reason: str | None = None
    ) -> Result:
        await self._transfers.reject(
            scope_of(ctx),
            cause_of(ctx, "RejectCertificateTransfer"),
            fold_certificate_id(certificate_id),
            reason=reject_reason,
        )
        return {}

    async def cancel_certificate_transfer(self, ctx: Caller, *, certificate_id: str) -> Result:
        await self._transfers.cancel(
            scope_of(ctx), cause_of(ctx, "CancelCertificateTransfer"), fold_certificate_id(certificate_id)
        )
        return {}

    async def list_outgoing_certificates(
        self,
        ctx: Caller,
        *,
        page_size: int | None = None,
        marker: str | None = None,
        ascending_order: bool | None = None,
    ) -> Result:
        page = await self._transfers.list_outgoing(
            scope_of(ctx), page_request(page_size, marker, ascending=ascending_order)
        )
        items = [
            present(
                certificate_arn=certificate_arn(record.scope, record.certificate_id),
                certificate_id=record.certificate_id,
                transferred_to=record.transfer_target,
                transfer_date=record.transfer.transfer_date,
                transfer_message=record.transfer.transfer_message,
                creation_date=record.creation_date,
            )
            for record in page.items
        ]
        return present(outgoing_certificates=items, next_marker=page.marker)

    async def forget_certificate(self, ctx: Caller, *, account_id: str, certificate_id: str) -> Result:
        """In the region of the signature."""
        require_operator(ctx)
        await self._transfers.forget(
            cause_of(ctx, "ForgetCertificate"),
            account_id,
            check_region(ctx.region),
            fold_certificate_id(certificate_id),
        )
        return {}
