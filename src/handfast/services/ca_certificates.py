"""The customer's own CAs: registration with proof of possession, status, and the registration code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from handfast.core.identity.arns import ca_certificate_arn
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateMode,
    CertificateRecord,
)
from handfast.core.pki.keys import BrokenRule
from handfast.core.pki.pem import ParsedCertificate, read_certificate
from handfast.core.pki.possession import ca_refusals, common_name, name_digest, possession_refusals
from handfast.errors import (
    CertificateInputError,
    CertificateStateError,
    CertificateValidationError,
    InvalidRequestError,
    LimitExceededError,
    RegistrationCodeValidationError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreConflict,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store, Tags
from handfast.services.commit import Committer
from handfast.services.paging import page_of

CAS_PER_SUBJECT = 10
CODE_BYTES = 32


class CACertificates:
    """The use cases of CA certificates. Raises ServiceErrors."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def registration_code(self, scope: Scope, cause: Cause) -> str:
        """The scope's code, made on the first call: 64 hex digits, the same until it is deleted."""
        known = await self._store.registration_code(scope)
        if known is not None:
            return known
        return await self._store.ensure_registration_code(scope, self._entropy.token_bytes(CODE_BYTES).hex(), cause)

    async def delete_registration_code(self, scope: Scope, cause: Cause) -> None:
        """There is no code; certificates made for it prove nothing any more."""
        try:
            await self._commit(self._store.delete_registration_code(scope, cause))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise ResourceNotFoundError("There is no registration code in this account and region") from None

    async def register(
        self,
        scope: Scope,
        cause: Cause,
        pem: str,
        *,
        verification_pem: str | None,
        mode: CertificateMode,
        set_as_active: bool,
        allow_auto_registration: bool,
        tags: Tags = NO_TAGS,
    ) -> CACertificateRecord:
        """
        The CA, registered; INACTIVE unless `set_as_active`.

        In DEFAULT mode the verification certificate must prove that the caller
        holds the CA's key; in SNI_ONLY mode nothing is proved, and nothing gained
        that the caller's own endpoint would not give.
        """
        if mode is CertificateMode.DEFAULT and verification_pem is None:
            raise InvalidRequestError("verificationCertificate is required in DEFAULT mode")
        if mode is CertificateMode.SNI_ONLY and verification_pem is not None:
            raise InvalidRequestError("verificationCertificate must not be given in SNI_ONLY mode")
        ca = _read(pem, "CA certificate")
        verification = None if verification_pem is None else _read(verification_pem, "verification certificate")
        if await self._store.ca_certificate(scope, ca.certificate_id) is not None:
            raise already_registered(scope, ca.certificate_id)
        _refuse("CA certificate", ca_refusals(ca.cert, now=cause.at))
        code = None
        if verification is not None:
            _refuse("verification certificate", possession_refusals(verification.cert, ca.cert, now=cause.at))
            code = await self._store.registration_code(scope)
            if code is None or common_name(verification.cert) != code:
                raise _wrong_code()
        record = CACertificateRecord(
            scope=scope,
            certificate_id=ca.certificate_id,
            pem=ca.pem,
            subject=name_digest(ca.cert.subject),
            status=CACertificateStatus.ACTIVE if set_as_active else CACertificateStatus.INACTIVE,
            auto_registration_status=(
                AutoRegistrationStatus.ENABLE if allow_auto_registration else AutoRegistrationStatus.DISABLE
            ),
            mode=mode,
            creation_date=cause.at,
            last_modified_date=cause.at,
            not_before=ca.not_before,
            not_after=ca.not_after,
            generation_id=self._entropy.uuid(),
        )
        await self._insert(record, code, tags, cause)
        return record

    async def _insert(self, record: CACertificateRecord, code: str | None, tags: Tags, cause: Cause) -> None:
        try:
            await self._commit(
                self._store.insert_ca_certificate(
                    record, registration_code=code, subject_limit=CAS_PER_SUBJECT, tags=tags, cause=cause
                ),
                suspects=[_change(record.scope, record.certificate_id)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "exists":
                    raise already_registered(record.scope, record.certificate_id) from None
                case "code":
                    raise _wrong_code() from None
                case "limit":
                    raise LimitExceededError(
                        f"{CAS_PER_SUBJECT} CA certificates with this subject are registered in this account and "
                        "region, which is the maximum"
                    ) from None
                case _:
                    raise

    async def describe(self, scope: Scope, certificate_id: CertificateId) -> CACertificateRecord:
        """The registration, or ResourceNotFoundError."""
        record = await self._store.ca_certificate(scope, certificate_id)
        if record is None:
            raise not_found(certificate_id)
        return record

    async def update(
        self,
        scope: Scope,
        cause: Cause,
        certificate_id: CertificateId,
        *,
        status: CACertificateStatus | None,
        auto_registration_status: AutoRegistrationStatus | None,
    ) -> None:
        """What is given is so. Certificates that the CA signed and that are registered stay as they are."""
        try:
            await self._commit(
                self._store.update_ca_certificate(
                    scope,
                    certificate_id,
                    status=status,
                    auto_registration_status=auto_registration_status,
                    cause=cause,
                ),
                suspects=[_change(scope, certificate_id)],
            )
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise not_found(certificate_id) from None

    async def delete(self, scope: Scope, cause: Cause, certificate_id: CertificateId) -> None:
        """The CA is gone; the certificates that it signed stay registered."""
        try:
            await self._commit(
                self._store.delete_ca_certificate(scope, certificate_id, cause),
                suspects=[_change(scope, certificate_id)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise not_found(certificate_id) from None
                case "status":
                    raise CertificateStateError(
                        f"CA certificate must be deactivated (not ACTIVE) before deletion. Id: {certificate_id}"
                    ) from None
                case _:
                    raise

    async def list_page(self, scope: Scope, page: PageRequest) -> Page[CACertificateRecord]:
        """One page, newest first unless `page.ascending`."""
        return await page_of(self._store.list_ca_certificates(scope, page))

    async def by_expiry(
        self, scope: Scope, page: PageRequest, *, until: dt.datetime | None, statuses: Collection[CACertificateStatus]
    ) -> Page[CACertificateRecord]:
        """One page, those that expire first at the top; only until then and of these statuses, where given."""
        return await page_of(self._store.ca_certificates_by_expiry(scope, page, until=until, statuses=statuses))

    async def list_signed(
        self, scope: Scope, ca_certificate_id: CertificateId, page: PageRequest
    ) -> Page[CertificateRecord]:
        """One page of the certificates registered under the CA; of an unknown CA there are none."""
        return await page_of(self._store.list_certificates_by_ca(scope, ca_certificate_id, page))


def not_found(certificate_id: CertificateId) -> ResourceNotFoundError:
    """One answer for an unknown CA and for another account's."""
    return ResourceNotFoundError(f"CA certificate {certificate_id} does not exist in this account and region")


def already_registered(scope: Scope, certificate_id: CertificateId) -> ResourceAlreadyExistsError:
    """The members name the CA as this scope sees it, never where else it may be registered."""
    return ResourceAlreadyExistsError(
        "The CA certificate is already registered",
        resourceId=certificate_id,
        resourceArn=ca_certificate_arn(scope, certificate_id),
    )


def _wrong_code() -> RegistrationCodeValidationError:
    return RegistrationCodeValidationError(
        "The verification certificate's common name (CN) is not the registration code that GetRegistrationCode gives "
        "this account in this region"
    )


def _read(pem: str, what: str) -> ParsedCertificate:
    try:
        return read_certificate(pem)
    except CertificateInputError as error:
        raise CertificateValidationError(f"The {what} cannot be read: {error}") from error


def _refuse(what: str, broken: tuple[BrokenRule, ...]) -> None:
    if broken:
        reasons = "; ".join(rule.message for rule in broken)
        # The one text that was observed stands alone when it is the only reason.
        raise CertificateValidationError(
            reasons if [rule.rule for rule in broken] == ["chain_not_ca"] else f"The {what} cannot be used: {reasons}"
        )


def _change(scope: Scope, certificate_id: CertificateId) -> Change:
    return Change(ChangeKind.CA_CERTIFICATE, scope, certificate_id)
