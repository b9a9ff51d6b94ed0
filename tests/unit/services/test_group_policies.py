"""Policies of thing groups on live connections: obeyed by the next packet, whatever changed, over the real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support import registry
from tests.support.principals import Device, FakeDataPlane, FakeEndpoints, allow, device, request
from tests.support.registry import SCOPE, FakeIssuer, cause, certificate, sqlite_store, with_accounts

from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingGroupName, ThingName
from handfast.core.identity.records import (
    AttachedGroup,
    CertificateStatus,
    PolicyTarget,
    PrincipalRecord,
    TargetKind,
    ThingPrincipalType,
)
from handfast.errors import StoreUnavailable
from handfast.ports import Change, ChangeKind
from handfast.seam import Admitted
from handfast.services.authorization import PolicyAuthorizer
from handfast.services.principals import Principal, PrincipalCache
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.services.registry import Registry
from handfast.services.thing_groups import GroupProperties
from handfast.services.verdict import Verdict
from handfast.storage.sql import SQLStore

SHARED, EXCLUSIVE = ThingPrincipalType.NON_EXCLUSIVE_THING, ThingPrincipalType.EXCLUSIVE_THING
CONNECT, PUBLISH = allow("iot:Connect", "iot:Subscribe"), allow("iot:Publish", "iot:Receive")
NO_PUBLISH = allow("iot:Publish", effect="Deny")


class CountingStore:
    """The real store; counts reads of principals, and fails reads of groups when told to."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store
        self.reads = 0
        self.fail = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def principals(self, keys: Sequence[tuple[Scope, CertificateId]]) -> list[PrincipalRecord | None]:
        self.reads += 1
        return await self._store.principals(keys)

    async def write(self, statement: str) -> None:
        await self._store._database.write(lambda connection: connection.exec_driver_sql(statement))

    async def attached_group(self, scope: Scope, name: ThingGroupName) -> AttachedGroup | None:
        if self.fail:
            raise StoreUnavailable("the disk is gone")
        return await self._store.attached_group(scope, name)


@dataclass
class Live:
    """A registry whose changes a gateway's cache follows, as the composition root wires them."""

    store: CountingStore
    cache: PrincipalCache
    verdict: Verdict
    registry: Registry
    data_plane: FakeDataPlane
    seen: list[Change] = field(default_factory=list)

    async def device(
        self, name: str, *, policies: str = "connect", things: str = "", exclusive: bool = False
    ) -> Device:
        """A registered device with policies and things attached, which are made where they do not exist."""
        who = device(name)
        record = certificate(1, certificate_id=who.certificate_id, status=CertificateStatus.ACTIVE)
        await self.store.insert_certificate(record, cause())
        for policy in policies.split():
            await self.attach(policy, PolicyTarget(TargetKind.CERTIFICATE, who.certificate_id))
        for thing in things.split():
            if await self.store.thing(SCOPE, ThingName(thing)) is None:
                await self.store.create_thing(registry.thing(thing), cause())
            await self.registry.things.attach_principal(
                SCOPE, cause(), ThingName(thing), who.certificate_id, EXCLUSIVE if exclusive else SHARED
            )
        return who

    async def groups(self, *chains: str) -> None:
        for chain in chains:
            parent = None
            for name in map(ThingGroupName, chain.split("/")):
                await self.registry.thing_groups.create(
                    SCOPE, cause(), name, parent=parent, properties=GroupProperties()
                )
                parent = name

    async def join(self, thing: str, *, add: str = "", remove: str = "") -> None:
        await self.registry.thing_groups.update_memberships(
            SCOPE,
            cause(),
            ThingName(thing),
            add=list(map(ThingGroupName, add.split())),
            remove=list(map(ThingGroupName, remove.split())),
        )

    async def attach(self, policy: str, target: PolicyTarget | str) -> None:
        await self.registry.policies.attach(SCOPE, cause(), PolicyName(policy), _target(target))

    async def detach(self, policy: str, target: PolicyTarget | str) -> None:
        await self.registry.policies.detach(SCOPE, cause(), PolicyName(policy), _target(target))

    async def connect(self, who: Device, client_id: str = "lamp") -> PolicyAuthorizer:
        admitted = await self.verdict.identify(who.facts())
        assert isinstance(admitted, Admitted)
        authorizer = self.verdict.connect(who.facts(), admitted, request(client_id))
        assert isinstance(authorizer, PolicyAuthorizer)
        return authorizer


