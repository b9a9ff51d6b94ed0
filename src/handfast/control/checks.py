"""The checks on certificates (/handfast/v1), shaped as AWS IoT Device Defender's audit tasks are."""

from __future__ import annotations

from collections.abc import Sequence

from handfast.control.context import Handler, Result, present, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.identity.checks import CheckName
from handfast.core.identity.fleet_check import known_checks
from handfast.core.pki.weak_keys import DEBIAN_ENTRY_BYTES
from handfast.errors import InvalidRequestError
from handfast.services.checks import DEFAULT_EXPIRING_WITHIN_S, CheckOptions, Checks, CheckTask, TaskStatus

DEFAULT_LIMIT = 100


class CheckHandlers:
    """Handlers by operation name in `handlers`. Each sees the caller's account in the region of the signature."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self.handlers: dict[str, Handler] = {
            "UploadCheckFile": self.upload_check_file,
            "StartCheck": self.start_check,
            "DescribeCheck": self.describe_check,
            "ListCheckFindings": self.list_check_findings,
            "CancelCheck": self.cancel_check,
        }

    async def upload_check_file(self, ctx: Caller, *, data: bytes, upload_id: str | None = None) -> Result:
        return {"upload_id": self._checks.uploads.add(scope_of(ctx), upload_id, data)}

    async def start_check(
        self,
        ctx: Caller,
        *,
        target_check_names: Sequence[str] | None = None,
        expiring_within_seconds: int | None = None,
        age_threshold_days: int | None = None,
        revocation_list_upload_ids: Sequence[str] | None = None,
        debian_blocklist_upload_id: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        try:
            wanted = known_checks(target_check_names or ()) or frozenset(CheckName)
        except ValueError:
            raise InvalidRequestError(f"There is no such check; known are {', '.join(CheckName)}") from None
        debian = b""
        files = tuple(self._checks.uploads.take(scope, each) for each in revocation_list_upload_ids or ())
        if debian_blocklist_upload_id is not None:
            debian = self._checks.uploads.take(scope, debian_blocklist_upload_id)
            if len(debian) % DEBIAN_ENTRY_BYTES:
                raise InvalidRequestError(
                    f"The list of weak keys has {len(debian)} bytes; expected entries of {DEBIAN_ENTRY_BYTES} bytes"
                )
        options = CheckOptions(
            checks=wanted,
            expiring_within_s=expiring_within_seconds or DEFAULT_EXPIRING_WITHIN_S,
            age_days=age_threshold_days,
            files=files,
            debian=debian,
        )
        return {"task_id": self._checks.start(scope, options).task_id}

    async def describe_check(self, ctx: Caller, *, task_id: str) -> Result:
        return _described(self._checks.task(scope_of(ctx), task_id))

    async def list_check_findings(
        self,
        ctx: Caller,
        *,
        task_id: str,
        check_name: str | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Result:
        try:
            check = CheckName(check_name) if check_name is not None else None
        except ValueError:
            raise InvalidRequestError(f"There is no such check; known are {', '.join(CheckName)}") from None
        findings, token = self._checks.findings(
            scope_of(ctx), task_id, check=check, limit=max_results or DEFAULT_LIMIT, token=next_token or None
        )
        return present(findings=findings, next_token=token)

    async def cancel_check(self, ctx: Caller, *, task_id: str) -> Result:
        await self._checks.cancel(scope_of(ctx), task_id)
        return {}


def _described(task: CheckTask) -> Result:
    tally = task.tally
    ran = frozenset(tally.get("ran", ()))
    return present(
        task_id=task.task_id,
        task_status=task.status.value,
        task_start_time=task.started,
        task_end_time=task.ended,
        phase=task.phase.value,
        progress=task.progress,
        message=task.error,
        certificates=tally.get("certificates"),
        ca_certificates=tally.get("ca_certificates"),
        certificates_read=task.sent,
        not_counted=tally.get("not_counted"),
        unreadable=tally.get("unreadable"),
        rsa_moduli=tally.get("moduli"),
        revocation_lists=tally.get("lists"),
        warnings=tally.get("warnings"),
        severities=dict(task.severities),
        audit_details={
            str(check): present(
                check_run_status=_status(task, check, ran),
                check_compliant=not task.counts[check] if check in ran else None,
                non_compliant_resources_count=task.counts[check],
            )
            for check in CheckName
        },
    )


def _status(task: CheckTask, check: CheckName, ran: frozenset[str]) -> str:
    if task.status is not TaskStatus.COMPLETED:
        return task.status.value
    if check not in ran:
        return "NOT_RUN"
    return "COMPLETED_NON_COMPLIANT" if task.counts[check] else "COMPLETED_COMPLIANT"
