"""The part of `ports.Store` about bulk registration tasks."""

from __future__ import annotations

import datetime as dt

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.tasks import RegistrationTask, TaskId, TaskLine, TaskStatus
from handfast.ports import Cause, Change, Page, PageRequest
from handfast.storage import registration_tasks as tasks
from handfast.storage.sqlite import SQLiteDatabase


class RegistrationTaskOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    async def start_registration_task(self, task: RegistrationTask, cause: Cause) -> list[Change]:
        return await self._write(lambda c: tasks.start(c, task, cause))

    async def registration_task(self, scope: Scope, task_id: TaskId) -> RegistrationTask | None:
        return await self._read(lambda c: tasks.get(c, scope, task_id))

    async def list_registration_tasks(
        self, scope: Scope, page: PageRequest, *, status: TaskStatus | None = None
    ) -> Page[TaskId]:
        return await self._read(lambda c: tasks.list_page(c, scope, page, status=status))

    async def cancel_registration_task(self, scope: Scope, task_id: TaskId, cause: Cause) -> list[Change]:
        return await self._write(lambda c: tasks.settle(c, scope, task_id, TaskStatus.CANCELLING, None, cause))

    async def end_registration_task(
        self, scope: Scope, task_id: TaskId, status: TaskStatus, message: str | None, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: tasks.settle(c, scope, task_id, status, message, cause))

    async def open_registration_task(self, scope: Scope, task_id: TaskId, *, size: int, input_version: str) -> None:
        await self._write(lambda c: tasks.opened(c, scope, task_id, size=size, input_version=input_version))

    async def fail_registration_line(self, scope: Scope, line: TaskLine, outcome: str, *, at: dt.datetime) -> None:
        await self._write(lambda c: tasks.line_failed(c, scope, line, outcome, at))

    async def running_registration_tasks(self) -> list[RegistrationTask]:
        return await self._read(tasks.running)

    async def ended_registration_tasks(self, until: dt.datetime, limit: int) -> list[RegistrationTask]:
        return await self._read(lambda c: tasks.ended(c, until, limit))

    async def forget_registration_task(self, scope: Scope, task_id: TaskId, cause: Cause) -> list[Change]:
        return await self._write(lambda c: tasks.forget(c, scope, task_id, cause))
