"""
What is known in memory about registered certificates: the handshake's and CONNECT's source of truth.

Filled from the store on a miss, all misses of one loop turn in one call;
kept with the registry by `apply`, which returns only when this process obeys
the changes. Every read of the store carries a ticket taken before it starts,
and an answer never replaces one with a later ticket: a slow read that began
before a change cannot bring the old state back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope, ThingGroupName
from handfast.core.identity.records import AttachedGroup, AttachedPolicy, PrincipalRecord
from handfast.core.policy.evaluate import Policy
from handfast.ports import Change, ChangeKind, Clock, Store
from handfast.seam import DataPlane
from handfast.services.principal import GroupSlot, Key, LivePrincipal, PolicySlot, Principal

__all__ = ["Key", "LivePrincipal", "Principal", "PrincipalCache", "RegistrationListener"]

log = logging.getLogger(__name__)

MAX_PRINCIPALS = 200_000
RECENT_POLICIES = 4096
READ_BATCH = 500
"""Keys in one call of the store."""
ADMITTED_GRACE_S = 60.0
"""How long after its admission a connection may still come back with CONNECT or another HTTPS request."""
DISCONNECT_REASON = "AUTH_ERROR"


class RegistrationListener(Protocol):
    """Told which certificates' registrations changed, in whatever scope, before anything is read again."""

    def registrations_changed(self, certificate_ids: set[CertificateId]) -> None: ...


Place: TypeAlias = tuple[Scope, str]
"""A thing or a policy: its scope and its name."""


class _Batch:
    """
    One call of the store under way, and what changed meanwhile: keys, things and policies.

    An answer about any of them is read again. Whom a thing or a policy concerns, the answer itself says: what is
    attached or detached later changes the key.
    """

    __slots__ = ("dirty", "futures", "policies", "things", "ticket")

    def __init__(self, futures: dict[Key, asyncio.Future[Principal | None]], ticket: int) -> None:
        self.futures = futures
        self.ticket = ticket
        self.dirty: set[Key] = set()
        self.things: set[Place] = set()
        self.policies: set[Place] = set()

    def is_stale(self, key: Key, record: PrincipalRecord | None) -> bool:
        """Whether the answer may be older than a change that was heard of since."""
        if key in self.dirty:
            return True
        if record is None or not (self.things or self.policies):
            return False
        scope = key[0]
        return (
            any((scope, thing.thing_name) in self.things for thing in record.things)
            or any((scope, policy.policy_name) in self.policies for policy in record.policies)
            or any(
                (scope, policy.policy_name) in self.policies
                for thing in record.things
                for group in thing.groups
                for policy in group.policies
            )
        )


