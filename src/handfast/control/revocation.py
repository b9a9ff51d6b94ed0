"""RevokeCertificate (/handfast/v1): revoked, and seen to be gone."""

from __future__ import annotations

from handfast.control.context import Handler, Result, cause_of, scope_of
from handfast.core.identity.arns import fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.core.identity.records import CertificateStatus
from handfast.core.pki.reasons import REASONS
from handfast.errors import InvalidRequestError
from handfast.services.revocation import Revocations


class RevocationHandlers:
    """Handlers by operation name in `handlers`. Each refuses the operator's key."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self.handlers: dict[str, Handler] = {"RevokeCertificate": self.revoke_certificate}

    async def revoke_certificate(self, ctx: Caller, *, certificate_id: str, reason: str = "unspecified") -> Result:
        folded = fold_certificate_id(certificate_id)
        if reason not in REASONS:
            raise InvalidRequestError(f"The reason must be one of {', '.join(REASONS)}")
        cut = await self._revocations.revoke(scope_of(ctx), cause_of(ctx, "RevokeCertificate"), folded, reason)
        return {
            "certificate_id": folded,
            "status": CertificateStatus.REVOKED.value,
            "sessions_cut": cut.sessions,
            "worst_delay_ms": round(cut.worst_delay_s * 1000, 3),
        }
