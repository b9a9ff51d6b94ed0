"""The operations on runs of just-in-time provisioning (/handfast/v1)."""

from __future__ import annotations

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.core.identity.arns import fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.errors import InvalidRequestError
from handfast.services.provisioning_runs import ProvisioningRuns


class ProvisioningRunHandlers:
    """Handlers by operation name in `handlers`. Each refuses the operator's key."""

    def __init__(self, runs: ProvisioningRuns) -> None:
        self._runs = runs
        self.handlers: dict[str, Handler] = {
            "ListProvisioningRuns": self.list_provisioning_runs,
            "RetryProvisioningRun": self.retry_provisioning_run,
        }

    async def list_provisioning_runs(
        self,
        ctx: Caller,
        *,
        outcome: str | None = None,
        certificate_id: str | None = None,
        latest: bool | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Result:
        if outcome is not None and outcome not in RunOutcome.__members__:
            raise InvalidRequestError(f"outcome must be one of {', '.join(RunOutcome)}")
        page = await self._runs.list_page(
            scope_of(ctx),
            page_request(max_results, next_token),
            outcome=None if outcome is None else RunOutcome(outcome),
            certificate_id=None if certificate_id is None else fold_certificate_id(certificate_id),
            latest=bool(latest),
        )
        return present(runs=[_run(record) for record in page.items], next_token=page.marker)

    async def retry_provisioning_run(self, ctx: Caller, *, target: str) -> Result:
        return _run(await self._runs.retry(scope_of(ctx), cause_of(ctx, "RetryProvisioningRun"), target))


def _run(run: ProvisioningRun) -> Result:
    return present(
        run_id=run.run_id,
        date=run.at,
        certificate_id=run.certificate_id,
        ca_certificate_id=run.ca_certificate_id,
        template_name=run.template_name,
        template_version=run.template_version,
        outcome=run.outcome.value,
        attempts=run.attempts,
        thing_name=run.thing_name,
        resource=run.resource or None,
        reason=None if run.kind is None else run.kind.value,
        message=run.message or None,
    )
