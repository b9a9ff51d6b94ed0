"""RegisterCertificates of /handfast/v1: many certificates by one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from handfast.control.certificates import status_named
from handfast.control.context import Handler, Result, cause_of, present, scope_of
from handfast.core.identity.arns import fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.errors import InvalidRequestError
from handfast.services.bulk_registration import MAX_CERTIFICATES, BulkRegistration, Outcome, Wanted

BODY_LIMITS: Final = {"RegisterCertificates": 4 * 1024 * 1024}
"""Bytes of a request, where an operation needs more than the others: 500 certificates of 8 KB."""


class BulkRegistrationHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, registration: BulkRegistration) -> None:
        self._registration = registration
        self.handlers: dict[str, Handler] = {"RegisterCertificates": self.register_certificates}

    async def register_certificates(
        self,
        ctx: Caller,
        *,
        certificates: Sequence[dict[str, Any]],
        require_ca: bool | None = None,
        ca_certificate_id: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        if len(certificates) > MAX_CERTIFICATES:  # the model says so too
            raise InvalidRequestError(f"At most {MAX_CERTIFICATES} certificates in one call, not {len(certificates)}")
        outcomes = await self._registration.register(
            scope,
            cause_of(ctx, "RegisterCertificates"),
            [
                Wanted(item["certificate_pem"], status_named(item["status"]) if "status" in item else None)
                for item in certificates
            ],
            require_ca=bool(require_ca),
            ca_certificate_id=None if ca_certificate_id is None else fold_certificate_id(ca_certificate_id),
        )
        return {"results": [_result(outcome) for outcome in outcomes]}


def _result(outcome: Outcome) -> Result:
    if outcome.fault is not None:
        told = {"outcome": "error", "error_code": outcome.fault.code, "error_message": outcome.fault.message}
    else:
        assert outcome.status is not None
        told = {
            "outcome": "exists" if outcome.existed else "registered",
            "certificate_status": outcome.status.value,
        }
    return present(certificate_id=outcome.certificate_id, **told)
