"""The part of `ports.Store` about the server's own roots, which are files: nothing but audit and change rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.journal import record
from handfast.storage.sqlite import SQLiteDatabase


class RootOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    _database: SQLiteDatabase

    async def note_roots(self, subject: str, after: Mapping[str, Any], cause: Cause) -> list[Change]:
        change = Change(ChangeKind.SERVER_ROOTS, None, subject)
        return await self._database.write(lambda c: record(c, cause, change, after=after))
