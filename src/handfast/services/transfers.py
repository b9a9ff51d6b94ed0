"""Transfers of certificates between the accounts of a region, and what remains of a revoked certificate."""

from __future__ import annotations

import string
from collections.abc import Awaitable

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.lifecycle import CertificateEvent, forbidden, next_status
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.errors import (
    InvalidRequestError,
    ResourceNotFoundError,
    StoreConflict,
    TransferConflictError,
)
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest, Store
from handfast.services.certificates import not_found
from handfast.services.commit import Committer
from handfast.services.paging import page_of

_ACCOUNT_DIGITS = 12
_PENDING = CertificateStatus.PENDING_TRANSFER


class Transfers:
    """The use cases of transfers. Raises ServiceErrors; both accounts' connections obey when a call returns."""

    def __init__(self, store: Store, commit: Committer) -> None:
        self._store = store
        self._commit = commit

    async def transfer(
        self, scope: Scope, cause: Cause, certificate_id: CertificateId, *, target: str, message: str | None
    ) -> str:
        """The certificate is offered to the account `target`; its ARN as it would be there."""
        account = _account(target)
        if account == scope.account:
            if await self._store.certificate(scope, certificate_id) is None:
                raise not_found(certificate_id)
            raise InvalidRequestError("The target account is the account that owns the certificate")
        theirs = Scope(account, scope.region)
        try:
            await self._run(
                self._store.transfer_certificate(scope, certificate_id, target=account, message=message, cause=cause),
                certificate_id,
                (scope, theirs),
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise not_found(certificate_id) from None
                case "status":
                    status = CertificateStatus(conflict.facts["status"])
                    raise forbidden(status, CertificateEvent.TRANSFER, certificate_id) from None
                case "target":
                    raise InvalidRequestError(f"There is no account {account} to transfer the certificate to") from None
                case "policies":
                    raise TransferConflictError(
                        "Certificate policies must be detached before the transfer "
                        f"(arn: {certificate_arn(scope, certificate_id)})"
                    ) from None
                case "things":
                    raise TransferConflictError(
                        f"Things must be detached before the transfer (arn: {certificate_arn(scope, certificate_id)})"
                    ) from None
                case "rotation":
                    raise TransferConflictError(
                        f"Certificate {certificate_id} is being rotated; wait for the rotation to end, or cancel it"
                    ) from None
                case "offered":
                    raise TransferConflictError(
                        f"A transfer of certificate {certificate_id} to account {account} is already pending"
                    ) from None
                case _:
                    raise
        return certificate_arn(theirs, certificate_id)

    async def accept(self, scope: Scope, cause: Cause, certificate_id: CertificateId, *, set_as_active: bool) -> None:
        """The certificate is this account's: INACTIVE, or ACTIVE when asked."""
        event = CertificateEvent.ACCEPT_ACTIVE if set_as_active else CertificateEvent.ACCEPT
        status = next_status(_PENDING, event, certificate_id)
        scopes = await self._sides(scope, certificate_id)
        try:
            await self._run(
                self._store.accept_transfer(scope, certificate_id, status=status, cause=cause), certificate_id, scopes
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "revoked":
                    raise InvalidRequestError(
                        f"Certificate {certificate_id} was revoked and deleted in this account and region, which "
                        "cannot be undone; an operator can lift it with 'handfast cert forget'"
                    ) from None
                case "exists":
                    raise InvalidRequestError(
                        f"Certificate {certificate_id} is registered in this account already; delete that "
                        "registration or reject the transfer"
                    ) from None
                case _:
                    raise _unsettled(conflict, event, certificate_id) from None

    async def reject(self, scope: Scope, cause: Cause, certificate_id: CertificateId, *, reason: str | None) -> None:
        """The certificate stays with its owner, INACTIVE, with the reason."""
        scopes = await self._sides(scope, certificate_id)
        try:
            await self._run(
                self._store.reject_transfer(scope, certificate_id, reason=reason, cause=cause), certificate_id, scopes
            )
        except StoreConflict as conflict:
            raise _unsettled(conflict, CertificateEvent.REJECT, certificate_id) from None

    async def cancel(self, scope: Scope, cause: Cause, certificate_id: CertificateId) -> None:
        """The certificate is offered to nobody, INACTIVE."""
        try:
            await self._run(self._store.cancel_transfer(scope, certificate_id, cause), certificate_id, (scope,))
        except StoreConflict as conflict:
            raise _unsettled(conflict, CertificateEvent.CANCEL, certificate_id) from None

    async def list_outgoing(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
        """One page of what this account offers to others, newest first unless `page.ascending`."""
        return await page_of(self._store.list_outgoing(scope, page))

    async def forget(self, cause: Cause, account_id: str, region: str, certificate_id: CertificateId) -> None:
        """A certificate that was revoked and deleted in the account may be registered there again."""
        scope = Scope(_account(account_id), region)
        try:
            await self._commit(self._store.forget_certificate(scope, certificate_id, cause))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise ResourceNotFoundError(
                f"Nothing is remembered of certificate {certificate_id} in account {scope.account} in {region}"
            ) from None

    async def _sides(self, scope: Scope, certificate_id: CertificateId) -> tuple[Scope, ...]:
        """The scopes to look at again if the store gives no answer."""
        offer = await self._store.certificate_or_offer(scope, certificate_id)
        return (scope,) if offer is None or offer.scope == scope else (scope, offer.scope)

    async def _run(
        self, write: Awaitable[list[Change]], certificate_id: CertificateId, scopes: tuple[Scope, ...]
    ) -> None:
        await self._commit(write, suspects=[Change(ChangeKind.CERTIFICATE, scope, certificate_id) for scope in scopes])


def _unsettled(conflict: StoreConflict, event: CertificateEvent, certificate_id: CertificateId) -> Exception:
    match conflict.kind:
        case "missing":
            return not_found(certificate_id)
        case "settled" | "status":
            return forbidden(CertificateStatus(conflict.facts["status"]), event, certificate_id)
        case _:
            return conflict


def _account(text: str) -> AccountId:
    if len(text) != _ACCOUNT_DIGITS or not set(text) <= set(string.digits):
        raise InvalidRequestError(f"An account id has {_ACCOUNT_DIGITS} digits")
    return AccountId(text)