def _target(target: PolicyTarget | str) -> PolicyTarget:
    return PolicyTarget(TargetKind.THING_GROUP, target) if isinstance(target, str) else target


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with sqlite_store(tmp_path) as opened:
        await with_accounts(opened)
        store, clock, entropy, data_plane = (
            CountingStore(opened),
            registry.FakeClock(),
            registry.FakeEntropy(),
            FakeDataPlane(),
        )
        cache = PrincipalCache(store, clock)  # type: ignore[arg-type]
        cache.command(data_plane)
        seen: list[Change] = []

        async def notify(changes: Sequence[Change]) -> None:
            seen.extend(changes)
            await cache.apply(changes)

        verdict = Verdict(
            store=store,  # type: ignore[arg-type]
            principals=cache,
            endpoints=FakeEndpoints(),
            recorder=Recorder(RefusalLog(clock, entropy), clock),
            clock=clock,
            region=SCOPE.region,
            first_account=SCOPE.account,
        )
        made = Live(store, cache, verdict, Registry(store, FakeIssuer(), entropy, notify), data_plane, seen)  # type: ignore[arg-type]
        for name, document in {"connect": CONNECT, "publish": PUBLISH, "deny": NO_PUBLISH}.items():
            await made.registry.policies.create(SCOPE, cause(), PolicyName(name), document)
        yield made
        await cache.close()


# --- whose policies count


@pytest.mark.parametrize(
    ("things", "exclusive", "client_id", "allowed"),
    [
        ("lamp", False, "lamp", True),
        ("lamp", False, "other", False),
        ("lamp", True, "other", True),
        ("", False, "lamp", False),
        ("attic lamp", False, "attic", False),
    ],
)
async def test_group_policies_count_only_on_a_connection_with_its_thing(
    live: Live, things: str, exclusive: bool, client_id: str, allowed: bool
) -> None:
    who = await live.device("d", things=things, exclusive=exclusive)
    if not things:
        await live.device("another", things="lamp")
    await live.groups("house/hall")
    await live.attach("publish", "house")
    await live.join("lamp", add="hall")
    authorizer = await live.connect(who, client_id)
    assert allowed == authorizer.publish("t")
    assert allowed == authorizer.receive("t")
    assert authorizer.subscribe("t")
    admitted = await live.verdict.identify(who.facts())
    assert isinstance(admitted, Admitted)
    assert not live.verdict.http(who.facts(), admitted).publish("t"), "without a client id there is no thing"


async def test_a_policy_on_the_certificate_and_on_groups_counts_once(live: Live) -> None:
    who = await live.device("d", things="lamp", policies="connect publish")
    await live.groups("house/hall")
    await live.attach("publish", "house")
    await live.attach("publish", "hall")
    await live.join("lamp", add="hall")
    principal = await live.cache.load((SCOPE, who.certificate_id))
    assert principal is not None
    assert ["connect", "publish"] == sorted(policy.name for policy in principal.policies_for("lamp"))
    assert ["connect", "publish"] == sorted(policy.name for policy in principal.policies_for(None))


# --- every kind of change, obeyed by the next packet


async def grouped(live: Live) -> PolicyAuthorizer:
    """A live connection of the lamp, which is in the hall of the house."""
    who = await live.device("d", things="lamp")
    await live.groups("house/hall", "site")
    await live.join("lamp", add="hall")
    authorizer = await live.connect(who)
    assert not authorizer.publish("t")
    return authorizer


@pytest.mark.parametrize("group", ["hall", "house"])
async def test_a_policy_attached_to_and_detached_from_a_group_is_obeyed_at_once(live: Live, group: str) -> None:
    authorizer = await grouped(live)
    reads, version = live.store.reads, authorizer.version
    await live.attach("publish", group)
    assert authorizer.publish("t")
    assert authorizer.version > version
    await live.detach("publish", group)
    assert not authorizer.publish("t")
    assert reads == live.store.reads, "the principals themselves are not read again"
    assert [ChangeKind.GROUP_POLICIES] * 2 == [change.kind for change in live.seen[-2:]]
    assert [] == live.data_plane.cut


async def test_a_deny_on_a_group_wins(live: Live) -> None:
    who = await live.device("d", things="lamp", policies="connect publish")
    await live.groups("house")
    await live.join("lamp", add="house")
    authorizer = await live.connect(who)
    assert authorizer.publish("t")
    await live.attach("deny", "house")
    assert not authorizer.publish("t")


async def test_another_default_version_of_a_groups_policy_is_obeyed_at_once(live: Live) -> None:
    authorizer = await grouped(live)
    name = PolicyName("publish")
    await live.attach("publish", "house")
    versions = live.registry.policy_versions
    await versions.create(SCOPE, cause(), name, NO_PUBLISH, set_as_default=False)
    assert authorizer.publish("t")
    await versions.set_default(SCOPE, cause(), name, "2")
    assert not authorizer.publish("t")
    await versions.create(SCOPE, cause(), name, PUBLISH, set_as_default=True)
    assert authorizer.publish("t")


