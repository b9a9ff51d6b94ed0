"""
The record of decisions: what devices asked for, and which statement answered.

A gateway tells of a decision when it makes one, in the event loop: a dictionary
entry at most, and nothing when it obeys one that it remembers. Every few
seconds a thread joins what has gathered with the archive.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from handfast.core.identity.decisions import (
    Asked,
    ConnectionEnd,
    Coverage,
    DecidedBy,
    Overflow,
    RecordedDecision,
)
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.policy.evaluate import Decision, Outcome, StatementRef
from handfast.ports import Clock, Page, PageRequest

FLUSH_INTERVAL_S = 3.0
MAX_PER_PRINCIPAL = 256
"""Distinct decisions of one certificate in one interval, and in the archive."""
MAX_PENDING = 50_000
"""Distinct decisions of all certificates in one interval."""
MAX_ENDS = 50_000
_MAX_STATEMENTS = 8

Key: TypeAlias = tuple[Scope, CertificateId]


class Archive(Protocol):
    """Where decisions are kept (storage.decisions). Blocking, safe from any thread."""

    def add(
        self,
        decisions: Sequence[RecordedDecision],
        overflows: Sequence[Overflow],
        ends: Sequence[ConnectionEnd],
        now: dt.datetime,
    ) -> None: ...  # never raises

    def page(
        self, scope: Scope, since: dt.datetime, page: PageRequest
    ) -> Page[RecordedDecision]: ...  # by certificate; StoreUnavailable, StoreConflict("marker")

    def coverage(self, scope: Scope, since: dt.datetime, until: dt.datetime) -> Coverage: ...  # StoreUnavailable


class _Entry:
    """A distinct decision of this interval."""

    __slots__ = ("asked", "count", "domain_name", "first_seen", "source_ip")

    def __init__(self, asked: Asked, source_ip: str | None, domain_name: str | None, first_seen: dt.datetime) -> None:
        self.asked = asked
        self.count = 1
        self.source_ip = source_ip
        self.domain_name = domain_name
        self.first_seen = first_seen


class DecisionLog:
    """What gateways tell. Belongs to one event loop; `run` writes until it is cancelled, `flush` writes now."""

    def __init__(
        self,
        archive: Archive,
        clock: Clock,
        *,
        interval_s: float = FLUSH_INTERVAL_S,
        per_principal: int = MAX_PER_PRINCIPAL,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._archive = archive
        self._clock = clock
        self._interval_s = interval_s
        self._per_principal = per_principal
        self._max_pending = max_pending
        self._pending: dict[Key, dict[tuple[Asked, Outcome, tuple[StatementRef, ...]], _Entry]] = {}
        self._count = 0
        self._lost: dict[tuple[Scope, CertificateId | None], int] = {}
        self._ends: list[ConnectionEnd] = []

    # --- told in the event loop -------------------------------------------------------------------------------

    def made(self, key: Key, asked: Asked, decision: Decision, source_ip: str | None, domain_name: str | None) -> None:
        """A decision was made. Where too many wait it is only counted."""
        entries = self._pending.get(key)
        if entries is None:
            entries = self._pending[key] = {}
        place = (asked, decision.outcome, decision.statements)
        entry = entries.get(place)
        if entry is not None:
            entry.count += 1
            entry.source_ip = source_ip
            entry.domain_name = domain_name
        elif len(entries) < self._per_principal and self._count < self._max_pending:
            entries[place] = _Entry(asked, source_ip, domain_name, self._clock.now())
            self._count += 1
        else:
            lost = (key[0], key[1] if len(self._lost) < self._max_pending else None)
            self._lost[lost] = self._lost.get(lost, 0) + 1

    def connection_ended(self, key: Key, client_id: str) -> None:
        """What the connection remembered was in use until now."""
        if len(self._ends) < MAX_ENDS:
            self._ends.append(ConnectionEnd(key[0], key[1], client_id, self._clock.now()))

    # --- writing and reading ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes what gathers, until it is cancelled."""
        while True:
            await self.flush()
            await asyncio.sleep(self._interval_s)

    async def flush(self) -> None:
        """What has gathered is in the archive."""
        await asyncio.to_thread(self._write, *self._take())

    def close(self) -> None:
        """What has gathered is in the archive. Blocks; for the end."""
        self._write(*self._take())

    async def page(self, scope: Scope, since: dt.datetime, page: PageRequest) -> Page[RecordedDecision]:
        """By certificate: what was made since then, and what a connection may still obey (`since_connect`)."""
        return await asyncio.to_thread(self._archive.page, scope, since, page)

    async def coverage(self, scope: Scope, since: dt.datetime) -> Coverage:
        """How far the record reaches, up to now."""
        return await asyncio.to_thread(self._archive.coverage, scope, since, self._clock.now())

    def _take(self) -> tuple[_Pending, _Lost, list[ConnectionEnd], dt.datetime]:
        taken = (self._pending, self._lost, self._ends, self._clock.now())
        self._pending, self._lost, self._ends, self._count = {}, {}, [], 0
        return taken

    def _write(self, pending: _Pending, lost: _Lost, ends: list[ConnectionEnd], now: dt.datetime) -> None:
        decisions = [
            RecordedDecision(
                scope=key[0],
                certificate_id=key[1],
                asked=entry.asked,
                outcome=outcome.value,
                statements=tuple(
                    DecidedBy(each.policy, each.version, each.number) for each in statements[:_MAX_STATEMENTS]
                ),
                source_ip=entry.source_ip,
                domain_name=entry.domain_name,
                count=entry.count,
                first_seen=entry.first_seen,
                # Looking at the clock each time would cost more than the rest; the interval is short.
                last_seen=entry.first_seen if entry.count == 1 else now,
            )
            for key, entries in pending.items()
            for (_, outcome, statements), entry in entries.items()
        ]
        overflows = [
            Overflow(scope=scope, certificate_id=certificate_id, lost=count, last_seen=now)
            for (scope, certificate_id), count in lost.items()
        ]
        self._archive.add(decisions, overflows, ends, now)


_Pending: TypeAlias = dict[Key, dict[tuple[Asked, Outcome, tuple[StatementRef, ...]], _Entry]]
_Lost: TypeAlias = dict[tuple[Scope, CertificateId | None], int]
