"""The record of decisions with the adapters that it needs: a composition root of its own, for the server."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from handfast.ports import Clock
from handfast.services.decisions import DecisionLog
from handfast.storage.decisions import FILE_NAME, SQLiteDecisions


class DecisionRecord:
    """The record in a data directory. `log` is None where decisions are not recorded; the file stays as it is."""

    def __init__(self, data_dir: Path, clock: Clock, *, on: bool) -> None:
        self._archive = SQLiteDecisions(data_dir / FILE_NAME)
        self.log = DecisionLog(self._archive, clock) if on else None
        self._writing = asyncio.create_task(self.log.run()) if self.log is not None else None

    async def close(self) -> None:
        """What was recorded is on the disk."""
        if self.log is not None and self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
            await self.log.flush()
        await asyncio.to_thread(self._archive.close)
