"""Bulk registration tasks: what the store keeps of them, and where they read from."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.provisioning.tasks import RegistrationTask, TaskId, TaskLine, TaskStatus
from handfast.ports.values import Cause, Change, Page, PageRequest


class RegistrationTaskStore(Protocol):
    """
    Part of `ports.Store`.

    How far a task is stands beside the registry, not in the audit trail: what
    its lines changed is there.
    """

    async def start_registration_task(
        self, task: RegistrationTask, cause: Cause
    ) -> list[Change]: ...  # "running": another one of the scope has not ended
    async def registration_task(self, scope: Scope, task_id: TaskId) -> RegistrationTask | None: ...
    async def list_registration_tasks(
        self, scope: Scope, page: PageRequest, *, status: TaskStatus | None = None
    ) -> Page[TaskId]: ...  # the newest first
    async def cancel_registration_task(
        self, scope: Scope, task_id: TaskId, cause: Cause
    ) -> list[Change]: ...  # Cancelling; "missing", "status" (facts: status): it has ended
    async def end_registration_task(
        self, scope: Scope, task_id: TaskId, status: TaskStatus, message: str | None, cause: Cause
    ) -> list[Change]: ...  # "missing", "status" as above
    async def open_registration_task(
        self, scope: Scope, task_id: TaskId, *, size: int, input_version: str
    ) -> None: ...  # what its input is
    async def fail_registration_line(self, scope: Scope, line: TaskLine, outcome: str, *, at: dt.datetime) -> None:
        """The line is done and provisioned nothing. "task": the task does not go on, or is elsewhere. Lines that
        provision something are done by `provision`, in its transaction."""
        ...

    async def running_registration_tasks(self) -> list[RegistrationTask]: ...  # of every scope: have not ended
    async def ended_registration_tasks(self, until: dt.datetime, limit: int) -> list[RegistrationTask]: ...
    async def forget_registration_task(self, scope: Scope, task_id: TaskId, cause: Cause) -> list[Change]: ...


class TaskInput(Protocol):
    """An input that is open. Blocking; not for two threads at once."""

    @property
    def size(self) -> int: ...  # bytes, of the whole
    @property
    def version(self) -> str: ...
    def read(self, limit: int) -> bytes: ...  # b"" at the end
    def close(self) -> None: ...


class TaskInputs(Protocol):
    """
    The inputs that the operator has configured. Blocking.

    Raises InputUnavailable, whose message is fit for the account.
    """

    def check(self, account: AccountId, bucket: str, key: str) -> None:
        """It can be expected that `open` will succeed."""
        ...

    def open(self, account: AccountId, bucket: str, key: str, *, offset: int, version: str | None) -> TaskInput:
        """From this byte on; `version`: only if it is still this one."""
        ...
