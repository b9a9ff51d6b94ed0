"""The operator's operations on the server's roots (/handfast/v1): promoted, retired, rehearsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from handfast.control.context import Handler, Result, cause_of, present, require_operator
from handfast.core.identity.caller import Caller
from handfast.services.pki_folder import ChainKind
from handfast.services.rehearsal_report import Failure, Report, Suspect
from handfast.services.rollover import Rollover

DEFAULT_STOP_AFTER = 5
MAX_LISTED = 1000
"""Of the devices that verified the next chain; all are counted."""


class RootHandlers:
    """Handlers by operation name in `handlers`. Each refuses an account's key."""

    def __init__(self, rollover: Rollover) -> None:
        self._rollover = rollover
        self.handlers: dict[str, Handler] = {
            "PromoteRoot": self.promote_root,
            "RetireRoot": self.retire_root,
            "TakeUpRoots": self.take_up_roots,
            "StartRehearsal": self.start_rehearsal,
            "StopRehearsal": self.stop_rehearsal,
            "DescribeRehearsal": self.describe_rehearsal,
        }

    async def promote_root(self, ctx: Caller, *, root_number: int, alone: bool = False) -> Result:
        require_operator(ctx)
        done = await self._rollover.promote(cause_of(ctx, "PromoteRoot"), root_number, alone=bool(alone))
        return {
            "root_name": done.after,
            "replaced_root_name": done.before,
            "kind": done.kind,
            "intermediate": done.intermediate,
            "alone": done.alone,
            "changed": done.changed,
            "served": True,
        }

    async def retire_root(self, ctx: Caller, *, root_number: int, force: bool = False) -> Result:
        require_operator(ctx)
        retired, found = await self._rollover.retire(cause_of(ctx, "RetireRoot"), root_number, force=bool(force))
        return {"retired": retired, "blockers": [{"code": each.code, "text": each.text} for each in found]}

    async def take_up_roots(self, ctx: Caller) -> Result:
        require_operator(ctx)
        return {"chains_changed": await self._rollover.take_up(cause_of(ctx, "TakeUpRoots"))}

    async def start_rehearsal(
        self,
        ctx: Caller,
        *,
        kinds: Sequence[str] | None = None,
        share: float | None = None,
        stop_after: int | None = None,
        server_name: str | None = None,
        alone: bool = False,
    ) -> Result:
        require_operator(ctx)
        report = await self._rollover.start_rehearsal(
            cause_of(ctx, "StartRehearsal"),
            kinds=cast("Sequence[ChainKind]", tuple(dict.fromkeys(kinds or ()))),
            share=share or 0.0,
            stop_after=DEFAULT_STOP_AFTER if stop_after is None else stop_after,
            name=server_name,
            alone=bool(alone),
        )
        return _report(report)

    async def stop_rehearsal(self, ctx: Caller) -> Result:
        require_operator(ctx)
        return _report(await self._rollover.stop_rehearsal(cause_of(ctx, "StopRehearsal")))

    async def describe_rehearsal(self, ctx: Caller) -> Result:
        require_operator(ctx)
        return _report(self._rollover.describe())


def _report(report: Report) -> Result:
    good = sorted(report.good.items(), key=lambda item: item[1].last_seen, reverse=True)
    return present(
        rehearsal_id=report.rehearsal_id,
        running=report.ended is None,
        started_at=report.started,
        ended_at=report.ended,
        end_reason=report.end,
        share=report.share,
        stop_after=report.stop_after,
        server_name=report.name,
        alone=report.alone,
        chains=[
            {
                "kind": each.kind,
                "root_name": each.root,
                "signers": list(each.signers),
                "intermediate": each.intermediate,
                "sent_bytes": each.sent_bytes,
            }
            for each in report.chains
        ],
        attempts=report.attempts,
        would_go_dark=[_failure(report, each) for each in report.failures],
        verified_count=len(report.good) + report.good_left_out,
        verified_without_certificate=report.verified_without,
        verified=[
            {
                "certificate_id": name,
                "kinds": sorted(each.kinds),
                "first_seen": each.first_seen,
                "last_seen": each.last_seen,
            }
            for name, each in good[:MAX_LISTED]
        ],
    )


def _failure(report: Report, failure: Failure) -> Result:
    verdict = report.verdict(failure)
    return present(
        certainty=verdict.certainty.value,
        why=verdict.why,
        candidates=[_suspect(each) for each in verdict.candidates],
        failed_at=failure.at,
        kind=failure.kind,
        how=failure.how.value,
        alert=failure.alert,
        address=failure.address,
        server_name=failure.sni or None,
        fingerprint=failure.fingerprint,
    )


def _suspect(suspect: Suspect) -> Result:
    return {
        "certificate_id": suspect.certificate_id,
        "first_seen": suspect.first_seen,
        "last_seen": suspect.last_seen,
    }
