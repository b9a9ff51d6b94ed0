"""The operations on bulk registration tasks."""

from __future__ import annotations

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.provisioning.tasks import ReportType, TaskId, TaskStatus
from handfast.errors import InvalidRequestError
from handfast.services.registration_tasks import RegistrationTasks

REPORTS_PATH = "/bulk-reports/"
"""Below it the API port serves the reports; a token follows."""


class RegistrationTaskHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, tasks: RegistrationTasks) -> None:
        self._tasks = tasks
        self.handlers: dict[str, Handler] = {
            "StartThingRegistrationTask": self.start_thing_registration_task,
            "StopThingRegistrationTask": self.stop_thing_registration_task,
            "DescribeThingRegistrationTask": self.describe_thing_registration_task,
            "ListThingRegistrationTasks": self.list_thing_registration_tasks,
            "ListThingRegistrationTaskReports": self.list_thing_registration_task_reports,
        }

    async def start_thing_registration_task(
        self, ctx: Caller, *, template_body: str, input_file_bucket: str, input_file_key: str, role_arn: str
    ) -> Result:
        task_id = await self._tasks.start(
            scope_of(ctx),
            cause_of(ctx, "StartThingRegistrationTask"),
            body=template_body,
            bucket=input_file_bucket,
            key=input_file_key,
            role_arn=role_arn,
        )
        return {"task_id": task_id}

    async def stop_thing_registration_task(self, ctx: Caller, *, task_id: str) -> Result:
        await self._tasks.stop(scope_of(ctx), cause_of(ctx, "StopThingRegistrationTask"), TaskId(task_id))
        return {}

    async def describe_thing_registration_task(self, ctx: Caller, *, task_id: str) -> Result:
        task = await self._tasks.describe(scope_of(ctx), TaskId(task_id))
        return present(
            task_id=task.task_id,
            creation_date=task.creation_date,
            last_modified_date=task.last_modified_date,
            template_body=task.template_body,
            input_file_bucket=task.bucket,
            input_file_key=task.key,
            role_arn=task.role_arn,
            status=task.status.value,
            message=task.message,
            success_count=task.success_count,
            failure_count=task.failure_count,
            percentage_progress=task.percentage,
        )

    async def list_thing_registration_tasks(
        self,
        ctx: Caller,
        *,
        next_token: str | None = None,
        max_results: int | None = None,
        status: str | None = None,
    ) -> Result:
        page = await self._tasks.list_page(
            scope_of(ctx), page_request(max_results, next_token), status=None if status is None else _status(status)
        )
        return present(task_ids=list(page.items), next_token=page.marker)

    async def list_thing_registration_task_reports(
        self,
        ctx: Caller,
        *,
        task_id: str,
        report_type: str,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Result:
        del max_results  # a report is one file
        if next_token:
            raise InvalidRequestError("The marker or token does not belong to this listing; start without one")
        report = _report_type(report_type)
        tokens = await self._tasks.reports(scope_of(ctx), TaskId(task_id), report)
        links = [f"{ctx.endpoint}{REPORTS_PATH}{token}" for token in tokens]
        return {"resource_links": links, "report_type": report.value}


def _status(text: str) -> TaskStatus:
    try:
        return TaskStatus(text)
    except ValueError:
        raise InvalidRequestError(f"status must be one of {', '.join(TaskStatus)}") from None


def _report_type(text: str) -> ReportType:
    try:
        return ReportType(text)
    except ValueError:
        raise InvalidRequestError(f"reportType must be one of {', '.join(ReportType)}") from None
