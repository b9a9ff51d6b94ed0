"""Bulk registration tasks: the operations on their table."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.provisioning.tasks import RegistrationTask, TaskId, TaskLine, TaskStatus
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.ports.provisioning import Provisioned
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import thing_registration_tasks as tasks

_T = tasks.c
_SELECT = select(tasks)
_OPEN = (TaskStatus.IN_PROGRESS.value, TaskStatus.CANCELLING.value)


def start(connection: Connection, task: RegistrationTask, cause: Cause) -> list[Change]:
    statement = insert_or_ignore(connection, tasks).returning(_T.task_id)
    if connection.execute(statement, [_row(task)]).first() is None:
        raise StoreConflict("running", "Another task of the account has not ended")
    after = {"template": task.template_body, "bucket": task.bucket, "key": task.key, "roleArn": task.role_arn}
    return record(connection, cause, _change(task.scope, task.task_id), after=after)


def get(connection: Connection, scope: Scope, task_id: TaskId) -> RegistrationTask | None:
    row = connection.execute(_SELECT.where(in_scope(_T, scope), _T.task_id == task_id)).first()
    return None if row is None else _task(row)


def list_page(connection: Connection, scope: Scope, page: PageRequest, *, status: TaskStatus | None) -> Page[TaskId]:
    query = select(_T.task_id, _T.creation_date).where(in_scope(_T, scope))
    if status is not None:
        query = query.where(_T.status == status.value)
    filters = [None if status is None else status.value]
    listing = Listing(
        "registration-tasks", scope, [_T.creation_date, _T.task_id], page, ascending=False, filters=filters
    )
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([TaskId(row.task_id) for row in rows], marker)


def settle(
    connection: Connection, scope: Scope, task_id: TaskId, status: TaskStatus, message: str | None, cause: Cause
) -> list[Change]:
    """The task, which has not ended, has this status."""
    task = get(connection, scope, task_id)
    if task is None:
        raise StoreConflict("missing", f"Task {task_id} does not exist")
    if task.status.value not in _OPEN:
        raise StoreConflict("status", f"Task {task_id} is {task.status}", status=task.status.value)
    if task.status is status:
        return []
    _update(connection, scope, task_id, {"status": status.value, "message": message, "last_modified_date": cause.at})
    after = {"status": status.value, "successCount": task.success_count, "failureCount": task.failure_count}
    return record(connection, cause, _change(scope, task_id), before={"status": task.status.value}, after=after)


def opened(connection: Connection, scope: Scope, task_id: TaskId, *, size: int, input_version: str) -> None:
    _update(connection, scope, task_id, {"size": size, "input_version": input_version})


def line_done(connection: Connection, scope: Scope, line: TaskLine, provisioned: Provisioned, at: dt.datetime) -> None:
    """In the transaction that provisioned it: the line is done once."""
    outcome = {
        "line": line.line,
        "certificateId": provisioned.certificate_id,
        "resourceArns": dict(provisioned.resource_arns),
    }
    _advance(connection, scope, line, {"success_count": _T.success_count + 1}, json.dumps(outcome), at)


def line_failed(connection: Connection, scope: Scope, line: TaskLine, outcome: str, at: dt.datetime) -> None:
    _advance(connection, scope, line, {"failure_count": _T.failure_count + 1}, outcome, at)


def running(connection: Connection) -> list[RegistrationTask]:
    query = _SELECT.where(_T.status.in_(_OPEN)).order_by(_T.creation_date, _T.task_id)
    return [_task(row) for row in connection.execute(query)]


def ended(connection: Connection, until: dt.datetime, limit: int) -> list[RegistrationTask]:
    query = _SELECT.where(_T.status.not_in(_OPEN), _T.last_modified_date <= until)
    return [_task(row) for row in connection.execute(query.order_by(_T.last_modified_date).limit(limit))]


def forget(connection: Connection, scope: Scope, task_id: TaskId, cause: Cause) -> list[Change]:
    task = get(connection, scope, task_id)
    if task is None or task.status.value in _OPEN:
        return []
    connection.execute(delete(tasks).where(in_scope(_T, scope), _T.task_id == task_id))
    return record(connection, cause, _change(scope, task_id), before={"status": task.status.value})


def _advance(
    connection: Connection, scope: Scope, line: TaskLine, counted: dict[str, Any], outcome: str, at: dt.datetime
) -> None:
    done = connection.execute(
        update(tasks)
        .where(
            in_scope(_T, scope),
            _T.task_id == line.task_id,
            _T.status == TaskStatus.IN_PROGRESS.value,
            _T.line < line.line,
        )
        .values(line=line.line, offset=line.offset, outcome=outcome, last_modified_date=at, **counted)
    )
    if done.rowcount == 0:
        raise StoreConflict("task", f"Task {line.task_id} does not go on with line {line.line}")


def _update(connection: Connection, scope: Scope, task_id: TaskId, values: dict[str, Any]) -> None:
    connection.execute(update(tasks).where(in_scope(_T, scope), _T.task_id == task_id).values(**values))


def _change(scope: Scope, task_id: TaskId) -> Change:
    return Change(ChangeKind.THING_REGISTRATION_TASK, scope, task_id)


_PLAIN = (
    "template_body",
    "bucket",
    "key",
    "role_arn",
    "message",
    "success_count",
    "failure_count",
    "line",
    "offset",
    "size",
    "input_version",
    "outcome",
    "creation_date",
    "last_modified_date",
)
"""Columns that are called as the record's fields and hold the same."""


def _row(task: RegistrationTask) -> dict[str, Any]:
    return {
        "account_id": task.scope.account,
        "region": task.scope.region,
        "task_id": task.task_id,
        "status": task.status.value,
        **{name: getattr(task, name) for name in _PLAIN},
    }


def _task(row: Row[*tuple[Any, ...]]) -> RegistrationTask:
    found = row._mapping
    return RegistrationTask(
        scope=Scope(AccountId(row.account_id), row.region),
        task_id=TaskId(row.task_id),
        status=TaskStatus(row.status),
        **{name: found[name] for name in _PLAIN},
    )
