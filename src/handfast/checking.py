"""
Checks on certificates and the observations that they read, with the adapters that they need.

A small composition root of its own, for the server.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from handfast.ports import Clock, Entropy, Store
from handfast.services.checks import Checks
from handfast.services.observations import Observations
from handfast.storage.observations import FILE_NAME, SQLiteObservations


class Checking:
    """Running from `open` to `close`."""

    def __init__(self, store: Store, archive: SQLiteObservations, clock: Clock, entropy: Entropy) -> None:
        self._archive = archive
        self.observations = Observations(archive, clock)
        self.checks = Checks(store, self.observations.of_scope, clock, entropy)
        self._writing = asyncio.create_task(self.observations.run())

    @classmethod
    def open(cls, store: Store, data_dir: Path, clock: Clock, entropy: Entropy) -> Checking:
        """Observations are kept in the data directory; nothing is read before it is asked for."""
        return cls(store, SQLiteObservations(data_dir / FILE_NAME), clock, entropy)

    async def close(self) -> None:
        """No check runs, and what was observed is on the disk."""
        await self.checks.close()
        self._writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writing
        await self.observations.flush()
        await asyncio.to_thread(self._archive.close)
