"""Bulk registration tasks carried out: every line once, whatever ends the process, and reports that tell of each."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    ROLE,
    SCOPE,
    FakeClock,
    FakeEntropy,
    FakeIssuer,
    cause,
    registration_tasks,
    sqlite_store,
    with_accounts,
)
from tests.support.strict import request

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.inputs import DirectoryBucket
from handfast.core.provisioning.tasks import LINE_MAX_BYTES, RegistrationTask, ReportType, TaskId, TaskStatus
from handfast.errors import InvalidRequestError, ResourceNotFoundError
from handfast.ports import PageRequest
from handfast.services.registration_reports import LINK_S, ReportFiles, ReportLinks
from handfast.services.registration_tasks import RegistrationTasks
from handfast.services.registry import Registry
from handfast.storage.sql import SQLStore

TEMPLATE = json.dumps(
    {
        "Parameters": {"Name": {"Type": "String"}, "CSR": {"Type": "String"}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}},
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateSigningRequest": {"Ref": "CSR"}, "Status": "ACTIVE"},
            },
        },
    }
)


REQUEST = request()


def line(name: str, csr: str = REQUEST) -> str:
    return json.dumps({"Name": name, "CSR": csr})


@dataclasses.dataclass
class Bulk:
    """The tasks over a store; `again` is the next process over the same one."""

    store: SQLStore
    directory: Path
    clock: FakeClock
    tasks: RegistrationTasks = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        (self.directory / "in").mkdir()
        self.again()

    def again(self) -> None:
        async def notify(_: Any) -> None: ...

        registry = Registry(self.store, FakeIssuer(), FakeEntropy(), notify)
        buckets = {"incoming": DirectoryBucket(directory=str(self.directory / "in"), accounts=("*",))}
        self.tasks = registration_tasks(self.store, registry, self.clock, self.directory, buckets)

    def write(self, *lines: str) -> None:
        (self.directory / "in" / "lines").write_text("\n".join(lines) + "\n")

    async def start(self, scope: Scope = SCOPE, **changes: str) -> TaskId:
        members = {"body": TEMPLATE, "bucket": "incoming", "key": "lines", "role_arn": ROLE} | changes
        return await self.tasks.start(scope, cause(), **members)

    async def run(self, *lines: str) -> RegistrationTask:
        self.write(*lines)
        task_id = await self.start()
        await self.tasks.ended(task_id)
        return await self.tasks.describe(SCOPE, task_id)

    def report(self, task_id: TaskId, report: ReportType) -> list[dict[str, Any]]:
        path = ReportFiles(self.directory).path(task_id, report)
        return [json.loads(each) for each in path.read_text().splitlines()] if path.exists() else []

    async def things(self) -> list[str]:
        return [thing.thing_name for thing in (await self.store.list_things(SCOPE, PageRequest(limit=99))).items]

    async def certificates(self) -> int:
        return len((await self.store.list_certificates(SCOPE, PageRequest(limit=99))).items)


@pytest.fixture
async def bulk(tmp_path: Path) -> AsyncIterator[Bulk]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        made = Bulk(store, tmp_path, FakeClock())
        yield made
        await made.tasks.close()


async def test_every_line_is_provisioned_or_told_what_is_wrong_with_it(bulk: Bulk) -> None:
    done = await bulk.run(
        line("lamp-1"), "", "[]", line("lamp-2", "bad"), "x" * (LINE_MAX_BYTES + 1), '{"Name":"lamp-3"}', line("lamp-4")
    )
    assert (TaskStatus.COMPLETED, 2, 4, 100) == (done.status, done.success_count, done.failure_count, done.percentage)
    assert ["lamp-1", "lamp-4"] == await bulk.things()
    results = bulk.report(done.task_id, ReportType.RESULTS)
    assert [1, 7] == [each["line"] for each in results]
    arn = f"arn:aws:iot:us-east-1:{SCOPE.account}:thing/lamp-1"
    assert arn == results[0]["resourceArns"]["thing"]
    assert results[0]["certificatePem"].startswith("-----BEGIN CERTIFICATE-----")
    errors = bulk.report(done.task_id, ReportType.ERRORS)
    assert [(3, ""), (4, "certificate"), (5, ""), (6, "certificate")] == [
        (each["line"], each.get("resource", "")) for each in errors
    ]
    assert {"InvalidRequestException"} == {errors[index]["errorCode"] for index in (0, 2, 3)}
    path = ReportFiles(bulk.directory).path(done.task_id, ReportType.ERRORS)
    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)


async def test_what_cannot_begin_is_refused(bulk: Bulk) -> None:
    bulk.write(line("lamp"))
    for changes in ({"body": "{}"}, {"bucket": "other"}, {"key": "none"}, {"key": "../handfast.db"}):
        with pytest.raises(InvalidRequestError):
            await bulk.start(**changes)
    assert [] == await bulk.store.running_registration_tasks()


async def held(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> tuple[TaskId, asyncio.Event]:
    """A task whose first line waits until the event is set."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    provision = bulk.store.provision

    async def waiting(*args: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await provision(*args)

    monkeypatch.setattr(bulk.store, "provision", waiting)
    bulk.write(*[line(f"lamp-{number}") for number in range(4)])
    task_id = await bulk.start()
    await reached.wait()
    return task_id, go_on


async def test_one_task_at_a_time_and_a_stopped_one_begins_no_further_line(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id, go_on = await held(bulk, monkeypatch)
    with pytest.raises(InvalidRequestError):
        await bulk.start()
    assert [] == await bulk.tasks.reports(SCOPE, task_id, ReportType.RESULTS)
    await bulk.tasks.stop(SCOPE, cause(), task_id)
    assert TaskStatus.CANCELLING is (await bulk.tasks.describe(SCOPE, task_id)).status
    go_on.set()
    await bulk.tasks.ended(task_id)
    found = await bulk.tasks.describe(SCOPE, task_id)
    assert (TaskStatus.CANCELLED, 0, 0) == (found.status, found.success_count, found.line)
    assert [] == await bulk.things(), "the line that was under way is as if it had never begun"
    with pytest.raises(InvalidRequestError):
        await bulk.tasks.stop(SCOPE, cause(), task_id)
    for scope in (OTHER_ACCOUNT, Scope(SCOPE.account, "eu-west-1")):
        with pytest.raises(ResourceNotFoundError):
            await bulk.tasks.stop(scope, cause(), task_id)
        with pytest.raises(ResourceNotFoundError):
            await bulk.tasks.describe(scope, task_id)
        with pytest.raises(InvalidRequestError):
            await bulk.tasks.reports(scope, task_id, ReportType.RESULTS)


@pytest.mark.parametrize("killed_at", ["before", "after", "half"])
async def test_a_task_goes_on_in_the_next_process_and_no_line_is_done_twice(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """Killed before, after and while the report of the second line is written: its provisioning is durable then."""
    append, calls = ReportFiles.append, 0

    def deadly(self: ReportFiles, task_id: TaskId, report: ReportType, entry: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls != 2 or killed_at == "after":
            append(self, task_id, report, entry)
        if calls == 2:
            if killed_at == "half":
                with self.path(task_id, report).open("a") as file:
                    file.write('{"line":2,"certif')
            raise KeyboardInterrupt

    async def kill(call: Callable[..., Any], *args: Any) -> Any:
        try:
            return await to_thread(call, *args)
        except KeyboardInterrupt:
            raise asyncio.CancelledError from None

    to_thread = asyncio.to_thread
    with monkeypatch.context() as patched:
        patched.setattr(ReportFiles, "append", lambda *args: None if calls > 2 else deadly(*args))
        patched.setattr(asyncio, "to_thread", kill)
        bulk.write(line("lamp-1"), line("lamp-2"), "", "[]", line("lamp-3"))
        task_id = await bulk.start()
        await bulk.tasks.ended(task_id)
    left = await bulk.tasks.describe(SCOPE, task_id)
    assert (TaskStatus.IN_PROGRESS, 2, 2) == (left.status, left.success_count, left.line)

    bulk.again()
    await bulk.tasks.resume()
    await bulk.tasks.ended(task_id)
    found = await bulk.tasks.describe(SCOPE, task_id)
    assert (TaskStatus.COMPLETED, 3, 1) == (found.status, found.success_count, found.failure_count)
    assert ["lamp-1", "lamp-2", "lamp-3"] == await bulk.things()
    assert 3 == await bulk.certificates(), "a request is signed once"
    results = bulk.report(task_id, ReportType.RESULTS)
    assert [1, 2, 5] == [each["line"] for each in results]
    assert all(each["certificatePem"].startswith("-----BEGIN") for each in results)
    assert [4] == [each["line"] for each in bulk.report(task_id, ReportType.ERRORS)]


@pytest.mark.parametrize("entries", [3, 30_000])
def test_reports_that_are_ahead_of_the_registry_are_cut(tmp_path: Path, entries: int) -> None:
    """After a restore: more than one block of them, and the last one half."""
    files, task_id = ReportFiles(tmp_path), TaskId("11111111-1111-4111-8111-111111111111")
    files.append(task_id, ReportType.RESULTS, {"line": 1})
    files.append(task_id, ReportType.RESULTS, {"line": 4})
    path = files.path(task_id, ReportType.RESULTS)
    kept = path.read_bytes()
    ahead = "".join(
        json.dumps({"line": number, "resourceArns": {"thing": "x" * 50}}) + "\n" for number in range(5, entries)
    )
    path.write_bytes(kept + ahead.encode() + b'{"li')
    assert 4 == files.cut(task_id, 4)
    assert kept == path.read_bytes()
    assert 1 == files.cut(task_id, 3)
    assert 0 == files.cut(task_id, 0)
    assert b"" == path.read_bytes()


async def test_an_input_that_changes_while_nobody_reads_fails_the_task(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        task_id, _ = await held(bulk, patched)
        await bulk.tasks.close()
    bulk.write(line("other"))
    bulk.again()
    await bulk.tasks.resume()
    await bulk.tasks.ended(task_id)
    found = await bulk.tasks.describe(SCOPE, task_id)
    assert TaskStatus.FAILED is found.status
    assert found.message is not None
    assert "changed" in found.message
    assert [] == await bulk.things()


async def test_after_thirty_days_a_task_fails_and_an_ended_one_is_forgotten(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await bulk.run(line("lamp-1"))
    bulk.clock.instant = NOW + dt.timedelta(days=29)
    await bulk.tasks.forget_old()
    assert 1 == len(bulk.report(done.task_id, ReportType.RESULTS))
    slow = await bulk.run(line("lamp-2"))  # begun, the store says, when the first was
    assert TaskStatus.COMPLETED is slow.status
    bulk.clock.instant = NOW + dt.timedelta(days=31)
    late = await bulk.run(line("lamp-3"))
    assert (TaskStatus.FAILED, 0) == (late.status, late.success_count)
    await bulk.tasks.forget_old()
    assert [] == bulk.report(done.task_id, ReportType.RESULTS)
    with pytest.raises(ResourceNotFoundError):
        await bulk.tasks.describe(SCOPE, done.task_id)


async def test_a_link_opens_its_report_for_an_hour(bulk: Bulk) -> None:
    done = await bulk.run(line("lamp-1"), "[]")
    files, clock = ReportFiles(bulk.directory), bulk.clock
    links = ReportLinks(files, clock, FakeEntropy())
    (token,) = [links.token(done.task_id, ReportType.RESULTS)]
    assert files.path(done.task_id, ReportType.RESULTS) == links.report(token)
    claim, _, mac = token.partition(".")
    other = links.token(done.task_id, ReportType.ERRORS).partition(".")
    for wrong in ("", ".", claim, f"{claim}.", f"{claim}.{mac[:-2]}", f"{other[0]}.{mac}", f"{claim}.é", "x" * 5000):
        assert links.report(wrong) is None
    assert ReportLinks(files, clock, FakeEntropyOf(7)).report(token) is None, "another process's"
    clock.instant += dt.timedelta(seconds=LINK_S)
    assert links.report(token) is None
    assert [] == await bulk.tasks.reports(SCOPE, (await bulk.run(line("lamp-2"))).task_id, ReportType.ERRORS)


class FakeEntropyOf(FakeEntropy):
    def __init__(self, start: int) -> None:
        super().__init__()
        for _ in range(start):
            self.token_bytes(1)