class PrincipalCache:
    """
    Principals by (scope, certificateId), bounded; only what is registered is kept.

    Belongs to one event loop. `get`, `attach` and `detach` are synchronous and cheap.
    """

    def __init__(self, store: Store, clock: Clock, *, limit: int = MAX_PRINCIPALS) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._data_plane: DataPlane | None = None
        self._entries: dict[Key, Principal] = {}
        self._live: dict[Key, set[LivePrincipal]] = {}
        self._by_thing: dict[tuple[Scope, str], tuple[CertificateId, ...]] = {}
        self._slots: weakref.WeakValueDictionary[tuple[Scope, str], PolicySlot] = weakref.WeakValueDictionary()
        self._groups: weakref.WeakValueDictionary[tuple[Scope, str], GroupSlot] = weakref.WeakValueDictionary()
        self._recent: deque[Policy] = deque(maxlen=RECENT_POLICIES)
        self._tickets = itertools.count(1)
        self._waiting: dict[Key, asyncio.Future[Principal | None]] = {}
        self._batches: set[_Batch] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._start_scheduled = False
        self._listeners: list[RegistrationListener] = []
        self.get = self._entries.get
        """The principal if it is in memory; None says nothing about the registry."""

    def command(self, data_plane: DataPlane) -> None:
        """From now on `apply` cuts connections through `data_plane`."""
        self._data_plane = data_plane

    def listen(self, listener: RegistrationListener) -> None:
        """`listener` hears of changed registrations."""
        self._listeners.append(listener)

    def __len__(self) -> int:
        return len(self._entries)

    # --- reading ----------------------------------------------------------------------------------------------

    async def load(self, key: Key) -> Principal | None:
        """
        The principal, from memory or the store; None: not registered.

        Raises:
            StoreUnavailable: Nothing is known.
        """
        entry = self._entries.get(key)
        if entry is not None:
            return entry
        return await asyncio.shield(self._request(key, fresh=False))

    def _request(self, key: Key, *, fresh: bool) -> asyncio.Future[Principal | None]:
        """A future of a read; with `fresh`, of one that starts after this call."""
        future = self._waiting.get(key)
        if future is not None:
            return future
        if not fresh:
            for batch in self._batches:
                running = batch.futures.get(key)
                if running is not None:
                    return running
        loop = asyncio.get_running_loop()
        future = self._waiting[key] = loop.create_future()
        future.add_done_callback(_seen)
        if not self._start_scheduled:
            self._start_scheduled = True
            loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        self._start_scheduled = False
        waiting, self._waiting = self._waiting, {}
        keys = iter(waiting.items())
        while futures := dict(itertools.islice(keys, READ_BATCH)):
            batch = _Batch(futures, next(self._tickets))
            self._batches.add(batch)
            task = asyncio.get_running_loop().create_task(self._read(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, batch: _Batch) -> None:
        keys = list(batch.futures)
        try:
            records = await self._store.principals(keys)
        except BaseException as error:
            self._batches.discard(batch)
            for key, future in batch.futures.items():
                if key in batch.dirty:
                    self._chain(key, future)
                elif not future.done():
                    future.set_exception(error if isinstance(error, Exception) else ConnectionError("shutting down"))
            if not isinstance(error, Exception):
                raise
            return
        self._batches.discard(batch)
        for key, record in zip(keys, records, strict=True):
            future = batch.futures[key]
            if batch.is_stale(key, record):
                self._chain(key, future)
                continue
            try:
                entry = self._install(key, record, batch.ticket)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
                continue
            if not future.done():
                future.set_result(entry)

    def _chain(self, key: Key, future: asyncio.Future[Principal | None]) -> None:
        """`future` gets the answer of a read that starts now."""

        def copy(newer: asyncio.Future[Principal | None]) -> None:
            if future.done():
                return
            if newer.cancelled():
                future.cancel()
                return
            error = newer.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(newer.result())

        self._request(key, fresh=True).add_done_callback(copy)

    # --- what is kept -----------------------------------------------------------------------------------------

    def _install(self, key: Key, record: PrincipalRecord | None, ticket: int) -> Principal | None:
        known = self._entries.get(key)
        if known is not None and known.ticket > ticket:
            return known
        if record is None:
            self._remove(key)
            self._tell(key, None)
            return None
        scope = key[0]
        slots = tuple(self._slot(scope, each, ticket) for each in record.policies)
        groups = {
            str(thing.thing_name): tuple(self._group(scope, each, ticket) for each in thing.groups)
            for thing in record.things
            if thing.groups
        }
        entry = Principal(key, record, slots, groups, ticket)
        if known is not None:
            entry.broken_rules = known.broken_rules
            entry.admitted_at = known.admitted_at
            self._unlink(known)
        self._entries[key] = entry
        for thing in entry.things:
            place = (scope, thing.thing_name)
            self._by_thing[place] = (*self._by_thing.get(place, ()), key[1])
        self._tell(key, entry)
        if len(self._entries) > self._limit:
            self._evict()
        return entry

    def _slot(self, scope: Scope, attached: AttachedPolicy, ticket: int) -> PolicySlot:
        place = (scope, str(attached.policy_name))
        slot = self._slots.get(place)
        if slot is None:
            slot = self._slots[place] = PolicySlot(scope, attached.policy_name, self._recent)
        if ticket > slot.ticket:
            slot.ticket = ticket
            if slot.put(attached.version_id, attached.document):
                self._tell_connections(slot.connections)
        return slot

    def _group(self, scope: Scope, attached: AttachedGroup, ticket: int) -> GroupSlot:
        place = (scope, str(attached.group_name))
        slot = self._groups.get(place)
        if slot is not None and slot.group_id != attached.group_id:
            if slot.ticket > ticket:
                # What was read is a group that is gone; it grants nothing, whoever still believes to be in it.
                return GroupSlot(scope, attached.group_name, attached.group_id)
            self._empty_group(slot)
            slot = None
        if slot is None:
            slot = self._groups[place] = GroupSlot(scope, attached.group_name, attached.group_id)
        if ticket > slot.ticket:
            slot.ticket = ticket
            if slot.put(tuple(self._slot(scope, each, ticket) for each in attached.policies)):
                self._tell_connections(slot.live)
        return slot

    def _empty_group(self, slot: GroupSlot) -> None:
        """The group is gone."""
        if slot.put(()):
            self._tell_connections(slot.live)

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._unlink(entry)

    def _unlink(self, entry: Principal) -> None:
        """Nothing leads to `entry` any more, which is replaced or forgotten."""
        scope, certificate_id = entry.key
        for connection in self._live.get(entry.key, ()):
            _unfollow(connection, entry)
        for thing in entry.things:
            place = (scope, thing.thing_name)
            left = tuple(each for each in self._by_thing.get(place, ()) if each != certificate_id)
            if left:
                self._by_thing[place] = left
            else:
                self._by_thing.pop(place, None)

    def _evict(self) -> None:
        """The oldest go, but those in use get a second life: a hit costs nothing, an eviction a short walk."""
        now = self._clock.monotonic()
        for _ in range(min(64, len(self._entries))):
            if len(self._entries) <= self._limit:
                return
            key = next(iter(self._entries))
            entry = self._entries[key]
            if self._pinned(entry, now):
                del self._entries[key]
                self._entries[key] = entry
            else:
                self._remove(key)

    def _pinned(self, entry: Principal, now: float) -> bool:
        return entry.key in self._live or now - entry.admitted_at < ADMITTED_GRACE_S

    # --- live connections -------------------------------------------------------------------------------------

    def attach(self, connection: LivePrincipal, principal: Principal) -> None:
        """`connection` hears of every change of its principal until `detach`."""
        self._live.setdefault(connection.key, set()).add(connection)
        _follow(connection, principal)

    def detach(self, connection: LivePrincipal) -> None:
        """`connection` is gone; nothing happens when it was never attached."""
        connections = self._live.get(connection.key)
        if connections is None or connection not in connections:
            return
        connections.discard(connection)
        if not connections:
            del self._live[connection.key]
        entry = self._entries.get(connection.key)
        if entry is not None:
            _unfollow(connection, entry)

    def live(self, key: Key) -> int:
        """How many attached connections the principal has."""
        return len(self._live.get(key, ()))

    def connected(self, key: Key, client_id: str | None) -> bool:
        """Whether a connection of the principal with this client id is attached."""
        return any(connection.client_id == client_id for connection in self._live.get(key, ()))

    def _tell(self, key: Key, entry: Principal | None) -> None:
        for connection in tuple(self._live.get(key, ())):
            if entry is not None:
                _follow(connection, entry)
            connection.principal_changed(entry)

    def _tell_connections(self, connections: Iterable[LivePrincipal]) -> None:
        for connection in tuple(connections):
            entry = self._entries.get(connection.key)
            if entry is not None:
                connection.principal_changed(entry)

    # --- changes ----------------------------------------------------------------------------------------------

    async def apply(self, changes: Sequence[Change]) -> None:
        """
        This process obeys `changes` when this returns: the next packet is judged by what the store says now.

        Connections of certificates that are no longer usable are cut. When the
        store does not answer, the principals concerned are forgotten and their
        connections cut: they come back when it does. Never raises but for
        cancellation.
        """
        principals: set[Key] = set()
        policies: set[Place] = set()
        groups: set[Place] = set()
        registrations: set[CertificateId] = set()
        for change in changes:
            self._sort(change, principals, policies, groups, registrations)
        if registrations:
            for listener in self._listeners:
                listener.registrations_changed(registrations)
        now = self._clock.monotonic()
        reload: list[Key] = []
        for key in principals:
            entry = self._entries.get(key)
            if key in self._live or (entry is not None and self._pinned(entry, now)):
                reload.append(key)
            else:
                self._remove(key)
        if not reload and not policies and not groups:
            return
        await asyncio.gather(
            self._reload(reload),
            *(self._reload_policy(scope, name) for scope, name in policies),
            *(self._reload_group(scope, name) for scope, name in groups),
        )
        self._cut(reload)
        if self._data_plane is not None:
            self._data_plane.authorizations_changed()

    def _sort(
        self,
        change: Change,
        principals: set[Key],
        policies: set[Place],
        groups: set[Place],
        registrations: set[CertificateId],
    ) -> None:
        scope, subject = change.scope, change.subject
        match change.kind:
            case (
                ChangeKind.CERTIFICATE
                | ChangeKind.PRINCIPAL_POLICIES
                | ChangeKind.PRINCIPAL_THINGS
                | ChangeKind.PROVISIONING_CLAIM
            ):
                certificate_id = CertificateId(subject)
                if change.kind in (ChangeKind.CERTIFICATE, ChangeKind.PROVISIONING_CLAIM):
                    registrations.add(certificate_id)
                if scope is None:
                    return
                key = (scope, certificate_id)
                for batch in self._batches:
                    if key in batch.futures:
                        batch.dirty.add(key)
                if key in self._entries or key in self._live:
                    principals.add(key)
            case ChangeKind.POLICY if scope is not None:
                for batch in self._batches:
                    batch.policies.add((scope, subject))
                if (scope, subject) in self._slots:
                    policies.add((scope, subject))
            case ChangeKind.THING_GROUP | ChangeKind.GROUP_POLICIES if scope is not None:
                self._soil(key for batch in self._batches for key in batch.futures if key[0] == scope)
                if (scope, subject) in self._groups:
                    groups.add((scope, subject))
            case ChangeKind.THING | ChangeKind.THING_GROUPS if scope is not None:
                for batch in self._batches:
                    batch.things.add((scope, subject))
                principals.update((scope, each) for each in self._by_thing.get((scope, subject), ()))
            case ChangeKind.ACCOUNT:
                account = AccountId(subject)
                self._soil(key for batch in self._batches for key in batch.futures if key[0].account == account)
                principals.update(self._keys_of(account))
            case _:
                pass

    def _soil(self, keys: Iterable[Key]) -> None:
        changed = set(keys)
        for batch in self._batches:
            batch.dirty |= changed & batch.futures.keys()

    def _keys_of(self, account: AccountId) -> Iterator[Key]:
        for key in itertools.chain(self._entries, self._live):
            if key[0].account == account:
                yield key

    async def _reload(self, keys: Sequence[Key]) -> None:
        results = await asyncio.gather(
            *(asyncio.shield(self._request(key, fresh=True)) for key in keys), return_exceptions=True
        )
        for key, result in zip(keys, results, strict=True):
            if isinstance(result, BaseException):
                log.error("a changed principal cannot be read; its connections are cut: %s", result)
                self._remove(key)
                self._tell(key, None)

    async def _reload_policy(self, scope: Scope, name: str) -> None:
        ticket = next(self._tickets)
        try:
            record = await self._store.policy(scope, PolicyName(name))
        except Exception as error:
            log.error("a changed policy cannot be read; the connections under it are cut: %s", error)
            self._forget_policy(scope, name)
            return
        slot = self._slots.get((scope, name))
        if slot is None or slot.ticket > ticket:
            return
        slot.ticket = ticket
        if slot.put(record.default_version_id, record.document) if record is not None else slot.put("", None):
            self._tell_connections(slot.connections)

    async def _reload_group(self, scope: Scope, name: str) -> None:
        ticket = next(self._tickets)
        try:
            record = await self._store.attached_group(scope, ThingGroupName(name))
        except Exception as error:
            log.error("a changed thing group cannot be read; the connections under it are cut: %s", error)
            self._forget_group(scope, name)
            return
        slot = self._groups.get((scope, name))
        if slot is None or slot.ticket > ticket:
            return
        if record is None or record.group_id != slot.group_id:
            # Gone, or another one by now, which those who were in the old one are not in.
            del self._groups[scope, name]
            self._empty_group(slot)
            return
        slot.ticket = ticket
        if slot.put(tuple(self._slot(scope, each, ticket) for each in record.policies)):
            self._tell_connections(slot.live)

    def _forget_policy(self, scope: Scope, name: str) -> None:
        slot = self._slots.pop((scope, name), None)
        if slot is None:
            return
        for group in tuple(slot.groups):
            self._forget_group(group.scope, group.name)
        self._forget(key for key, entry in self._entries.items() if slot in entry.slots)

    def _forget_group(self, scope: Scope, name: str) -> None:
        slot = self._groups.pop((scope, name), None)
        if slot is not None:
            self._forget(key for key, entry in self._entries.items() if slot in entry.group_slots())

    def _forget(self, found: Iterable[Key]) -> None:
        """What is known of these principals is not sure any more; their connections are cut."""
        keys = list(found)
        for key in keys:
            self._remove(key)
            self._tell(key, None)
        self._cut(keys)

    def _cut(self, keys: Iterable[Key]) -> None:
        if self._data_plane is None:
            return
        for key in keys:
            entry = self._entries.get(key)
            if entry is None or not entry.usable:
                try:
                    self._data_plane.disconnect_principal(key[0], key[1], DISCONNECT_REASON)
                except Exception:
                    log.exception("the connections of a certificate could not be cut")

    async def close(self) -> None:
        """No read is under way any more."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _follow(connection: LivePrincipal, entry: Principal) -> None:
    """The connection hears of changes of what `entry` shares with others."""
    for slot in entry.slots:
        slot.live.add(connection)
    for group in entry.group_slots():
        group.live.add(connection)


def _unfollow(connection: LivePrincipal, entry: Principal) -> None:
    for slot in entry.slots:
        slot.live.discard(connection)
    for group in entry.group_slots():
        group.live.discard(connection)


def _seen(future: asyncio.Future[Principal | None]) -> None:
    """A future that nobody waits for any more does not complain about its error."""
    if not future.cancelled():
        future.exception()
