"""Rotations: a certificate gets a successor that takes over what it may do, and is retired for it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateMode, CertificateRecord, CertificateStatus
from handfast.core.identity.rotation import (
    DeadlineAction,
    RetireAction,
    RotationEnd,
    RotationRecord,
    RotationState,
)
from handfast.core.pki.pem import read_certificate
from handfast.errors import (
    CertificateInputError,
    CertificateStateError,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreConflict,
)
from handfast.ports import Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store
from handfast.services.certificates import Issuer, already_registered, not_found
from handfast.services.commit import Committer
from handfast.services.paging import page_of

MAX_WAITING = 100_000
"""Rotations under way in one account and region: each is a line in memory of every process."""
DEFAULT_DEADLINE = dt.timedelta(days=7)
MAX_DEADLINE = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What RotateCertificate answers, once. The keys are None when the device kept its own."""

    rotation: RotationRecord
    successor: CertificateRecord
    public_key_pem: str | None = None
    private_key_pem: str | None = field(default=None, repr=False)


class Rotations:
    """The use cases of rotations. Raises ServiceErrors; connections obey when a call returns."""

    def __init__(self, store: Store, issuer: Issuer, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._issuer = issuer
        self._entropy = entropy
        self._commit = commit

    async def begin(
        self,
        scope: Scope,
        cause: Cause,
        certificate_id: CertificateId,
        *,
        csr_pem: str | None,
        deadline: dt.timedelta,
        on_deadline: DeadlineAction,
        retire_action: RetireAction,
    ) -> Begun:
        """
        The ACTIVE certificate has an ACTIVE successor with the same policies and things, and waits for it to connect.

        The successor is for the request's key and subject; without a request,
        for a new RSA 2048 key that exists only in the result.
        """
        if not dt.timedelta(0) < deadline <= MAX_DEADLINE:
            raise InvalidRequestError(f"The deadline must be within {MAX_DEADLINE.days} days, and not at once")
        await self._check(scope, certificate_id)
        public_key = private_key = None
        if csr_pem is not None:
            try:
                pem = await self._issuer.issue_from_csr(csr_pem)
            except CertificateInputError as error:
                raise InvalidRequestError(f"The certificate signing request cannot be used: {error}") from error
        else:
            issued = await self._issuer.create_keys_and_certificate()
            pem, public_key, private_key = issued.certificate_pem, issued.public_key_pem, issued.private_key_pem
        successor = self._successor(scope, cause, pem)
        rotation = RotationRecord(
            scope=scope,
            certificate_id=certificate_id,
            successor_id=successor.certificate_id,
            retire_action=retire_action,
            on_deadline=on_deadline,
            started_at=cause.at,
            deadline=cause.at + deadline,
        )
        try:
            await self._commit(
                self._store.begin_rotation(rotation, successor, limit=MAX_WAITING, cause=cause),
                suspects=[
                    Change(ChangeKind.CERTIFICATE, scope, successor.certificate_id),
                    Change(ChangeKind.ROTATION, scope, successor.certificate_id),
                ],
            )
        except StoreConflict as conflict:
            raise _refusal(conflict, scope, rotation) from None
        return Begun(rotation=rotation, successor=successor, public_key_pem=public_key, private_key_pem=private_key)

    async def describe(self, scope: Scope, certificate_id: CertificateId) -> RotationRecord:
        """The rotation that the certificate takes part in, as the old one or the successor; the newest of several."""
        rotation = await self._store.rotation(scope, certificate_id)
        if rotation is None:
            raise _never_rotated(certificate_id)
        return rotation

    async def list_page(self, scope: Scope, page: PageRequest, *, state: RotationState | None) -> Page[RotationRecord]:
        """One page, newest first unless `page.ascending`."""
        return await page_of(self._store.list_rotations(scope, page, state=state))

    async def cancel(self, scope: Scope, cause: Cause, certificate_id: CertificateId) -> RotationRecord:
        """The old certificate stays as it is; the successor, with which nobody has connected, is INACTIVE."""
        rotation = await self.describe(scope, certificate_id)
        successor_id = rotation.successor_id
        try:
            await self._commit(
                self._store.finish_rotation(scope, successor_id, RotationEnd.REQUEST, cause),
                suspects=[
                    Change(ChangeKind.CERTIFICATE, scope, successor_id),
                    Change(ChangeKind.ROTATION, scope, successor_id),
                ],
            )
        except StoreConflict as conflict:
            if conflict.kind != "settled":
                raise
            ended = await self.describe(scope, successor_id)
            raise CertificateStateError(
                f"The rotation of certificate {ended.certificate_id} is {ended.state} and cannot be cancelled any more"
            ) from None
        return await self.describe(scope, successor_id)

    async def _check(self, scope: Scope, certificate_id: CertificateId) -> None:
        """Refused before a key is spent on it; the store checks again."""
        old = await self._store.certificate(scope, certificate_id)
        if old is None:
            raise not_found(certificate_id)
        if old.status is not CertificateStatus.ACTIVE:
            raise _not_active(certificate_id, old.status)
        rotation = await self._store.rotation(scope, certificate_id)
        if rotation is not None and rotation.state is RotationState.WAITING:
            raise _under_way(scope, certificate_id, rotation)

    def _successor(self, scope: Scope, cause: Cause, pem: str) -> CertificateRecord:
        parsed = read_certificate(pem)
        return CertificateRecord(
            scope=scope,
            certificate_id=CertificateId(parsed.certificate_id),
            pem=parsed.pem,
            status=CertificateStatus.ACTIVE,
            mode=CertificateMode.DEFAULT,
            creation_date=cause.at,
            last_modified_date=cause.at,
            not_before=parsed.not_before,
            not_after=parsed.not_after,
            generation_id=self._entropy.uuid(),
        )


def _refusal(conflict: StoreConflict, scope: Scope, rotation: RotationRecord) -> Exception:
    match conflict.kind:
        case "missing":
            return not_found(rotation.certificate_id)
        case "status":
            return _not_active(rotation.certificate_id, CertificateStatus(conflict.facts["status"]))
        case "rotating" | "successor":
            return _under_way(scope, rotation.certificate_id, conflict.facts["rotation"])
        case "limit":
            return LimitExceededError(
                f"{MAX_WAITING} rotations are under way in this account and region; wait for some to end"
            )
        case "exists":
            return already_registered(scope, rotation.successor_id)
        case _:
            return conflict


def _not_active(certificate_id: CertificateId, status: CertificateStatus) -> CertificateStateError:
    return CertificateStateError(f"Certificate must be ACTIVE to be rotated, not {status}. Id: {certificate_id}")


def _under_way(scope: Scope, certificate_id: CertificateId, rotation: RotationRecord) -> ResourceAlreadyExistsError:
    if rotation.certificate_id == certificate_id:
        text = f"Certificate {certificate_id} is being rotated to {rotation.successor_id}"
    else:
        text = f"Certificate {certificate_id} is the successor of {rotation.certificate_id} and has not connected yet"
    return ResourceAlreadyExistsError(
        f"{text}; wait for that rotation to end, or cancel it",
        resourceId=rotation.successor_id,
        resourceArn=certificate_arn(scope, rotation.successor_id),
    )


def _never_rotated(certificate_id: CertificateId) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Certificate {certificate_id} takes part in no rotation in this account and region")
