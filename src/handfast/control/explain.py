"""Explain (/handfast/v1): refusals as data, an account's own or, for the operator, all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from handfast.control.context import Handler, Result, present
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import Refusal
from handfast.services.explanations import aws_log_reason, explain

DEFAULT_LIMIT = 20
LIMIT_MAX = 250


class Refusals(Protocol):
    """The record of refusals (services.refusals)."""

    def query(self, text: str, account_id: AccountId | None, limit: int) -> Sequence[Refusal]:
        """
        The newest first. `text`: a trace id, certificateId, serial number, client id, address or reason; empty: any.

        With an account only what belongs to it; None, the operator, sees everything.
        """
        ...


class ExplainHandlers:
    """Handlers by operation name in `handlers`. Open to every key, each seeing its own."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self.handlers: dict[str, Handler] = {"Explain": self.explain}

    async def explain(self, ctx: Caller, *, query: str | None = None, max_results: int | None = None) -> Result:
        bounded = max(1, min(max_results or DEFAULT_LIMIT, LIMIT_MAX))
        return {"refusals": [_refusal(item) for item in self._refusals.query(query or "", ctx.account_id, bounded)]}


def _refusal(refusal: Refusal) -> Result:
    return present(
        trace_id=refusal.trace_id,
        at=refusal.at,
        stage=refusal.stage.value,
        reasons=[
            present(
                code=reason.code.value,
                detail=reason.detail,
                explanation=explanation.what,
                fix=explanation.fix,
                aws_log_reason=explanation.aws_log_reason,
            )
            for reason, explanation in explain(refusal)
        ],
        decisive_reason=refusal.reasons[0].code.value if refusal.reasons else None,
        aws_log_reason=aws_log_reason(refusal),
        address=refusal.address,
        account_id=refusal.account,
        region=refusal.region,
        sni=refusal.sni,
        alpn=refusal.alpn,
        certificate_id=refusal.certificate_id,
        serial_number=refusal.serial_number,
        client_id=refusal.client_id,
        resource=refusal.resource,
        facts=dict(refusal.facts),
    )
