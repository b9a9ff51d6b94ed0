"""
Bulk registration tasks: RegisterThing for every line of an input.

The lines of a task are done one after the other, and those of several
accounts by turns, with a pause after each, so that connected devices keep
their latency. A line that provisions something is done in the very transaction
that does so: whatever kills the process, it is done once.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.core.provisioning.tasks import (
    InputLine,
    LineSplitter,
    RegistrationTask,
    ReportType,
    TaskId,
    TaskLine,
    TaskStatus,
    read_parameters,
)
from handfast.core.provisioning.template import Template, TemplateKind
from handfast.errors import (
    ConflictingResourceUpdateError,
    InputUnavailable,
    InvalidRequestError,
    ResourceNotFoundError,
    ServiceError,
    StoreConflict,
    StoreUnavailable,
)
from handfast.ports import Cause, Change, ChangeKind, Clock, Entropy, Page, PageRequest, Store
from handfast.ports.registration_tasks import TaskInput, TaskInputs
from handfast.services.commit import Committer
from handfast.services.paging import page_of
from handfast.services.registration_reports import ReportFiles, ReportLinks
from handfast.services.template_gate import TemplateGate
from handfast.services.thing_registration import ThingRegistration

log = logging.getLogger(__name__)

KEPT = dt.timedelta(days=30)
"""How long a task may take, and how long it is kept when it has ended."""
BLOCK_BYTES = 256 * 1024
PAUSE_MIN_S = 0.001
PAUSE_MAX_S = 0.1
RETRY_S = 5.0
"""After the store gave no answer."""
EXPIRY_INTERVAL_S = 3600.0
_ATTEMPTS = 3
"""Of a line whose certificate was changed by somebody else meanwhile."""
_FORGOTTEN_AT_ONCE = 100


class RegistrationTasks:
    """The use cases of bulk registration tasks, and what carries them out. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        things: ThingRegistration,
        gate: TemplateGate,
        commit: Committer,
        entropy: Entropy,
        clock: Clock,
        inputs: TaskInputs,
        files: ReportFiles,
        links: ReportLinks,
    ) -> None:
        self._store = store
        self._things = things
        self._gate = gate
        self._commit = commit
        self._entropy = entropy
        self._clock = clock
        self._inputs = inputs
        self._files = files
        self._links = links
        self._running: dict[TaskId, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._expiring: asyncio.Task[None] | None = None

    # --- use cases; ServiceErrors

    async def start(self, scope: Scope, cause: Cause, *, body: str, bucket: str, key: str, role_arn: str) -> TaskId:
        """The task is under way; one of a scope at a time."""
        self._gate.accept(scope, body, TemplateKind.BULK)
        try:
            await asyncio.to_thread(self._inputs.check, scope.account, bucket, key)
        except InputUnavailable as error:
            raise InvalidRequestError(str(error)) from None
        task = RegistrationTask(
            scope=scope,
            task_id=TaskId(self._entropy.uuid()),
            template_body=body,
            bucket=bucket,
            key=key,
            role_arn=role_arn,
            status=TaskStatus.IN_PROGRESS,
            creation_date=cause.at,
            last_modified_date=cause.at,
        )
        try:
            await self._commit(self._store.start_registration_task(task, cause), suspects=_suspects(task))
        except StoreConflict as conflict:
            if conflict.kind != "running":
                raise
            raise InvalidRequestError(
                "A thing registration task of this account is under way; wait for it, or stop it"
            ) from None
        self._begin(task)
        return task.task_id

    async def stop(self, scope: Scope, cause: Cause, task_id: TaskId) -> None:
        """No further line is begun."""
        write = self._store.cancel_registration_task(scope, task_id, cause)
        try:
            await self._commit(write)
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise _not_found(task_id) from None
                case "status":
                    raise InvalidRequestError(f"The task has ended: {conflict.facts['status']}") from None
                case _:
                    raise
        if task_id not in self._running:
            task = await self._store.registration_task(scope, task_id)
            if task is not None:
                self._begin(task)

    async def describe(self, scope: Scope, task_id: TaskId) -> RegistrationTask:
        """The task, or ResourceNotFoundError."""
        task = await self._store.registration_task(scope, task_id)
        if task is None:
            raise _not_found(task_id)
        return task

    async def list_page(self, scope: Scope, page: PageRequest, *, status: TaskStatus | None) -> Page[TaskId]:
        """One page, the newest first."""
        return await page_of(self._store.list_registration_tasks(scope, page, status=status))

    async def reports(self, scope: Scope, task_id: TaskId, report: ReportType) -> list[str]:
        """The tokens of the reports; none before the task has ended."""
        task = await self._store.registration_task(scope, task_id)
        if task is None:
            # The model has no error of its own for it.
            raise InvalidRequestError(f"Task {task_id} does not exist in this account and region")
        if _is_open(task) or not await asyncio.to_thread(self._files.path(task_id, report).is_file):
            return []
        return [self._links.token(task_id, report)]

    # --- carrying out

    async def resume(self) -> None:
        """Tasks that another process left are under way again, and tasks are forgotten when their time has come."""
        for task in await self._store.running_registration_tasks():
            self._begin(task)
        self._expiring = asyncio.create_task(self._expire())

    async def close(self) -> None:
        """Nothing is under way in this process; the tasks go on in the next one."""
        under_way = [*self._running.values(), *([self._expiring] if self._expiring is not None else [])]
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def ended(self, task_id: TaskId) -> None:
        """This process does nothing for the task any more."""
        if (running := self._running.get(task_id)) is not None:
            await asyncio.wait([running])

    def _begin(self, task: RegistrationTask) -> None:
        if task.task_id in self._running:
            return
        running = asyncio.create_task(self._run(task))
        self._running[task.task_id] = running
        running.add_done_callback(lambda _: self._running.pop(task.task_id, None))

    async def _run(self, task: RegistrationTask) -> None:
        while True:
            try:
                await self._carry_out(task.scope, task.task_id)
                return
            except StoreUnavailable:
                log.warning("the store did not answer; the task %s goes on in %g s", task.task_id, RETRY_S)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("the task %s could not be ended; it goes on with the next start", task.task_id)
                return

    async def _carry_out(self, scope: Scope, task_id: TaskId) -> None:
        task = await self._store.registration_task(scope, task_id)
        if task is None or not _is_open(task):
            return
        status, message = TaskStatus.COMPLETED, None
        try:
            await self._catch_up(task)
            template = self._gate.accept(scope, task.template_body, TemplateKind.BULK)
            async with self._opened(task) as source:
                await self._lines(task, template, source)
        except (InputUnavailable, InvalidRequestError) as error:
            status, message = TaskStatus.FAILED, str(error)
        except StoreConflict as conflict:
            if conflict.kind != "task":
                raise
            # Cancelled, the only way that a line cannot be done.
        except OSError as error:
            log.warning("the reports of task %s cannot be written", task_id, exc_info=True)
            status, message = TaskStatus.FAILED, f"The reports cannot be written: {error.strerror}"
        except (StoreUnavailable, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("task %s failed", task_id)
            status, message = TaskStatus.FAILED, "An internal failure occurred"
        await asyncio.to_thread(self._files.settle, task_id)
        now = await self._store.registration_task(scope, task_id)
        if now is not None and now.status is TaskStatus.CANCELLING:
            status, message = TaskStatus.CANCELLED, None
        await self._commit(
            self._store.end_registration_task(scope, task_id, status, message, self._cause(task)),
            suspects=_suspects(task),
        )

    async def _catch_up(self, task: RegistrationTask) -> None:
        """The reports tell of every line that is done, the last of which a crash may have kept from them."""
        told = await asyncio.to_thread(self._files.cut, task.task_id, task.line)
        if task.outcome is None or task.line <= told:
            return
        outcome = json.loads(task.outcome)
        if "errorCode" in outcome:
            await asyncio.to_thread(self._files.append, task.task_id, ReportType.ERRORS, outcome)
            return
        named = outcome.pop("certificateId")
        record = None if named is None else await self._store.certificate(task.scope, named)
        await self._tell(task, outcome["line"], None if record is None else record.pem, outcome["resourceArns"])

    @asynccontextmanager
    async def _opened(self, task: RegistrationTask) -> AsyncIterator[TaskInput]:
        source = await asyncio.to_thread(
            lambda: self._inputs.open(
                task.scope.account, task.bucket, task.key, offset=task.offset, version=task.input_version
            )
        )
        try:
            await self._store.open_registration_task(
                task.scope, task.task_id, size=source.size, input_version=source.version
            )
            yield source
        finally:
            await asyncio.shield(asyncio.to_thread(source.close))

    async def _lines(self, task: RegistrationTask, template: Template, source: TaskInput) -> None:
        splitter = LineSplitter(task.offset)
        number = task.line
        while True:
            block = await asyncio.to_thread(source.read, BLOCK_BYTES)
            for line in splitter.feed(block) if block else splitter.finish():
                number += 1
                if line.content is not None and not line.content.strip():
                    continue  # it is counted, and passed over again after a crash
                await self._paced(lambda line=line, number=number: self._line(task, template, number, line))  # type: ignore[misc]
            if not block:
                return

    async def _paced(self, work: Callable[[], Any]) -> None:
        """The work, and then as long a pause: tasks share one turn, and devices have the rest."""
        async with self._turn:
            began = self._clock.monotonic()
            await work()
            await asyncio.sleep(min(PAUSE_MAX_S, max(PAUSE_MIN_S, self._clock.monotonic() - began)))

    async def _line(self, task: RegistrationTask, template: Template, number: int, line: InputLine) -> None:
        """The line is done and reported; StoreConflict "task" when the task does not go on."""
        cause = self._cause(task)
        if cause.at - task.creation_date > KEPT:
            raise InputUnavailable(f"The task was under way for {KEPT.days} days, which is the most")
        place = TaskLine(task.task_id, number, line.end)
        try:
            parameters = read_parameters(line.content)
            for attempt in range(_ATTEMPTS):
                try:
                    made = await self._things.register_thing(task.scope, cause, template, parameters, task_line=place)
                    break
                except ConflictingResourceUpdateError:
                    if attempt + 1 == _ATTEMPTS:
                        raise
        except ProvisioningFailed as failed:
            wrong = failed.kind in (FailureKind.TEMPLATE, FailureKind.INVALID)
            code = "InvalidRequestException" if wrong else "ResourceRegistrationFailureException"
            await self._fail(task, place, code, str(failed), failed.resource)
        except ServiceError as error:
            await self._fail(task, place, error.code, error.message, "")
        else:
            await self._tell(task, number, made.certificate_pem, dict(made.resource_arns))

    async def _fail(self, task: RegistrationTask, place: TaskLine, code: str, message: str, resource: str) -> None:
        entry = {"line": place.line, "errorCode": code, "errorMessage": message}
        if resource:
            entry["resource"] = resource
        await self._store.fail_registration_line(task.scope, place, json.dumps(entry), at=self._clock.now())
        await asyncio.to_thread(self._files.append, task.task_id, ReportType.ERRORS, entry)

    async def _tell(self, task: RegistrationTask, line: int, pem: str | None, arns: dict[str, str]) -> None:
        entry = {"line": line, **({} if pem is None else {"certificatePem": pem}), "resourceArns": arns}
        await asyncio.to_thread(self._files.append, task.task_id, ReportType.RESULTS, entry)

    def _cause(self, task: RegistrationTask) -> Cause:
        scope = task.scope
        return Cause(
            actor=f"arn:aws:iot:{scope.region}:{scope.account}:thing-registration-task/{task.task_id}",
            address="",
            operation="StartThingRegistrationTask",
            request_id=task.task_id,
            at=self._clock.now(),
        )

    # --- forgetting

    async def forget_old(self) -> None:
        """Tasks that ended long ago are gone with their reports."""
        while True:
            old = await self._store.ended_registration_tasks(self._clock.now() - KEPT, _FORGOTTEN_AT_ONCE)
            for task in old:
                # The files first: a task without them is forgotten with the next attempt, files without one never.
                await asyncio.to_thread(self._files.forget, task.task_id)
                await self._commit(self._store.forget_registration_task(task.scope, task.task_id, self._cause(task)))
            if len(old) < _FORGOTTEN_AT_ONCE:
                return

    async def _expire(self) -> None:
        while True:
            try:
                await self.forget_old()
            except Exception:
                log.warning("old bulk registration tasks could not be forgotten", exc_info=True)
            await asyncio.sleep(EXPIRY_INTERVAL_S)


def _is_open(task: RegistrationTask) -> bool:
    return task.status in (TaskStatus.IN_PROGRESS, TaskStatus.CANCELLING)


def _suspects(task: RegistrationTask) -> list[Change]:
    return [Change(ChangeKind.THING_REGISTRATION_TASK, task.scope, task.task_id)]


def _not_found(task_id: TaskId) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Task {task_id} does not exist in this account and region")
