"""When `apply` returns, the next packet obeys the registry, whatever was being read meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support import registry
from tests.support.principals import Device, World, allow, arn, device, request
from tests.support.registry import OTHER_ACCOUNT, SCOPE, sqlite_store

from handfast.core.identity.records import AccountStatus, CertificateMode, CertificateStatus, ThingPrincipalType
from handfast.core.identity.refusal import Stage
from handfast.ports import Change, ChangeKind
from handfast.seam import Admitted, Refused
from handfast.services.authorization import MAX_DECISIONS, PolicyAuthorizer
from handfast.services.principals import ADMITTED_GRACE_S, PrincipalCache


async def live(world: World, who: Device, client_id: str = "lamp") -> PolicyAuthorizer:
    """An MQTT connection of the device."""
    admitted = await world.verdict.identify(who.facts())
    assert isinstance(admitted, Admitted)
    authorizer = world.verdict.connect(who.facts(), admitted, request(client_id))
    assert isinstance(authorizer, PolicyAuthorizer), world.codes(getattr(authorizer, "trace_id", ""))
    return authorizer


# --- reading ------------------------------------------------------------------------------------------------------


async def test_all_misses_of_one_loop_turn_are_one_call() -> None:
    world, devices = World(), [device(str(n)) for n in range(5)]
    for who in devices[:4]:
        world.store.register(who)
    keys = [(SCOPE, who.certificate_id) for who in devices]
    found = await asyncio.gather(*map(world.cache.load, [*keys, *keys]))
    assert [keys] == world.store.calls
    assert [True, True, True, True, False] * 2 == [each is not None for each in found]


async def test_what_is_not_registered_is_not_remembered() -> None:
    world, who = World(), device()
    key = (SCOPE, who.certificate_id)
    assert await world.cache.load(key) is None
    world.store.register(who)
    assert await world.cache.load(key) is not None


async def test_a_miss_joins_the_read_that_is_under_way() -> None:
    world, who = World(), device()
    world.store.register(who)
    key = (SCOPE, who.certificate_id)
    world.store.hold()
    first = asyncio.create_task(world.cache.load(key))
    await world.store.waiting.wait()
    second = asyncio.create_task(world.cache.load(key))
    await asyncio.sleep(0)
    world.store.release()
    assert await first is await second
    assert 1 == len(world.store.calls)


async def test_one_who_stops_waiting_takes_nothing_from_the_others() -> None:
    world, who = World(), device()
    world.store.register(who)
    key = (SCOPE, who.certificate_id)
    world.store.hold()
    impatient = asyncio.create_task(world.cache.load(key))
    patient = asyncio.create_task(world.cache.load(key))
    await world.store.waiting.wait()
    impatient.cancel()
    await asyncio.sleep(0)
    world.store.release()
    assert await patient is not None


async def test_the_cache_is_bounded_and_keeps_what_is_live() -> None:
    world, devices = World(limit=10), [device(str(n)) for n in range(40)]
    for who in devices:
        world.store.register(who)
    kept = await live(world, devices[0])
    world.clock.instant = registry.NOW + 2 * (registry.dt.timedelta(seconds=ADMITTED_GRACE_S))
    for who in devices[1:]:
        await world.cache.load((SCOPE, who.certificate_id))
    assert 10 == len(world.cache)
    assert world.cache.get(kept.key) is not None


# --- changes ------------------------------------------------------------------------------------------------------


async def test_a_detached_policy_is_obeyed_by_the_next_packet() -> None:
    world, who = World(), device()
    world.store.register(who, policies={"c": allow("iot:Connect"), "p": allow("iot:Publish")})
    authorizer = await live(world, who)
    before = authorizer.version
    assert authorizer.publish("a")
    await world.cache.apply(world.store.set_policies(who, {"c": allow("iot:Connect")}))
    assert not authorizer.publish("a")
    assert authorizer.version > before
    assert 1 == world.data_plane.changed
    assert [] == world.data_plane.cut


async def test_another_default_version_is_obeyed_by_all_that_it_is_attached_to_with_one_read() -> None:
    world, devices = World(), [device(str(n)) for n in range(3)]
    for who in devices:
        world.store.register(who, policies={"shared": allow()})
    authorizers = [await live(world, who) for who in devices]
    versions = [each.version for each in authorizers]
    reads = len(world.store.calls)
    await world.cache.apply(world.store.set_document("shared", allow("iot:Connect", "iot:Subscribe"), "2"))
    assert [False] * 3 == [each.publish("a") for each in authorizers]
    assert [True] * 3 == [each.subscribe("a/#") for each in authorizers]
    assert all(after.version > before for after, before in zip(authorizers, versions, strict=True))
    assert reads == len(world.store.calls), "the principals themselves are not read again"


async def test_a_policy_that_says_the_same_moves_no_version() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    before = authorizer.version
    await world.cache.apply([Change(ChangeKind.POLICY, SCOPE, "all")])
    assert before == authorizer.version


async def test_a_policy_is_its_accounts_own() -> None:
    world, first, second = World(), device("1"), device("2")
    world.store.register(first)
    world.store.register(second, scope=OTHER_ACCOUNT)
    mine, theirs = await live(world, first), await live(world, second)
    before = theirs.version
    await world.cache.apply(world.store.set_document("all", allow("iot:Connect"), "2"))
    assert not mine.publish("a")
    assert before == theirs.version


@pytest.mark.parametrize("status", [s for s in CertificateStatus if s is not CertificateStatus.ACTIVE])
async def test_a_certificate_that_leaves_active_is_cut_off(status: CertificateStatus) -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    await world.cache.apply(world.store.set_status(who, status))
    assert [(SCOPE, who.certificate_id, "AUTH_ERROR")] == world.data_plane.cut
    assert not authorizer.publish("a")


async def test_a_deleted_certificate_and_a_disabled_account_are_cut_off() -> None:
    world, first, second = World(), device("1"), device("2")
    for who in (first, second):
        world.store.register(who)
        await live(world, who)
    await world.cache.apply(world.store.delete(first))
    assert [first.certificate_id] == [cut[1] for cut in world.data_plane.cut]
    await world.cache.apply(world.store.disable_account())
    assert {first.certificate_id, second.certificate_id} == {cut[1] for cut in world.data_plane.cut}


async def test_an_https_connection_is_cut_off_too() -> None:
    world, who = World(), device()
    world.store.register(who)
    assert isinstance(await world.verdict.identify(who.facts()), Admitted)
    await world.cache.apply(world.store.set_status(who, CertificateStatus.REVOKED))
    assert [who.certificate_id] == [cut[1] for cut in world.data_plane.cut]


async def test_an_attached_thing_is_known_to_the_next_packet() -> None:
    world, who = World(), device()
    policies = {"c": allow("iot:Connect"), "t": allow(resource=arn("topic/${iot:Connection.Thing.ThingName}"))}
    world.store.register(who, policies=policies)
    authorizer = await live(world, who)
    assert not authorizer.publish("lamp")
    world.store.register(who, policies=policies, things={"lamp": ThingPrincipalType.NON_EXCLUSIVE_THING})
    await world.cache.apply([Change(ChangeKind.PRINCIPAL_THINGS, SCOPE, who.certificate_id)])
    assert authorizer.publish("lamp")
    world.store.register(who, policies=policies)
    await world.cache.apply([Change(ChangeKind.THING, SCOPE, "lamp")])
    assert not authorizer.publish("lamp")


async def test_what_is_not_live_is_forgotten_rather_than_read() -> None:
    world, who = World(), device()
    world.store.register(who)
    key = (SCOPE, who.certificate_id)
    await world.cache.load(key)
    await world.cache.apply(world.store.set_status(who, CertificateStatus.INACTIVE))
    assert world.cache.get(key) is None
    assert 1 == len(world.store.calls)
    assert [] == world.data_plane.cut


async def test_changes_of_strangers_cost_no_read() -> None:
    world = World()
    await world.cache.apply([Change(ChangeKind.CERTIFICATE, SCOPE, registry.certificate_id(n)) for n in range(1000)])
    assert [] == world.store.calls


async def test_a_connection_that_is_gone_hears_of_nothing() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    admitted = await world.verdict.identify(who.facts())
    assert isinstance(admitted, Admitted)
    world.verdict.disconnected(admitted, authorizer, "CLIENT_INITIATED_DISCONNECT")
    before = authorizer.version
    await world.cache.apply(world.store.set_policies(who, {}))
    await world.cache.apply(world.store.set_document("all", allow("iot:Connect"), "2"))
    assert before == authorizer.version
    assert 0 == world.cache.live(authorizer.key)


# --- races --------------------------------------------------------------------------------------------------------


async def test_a_read_that_began_before_a_change_does_not_bring_the_old_state_back() -> None:
    world, who = World(), device()
    world.store.register(who)
    world.store.hold()
    identifying = asyncio.create_task(world.verdict.identify(who.facts("first-ats.iot.us-east-1.localhost")))
    await world.store.waiting.wait()
    changes = world.store.set_status(who, CertificateStatus.INACTIVE)
    await world.cache.apply(changes)
    world.store.release()
    verdict = await identifying
    assert isinstance(verdict, Refused)
    assert ["CERTIFICATE_INACTIVE"] == world.codes(verdict.trace_id)


async def test_a_read_that_began_before_a_policy_changed_is_read_again() -> None:
    world, who = World(), device()
    world.store.register(who, policies={"p": allow()})
    world.store.hold()
    loading = asyncio.create_task(world.cache.load((SCOPE, who.certificate_id)))
    await world.store.waiting.wait()
    applying = asyncio.create_task(world.cache.apply(world.store.set_document("p", allow("iot:Connect"), "2")))
    await asyncio.sleep(0)
    world.store.release()
    principal = await loading
    await applying
    assert principal is not None
    assert ["2"] == [policy.version_id for policy in principal.policies_for(None)]


@pytest.mark.parametrize(
    ("change", "reads"),
    [
        (Change(ChangeKind.THING, SCOPE, "lamp"), 2),
        (Change(ChangeKind.THING_GROUPS, SCOPE, "lamp"), 2),
        (Change(ChangeKind.POLICY, SCOPE, "p"), 2),
        (Change(ChangeKind.THING, SCOPE, "clock"), 1),
        (Change(ChangeKind.THING, OTHER_ACCOUNT, "lamp"), 1),
        (Change(ChangeKind.THING_GROUPS, SCOPE, "p"), 1),
        (Change(ChangeKind.POLICY, SCOPE, "q"), 1),
        (Change(ChangeKind.POLICY, OTHER_ACCOUNT, "p"), 1),
    ],
    ids=lambda value: f"{value.kind} {value.subject} {value.scope}" if isinstance(value, Change) else "",
)
async def test_a_read_is_repeated_when_a_thing_or_policy_changed_that_its_answer_names(
    change: Change, reads: int
) -> None:
    world, who = World(), device()
    world.store.register(who, policies={"p": allow()}, things={"lamp": ThingPrincipalType.NON_EXCLUSIVE_THING})
    world.store.hold()
    loading = asyncio.create_task(world.cache.load((SCOPE, who.certificate_id)))
    await world.store.waiting.wait()
    applying = asyncio.create_task(world.cache.apply([change]))
    await asyncio.sleep(0)
    world.store.release()
    assert await loading is not None
    await applying
    assert reads == len(world.store.calls)


async def test_two_changes_at_once_end_with_the_later_one() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    world.store.hold()
    first = asyncio.create_task(world.cache.apply(world.store.set_policies(who, {"c": allow("iot:Connect")})))
    await world.store.waiting.wait()
    second = asyncio.create_task(world.cache.apply(world.store.set_policies(who, {"n": allow("iot:Receive")})))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.store.release()
    await asyncio.gather(first, second)
    assert authorizer.receive("a")
    assert not authorizer.publish("a")


async def test_a_store_that_does_not_answer_cuts_rather_than_trusts() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    changes = world.store.set_policies(who, {})
    world.store.fail = True
    await world.cache.apply(changes)
    assert [who.certificate_id] == [cut[1] for cut in world.data_plane.cut]
    assert not authorizer.publish("a")


async def test_a_policy_that_cannot_be_read_again_cuts_rather_than_trusts() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    changes = world.store.set_document("all", allow("iot:Connect"), "2")
    world.store.fail = True
    await world.cache.apply(changes)
    assert [who.certificate_id] == [cut[1] for cut in world.data_plane.cut]
    assert not authorizer.publish("a")
    world.store.fail = False
    again = await live(world, who)
    assert not again.publish("a")


async def test_a_stored_document_that_cannot_be_read_denies_everything() -> None:
    world, who = World(), device()
    later = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Unless": "*"}})
    world.store.register(who, policies={"all": allow(), "later": later})
    admitted = await world.verdict.identify(who.facts())
    assert isinstance(admitted, Admitted)
    verdict = world.verdict.connect(who.facts(), admitted, request())
    assert isinstance(verdict, Refused)
    assert ["EXPLICIT_DENY"] == world.codes(verdict.trace_id)


# --- the authorizer -----------------------------------------------------------------------------------------------


async def test_each_question_is_about_its_own_action_and_resource() -> None:
    world, who = World(), device()
    grants = {
        "c": allow("iot:Connect"),
        "p": allow("iot:Publish", resource=arn("topic/p")),
        "r": allow("iot:RetainPublish", resource=arn("topic/r")),
        "s": allow("iot:Subscribe", resource=arn("topicfilter/s/+")),
        "d": allow("iot:Receive", resource=arn("topic/d")),
    }
    world.store.register(who, policies=grants)
    a = await live(world, who)
    assert [True, False] == [a.publish("p"), a.publish("r")]
    assert [True, False] == [a.retain("r"), a.retain("p")]
    assert [True, False] == [a.subscribe("s/+"), a.subscribe("s/x")]
    assert [True, False] == [a.receive("d"), a.receive("p")]
    stages = {each.stage for each in world.refusals.query("lamp", SCOPE.account, 99)}
    assert {Stage.PUBLISH, Stage.RETAIN, Stage.SUBSCRIBE, Stage.RECEIVE} == stages


async def test_a_withheld_delivery_is_recorded_once_per_topic() -> None:
    world, who = World(), device()
    world.store.register(who, policies={"c": allow("iot:Connect")})
    authorizer = await live(world, who)
    for _ in range(5):
        assert not authorizer.receive("a")
    assert not authorizer.receive("b")
    assert [arn("topic/b"), arn("topic/a")] == [r.resource for r in world.refusals.query("lamp", None, 99)]


async def test_what_is_remembered_is_bounded() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    assert all(authorizer.publish(str(n)) for n in range(3 * MAX_DECISIONS))
    assert len(authorizer._decisions) <= MAX_DECISIONS


async def test_an_expired_certificate_may_do_nothing_more() -> None:
    world, who = World(), device()
    world.store.register(who)
    authorizer = await live(world, who)
    world.clock.instant += registry.dt.timedelta(days=400)
    assert not authorizer.publish("a")
    (record,) = world.refusals.query("lamp", None, 9)
    assert ["CERTIFICATE_EXPIRED"] == [reason.code.value for reason in record.reasons]


# --- with the real registry ---------------------------------------------------------------------------------------


async def test_it_follows_the_real_store(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await registry.with_accounts(store)
        certificate = registry.certificate(1, status=CertificateStatus.ACTIVE, mode=CertificateMode.DEFAULT)
        await store.insert_certificate(certificate, registry.cause())
        cache = PrincipalCache(store, registry.FakeClock())
        key = (SCOPE, certificate.certificate_id)
        principal = await cache.load(key)
        assert principal is not None
        assert principal.usable
        assert [] == principal.policies_for(None)
        await cache.apply(await store.create_policy(registry.policy(), registry.cause()))
        await cache.apply(
            await store.attach_policy(
                SCOPE, registry.policy().policy_name, certificate.certificate_id, limit=10, cause=registry.cause()
            )
        )
        principal = await cache.load(key)
        assert principal is not None
        assert ["allow"] == [policy.name for policy in principal.policies_for(None)]
        await cache.apply(await store.set_account_status(SCOPE.account, AccountStatus.DISABLED, registry.cause()))
        principal = await cache.load(key)
        assert principal is not None
        assert not principal.usable
        await cache.close()
