"""Bulk registration tasks in every `ports.Store`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from tests.support.provisioning import order, plan
from tests.support.registry import NOW, OTHER_ACCOUNT, OTHER_REGION, ROLE, SCOPE, TEMPLATE_BODY, cause
from tests.support.stores import conflict, pages

from handfast.core.identity.ids import ThingName
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.tasks import RegistrationTask, TaskId, TaskLine, TaskStatus
from handfast.ports import Change, ChangeKind, Store

ONE, TWO = TaskId("11111111-1111-4111-8111-111111111111"), TaskId("22222222-2222-4222-8222-222222222222")
LATER = NOW + dt.timedelta(hours=1)
CHANGE = [Change(ChangeKind.THING_REGISTRATION_TASK, SCOPE, ONE)]
THING = Plan(thing=plan().thing)


def task(task_id: TaskId = ONE, **changes: Any) -> RegistrationTask:
    record = RegistrationTask(
        scope=SCOPE,
        task_id=task_id,
        template_body=TEMPLATE_BODY,
        bucket="incoming",
        key="lines.json",
        role_arn=ROLE,
        status=TaskStatus.IN_PROGRESS,
        creation_date=NOW,
        last_modified_date=NOW,
    )
    return dataclasses.replace(record, **changes)


async def provision(store: Store, line: TaskLine) -> None:
    wanted = order(THING, certificate_id=None, task_line=line)
    await store.provision(wanted, cause(at=LATER))


async def end(store: Store, status: TaskStatus = TaskStatus.COMPLETED, message: str | None = None) -> list[Change]:
    return await store.end_registration_task(SCOPE, ONE, status, message, cause(at=LATER))


async def test_one_task_of_a_scope_runs_at_a_time(store: Store) -> None:
    assert CHANGE == await store.start_registration_task(task(), cause())
    assert task() == await store.registration_task(SCOPE, ONE)
    assert "running" == (await conflict(store.start_registration_task(task(TWO), cause()))).kind
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        assert await store.registration_task(scope, ONE) is None
        await store.start_registration_task(task(TWO, scope=scope), cause())
    assert 3 == len(await store.running_registration_tasks())
    await store.cancel_registration_task(SCOPE, ONE, cause())
    assert "running" == (await conflict(store.start_registration_task(task(TWO), cause()))).kind
    await end(store, TaskStatus.CANCELLED)
    await store.start_registration_task(task(TWO), cause())


async def test_a_line_is_done_with_what_it_provisions_and_once(store: Store) -> None:
    await store.start_registration_task(task(), cause())
    await store.open_registration_task(SCOPE, ONE, size=100, input_version="v")
    await provision(store, TaskLine(ONE, 1, 40))
    await store.fail_registration_line(SCOPE, TaskLine(ONE, 3, 70), '{"line":3}', at=LATER)
    found = await store.registration_task(SCOPE, ONE)
    assert found is not None
    assert (1, 1, 3, 70, '{"line":3}') == (
        found.success_count,
        found.failure_count,
        found.line,
        found.offset,
        found.outcome,
    )
    assert (70, "v", LATER) == (found.percentage, found.input_version, found.last_modified_date)
    for line in (1, 3):
        assert "task" == (await conflict(provision(store, TaskLine(ONE, line, 99)))).kind
    assert found == await store.registration_task(SCOPE, ONE)


async def test_a_task_that_does_not_go_on_provisions_nothing(store: Store) -> None:
    await store.start_registration_task(task(), cause())
    await store.cancel_registration_task(SCOPE, ONE, cause())
    assert "task" == (await conflict(provision(store, TaskLine(ONE, 1, 40)))).kind
    assert "task" == (await conflict(provision(store, TaskLine(TWO, 1, 40)))).kind
    failing = store.fail_registration_line(SCOPE, TaskLine(ONE, 1, 40), "{}", at=LATER)
    assert "task" == (await conflict(failing)).kind
    assert await store.thing(SCOPE, ThingName("lamp")) is None


async def test_a_task_ends_once(store: Store) -> None:
    assert "missing" == (await conflict(end(store))).kind
    assert "missing" == (await conflict(store.cancel_registration_task(SCOPE, ONE, cause()))).kind
    await store.start_registration_task(task(), cause())
    assert CHANGE == await store.cancel_registration_task(SCOPE, ONE, cause())
    assert [] == await store.cancel_registration_task(SCOPE, ONE, cause())
    assert CHANGE == await end(store, TaskStatus.FAILED, "why")
    expected = task(status=TaskStatus.FAILED, message="why", last_modified_date=LATER)
    assert expected == await store.registration_task(SCOPE, ONE)
    for call in (end(store), store.cancel_registration_task(SCOPE, ONE, cause())):
        refused = await conflict(call)
        assert ("status", {"status": "Failed"}) == (refused.kind, refused.facts)


async def test_tasks_are_listed_and_forgotten(store: Store) -> None:
    await store.start_registration_task(task(), cause())
    assert [] == await store.forget_registration_task(SCOPE, ONE, cause()), "it has not ended"
    await end(store)
    await store.start_registration_task(task(TWO, creation_date=LATER), cause())
    listed = await pages(lambda page: store.list_registration_tasks(SCOPE, page), 1)
    assert [[TWO], [ONE]] == listed
    only = await pages(lambda page: store.list_registration_tasks(SCOPE, page, status=TaskStatus.COMPLETED), 9)
    assert [[ONE]] == only
    assert [] == await store.ended_registration_tasks(NOW, 9)
    assert [ONE] == [each.task_id for each in await store.ended_registration_tasks(LATER, 9)]
    assert CHANGE == await store.forget_registration_task(SCOPE, ONE, cause())
    assert await store.registration_task(SCOPE, ONE) is None
