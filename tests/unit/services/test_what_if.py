"""What the gateway decided is recorded when it decides, and judged by the same engine under a draft."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.policy_vectors import ACTIONS, load_cases
from tests.support.principals import Device, World, allow, arn, device, request
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, FakeClock

from handfast.core.identity.decisions import ConnectionEnd, Overflow, RecordedDecision
from handfast.core.identity.ids import PolicyName
from handfast.core.identity.records import ThingPrincipalType
from handfast.core.policy.actions import Action
from handfast.core.policy.evaluate import Outcome
from handfast.errors import InvalidRequestError, MalformedPolicyError, ResourceNotFoundError
from handfast.seam import Admitted
from handfast.services.authorization import PolicyAuthorizer
from handfast.services.decisions import DecisionLog
from handfast.services.what_if import Draft, DraftUse, ReplayPage, WhatIf, read_draft
from handfast.storage.decisions import SQLiteDecisions

SINCE = NOW - dt.timedelta(days=1)


class Recorded:
    """An archive that remembers what it was given."""

    def __init__(self) -> None:
        self.decisions: list[RecordedDecision] = []
        self.overflows: list[Overflow] = []
        self.ends: list[ConnectionEnd] = []

    def add(
        self,
        decisions: Sequence[RecordedDecision],
        overflows: Sequence[Overflow],
        ends: Sequence[ConnectionEnd],
        now: dt.datetime,
    ) -> None:
        self.decisions += decisions
        self.overflows += overflows
        self.ends += ends

    def page(self, *_: object) -> object:
        raise AssertionError

    coverage = page


def world_of(log: DecisionLog) -> World:
    world = World()
    world.verdict._decisions = log
    return world


async def connect(world: World, who: Device, client_id: str = "lamp", **will: object) -> PolicyAuthorizer:
    admitted = await world.verdict.identify(who.facts())
    assert isinstance(admitted, Admitted)
    authorizer = world.verdict.connect(who.facts(), admitted, request(client_id, **will))
    assert isinstance(authorizer, PolicyAuthorizer)
    return authorizer


# --- recording ----------------------------------------------------------------------------------------------------


async def test_a_decision_is_recorded_when_it_is_made_and_not_when_it_is_remembered() -> None:
    archive = Recorded()
    log = DecisionLog(archive, FakeClock())  # type: ignore[arg-type]
    world, who = world_of(log), device()
    world.store.register(who, policies={"all": allow()})
    authorizer = await connect(world, who)
    assert all(authorizer.publish("a") for _ in range(5))
    assert authorizer.receive("b")
    await log.flush()
    assert [("iot:Connect", "client/lamp", 1), ("iot:Publish", "topic/a", 1), ("iot:Receive", "topic/b", 1)] == [
        (each.asked.action, each.asked.resource, each.count) for each in archive.decisions
    ]
    first = archive.decisions[0]
    assert (SCOPE, who.certificate_id, "lamp", "ALLOWED", [("all", "1", 0)]) == (
        first.scope,
        first.certificate_id,
        first.asked.client_id,
        first.outcome,
        [tuple(each) for each in first.statements],
    )
    assert "192.0.2.7" == first.source_ip


async def test_denials_are_recorded_each_time_they_are_made() -> None:
    archive = Recorded()
    log = DecisionLog(archive, FakeClock())  # type: ignore[arg-type]
    world, who = world_of(log), device()
    world.store.register(who, policies={"p": allow("iot:Connect")})
    authorizer = await connect(world, who)
    assert not any(authorizer.publish("a") for _ in range(3))
    await log.flush()
    denied = archive.decisions[-1]
    assert ("IMPLICIT_DENY", 3, ()) == (denied.outcome, denied.count, denied.statements)


async def test_what_exceeds_the_bounds_is_counted() -> None:
    archive = Recorded()
    log = DecisionLog(archive, FakeClock(), per_principal=10)  # type: ignore[arg-type]
    world, who = world_of(log), device()
    world.store.register(who)
    authorizer = await connect(world, who)
    for number in range(20):
        authorizer.publish(f"t/{number}")
    await log.flush()
    assert 10 == len(archive.decisions)
    assert [(who.certificate_id, 11)] == [(each.certificate_id, each.lost) for each in archive.overflows]


async def test_the_end_of_a_connection_is_told() -> None:
    archive = Recorded()
    log = DecisionLog(archive, FakeClock())  # type: ignore[arg-type]
    world, who = world_of(log), device()
    world.store.register(who)
    authorizer = await connect(world, who)
    admitted = await world.verdict.identify(who.facts())
    assert isinstance(admitted, Admitted)
    world.verdict.disconnected(admitted, authorizer, "CLIENT_INITIATED_DISCONNECT")
    await log.flush()
    assert [(SCOPE, who.certificate_id, "lamp")] == [tuple(each[:3]) for each in archive.ends]


# --- replay -------------------------------------------------------------------------------------------------------


class Replayed:
    """A world whose decisions go to a real archive."""

    def __init__(self, folder: Path) -> None:
        self.log = DecisionLog(SQLiteDecisions(folder / "decisions.db"), FakeClock())
        self.world = world_of(self.log)
        self.what_if = WhatIf(self.world.store, self.world.cache, self.log)  # type: ignore[arg-type]

    async def replay(self, draft: Draft, since: dt.datetime = SINCE) -> ReplayPage:
        return await self.what_if.replay(SCOPE, draft, since, None)


def draft(name: str, document: str | None, use: DraftUse = DraftUse.REPLACE) -> Draft:
    return read_draft(PolicyName(name), document, use)


async def test_a_draft_that_takes_a_topic_away_loses_exactly_that(tmp_path: Path) -> None:
    replayed, lamp, door = Replayed(tmp_path), device("lamp"), device("door")
    world = replayed.world
    world.store.register(lamp, policies={"p": allow()}, things={"lamp": ThingPrincipalType.NON_EXCLUSIVE_THING})
    world.store.register(door, policies={"q": allow()})
    for who, name in ((lamp, "lamp"), (door, "door")):
        authorizer = await connect(world, who, name)
        assert authorizer.publish("keep")
        assert authorizer.publish("drop")
    deny = {"Effect": "Deny", "Action": "iot:Publish", "Resource": arn("topic/drop")}
    document = json.loads(allow())
    document["Statement"].append(deny)
    page = await replayed.replay(draft("p", json.dumps(document)))
    (change,) = page.changes
    assert change.loss
    assert (lamp.certificate_id, "lamp", "lamp", "topic/drop") == (
        change.record.certificate_id,
        change.thing_name,
        change.record.asked.client_id,
        change.record.asked.resource,
    )
    assert (Outcome.ALLOWED, Outcome.EXPLICIT_DENY) == (change.before.outcome, change.after.outcome)
    assert [("p", "draft", 1)] == [tuple(each)[:3] for each in change.after.statements]
    assert (6, 3, 0, 0) == (page.judged, page.concerned, page.unregistered, page.outdated)


async def test_added_and_removed_policies(tmp_path: Path) -> None:
    replayed, who = Replayed(tmp_path), device()
    replayed.world.store.register(who, policies={"c": allow("iot:Connect"), "p": allow("iot:Publish")})
    authorizer = await connect(replayed.world, who)
    assert authorizer.publish("a")
    assert not authorizer.subscribe("f")
    added = await replayed.replay(draft("new", allow("iot:Subscribe"), DraftUse.ADD))
    assert [(False, "topicfilter/f")] == [(each.loss, each.record.asked.resource) for each in added.changes]
    removed = await replayed.replay(draft("p", None, DraftUse.REMOVE))
    assert [(True, "topic/a")] == [(each.loss, each.record.asked.resource) for each in removed.changes]
    with pytest.raises(ResourceNotFoundError):
        await replayed.replay(draft("new", allow()))


async def test_an_unchanged_policy_gains_and_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(4)
    cases = [case for case in load_cases() if case.policies and not case.subject and not case.alternative]
    for number, case in enumerate(chance.sample(cases, 12)):
        folder = tmp_path / str(number)
        folder.mkdir()
        replayed, who = Replayed(folder), device(str(number))
        documents = {f"p{index}": text for index, text in enumerate(case.documents(SCOPE))}
        things = {case.associated.thing_name: case.associated.thing_principal_type} if case.associated else None
        replayed.world.store.register(who, policies=documents, things=things)
        principal = await replayed.world.cache.load((SCOPE, who.certificate_id))
        authorizer = PolicyAuthorizer(
            (SCOPE, who.certificate_id),
            principal,
            who.facts(),
            case.client,
            None,  # type: ignore[arg-type]
            lambda _: (),
            decisions=replayed.log,
        )
        for ask in case.asks:
            authorizer.check(Action(ACTIONS[ask.action]), ask.resource)
        for name, text in documents.items():
            page = await replayed.replay(draft(name, text))
            assert ([], len({(a.action, a.resource) for a in case.asks})) == (list(page.changes), page.judged), (
                case.name
            )
            assert 0 == page.outdated, case.name


async def test_certificates_that_are_gone_and_policies_that_changed_are_told(tmp_path: Path) -> None:
    replayed, gone, other = Replayed(tmp_path), device("gone"), device("other")
    replayed.world.store.register(gone)
    replayed.world.store.register(other)
    await connect(replayed.world, gone)
    await connect(replayed.world, other, "other")
    del replayed.world.store.records[SCOPE, gone.certificate_id]
    replayed.world.store.register(other, policies={"all": allow("iot:Publish")})
    page = await replayed.replay(draft("all", allow("iot:Publish")))
    assert ([], 1, 1, 1) == (list(page.changes), page.judged, page.unregistered, page.outdated)


async def test_a_live_connection_still_obeys_what_it_decided_long_ago(tmp_path: Path) -> None:
    replayed, who = Replayed(tmp_path), device()
    replayed.world.store.register(who, policies={"p": allow()})
    authorizer = await connect(replayed.world, who)
    assert authorizer.publish("a")
    none = draft("p", allow("iot:Connect"))
    later = NOW + dt.timedelta(days=9)
    assert ["topic/a"] == [each.record.asked.resource for each in (await replayed.replay(none, later)).changes]
    replayed.world.cache.detach(authorizer)
    assert 0 == (await replayed.replay(none, later)).judged


async def test_other_accounts_see_nothing_and_silence_is_told(tmp_path: Path) -> None:
    replayed, who = Replayed(tmp_path), device()
    replayed.world.store.register(who, policies={"p": allow()})
    await connect(replayed.world, who)
    page = await replayed.what_if.replay(OTHER_ACCOUNT, draft("p", allow(), DraftUse.ADD), SINCE, None)
    assert 0 == page.judged
    coverage = await replayed.what_if.coverage(SCOPE, SINCE)
    assert [(SINCE, NOW)] == list(coverage.gaps)
    off = WhatIf(replayed.world.store, replayed.world.cache, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="--decisions off"):
        await off.replay(SCOPE, draft("p", allow()), SINCE, None)


async def test_a_draft_is_checked_as_a_policy_is() -> None:
    with pytest.raises(MalformedPolicyError, match="Fly"):
        draft("p", allow("iot:Fly"))
    with pytest.raises(InvalidRequestError):
        draft("p", None)
    with pytest.raises(InvalidRequestError):
        draft("p", allow(), DraftUse.REMOVE)


# --- one question -------------------------------------------------------------------------------------------------


async def test_one_question_is_answered_with_its_variables(tmp_path: Path) -> None:
    replayed, who = Replayed(tmp_path), device()
    text = allow("iot:Publish", resource=arn("topic/${iot:Connection.Thing.ThingName}/x"))
    replayed.world.store.register(who, policies={"p": text}, things={"lamp": ThingPrincipalType.NON_EXCLUSIVE_THING})
    what_if = replayed.what_if
    answer = await what_if.test(SCOPE, who.certificate_id, Action.PUBLISH, "lamp/x")
    assert (Outcome.ALLOWED, "lamp", "lamp") == (answer.decision.outcome, answer.client_id, answer.thing_name)
    assert {"iot:Connection.Thing.ThingName": ("lamp",)} == answer.values
    other = await what_if.test(SCOPE, who.certificate_id, Action.PUBLISH, "lamp/x", client_id="other")
    assert (Outcome.IMPLICIT_DENY, ("iot:Connection.Thing.ThingName",)) == (other.decision.outcome, other.missing)
    drafted = await what_if.test(
        SCOPE, who.certificate_id, Action.CONNECT, "lamp", draft=draft("new", allow("iot:Connect"), DraftUse.ADD)
    )
    assert (True, [("p", "1"), ("new", "draft")]) == (drafted.decision.allowed, list(drafted.policies))
    with pytest.raises(ResourceNotFoundError):
        await what_if.test(OTHER_ACCOUNT, who.certificate_id, Action.PUBLISH, "a")
