"""The operations on domain configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import domain_configuration_arn, server_certificate_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.domains import (
    ApplicationProtocol,
    AuthenticationType,
    DomainConfigurationName,
    DomainConfigurationRecord,
    DomainStatus,
    DomainType,
)
from handfast.core.identity.ids import Scope
from handfast.errors import InvalidRequestError
from handfast.services.domains import Domains

DATA = "DATA"
Members = Mapping[str, Any]


class DomainHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        self.handlers: dict[str, Handler] = {
            "CreateDomainConfiguration": self.create_domain_configuration,
            "DescribeDomainConfiguration": self.describe_domain_configuration,
            "UpdateDomainConfiguration": self.update_domain_configuration,
            "DeleteDomainConfiguration": self.delete_domain_configuration,
            "ListDomainConfigurations": self.list_domain_configurations,
        }

    async def create_domain_configuration(
        self,
        ctx: Caller,
        *,
        domain_configuration_name: str,
        domain_name: str | None = None,
        server_certificate_arns: Sequence[str] | None = None,
        validation_certificate_arn: str | None = None,
        authorizer_config: Members | None = None,
        service_type: str | None = None,
        tags: Sequence[Members] | None = None,
        tls_config: Members | None = None,
        server_certificate_config: Members | None = None,
        authentication_type: str | None = None,
        application_protocol: str | None = None,
        client_certificate_config: Members | None = None,
    ) -> Result:
        _refuse_unsupported(authorizer_config, client_certificate_config)
        if service_type not in (None, DATA):
            raise InvalidRequestError(f"serviceType {service_type} is not supported; only {DATA} is")
        record = await self._domains.create(
            scope_of(ctx),
            cause_of(ctx, "CreateDomainConfiguration"),
            DomainConfigurationName(domain_configuration_name),
            domain_name=domain_name,
            certificate_arns=server_certificate_arns or (),
            validation_certificate_arn=validation_certificate_arn,
            security_policy=_policy(tls_config),
            authentication_type=AuthenticationType(authentication_type or AuthenticationType.DEFAULT),
            application_protocol=ApplicationProtocol(application_protocol or ApplicationProtocol.DEFAULT),
            stapling=_stapling(server_certificate_config) or (False, None),
            tags=given_tags(tags),
        )
        return _named(record.scope, record.resource)

    async def describe_domain_configuration(self, ctx: Caller, *, domain_configuration_name: str) -> Result:
        shown = await self._domains.describe(
            scope_of(ctx),
            cause_of(ctx, "DescribeDomainConfiguration"),
            DomainConfigurationName(domain_configuration_name),
        )
        record, changed_at = shown.record, shown.record.status_changed_at
        certificates = []
        if shown.certificate_arn is not None:
            assert shown.health is not None
            summary = {
                "server_certificate_arn": shown.certificate_arn,
                "server_certificate_status": shown.health.value,
            }
            certificates.append(summary | present(server_certificate_status_detail=shown.detail or None))
        return _named(record.scope, record.resource) | {
            "domain_name": shown.domain_name,
            "server_certificates": certificates,
            "domain_configuration_status": record.status.value,
            "service_type": DATA,
            "domain_type": record.domain_type.value,
            "tls_config": {"security_policy": shown.security_policy},
            "server_certificate_config": _shown_stapling(record),
            "authentication_type": record.authentication_type.value,
            "application_protocol": record.application_protocol.value,
            # The status of the endpoint's own never changes.
            **({} if record.domain_type is DomainType.ENDPOINT else {"last_status_change_date": changed_at}),
        }

    async def update_domain_configuration(
        self,
        ctx: Caller,
        *,
        domain_configuration_name: str,
        authorizer_config: Members | None = None,
        domain_configuration_status: str | None = None,
        remove_authorizer_config: bool | None = None,
        tls_config: Members | None = None,
        server_certificate_config: Members | None = None,
        authentication_type: str | None = None,
        application_protocol: str | None = None,
        client_certificate_config: Members | None = None,
    ) -> Result:
        """`removeAuthorizerConfig` finds what it asks for: there is none."""
        _refuse_unsupported(authorizer_config, client_certificate_config)
        record = await self._domains.update(
            scope_of(ctx),
            cause_of(ctx, "UpdateDomainConfiguration"),
            DomainConfigurationName(domain_configuration_name),
            status=None if domain_configuration_status is None else DomainStatus(domain_configuration_status),
            security_policy=_policy(tls_config),
            authentication_type=None if authentication_type is None else AuthenticationType(authentication_type),
            application_protocol=None if application_protocol is None else ApplicationProtocol(application_protocol),
            stapling=_stapling(server_certificate_config),
        )
        return _named(record.scope, record.resource)

    async def delete_domain_configuration(self, ctx: Caller, *, domain_configuration_name: str) -> Result:
        await self._domains.delete(
            scope_of(ctx),
            cause_of(ctx, "DeleteDomainConfiguration"),
            DomainConfigurationName(domain_configuration_name),
        )
        return {}

    async def list_domain_configurations(
        self,
        ctx: Caller,
        *,
        marker: str | None = None,
        page_size: int | None = None,
        service_type: str | None = None,
    ) -> Result:
        """In the order of their names; of another service than DATA there are none."""
        scope = scope_of(ctx)
        page = await self._domains.list_page(scope, page_request(page_size, marker, ascending=True))
        if service_type not in (None, DATA):
            return {"domain_configurations": []}
        summaries = [_named(scope, resource) | {"service_type": DATA} for resource in page.items]
        return {"domain_configurations": summaries} | present(next_marker=page.marker)


def _refuse_unsupported(authorizer: Members | None, client_certificate: Members | None) -> None:
    """What would change who gets in is refused where it is not done, never passed over."""
    if authorizer:
        raise InvalidRequestError("authorizerConfig is not supported: there are no custom authorizers")
    if client_certificate and client_certificate.get("client_certificate_callback_arn"):
        raise InvalidRequestError("clientCertificateConfig is not supported: no callback is invoked on a connection")


def _policy(tls_config: Members | None) -> str | None:
    return None if tls_config is None else tls_config.get("security_policy")


def _stapling(config: Members | None) -> tuple[bool, str | None] | None:
    if config is None:
        return None
    if config.get("ocsp_lambda_arn"):
        raise InvalidRequestError("ocspLambdaArn is not supported: the responder is the one that the certificate names")
    # The service's own member has an initialism in capitals.
    return bool(config.get("enable_ocsp_check")), config.get("ocsp_authorized_responder_arn")


def _shown_stapling(record: DomainConfigurationRecord) -> Result:
    responder = record.stapling.responder_id
    arn = None if responder is None else server_certificate_arn(record.scope, responder)
    return {"enable_ocsp_check": record.stapling.enabled} | present(ocsp_authorized_responder_arn=arn)


def _named(scope: Scope, resource: str) -> Result:
    return {
        "domain_configuration_name": resource.partition("/")[0],
        "domain_configuration_arn": domain_configuration_arn(scope, resource),
    }
