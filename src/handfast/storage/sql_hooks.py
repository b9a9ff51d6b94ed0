"""The part of `ports.Store` about hooks."""

from __future__ import annotations

from handfast.core.provisioning.hooks import HookName, Webhook
from handfast.ports import Cause, Change
from handfast.storage import hooks
from handfast.storage.secretbox import SecretBox
from handfast.storage.sqlite import SQLiteDatabase


class HookOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    _database: SQLiteDatabase
    _box: SecretBox | None

    async def add_hook(self, hook: Webhook, *, limit: int, cause: Cause) -> list[Change]:
        return await self._database.write(lambda c: hooks.add(c, hook, limit, self._box, cause))

    async def hook(self, name: HookName) -> Webhook | None:
        return await self._database.read(lambda c: hooks.get(c, name, self._box))

    async def hooks(self) -> list[Webhook]:
        return await self._database.read(lambda c: hooks.list_all(c, self._box))

    async def remove_hook(self, name: HookName, cause: Cause, *, force: bool = False) -> list[Change]:
        return await self._database.write(lambda c: hooks.remove(c, name, self._box, force, cause))
