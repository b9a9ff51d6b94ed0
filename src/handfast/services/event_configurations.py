"""Which registry events an account has enabled in a region."""

from __future__ import annotations

from collections.abc import Mapping

from handfast.core.identity.events import EventConfigurationsRecord, EventType
from handfast.core.identity.ids import Scope
from handfast.ports import Cause, Change, ChangeKind, Store
from handfast.services.commit import Committer


class EventConfigurations:
    """The use cases of event configurations."""

    def __init__(self, store: Store, commit: Committer) -> None:
        self._store = store
        self._commit = commit

    async def describe(self, scope: Scope) -> EventConfigurationsRecord | None:
        """What is enabled; None where nothing ever was."""
        return await self._store.event_configurations(scope)

    async def update(self, scope: Scope, cause: Cause, settings: Mapping[EventType, bool]) -> None:
        """These types are enabled or disabled, the others as before; changes from now on obey it."""
        await self._commit(
            self._store.set_event_configurations(scope, settings, cause),
            suspects=[Change(ChangeKind.EVENT_CONFIGURATIONS, scope, scope.account)],
        )
