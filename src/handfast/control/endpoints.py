"""The operations on endpoints: DescribeEndpoint (iot) and ListEndpoints (/handfast/v1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from handfast.control.context import Handler, Result, cause_of, scope_of
from handfast.core.identity.caller import Caller
from handfast.errors import InvalidRequestError
from handfast.services.endpoints import EndpointDirectory

DATA_ATS = "iot:Data-ATS"
CREDENTIAL_PROVIDER = "iot:CredentialProvider"
_REFUSED = {
    "iot:Data": "its certificate would chain to a root that no client trusts any more; use iot:Data-ATS",
    "iot:Jobs": "jobs use the data endpoint; use iot:Data-ATS",
}

EnsureRegion = Callable[[str], Awaitable[None]]
"""The region's server leaves exist and are served when it returns."""


class EndpointHandlers:
    """Handlers by operation name in `handlers` (iot) and `own_handlers` (/handfast/v1)."""

    def __init__(self, endpoints: EndpointDirectory, ensure_region: EnsureRegion) -> None:
        self._endpoints = endpoints
        self._ensure_region = ensure_region
        self.handlers: dict[str, Handler] = {"DescribeEndpoint": self.describe_endpoint}
        self.own_handlers: dict[str, Handler] = {"ListEndpoints": self.list_endpoints}

    async def describe_endpoint(self, ctx: Caller, *, endpoint_type: str | None = None) -> Result:
        scope = scope_of(ctx)
        endpoint_type = _spelled(endpoint_type)
        if endpoint_type in _REFUSED:
            raise InvalidRequestError(f"Endpoint type {endpoint_type} is not served: {_REFUSED[endpoint_type]}")
        if endpoint_type not in (None, DATA_ATS, CREDENTIAL_PROVIDER):
            raise InvalidRequestError(f"endpointType must be {DATA_ATS} or {CREDENTIAL_PROVIDER}")
        name = await self._endpoints.ensure(scope, cause_of(ctx, "DescribeEndpoint"))
        await self._ensure_region(scope.region)
        if endpoint_type == CREDENTIAL_PROVIDER:
            name = self._endpoints.credentials_name(scope)
        return {"endpoint_address": name}

    async def list_endpoints(self, ctx: Caller) -> Result:
        """The endpoints of the caller's account; of all accounts for the operator."""
        return {
            "endpoints": [
                {
                    "account_id": record.scope.account,
                    "region": record.scope.region,
                    "endpoint_address": self._endpoints.endpoint_name(record.scope),
                    "credential_endpoint_address": self._endpoints.credentials_name(record.scope),
                    "domain_names": self._endpoints.further_names(record.scope),
                }
                for record in self._endpoints.all()
                if ctx.is_operator or record.scope.account == ctx.account_id
            ]
        }


def _spelled(endpoint_type: str | None) -> str | None:
    """The type as the model spells it: the developer guide's tutorials write the prefix `IoT:`, which AWS takes."""
    if endpoint_type is None or endpoint_type[:4].lower() != "iot:":
        return endpoint_type
    return f"iot:{endpoint_type[4:]}"
