"""
`handfast check`: the checks on an account's certificates in one region, as a task that runs in a process of its own.

One task runs at a time, the others wait; an account has one at most in a region. The latest one of each is kept in
memory with its findings, so that they can be read page by page; a restart forgets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from handfast.core.identity.checks import CheckName
from handfast.core.identity.ids import Scope
from handfast.core.identity.observations import Observation
from handfast.errors import InvalidRequestError, LimitExceededError, ResourceNotFoundError
from handfast.ports import Clock, Entropy, PageRequest, Store
from handfast.services import check_worker
from handfast.services.check_uploads import Uploads

log = logging.getLogger(__name__)

DEFAULT_EXPIRING_WITHIN_S = 30 * 86400
MAX_TASKS = 16
"""Tasks that are kept, of all accounts; the oldest that has ended makes room."""
MAX_FINDINGS_PER_CHECK = 2_500
"""Findings of one check that are kept; all are counted."""
PAGE = 500
"""Certificates that are read from the store at once."""
MAX_RUN_S = 6 * 3600.0
"""Others wait meanwhile."""
_LINE_LIMIT = 1024 * 1024
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")

ObservationsOf = Callable[[Scope], Awaitable[Sequence[Observation]]]


class TaskStatus(StrEnum):
    """AWS's `AuditTaskStatus`."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


class Phase(StrEnum):
    """What a task is at."""

    WAITING = "waiting"  # for another account's task
    CERTIFICATES = "certificates"
    FACTORS = "factors"  # the batch GCD over the RSA moduli
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What was asked for. `files` and `debian` are as uploaded: lists in DER or PEM, packed entries of 10 bytes."""

    checks: frozenset[CheckName] = frozenset(CheckName)
    expiring_within_s: int = DEFAULT_EXPIRING_WITHIN_S
    age_days: int | None = None
    files: tuple[bytes, ...] = ()
    debian: bytes = b""


@dataclass(slots=True)
class CheckTask:
    """A run and what it found so far. `findings` hold the members of the API's model."""

    task_id: str
    scope: Scope
    options: CheckOptions
    started: dt.datetime
    status: TaskStatus = TaskStatus.IN_PROGRESS
    phase: Phase = Phase.WAITING
    progress: float = 0.0
    ended: dt.datetime | None = None
    error: str | None = None
    sent: int = 0
    tally: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    job: asyncio.Task[None] | None = None


class CheckFailed(Exception):
    """The run ended without an answer; the text is for its owner."""


