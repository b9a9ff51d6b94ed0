"""Handlers of `iot-data` on the API port, where the caller is an access key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.data.publish import read_publication
from handfast.errors import AccessDeniedError, ThrottlingError
from handfast.seam import DataPlane
from handfast.services.endpoints import check_region

Handler = Callable[..., Awaitable[Mapping[str, Any] | None]]


class DataHandlers:
    """An account's key may publish anything in its own account, in the region that it signs for."""

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane

    def handlers(self) -> dict[str, Handler]:
        """By operation name, for `MountedService`."""
        return {"Publish": self.publish}

    async def publish(self, ctx: Caller, **members: Any) -> None:
        """
        Publish as AWS's Publish does; done when what must be durable is.

        Raises:
            AccessDeniedError: The operator's key, which owns no topics.
            ThrottlingError: Refused for quota.
        """
        if ctx.account_id is None:
            raise AccessDeniedError("The operator's key has no topics; publish with an account's key.")
        region = check_region(ctx.region)
        message = read_publication(**members)
        accepted = await self._data_plane.publish(
            Scope(ctx.account_id, region),
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=message.properties,
        )
        if not accepted:
            raise ThrottlingError("The message was refused for quota. Try again later.")
