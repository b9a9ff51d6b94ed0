"""The audit trail (/handfast/v1): an account's own, or for the operator any."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from handfast.control.context import Handler, Result, page_request, present
from handfast.core.identity.audit_chain import AuditRow
from handfast.core.identity.caller import Caller
from handfast.errors import AccessDeniedError, InvalidRequestError
from handfast.ports import AuditQuery, ChangeKind
from handfast.services.audit import Audit
from handfast.services.audit_verification import AuditReport


class AuditHandlers:
    """Handlers by operation name in `handlers`. Open to every key, each seeing its own account."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self.handlers: dict[str, Handler] = {
            "ListAuditEvents": self.list_audit_events,
            "VerifyAudit": self.verify_audit,
            "DescribeAuditKey": self.describe_audit_key,
        }

    async def list_audit_events(
        self,
        ctx: Caller,
        *,
        account_id: str | None = None,
        kinds: Sequence[str] | None = None,
        subject: str | None = None,
        operation: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        ascending_order: bool | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Result:
        query = AuditQuery(
            chain=_chain(ctx, account_id),
            kinds=_kinds(kinds or ()),
            subject=subject,
            operation=operation,
            since=since,
            until=until,
        )
        page = await self._audit.events(query, page_request(max_results, next_token, ascending=ascending_order))
        return present(events=[_event(row) for row in page.items], next_token=page.marker)

    async def verify_audit(self, ctx: Caller, *, account_id: str | None = None) -> Result:
        return report_members(await self._audit.verify(_chain(ctx, account_id)))

    async def describe_audit_key(self, ctx: Caller) -> Result:
        key, last = self._audit.key()
        return present(
            public_key=key.pem.decode(),
            fingerprint=key.fingerprint,
            last_checkpoint=last.number if last is not None else None,
            last_checkpoint_hash=last.hash if last is not None else None,
        )


def report_members(report: AuditReport) -> Result:
    """The report as the members of VerifyAudit's answer."""
    return present(
        findings=[
            present(kind=finding.kind.value, account_id=finding.chain, number=finding.number, detail=finding.detail)
            for finding in report.findings
        ],
        more_findings=report.more,
        chains=report.chains,
        events=report.rows,
        unsealed_events=report.unsealed,
        checkpoints=report.checkpoints,
        first_checkpoint=report.first_checkpoint,
        last_checkpoint=report.last_checkpoint,
        vouched_checkpoint=report.vouched_checkpoint,
        vouched_until=report.vouched_until,
        public_key=report.key.pem.decode(),
        key_fingerprint=report.key.fingerprint,
    )


def _chain(ctx: Caller, asked: str | None) -> str | None:
    """The chain that is meant; None for the operator who names none: all of them."""
    if ctx.account_id is None:
        return asked
    if asked is not None and asked != ctx.account_id:
        raise AccessDeniedError("An account's key sees the audit trail of its own account alone")
    return ctx.account_id


def _kinds(kinds: Sequence[str]) -> list[ChangeKind]:
    try:
        return [ChangeKind(kind) for kind in kinds]
    except ValueError:
        raise InvalidRequestError(f"The kind must be one of {', '.join(ChangeKind)}") from None


def _event(row: AuditRow) -> Result:
    fields = row.fields
    return present(
        number=row.number,
        link=row.link,
        at=_instant(row),
        at_microseconds=fields.at,
        actor=fields.actor,
        address=fields.address,
        operation=fields.operation,
        request_id=fields.request_id,
        account_id=fields.account_id,
        region=fields.region,
        kind=fields.kind,
        subject=fields.subject,
        before=fields.before,
        after=fields.after,
    )


def _instant(row: AuditRow) -> dt.datetime | None:
    try:
        return row.fields.instant
    except (TypeError, ValueError, OverflowError):  # somebody wrote there; `handfast audit verify` says so
        return None
