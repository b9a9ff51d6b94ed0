"""The operations on certificate providers, and CreateProvisioningClaim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import certificate_provider_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.core.provisioning.records import PROVIDED_OPERATIONS, CertificateProviderName, TemplateName
from handfast.errors import InvalidRequestError
from handfast.services.certificate_providers import CertificateProviders
from handfast.services.provisioning_claims import ProvisioningClaims


class CertificateProviderHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, providers: CertificateProviders) -> None:
        self._providers = providers
        self.handlers: dict[str, Handler] = {
            "CreateCertificateProvider": self.create_certificate_provider,
            "DescribeCertificateProvider": self.describe_certificate_provider,
            "UpdateCertificateProvider": self.update_certificate_provider,
            "DeleteCertificateProvider": self.delete_certificate_provider,
            "ListCertificateProviders": self.list_certificate_providers,
        }

    async def create_certificate_provider(
        self,
        ctx: Caller,
        *,
        certificate_provider_name: str,
        lambda_function_arn: str,
        account_default_for_operations: Sequence[str],
        client_token: str | None = None,
        tags: Sequence[Mapping[str, Any]] | None = None,
    ) -> Result:
        record = await self._providers.create(
            scope_of(ctx),
            cause_of(ctx, "CreateCertificateProvider"),
            CertificateProviderName(certificate_provider_name),
            lambda_function_arn,
            account_default_for_operations,
            client_token=client_token,
            tags=given_tags(tags),
        )
        return _named(record.scope, record.name)

    async def describe_certificate_provider(self, ctx: Caller, *, certificate_provider_name: str) -> Result:
        name = CertificateProviderName(certificate_provider_name)
        record = await self._providers.describe(scope_of(ctx), name)
        return _named(record.scope, record.name) | {
            "lambda_function_arn": record.function_arn,
            "account_default_for_operations": list(PROVIDED_OPERATIONS),
            "creation_date": record.creation_date,
            "last_modified_date": record.last_modified_date,
        }

    async def update_certificate_provider(
        self,
        ctx: Caller,
        *,
        certificate_provider_name: str,
        lambda_function_arn: str | None = None,
        account_default_for_operations: Sequence[str] | None = None,
    ) -> Result:
        scope, name = scope_of(ctx), CertificateProviderName(certificate_provider_name)
        await self._providers.update(
            scope,
            cause_of(ctx, "UpdateCertificateProvider"),
            name,
            function_arn=lambda_function_arn,
            operations=account_default_for_operations,
        )
        return _named(scope, name)

    async def delete_certificate_provider(self, ctx: Caller, *, certificate_provider_name: str) -> Result:
        cause = cause_of(ctx, "DeleteCertificateProvider")
        await self._providers.delete(scope_of(ctx), cause, CertificateProviderName(certificate_provider_name))
        return {}

    async def list_certificate_providers(
        self, ctx: Caller, *, next_token: str | None = None, ascending_order: bool | None = None
    ) -> Result:
        """In either order the one that there may be: it never takes two pages."""
        scope = scope_of(ctx)
        if next_token:
            raise InvalidRequestError("The marker or token does not belong to this listing; start without one")
        return {"certificate_providers": [_named(scope, each.name) for each in await self._providers.list_all(scope)]}


class ProvisioningClaimHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, claims: ProvisioningClaims) -> None:
        self._claims = claims
        self.handlers: dict[str, Handler] = {"CreateProvisioningClaim": self.create_provisioning_claim}

    async def create_provisioning_claim(self, ctx: Caller, *, template_name: str) -> Result:
        """The only answer that holds the private key."""
        made = await self._claims.create(
            scope_of(ctx), cause_of(ctx, "CreateProvisioningClaim"), TemplateName(template_name)
        )
        return {
            "certificate_id": made.record.certificate_id,
            "certificate_pem": made.record.pem,
            "key_pair": {"public_key": made.public_key_pem, "private_key": made.private_key_pem},
            "expiration": made.record.not_after,
        }


def _named(scope: Scope, name: str) -> Result:
    return {
        "certificate_provider_name": name,
        "certificate_provider_arn": certificate_provider_arn(scope, name),
    }
