"""The record of sightings with the adapters that it needs: a composition root of its own, for the server."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from handfast.ports import Clock
from handfast.services.sightings import SightingLog
from handfast.storage.sightings import FILE_NAME, SQLiteSightings


class SightingRecord:
    """The record in a data directory, running from its making to `close`."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._archive = SQLiteSightings(data_dir / FILE_NAME)
        self.log = SightingLog(self._archive, clock)
        self._writing = asyncio.create_task(self.log.run())

    async def close(self) -> None:
        """What was seen is on the disk."""
        self._writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writing
        await self.log.flush()
        await asyncio.to_thread(self._archive.close)
