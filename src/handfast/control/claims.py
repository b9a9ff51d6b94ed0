"""The operations on claim certificates (/handfast/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from handfast.control.context import Handler, Result, cause_of, present, scope_of
from handfast.core.identity.arns import fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.core.provisioning.fleet import ClaimRecord, claim_limits
from handfast.services.claims import Claims


class ClaimHandlers:
    """Handlers by operation name in `handlers`. Each refuses the operator's key."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.handlers: dict[str, Handler] = {
            "DescribeClaim": self.describe_claim,
            "SetClaimLimits": self.set_claim_limits,
        }

    async def describe_claim(self, ctx: Caller, *, certificate_id: str) -> Result:
        return _claim(await self._claims.describe(scope_of(ctx), fold_certificate_id(certificate_id)))

    async def set_claim_limits(
        self,
        ctx: Caller,
        *,
        certificate_id: str,
        devices: int | None = None,
        per_minute: int | None = None,
        addresses: Sequence[str] = (),
    ) -> Result:
        """What is not given is not limited."""
        limits = claim_limits(devices, per_minute, tuple(addresses))
        return _claim(
            await self._claims.set_limits(
                scope_of(ctx), cause_of(ctx, "SetClaimLimits"), fold_certificate_id(certificate_id), limits
            )
        )


def _claim(record: ClaimRecord) -> Result:
    return present(
        certificate_id=record.certificate_id,
        provisioned=record.provisioned,
        devices=record.limits.devices,
        per_minute=record.limits.per_minute,
        addresses=list(record.limits.addresses) or None,
    )
