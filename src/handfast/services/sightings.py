"""
Which certificates still come to the legacy endpoint, and which offer or agree on a post-quantum key exchange.

A verdict tells of it in the event loop: a dictionary entry at most, and nothing for a certificate of which the same was
said within the hour. Every few seconds what has gathered is written to the archive by a thread.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.sightings import Sighting, Trait
from handfast.ports import Clock
from handfast.seam import TLSFacts
from handfast.services.gathering import Gathering

FLUSH_INTERVAL_S = 5.0
MAX_PENDING = 20_000
"""Certificates that wait for the archive; more than that in one interval are noted when they come again."""
MAX_RECENT = 200_000
AGAIN_AFTER_S = 3600.0

Key = tuple[Scope, CertificateId]


class Archive(Protocol):
    """Where sightings are kept; blocking, never raising (storage.sightings)."""

    def add(self, sightings: list[Sighting]) -> None: ...
    def page(self, scope: Scope, trait: Trait, limit: int, after: str) -> list[Sighting]: ...


class SightingLog(Gathering[Key, Sighting]):
    """`services.verdict_ports.Sightings`. `run` writes until it is cancelled; `flush` writes now."""

    def __init__(self, archive: Archive, clock: Clock, *, interval_s: float = FLUSH_INTERVAL_S) -> None:
        super().__init__(archive.add, interval_s)
        self._archive = archive
        self._clock = clock
        self._recent: dict[Key, tuple[int, float]] = {}

    def seen(self, key: Key, facts: TLSFacts, *, legacy: bool) -> None:
        """The certificate was let in."""
        agreed = facts.group is not None and "MLKEM" in facts.group
        what = legacy | facts.hybrid_offered << 1 | agreed << 2
        if not what:
            return
        monotonic = self._clock.monotonic()
        known = self._recent.get(key)
        if known is not None and known[0] == what and monotonic - known[1] < AGAIN_AFTER_S:
            return
        earlier = self.pending.get(key)
        if earlier is None and len(self.pending) >= MAX_PENDING:
            return
        if known is None and len(self._recent) >= MAX_RECENT:
            self._recent.clear()  # each is written once more
        self._recent[key] = (what, monotonic)
        now = self._clock.now()
        scope, certificate_id = key
        sighting = Sighting(
            scope=scope,
            certificate_id=certificate_id,
            legacy_at=now if legacy else None,
            hybrid_offered_at=now if facts.hybrid_offered else None,
            hybrid_agreed_at=now if agreed else None,
        )
        self.pending[key] = sighting if earlier is None else earlier.joined(sighting)

    async def page(self, scope: Scope, trait: Trait, limit: int, after: str = "") -> list[Sighting]:
        """Of the scope, by certificateId, those behind `after`; up to this moment."""
        await self.flush()
        return await asyncio.to_thread(self._archive.page, scope, trait, limit, after)