async def test_a_thing_that_joins_moves_and_leaves_is_obeyed_at_once(live: Live) -> None:
    authorizer = await grouped(live)
    await live.attach("publish", "site")
    assert not authorizer.publish("t")
    await live.join("lamp", add="site")
    assert authorizer.publish("t")
    await live.join("lamp", remove="site")
    assert not authorizer.publish("t")
    await live.attach("publish", "hall")
    assert authorizer.publish("t")
    await live.join("lamp", add="house", remove="hall")
    assert not authorizer.publish("t")


async def test_a_deleted_group_grants_nothing_and_neither_does_another_of_its_name(live: Live) -> None:
    authorizer = await grouped(live)
    await live.attach("publish", "hall")
    assert authorizer.publish("t")
    await live.registry.thing_groups.delete(SCOPE, cause(), ThingGroupName("hall"), expected_version=None)
    assert not authorizer.publish("t")
    await live.groups("hall")
    await live.attach("publish", "hall")
    assert not authorizer.publish("t"), "nobody put the lamp into the new group"
    await live.join("lamp", add="hall")
    assert authorizer.publish("t")


async def test_a_group_deleted_and_made_again_before_anyone_looks_grants_nothing(live: Live) -> None:
    authorizer = await grouped(live)
    await live.attach("publish", "hall")
    changes = await live.store.delete_thing_group(SCOPE, ThingGroupName("hall"), expected_version=None, cause=cause())
    changes += await live.store.create_thing_group(
        registry.thing_group("hall", group_id="another"), cause(), depth_limit=7, children_limit=100
    )
    changes += await live.store.attach_group_policy(
        SCOPE, PolicyName("publish"), ThingGroupName("hall"), limit=2, cause=cause()
    )
    await live.cache.apply(changes)
    assert not authorizer.publish("t")


async def test_attributes_of_a_thing_that_is_updated_are_put_in_at_once(live: Live) -> None:
    document = allow("iot:Publish", resource="arn:aws:iot:*:*:topic/${iot:Connection.Thing.Attributes[room]}")
    await live.registry.policies.create(SCOPE, cause(), PolicyName("room"), document)
    who = await live.device("d", things="lamp", policies="connect room")
    authorizer = await live.connect(who)
    assert not authorizer.publish("hall")
    await live.store.write('UPDATE things SET attributes = \'{"room":"hall"}\'')
    await live.cache.apply([Change(ChangeKind.THING, SCOPE, "lamp")])
    assert authorizer.publish("hall")


async def test_a_connection_that_is_gone_and_one_of_another_thing_hear_nothing(live: Live) -> None:
    authorizer = await grouped(live)
    bystander = await live.connect(await live.device("b", things="lock"), "lock")
    live.cache.detach(authorizer)
    versions = authorizer.version, bystander.version
    await live.attach("publish", "hall")
    assert versions == (authorizer.version, bystander.version)


async def loaded_while(live: Live, who: Device, change: Coroutine[Any, Any, None]) -> Principal | None:
    """The principal as the cache answers when `change` happens between the read and its answer."""
    started, release = asyncio.Event(), asyncio.Event()
    read = live.store.principals

    async def slow(keys: Any) -> Any:
        found = await read(keys)
        started.set()
        await release.wait()
        return found

    live.store.principals = slow  # type: ignore[method-assign]
    loading = asyncio.create_task(live.cache.load((SCOPE, who.certificate_id)))
    await started.wait()
    live.store.principals = read  # type: ignore[method-assign]
    await change
    release.set()
    return await loading


async def test_a_read_that_began_before_a_group_changed_is_read_again(live: Live) -> None:
    who = await live.device("d", things="lamp")
    await live.groups("hall")
    await live.join("lamp", add="hall")
    principal = await loaded_while(live, who, live.attach("publish", "hall"))
    assert principal is not None
    assert "publish" in [policy.name for policy in principal.policies_for("lamp")]


async def test_a_read_that_began_before_a_policy_of_its_group_changed_is_read_again(live: Live) -> None:
    who = await live.device("d", things="lamp")
    await live.groups("hall")
    await live.join("lamp", add="hall")
    await live.attach("publish", "hall")
    reads = live.store.reads
    for name, more in (("publish", 2), ("subscribe", 1)):
        live.cache._entries.clear()
        await loaded_while(live, who, live.cache.apply([Change(ChangeKind.POLICY, SCOPE, name)]))
        assert reads + more == live.store.reads, name
        reads = live.store.reads


async def test_when_a_changed_group_cannot_be_read_its_connections_are_cut(live: Live) -> None:
    authorizer = await grouped(live)
    bystander = await live.connect(await live.device("b", things="lock", policies="connect publish"), "lock")
    await live.attach("publish", "house")
    live.store.fail = True
    await live.cache.apply([Change(ChangeKind.GROUP_POLICIES, SCOPE, "house")])
    assert [authorizer.key] == [(scope, certificate_id) for scope, certificate_id, _ in live.data_plane.cut]
    assert not authorizer.publish("t")
    assert bystander.publish("t")
