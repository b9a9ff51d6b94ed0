"""Handlers of `iot-data` on the API port, where the caller is an access key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.data.publish import read_publication
from handfast.errors import AccessDeniedError, ResourceNotFoundError, ThrottlingError
from handfast.seam import DataPlane
from handfast.services.endpoints import check_region

Handler = Callable[..., Awaitable[Mapping[str, Any] | None]]


class DataHandlers:
    """An account's key may publish to and disconnect anything of its own account, in the region that it signs for."""

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane

    def handlers(self) -> dict[str, Handler]:
        """By operation name, for `MountedService`."""
        return {"Publish": self.publish, "DeleteConnection": self.delete_connection}

    async def publish(self, ctx: Caller, **members: Any) -> None:
        """
        Publish as AWS's Publish does; done when what must be durable is.

        Raises:
            AccessDeniedError: The operator's key, which owns no topics.
            ThrottlingError: Refused for quota.
        """
        scope = _scope_of(ctx)
        message = read_publication(**members)
        accepted = await self._data_plane.publish(
            scope,
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=message.properties,
        )
        if not accepted:
            raise ThrottlingError("The message was refused for quota. Try again later.")

    async def delete_connection(
        self, ctx: Caller, *, client_id: str, clean_session: bool = False, prevent_will_message: bool = False
    ) -> None:
        """
        Disconnect a client of the account, which may connect again at once.

        `clean_session` asks for nothing more: sessions end with their connection.

        Raises:
            AccessDeniedError: The operator's key, which has no clients.
            ResourceNotFoundError: Nobody with this client id is connected.
        """
        if not self._data_plane.disconnect_client(_scope_of(ctx), client_id, will=not prevent_will_message):
            raise ResourceNotFoundError("No client with this client id is connected in this account and region")


def _scope_of(ctx: Caller) -> Scope:
    if ctx.account_id is None:
        raise AccessDeniedError("The operator's key has no topics and no clients; use an account's key.")
    return Scope(ctx.account_id, check_region(ctx.region))
