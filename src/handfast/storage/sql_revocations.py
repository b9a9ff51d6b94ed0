"""The part of `ports.Store` about revocations."""

from __future__ import annotations

from handfast.ports.revocations import RevocationRecord
from handfast.storage import revocations
from handfast.storage.sqlite import SQLiteDatabase


class RevocationOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    _database: SQLiteDatabase

    async def revocations_after(self, sequence: int, limit: int) -> list[RevocationRecord]:
        return await self._database.read(lambda c: revocations.after(c, sequence, limit))
