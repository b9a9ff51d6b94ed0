"""The operations on CA certificates and the registration code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.certificates import listed
from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import ca_certificate_arn, fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateMode,
    RegistrationConfig,
)
from handfast.errors import InvalidRequestError
from handfast.services.ca_certificates import CACertificates


class CACertificateHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, ca_certificates: CACertificates) -> None:
        self._cas = ca_certificates
        self.handlers: dict[str, Handler] = {
            "GetRegistrationCode": self.get_registration_code,
            "DeleteRegistrationCode": self.delete_registration_code,
            "RegisterCACertificate": self.register_ca_certificate,
            "DescribeCACertificate": self.describe_ca_certificate,
            "UpdateCACertificate": self.update_ca_certificate,
            "DeleteCACertificate": self.delete_ca_certificate,
            "ListCACertificates": self.list_ca_certificates,
            "ListCertificatesByCA": self.list_certificates_by_ca,
        }

    async def get_registration_code(self, ctx: Caller) -> Result:
        code = await self._cas.registration_code(scope_of(ctx), cause_of(ctx, "GetRegistrationCode"))
        return {"registration_code": code}

    async def delete_registration_code(self, ctx: Caller) -> Result:
        await self._cas.delete_registration_code(scope_of(ctx), cause_of(ctx, "DeleteRegistrationCode"))
        return {}

    async def register_ca_certificate(
        self,
        ctx: Caller,
        *,
        ca_certificate: str,
        verification_certificate: str | None = None,
        set_as_active: bool | None = None,
        allow_auto_registration: bool | None = None,
        registration_config: Mapping[str, Any] | None = None,
        tags: Sequence[Mapping[str, Any]] | None = None,
        certificate_mode: str | None = None,
    ) -> Result:
        record = await self._cas.register(
            scope_of(ctx),
            cause_of(ctx, "RegisterCACertificate"),
            ca_certificate,
            verification_pem=verification_certificate,
            mode=_mode(certificate_mode),
            set_as_active=bool(set_as_active),
            allow_auto_registration=bool(allow_auto_registration),
            registration_config=_config(registration_config),
            tags=given_tags(tags),
        )
        return _identified(record)

    async def describe_ca_certificate(self, ctx: Caller, *, certificate_id: str) -> Result:
        record = await self._cas.describe(scope_of(ctx), fold_certificate_id(certificate_id))
        description = _identified(record) | {
            "status": record.status.value,
            "certificate_pem": record.pem,
            "owned_by": record.scope.account,
            "creation_date": record.creation_date,
            "auto_registration_status": record.auto_registration_status.value,
            "last_modified_date": record.last_modified_date,
            "customer_version": record.customer_version,
            "generation_id": record.generation_id,
            "validity": {"not_before": record.not_before, "not_after": record.not_after},
            "certificate_mode": record.mode.value,
        }
        config = record.registration_config
        return present(
            certificate_description=description,
            registration_config=(
                None
                if config is None
                else present(
                    template_name=config.template_name, template_body=config.template_body, role_arn=config.role_arn
                )
            ),
        )

    async def update_ca_certificate(
        self,
        ctx: Caller,
        *,
        certificate_id: str,
        new_status: str | None = None,
        new_auto_registration_status: str | None = None,
        registration_config: Mapping[str, Any] | None = None,
        remove_auto_registration: bool | None = None,
    ) -> Result:
        await self._cas.update(
            scope_of(ctx),
            cause_of(ctx, "UpdateCACertificate"),
            fold_certificate_id(certificate_id),
            status=None if new_status is None else _status(new_status),
            auto_registration_status=(
                None if new_auto_registration_status is None else _auto(new_auto_registration_status)
            ),
            registration_config=_config(registration_config),
            remove_registration_config=bool(remove_auto_registration),
        )
        return {}

    async def delete_ca_certificate(self, ctx: Caller, *, certificate_id: str) -> Result:
        await self._cas.delete(scope_of(ctx), cause_of(ctx, "DeleteCACertificate"), fold_certificate_id(certificate_id))
        return {}

    async def list_ca_certificates(
        self,
        ctx: Caller,
        *,
        page_size: int | None = None,
        marker: str | None = None,
        ascending_order: bool | None = None,
        template_name: str | None = None,
    ) -> Result:
        page = await self._cas.list_page(
            scope_of(ctx), page_request(page_size, marker, ascending=ascending_order), template_name=template_name
        )
        items = [
            _identified(record) | {"status": record.status.value, "creation_date": record.creation_date}
            for record in page.items
        ]
        return present(certificates=items, next_marker=page.marker)

    async def list_certificates_by_ca(
        self,
        ctx: Caller,
        *,
        ca_certificate_id: str,
        page_size: int | None = None,
        marker: str | None = None,
        ascending_order: bool | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._cas.list_signed(
            scope,
            fold_certificate_id(ca_certificate_id),
            page_request(page_size, marker, ascending=ascending_order),
        )
        return listed(scope, page)


def _identified(record: CACertificateRecord) -> Result:
    return {
        "certificate_arn": ca_certificate_arn(record.scope, record.certificate_id),
        "certificate_id": record.certificate_id,
    }


def _config(given: Mapping[str, Any] | None) -> RegistrationConfig | None:
    """None where no member is given."""
    members = {name: value for name, value in (given or {}).items() if value is not None}
    return RegistrationConfig(**members) if members else None


def _mode(text: str | None) -> CertificateMode:
    try:
        return CertificateMode.DEFAULT if text is None else CertificateMode(text)
    except ValueError:
        raise InvalidRequestError(f"certificateMode must be one of {', '.join(CertificateMode)}") from None


def _status(text: str) -> CACertificateStatus:
    try:
        return CACertificateStatus(text)
    except ValueError:
        raise InvalidRequestError(f"newStatus must be one of {', '.join(CACertificateStatus)}") from None


def _auto(text: str) -> AutoRegistrationStatus:
    try:
        return AutoRegistrationStatus(text)
    except ValueError:
        raise InvalidRequestError(
            f"newAutoRegistrationStatus must be one of {', '.join(AutoRegistrationStatus)}"
        ) from None
