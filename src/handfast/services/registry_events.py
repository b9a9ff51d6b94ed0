"""
Registry events: what was committed is told on `$aws/events/…` in the account that enabled it.

The audit trail, written in the change's own transaction, is the outbox: a change
that was committed is told by this process, in the order of commits, whatever
became of the call that made it. A process that dies between a commit and its
message (kill -9) does not tell it after the next start. A subscriber may get a
message more than once, as QoS 1 allows.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

from handfast.core.identity.events import EVENT_KINDS, CommittedChange, EventType, registry_events
from handfast.core.identity.ids import Scope
from handfast.errors import StoreUnavailable
from handfast.ports import Change, ChangeKind, Entropy, Store
from handfast.seam import DataPlane

BATCH = 500

_log = logging.getLogger(__name__)
_WATCHED = EVENT_KINDS | {ChangeKind.EVENT_CONFIGURATIONS.value}


class RegistryEvents:
    """Publishes what is enabled; while nothing is, a change costs a look at a set."""

    def __init__(self, store: Store, entropy: Entropy) -> None:
        self._store = store
        self._entropy = entropy
        self._data_plane: DataPlane | None = None
        self._enabled: dict[Scope, frozenset[EventType]] = {}
        self._position = 0
        self._lock = asyncio.Lock()

    def command(self, data_plane: DataPlane) -> None:
        """Messages go through it from now on; before, there is nobody to get one."""
        self._data_plane = data_plane

    async def load(self) -> None:
        """What is enabled is known; changes committed before this are not told."""
        for record in await self._store.all_event_configurations():
            self._enable(record.scope, record.enabled)
        self._position = await self._store.newest_committed(None)

    async def changed(self, changes: Sequence[Change]) -> None:
        """What was committed up to now is told. Never raises but for cancellation: the change has happened anyway."""
        configured = any(change.kind is ChangeKind.EVENT_CONFIGURATIONS for change in changes)
        if not configured and not (self._enabled and any(change.kind.value in EVENT_KINDS for change in changes)):
            return
        async with self._lock:
            try:
                if not self._enabled:
                    # Nobody listened until the newest change of the configurations; what was before it is old.
                    self._position = await self._store.newest_committed(ChangeKind.EVENT_CONFIGURATIONS) - 1
                await self._tell_committed()
            except StoreUnavailable:
                _log.warning("registry events wait: the store did not answer; the next change brings them")
            except Exception:
                _log.exception("registry events could not be published")

    async def _tell_committed(self) -> None:
        while True:
            found, position = await self._store.committed_after(self._position, _WATCHED, BATCH)
            for change in found:
                self._position = change.sequence
                if change.kind == ChangeKind.EVENT_CONFIGURATIONS.value:
                    enabled = (change.after or {}).get("enabled", ())
                    self._enable(change.scope, frozenset(EventType(name) for name in enabled))
                else:
                    self._tell(change)
            self._position = position
            if len(found) < BATCH:
                return

    def _tell(self, change: CommittedChange) -> None:
        enabled = self._enabled.get(change.scope)
        if not enabled or self._data_plane is None:
            return
        for event in registry_events(change):
            if event.type in enabled:
                payload = {"eventId": self._entropy.uuid()} | event.payload
                self._data_plane.announce(
                    change.scope, event.topic, json.dumps(payload, separators=(",", ":")).encode()
                )

    def _enable(self, scope: Scope, enabled: frozenset[EventType]) -> None:
        if enabled:
            self._enabled[scope] = enabled
        else:
            self._enabled.pop(scope, None)
