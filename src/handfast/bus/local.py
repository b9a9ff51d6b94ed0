"""The Bus of a single process: there is nobody to tell."""

from __future__ import annotations

from collections.abc import Sequence

from handfast.ports import Change


class LocalBus:
    """`ports.Bus` without peers; connections of one gateway are reached by its own router."""

    def announce(self, changes: Sequence[Change]) -> None:
        """Nobody else holds caches that these changes could make stale."""

    async def close(self) -> None:
        """Nothing is held."""
