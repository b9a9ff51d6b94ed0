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
    RegistrationConfig,
)
from handfast.core.pki.keys import BrokenRule
from handfast.core.pki.pem import ParsedCertificate, read_certificate
from handfast.core.pki.possession import ca_refusals, common_name, name_digest, possession_refusals
from handfast.core.provisioning.records import TemplateName, TemplateType
from handfast.core.provisioning.template import TemplateKind
from handfast.errors import (
    CertificateInputError,
    CertificateStateError,
    CertificateValidationError,
    HandfastError,
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
from handfast.services.provisioning_templates import not_found as template_not_found
from handfast.services.template_gate import TemplateGate

CAS_PER_SUBJECT = 10
CODE_BYTES = 32


class CACertificates:
    """The use cases of CA certificates. Raises ServiceErrors."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer, gate: TemplateGate) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit
        self._gate = gate

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
        registration_config: RegistrationConfig | None = None,
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
        await self._check_config(scope, registration_config)
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
            registration_config=registration_config,
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
                    raise _config_refusal(conflict, record.registration_config) from None

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
        registration_config: RegistrationConfig | None = None,
        remove_registration_config: bool = False,
    ) -> None:
        """What is given is so. Certificates that the CA signed and that are registered stay as they are."""
        await self.describe(scope, certificate_id)
        if registration_config is not None and remove_registration_config:
            raise InvalidRequestError("registrationConfig and removeAutoRegistration are both given; give one")
        await self._check_config(scope, registration_config)
        try:
            await self._commit(
                self._store.update_ca_certificate(
                    scope,
                    certificate_id,
                    status=status,
                    auto_registration_status=auto_registration_status,
                    registration_config=registration_config,
                    remove_registration_config=remove_registration_config,
                    cause=cause,
                ),
                suspects=[_change(scope, certificate_id)],
            )
        except StoreConflict as conflict:
            if conflict.kind == "missing":
                raise not_found(certificate_id) from None
            raise _config_refusal(conflict, registration_config) from None

    async def _check_config(self, scope: Scope, config: RegistrationConfig | None) -> None:
        """What can be said of it before anything is written; the store looks at the template once more."""
        if config is None:
            return
        if config.template_name is None:
            if config.template_body is None:
                raise InvalidRequestError("registrationConfig needs templateName, or templateBody with roleArn")
            if config.role_arn is None:
                raise InvalidRequestError("registrationConfig needs roleArn beside templateBody")
            self._gate.accept(scope, config.template_body, TemplateKind.JITP)
            return
        if config.template_body is not None:
            raise InvalidRequestError("registrationConfig holds both templateName and templateBody; give one")
        template = await self._store.provisioning_template(scope, TemplateName(config.template_name))
        if template is None:
            raise template_not_found(config.template_name)
        if template.type is not TemplateType.JITP:
            raise _not_for_jitp(config.template_name)

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

    async def list_page(
        self, scope: Scope, page: PageRequest, *, template_name: str | None = None
    ) -> Page[CACertificateRecord]:
        """One page, newest first unless `page.ascending`; only those that provision by the template, if given."""
        return await page_of(self._store.list_ca_certificates(scope, page, template_name=template_name))

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


def _config_refusal(conflict: StoreConflict, config: RegistrationConfig | None) -> HandfastError:
    name = config.template_name if config is not None else None
    match conflict.kind:
        case "template" if name is not None:
            return template_not_found(name)
        case "template_type" if name is not None:
            return _not_for_jitp(name)
        case _:
            return conflict


def _not_for_jitp(name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"Provisioning template {name} is not of type JITP, which a CA certificate's template must be"
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
