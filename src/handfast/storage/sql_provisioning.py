"""The part of `ports.Store` that provisions."""

from __future__ import annotations

from handfast.ports import Cause, Change
from handfast.ports.provisioning import Provisioned, ProvisioningOrder
from handfast.storage import provisioning
from handfast.storage.sqlite import SQLiteDatabase


class ProvisioningOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    async def provision(self, order: ProvisioningOrder, cause: Cause) -> tuple[Provisioned, list[Change]]:
        return await self._write(lambda c: provisioning.provision(c, order, cause))
