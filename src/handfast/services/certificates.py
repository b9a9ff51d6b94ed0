"""Device certificates: issue, register, change status, describe, delete, list."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cryptography import x509

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.lifecycle import next_status, register_event, update_event
from handfast.core.identity.records import (
    CACertificateRecord,
    CACertificateStatus,
    CertificateMode,
    CertificateRecord,
    CertificateStatus,
)
from handfast.core.pki import keys
from handfast.core.pki.chain import link_refusals
from handfast.core.pki.keys import BrokenRule, validity_refusals
from handfast.core.pki.pem import ParsedCertificate, read_certificate
from handfast.core.pki.possession import name_digest
from handfast.errors import (
    CertificateConflictError,
    CertificateInputError,
    CertificateStateError,
    CertificateValidationError,
    DeleteConflictError,
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    ServiceUnavailableError,
    StoreConflict,
)
from handfast.ports import Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store
from handfast.services.commit import Committer
from handfast.services.issuers import V, signers
from handfast.services.paging import page_of

_ATTEMPTS = 5
"""Status changes lost to another writer before giving up; each loss means that somebody else won."""


class IssuedKeys(Protocol):
    """A new key pair and its certificate; the private key leaves in the response and is kept nowhere."""

    @property
    def certificate_pem(self) -> str: ...
    @property
    def public_key_pem(self) -> str: ...
    @property
    def private_key_pem(self) -> str: ...


class Issuer(Protocol):
    """The device issuing CA (services.authorities)."""

    async def create_keys_and_certificate(self) -> IssuedKeys: ...

    async def create_provisioning_claim(self) -> IssuedKeys:
        """A new key pair, with a certificate that is over in five minutes."""
        ...

    async def issue_from_csr(self, csr_pem: str) -> str:
        """The certificate as PEM. CertificateInputError: the request cannot be used."""
        ...


@dataclass(frozen=True, slots=True)
class KeysAndCertificate:
    """What CreateKeysAndCertificate answers, once."""

    certificate: CertificateRecord
    public_key_pem: str
    private_key_pem: str = field(repr=False)


class Certificates:
    """The use cases of device certificates. Raises ServiceErrors; a status change is obeyed when a call returns."""

    def __init__(self, store: Store, issuer: Issuer, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._issuer = issuer
        self._entropy = entropy
        self._commit = commit

    async def create_keys_and_certificate(
        self, scope: Scope, cause: Cause, *, set_as_active: bool
    ) -> KeysAndCertificate:
        """A new key pair with a registered certificate. The private key exists only in the result."""
        issued = await self._issuer.create_keys_and_certificate()
        status = CertificateStatus.ACTIVE if set_as_active else CertificateStatus.INACTIVE
        parsed = read_certificate(issued.certificate_pem)
        record = await self._insert(self._record(scope, cause, parsed, status, CertificateMode.DEFAULT), cause)
        return KeysAndCertificate(record, issued.public_key_pem, issued.private_key_pem)

    async def create_from_csr(
        self, scope: Scope, cause: Cause, csr_pem: str, *, set_as_active: bool
    ) -> CertificateRecord:
        """A certificate for the request's key and subject, registered. The same request twice gives two."""
        status = CertificateStatus.ACTIVE if set_as_active else CertificateStatus.INACTIVE
        return await self._insert(await self.issued_from_csr(scope, cause, csr_pem, status), cause)

    async def issued_from_csr(
        self, scope: Scope, cause: Cause, csr_pem: str, status: CertificateStatus
    ) -> CertificateRecord:
        """What `create_from_csr` registers: a certificate that was issued and is registered nowhere yet."""
        try:
            pem = await self._issuer.issue_from_csr(csr_pem)
        except CertificateInputError as error:
            raise InvalidRequestError(f"The certificate signing request cannot be used: {error}") from error
        return self._record(scope, cause, read_certificate(pem), status, CertificateMode.DEFAULT)

    async def register_without_ca(
        self, scope: Scope, cause: Cause, pem: str, status: CertificateStatus | None
    ) -> CertificateRecord:
        """The given certificate, registered in this account and region, found by SNI only; INACTIVE unless stated."""
        parsed, new = await self._registrable(scope, pem, status)
        refuse_broken(keys.refusals(parsed.cert, now=cause.at))
        return await self._insert(self._record(scope, cause, parsed, new, CertificateMode.SNI_ONLY), cause)

    async def register(
        self, scope: Scope, cause: Cause, pem: str, *, ca_pem: str | None, status: CertificateStatus | None
    ) -> CertificateRecord:
        """
        The given certificate, registered under the CA that signed it, whose mode it inherits; INACTIVE unless stated.

        The CA is registered here, ACTIVE, inside its validity, and the only one
        of its name and key unless `ca_pem` names it.
        """
        return await self._insert(await self.signed_by_ca(scope, cause, pem, ca_pem=ca_pem, status=status), cause)

    async def signed_by_ca(
        self, scope: Scope, cause: Cause, pem: str, *, ca_pem: str | None, status: CertificateStatus | None
    ) -> CertificateRecord:
        """What `register` registers: every rule of it holds, and the store has the last word."""
        parsed, new = await self._registrable(scope, pem, status)
        refuse_broken(keys.refusals(parsed.cert, now=cause.at))
        ca = await self._signer(scope, cause, parsed, ca_pem)
        return self._record(scope, cause, parsed, new, ca.mode, ca_certificate_id=ca.certificate_id)

    async def _registrable(
        self, scope: Scope, pem: str, status: CertificateStatus | None
    ) -> tuple[ParsedCertificate, CertificateStatus]:
        """The certificate that the text holds, new here, and the status that it starts with."""
        parsed = read(pem, "certificate")
        if await self._store.certificate(scope, parsed.certificate_id) is not None:
            raise already_registered(scope, parsed.certificate_id)
        return parsed, first_status(parsed.certificate_id, status)

    async def _signer(
        self, scope: Scope, cause: Cause, parsed: ParsedCertificate, ca_pem: str | None
    ) -> CACertificateRecord:
        """The one registered, ACTIVE CA that signed the certificate."""
        if ca_pem is not None:
            named = await self._store.ca_certificate(scope, read(ca_pem, "CA certificate").certificate_id)
            if named is None:
                raise CertificateValidationError("The CA certificate is not registered in this account and region")
            candidates = [named]
        else:
            candidates = await self._store.ca_certificates_of_subject(scope, name_digest(parsed.cert.issuer))
        return chosen_signer(parsed.cert, candidates, cause.at, named=ca_pem is not None)

    async def update_status(
        self,
        scope: Scope,
        cause: Cause,
        certificate_id: CertificateId,
        new_status: CertificateStatus,
        reason: str = "unspecified",
    ) -> CertificateStatus:
        """
        The certificate has the new status and everything obeys it; the status before is returned.

        `reason` is RFC 5280's word for why it is REVOKED, as the device issuing CA's list tells it.

        A race is decided by the store: whoever loses is judged again, from the
        status that the winner left.
        """
        suspect = Change(ChangeKind.CERTIFICATE, scope, certificate_id)
        for _ in range(_ATTEMPTS):
            record = await self.describe(scope, certificate_id)
            new = next_status(record.status, update_event(new_status), certificate_id)
            if new is record.status:
                return record.status
            try:
                await self._commit(
                    self._store.set_certificate_status(
                        scope, certificate_id, expected=record.status, new=new, cause=cause, reason=reason
                    ),
                    suspects=[suspect],
                )
            except StoreConflict as conflict:
                if conflict.kind == "missing":
                    raise not_found(certificate_id) from None
                if conflict.kind != "status":
                    raise
            else:
                return record.status
        raise ServiceUnavailableError(f"The status of certificate {certificate_id} keeps changing; try again")

    async def describe(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord:
        """The registration, or ResourceNotFoundError."""
        return _found(await self._store.certificate(scope, certificate_id), certificate_id)

    async def describe_or_offer(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord:
        """The registration, or another account's that is offered to this one, or ResourceNotFoundError."""
        return _found(await self._store.certificate_or_offer(scope, certificate_id), certificate_id)

    async def delete(self, scope: Scope, cause: Cause, certificate_id: CertificateId, *, force: bool) -> None:
        """The registration is gone; `force` detaches policies first, and waives nothing else."""
        arn = certificate_arn(scope, certificate_id)
        try:
            await self._commit(
                self._store.delete_certificate(scope, certificate_id, force=force, cause=cause),
                suspects=[Change(ChangeKind.CERTIFICATE, scope, certificate_id)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise not_found(certificate_id) from None
                case "status" if conflict.facts.get("status") == CertificateStatus.PENDING_TRANSFER:
                    raise CertificateStateError(
                        f"Certificate is being transferred; cancel the transfer before deletion. Id: {certificate_id}"
                    ) from None
                case "status":
                    raise CertificateStateError(
                        f"Certificate must be deactivated (not ACTIVE) before deletion. Id: {certificate_id}"
                    ) from None
                case "things":
                    raise DeleteConflictError(f"Things must be detached before deletion (arn: {arn})") from None
                case "policies":
                    raise DeleteConflictError(
                        f"Certificate policies must be detached before deletion (arn: {arn})"
                    ) from None
                case _:
                    raise

    async def list_page(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
        """One page, newest first unless `page.ascending`."""
        return await page_of(self._store.list_certificates(scope, page))

    async def by_expiry(
        self, scope: Scope, page: PageRequest, *, until: dt.datetime | None, statuses: Collection[CertificateStatus]
    ) -> Page[CertificateRecord]:
        """One page, those that expire first at the top; only until then and of these statuses, where given."""
        return await page_of(self._store.certificates_by_expiry(scope, page, until=until, statuses=statuses))

    def _record(
        self,
        scope: Scope,
        cause: Cause,
        parsed: ParsedCertificate,
        status: CertificateStatus,
        mode: CertificateMode,
        *,
        ca_certificate_id: CertificateId | None = None,
    ) -> CertificateRecord:
        return new_record(
            scope, cause, parsed, status, mode, generation_id=self._entropy.uuid(), ca_certificate_id=ca_certificate_id
        )

    async def _insert(self, record: CertificateRecord, cause: Cause) -> CertificateRecord:
        try:
            # A gateway may have cached that the certificate is unknown.
            await self._commit(
                self._store.insert_certificate(record, cause, require_ca=record.ca_certificate_id is not None),
                suspects=[Change(ChangeKind.CERTIFICATE, record.scope, record.certificate_id)],
            )
        except StoreConflict as conflict:
            refused = registration_refusal(record, conflict)
            if refused is None:
                raise
            raise refused from None
        return record


def _found(record: CertificateRecord | None, certificate_id: CertificateId) -> CertificateRecord:
    if record is None:
        raise not_found(certificate_id)
    return record


# --- the rules of a registration, one at a time or many at once ---------------------------------------------------


def read(pem: str, what: str) -> ParsedCertificate:
    """The certificate that the text holds, or CertificateValidationError; `what` names it there."""
    try:
        return read_certificate(pem)
    except CertificateInputError as error:
        raise CertificateValidationError(f"The {what} cannot be read: {error}") from error


def first_status(certificate_id: CertificateId, status: CertificateStatus | None) -> CertificateStatus:
    """The status that a registration asked for as `status` begins with; INACTIVE unless stated."""
    return next_status(None, register_event(status or CertificateStatus.INACTIVE), certificate_id)


class Readable(Protocol):
    """What a registration keeps of a certificate that was read."""

    @property
    def certificate_id(self) -> CertificateId: ...
    @property
    def pem(self) -> str: ...
    @property
    def not_before(self) -> dt.datetime: ...
    @property
    def not_after(self) -> dt.datetime: ...


def chosen_signer(leaf: x509.Certificate, candidates: Sequence[V], at: dt.datetime, *, named: bool) -> V:
    """
    The one of the CAs that signed the certificate, ACTIVE and inside its validity at `at`. Verifies signatures.

    Args:
        named: The caller said which CA it is, and `candidates` holds that one.
    """
    found = signers(leaf, candidates)
    if len(found) > 1:
        raise CertificateConflictError(
            "Several registered CA certificates have this issuer's name and key; name the one that signed it"
        )
    if not found:
        raise CertificateValidationError(
            "The CA certificate that was given did not sign the certificate"
            if named
            else "No CA certificate registered in this account and region signed the certificate; register the "
            "CA that issued it, not one above it in the chain"
        )
    (ca,) = found
    if ca.status is not CACertificateStatus.ACTIVE:
        raise _inactive_ca(ca.certificate_id)
    # Not `read_certificate`: a CA that an earlier version let in stays usable when the rules of form grow stricter.
    issuer = x509.load_pem_x509_certificate(ca.pem.encode())
    refuse_broken((*link_refusals(leaf, issuer), *validity_refusals(issuer, at)))
    return ca


def new_record(
    scope: Scope,
    cause: Cause,
    parsed: Readable,
    status: CertificateStatus,
    mode: CertificateMode,
    *,
    generation_id: str,
    ca_certificate_id: CertificateId | None = None,
) -> CertificateRecord:
    """The registration of a certificate that was checked, as it goes into the store."""
    return CertificateRecord(
        scope=scope,
        certificate_id=parsed.certificate_id,
        pem=parsed.pem,
        status=status,
        mode=mode,
        creation_date=cause.at,
        last_modified_date=cause.at,
        not_before=parsed.not_before,
        not_after=parsed.not_after,
        generation_id=generation_id,
        ca_certificate_id=ca_certificate_id,
    )


def registration_refusal(record: CertificateRecord, conflict: StoreConflict) -> ServiceError | None:
    """What the caller is told when the store did not take the record; None for a conflict that says nothing to it."""
    match conflict.kind:
        case "exists":
            return already_registered(record.scope, record.certificate_id)
        case "ca" if record.ca_certificate_id is not None:
            return _inactive_ca(record.ca_certificate_id)
        case "revoked":
            return revoked_before(record.certificate_id)
        case _:
            return None


def _inactive_ca(certificate_id: CertificateId) -> CertificateStateError:
    return CertificateStateError(
        f"The CA certificate must be ACTIVE before certificates it signed can be registered. Id: {certificate_id}"
    )


def refuse_broken(broken: tuple[BrokenRule, ...]) -> None:
    """CertificateValidationError with every broken rule; nothing when there is none."""
    if broken:
        reasons = "; ".join(rule.message for rule in broken)
        raise CertificateValidationError(f"The certificate cannot be registered: {reasons}")


def not_found(certificate_id: CertificateId) -> ResourceNotFoundError:
    """One answer for an unknown certificate and for another account's."""
    return ResourceNotFoundError(f"Certificate {certificate_id} does not exist in this account and region")


def being_transferred(certificate_id: CertificateId) -> InvalidRequestError:
    """A certificate under way to another account takes no policies or things along."""
    return InvalidRequestError(
        f"Certificate {certificate_id} is being transferred to another account; cancel the transfer first"
    )


def revoked_before(certificate_id: CertificateId) -> CertificateStateError:
    """The certificate was revoked in this account and region, and deleting it did not undo that."""
    return CertificateStateError(
        f"Certificate {certificate_id} was revoked and deleted in this account and region, which cannot be undone; "
        "an operator can lift it with 'handfast cert forget'"
    )


def already_registered(scope: Scope, certificate_id: CertificateId) -> ResourceAlreadyExistsError:
    """The members name the certificate as this scope sees it, never where else it may be registered."""
    return ResourceAlreadyExistsError(
        "The certificate is already provisioned or registered",
        resourceId=certificate_id,
        resourceArn=certificate_arn(scope, certificate_id),
    )
