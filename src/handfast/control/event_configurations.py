"""The operations on event configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handfast.control.context import Handler, Result, cause_of, present, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.identity.events import EventType
from handfast.errors import InvalidRequestError
from handfast.services.event_configurations import EventConfigurations


class EventConfigurationHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, configurations: EventConfigurations) -> None:
        self._configurations = configurations
        self.handlers: dict[str, Handler] = {
            "DescribeEventConfigurations": self.describe_event_configurations,
            "UpdateEventConfigurations": self.update_event_configurations,
        }

    async def describe_event_configurations(self, ctx: Caller) -> Result:
        record = await self._configurations.describe(scope_of(ctx))
        enabled = frozenset[EventType]() if record is None else record.enabled
        return present(
            event_configurations={each.value: {"enabled": each in enabled} for each in EventType},
            creation_date=None if record is None else record.creation_date,
            last_modified_date=None if record is None else record.last_modified_date,
        )

    async def update_event_configurations(
        self, ctx: Caller, *, event_configurations: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Result:
        settings = {
            _event_type(name): _enabled(name, configuration)
            for name, configuration in (event_configurations or {}).items()
        }
        await self._configurations.update(scope_of(ctx), cause_of(ctx, "UpdateEventConfigurations"), settings)
        return {}


def _event_type(name: str) -> EventType:
    try:
        return EventType(name)
    except ValueError:
        raise InvalidRequestError(f"An event type is one of {', '.join(EventType)}") from None


def _enabled(name: str, configuration: Mapping[str, Any]) -> bool:
    enabled = configuration.get("enabled")
    if enabled is None:
        raise InvalidRequestError(f"The configuration of {name} must say Enabled, true or false")
    return bool(enabled)