class Checks:
    """The tasks of all accounts."""

    def __init__(self, store: Store, observations: ObservationsOf, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._observations = observations
        self._clock = clock
        self._entropy = entropy
        self._turn = asyncio.Semaphore(1)
        self._tasks: dict[str, CheckTask] = {}
        self.uploads = Uploads(clock, entropy)

    def start(self, scope: Scope, options: CheckOptions) -> CheckTask:
        """
        A task, under way.

        Raises:
            LimitExceededError: One of this account and region is still running, or too many wait.
        """
        for task in list(self._tasks.values()):
            if task.scope == scope:
                if task.status is TaskStatus.IN_PROGRESS:
                    raise LimitExceededError(
                        f"The check {task.task_id} is still running in {scope.region}: wait for it, or cancel it"
                    )
                del self._tasks[task.task_id]
        if len(self._tasks) >= MAX_TASKS:
            ended = [task for task in self._tasks.values() if task.status is not TaskStatus.IN_PROGRESS]
            if not ended:
                raise LimitExceededError(f"{MAX_TASKS} checks of other accounts wait already; try again later")
            del self._tasks[min(ended, key=lambda task: task.started).task_id]
        task = CheckTask(self._entropy.uuid().replace("-", ""), scope, options, self._clock.now())
        self._tasks[task.task_id] = task
        task.job = asyncio.create_task(self._run(task))
        return task

    def task(self, scope: Scope, task_id: str) -> CheckTask:
        """ResourceNotFoundError: none of this account and region, or forgotten."""
        task = self._tasks.get(task_id)
        if task is None or task.scope != scope:
            raise ResourceNotFoundError(
                "There is no such check in this account and region; the server keeps the latest one until it stops"
            )
        return task

    def findings(
        self, scope: Scope, task_id: str, *, check: CheckName | None, limit: int, token: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of the findings in the order found, and the token of the next page."""
        task = self.task(scope, task_id)
        start = 0
        if token is not None:
            number = token.removeprefix(f"{task_id}.")
            if number == token or not number.isascii() or not number.isdigit() or len(number) > 9:
                raise InvalidRequestError("The token does not belong to this listing; start without one")
            start = int(number)
        page: list[dict[str, Any]] = []
        at = start
        while at < len(task.findings) and len(page) < limit:
            if check is None or task.findings[at]["check_name"] == check:
                page.append(task.findings[at])
            at += 1
        return page, f"{task_id}.{at}" if at < len(task.findings) else None

    async def cancel(self, scope: Scope, task_id: str) -> None:
        """The task is not running any more; one that has ended stays as it is."""
        task = self.task(scope, task_id)
        if task.job is not None and task.status is TaskStatus.IN_PROGRESS:
            task.job.cancel()
            await asyncio.wait([task.job])
            if task.status is TaskStatus.IN_PROGRESS:  # it had not even begun
                task.status, task.ended = TaskStatus.CANCELED, self._clock.now()

    async def close(self) -> None:
        """No task is running."""
        jobs = [task.job for task in self._tasks.values() if task.job is not None and not task.job.done()]
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    # --- one run

    async def _run(self, task: CheckTask) -> None:
        try:
            async with self._turn:
                task.phase = Phase.CERTIFICATES
                async with asyncio.timeout(MAX_RUN_S):
                    await self._work(task)
            task.status, task.phase, task.progress = TaskStatus.COMPLETED, Phase.DONE, 1.0
        except asyncio.CancelledError:
            task.status = TaskStatus.CANCELED
        except CheckFailed as error:
            task.status, task.error = TaskStatus.FAILED, str(error)
        except TimeoutError:
            task.status = TaskStatus.FAILED
            task.error = f"The check was not done within {MAX_RUN_S / 3600:.0f} hours: narrow it with fewer checks"
        except Exception:
            log.exception("a check failed inside")
            task.status, task.error = TaskStatus.FAILED, "The check failed inside; the server's log says why"
        finally:
            task.ended = self._clock.now()
            task.options = CheckOptions()  # what was uploaded is not needed any more

    async def _work(self, task: CheckTask) -> None:
        observations = await self._observations(task.scope)
        # -P: what lies in the directory that the server was started in is not our code.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            check_worker.__name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            limit=_LINE_LIMIT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        reading = asyncio.create_task(self._read(task, process.stdout))
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the reader says what became of it
                await self._feed(task, process.stdin, observations)
            await reading
            if await process.wait() != 0 or not task.tally:
                raise CheckFailed("The process that checks ended early; the server's log says why")
        finally:
            reading.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _feed(self, task: CheckTask, pipe: asyncio.StreamWriter, observations: Sequence[Observation]) -> None:
        options = task.options
        request = {
            "now": task.started.isoformat(),
            "checks": sorted(options.checks),
            "expiring_within_s": options.expiring_within_s,
            "age_days": options.age_days,
            "files": options.files,
            "debian": options.debian,
            "observations": observations,
        }
        pipe.write(await asyncio.to_thread(check_worker.request_line, request))
        await pipe.drain()
        marker: str | None = None
        while True:
            cas = await self._store.list_ca_certificates(task.scope, PageRequest(limit=PAGE, marker=marker))
            await _send(pipe, [("ca", ca.certificate_id, ca.pem, ca.status, ca.creation_date) for ca in cas.items])
            marker = cas.marker
            if marker is None:
                break
        while True:
            page = await self._store.list_certificates(
                task.scope, PageRequest(limit=PAGE, marker=marker, ascending=True)
            )
            # What other accounts offer to this one is theirs until it is accepted.
            own = [item for item in page.items if item.scope == task.scope]
            rows = [("certificate", item.certificate_id, item.pem, item.status, item.creation_date) for item in own]
            await _send(pipe, rows)
            task.sent += len(own)
            marker = page.marker
            if marker is None:
                break
        pipe.write(b'["end"]\n')
        await pipe.drain()
        pipe.close()

    async def _read(self, task: CheckTask, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            message = json.loads(line)
            if "finding" in message:
                _keep(task, message["finding"])
            elif "progress" in message:
                task.phase, task.progress = Phase(message["progress"][0]), message["progress"][1]
            elif "tally" in message:
                task.tally = message["tally"]
            else:
                raise CheckFailed(message["error"])


async def _send(pipe: asyncio.StreamWriter, rows: Sequence[tuple[str, str, str, str, dt.datetime]]) -> None:
    lines = [
        json.dumps([kind, identifier, pem, status, created.isoformat()])
        for kind, identifier, pem, status, created in rows
    ]
    if lines:
        pipe.write(("\n".join(lines) + "\n").encode())
    await pipe.drain()


def _keep(task: CheckTask, finding: dict[str, Any]) -> None:
    check = finding["check_name"]
    task.counts[check] += 1
    task.severities[finding["severity"]] += 1
    if task.counts[check] <= MAX_FINDINGS_PER_CHECK:
        task.findings.append(finding)
