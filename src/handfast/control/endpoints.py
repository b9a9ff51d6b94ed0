"""The operations on endpoints: DescribeEndpoint (iot) and ListEndpoints (/handfast/v1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from handfast.control.context import Handler, Result, cause_of, present, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.errors import InvalidRequestError
from handfast.services.endpoints import EndpointDirectory, EndpointService

EnsureRegion = Callable[[str], Awaitable[None]]
"""The region's server leaves exist and are served when it returns."""

_RETIRED = (
    "iot:Data, also where no endpointType is given, is retired: its certificate would chain to a root that clients "
    "trust no more. Ask for iot:Data-ATS"
)


class EndpointHandlers:
    """Handlers by operation name in `handlers` (iot) and `own_handlers` (/handfast/v1)."""

    def __init__(self, endpoints: EndpointDirectory, ensure_region: EnsureRegion) -> None:
        self._endpoints = endpoints
        self._ensure_region = ensure_region
        self.handlers: dict[str, Handler] = {"DescribeEndpoint": self.describe_endpoint}
        self.own_handlers: dict[str, Handler] = {"ListEndpoints": self.list_endpoints}

    async def describe_endpoint(self, ctx: Caller, *, endpoint_type: str | None = None) -> Result:
        scope = scope_of(ctx)
        service = self._service(_spelled(endpoint_type))
        await self._endpoints.ensure(scope, cause_of(ctx, "DescribeEndpoint"))
        await self._ensure_region(scope.region)
        return {"endpoint_address": self._endpoints.name(scope, service)}

    def _service(self, endpoint_type: str | None) -> EndpointService:
        wanted = EndpointService.LEGACY_DATA if endpoint_type is None else endpoint_type
        served = self._endpoints.services
        if wanted == EndpointService.LEGACY_DATA and wanted not in served:
            raise InvalidRequestError(_RETIRED)
        if wanted not in served:
            raise InvalidRequestError(f"There is no such endpointType here: expected one of {', '.join(served)}")
        return EndpointService(wanted)

    async def list_endpoints(self, ctx: Caller) -> Result:
        """The endpoints of the caller's account; of all accounts for the operator."""
        return {
            "endpoints": [
                self._listed(record.scope)
                for record in self._endpoints.all()
                if ctx.is_operator or record.scope.account == ctx.account_id
            ]
        }

    def _listed(self, scope: Scope) -> Result:
        names = {service: self._endpoints.name(scope, service) for service in self._endpoints.services}
        return present(
            account_id=scope.account,
            region=scope.region,
            endpoint_address=names[EndpointService.DATA],
            credential_endpoint_address=names[EndpointService.CREDENTIALS],
            jobs_endpoint_address=names[EndpointService.JOBS],
            legacy_endpoint_address=names.get(EndpointService.LEGACY_DATA),
            domain_names=self._endpoints.further_names(scope),
        )


def _spelled(endpoint_type: str | None) -> str | None:
    """The type as the model spells it: the developer guide's tutorials write the prefix `IoT:`, which AWS takes."""
    if endpoint_type is None or endpoint_type[:4].lower() != "iot:":
        return endpoint_type
    return f"iot:{endpoint_type[4:]}"
