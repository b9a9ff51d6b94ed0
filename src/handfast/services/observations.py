"""
What gateways see of connections that two devices should never have in common, gathered off the hot path.

A gateway tells of it at the CONNECT, in the event loop: a dictionary entry at most. Every few seconds what has
gathered is written to the archive by a thread.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.observations import Observation, Sighting
from handfast.ports import Clock
from handfast.services.gathering import Gathering

FLUSH_INTERVAL_S = 5.0
MAX_PENDING = 10_000
"""Subjects that wait for the archive; more than that in one interval are not recorded."""


class Archive(Protocol):
    """Where observations are kept; blocking, never raising (storage.observations)."""

    def add(self, observations: list[Observation]) -> None: ...
    def of_scope(self, scope: Scope) -> list[Observation]: ...


class Observations(Gathering[tuple[Scope, Sighting, str], Observation]):
    """`seam.ConnectionObserver`. `run` writes until it is cancelled; `flush` writes now."""

    def __init__(self, archive: Archive, clock: Clock, *, interval_s: float = FLUSH_INTERVAL_S) -> None:
        super().__init__(archive.add, interval_s)
        self._archive = archive
        self._clock = clock
        self.dropped = 0
        """Observations that were not recorded because too many waited, since the start."""

    def certificate_shared(
        self, scope: Scope, certificate_id: CertificateId, client_ids: tuple[str, str], addresses: tuple[str, str]
    ) -> None:
        """Two connections are open with one certificate."""
        self._add(scope, Sighting.SHARED_CERTIFICATE, certificate_id, client_ids, addresses)

    def client_id_taken(
        self,
        scope: Scope,
        client_id: str,
        certificates: tuple[CertificateId, CertificateId],
        addresses: tuple[str, str],
    ) -> None:
        """A connection with another certificate has taken the client id over."""
        self._add(scope, Sighting.CLIENT_ID_TAKEN, client_id, certificates, addresses)

    def _add(
        self, scope: Scope, sighting: Sighting, subject: str, parties: tuple[str, str], addresses: tuple[str, str]
    ) -> None:
        now = self._clock.now()
        key = (scope, sighting, subject)
        seen = Observation(
            scope=scope,
            sighting=sighting,
            subject=subject,
            first_seen=now,
            last_seen=now,
            count=1,
            parties=parties,
            addresses=addresses if addresses[0] != addresses[1] else addresses[:1],
        )
        known = self.pending.get(key)
        if known is None and len(self.pending) >= MAX_PENDING:
            self.dropped += 1
            return
        self.pending[key] = seen if known is None else known.joined(seen)

    async def of_scope(self, scope: Scope) -> list[Observation]:
        """Everything known of the scope, up to this moment."""
        await self.flush()
        return await asyncio.to_thread(self._archive.of_scope, scope)
