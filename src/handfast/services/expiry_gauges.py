"""How many certificates expire when, and when the server's own do, as metrics."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Final

from handfast.ports import Clock, Meter, Span, Store

REFRESH_S: Final = 60.0
FAR_EVERY: Final = 15
"""The far buckets hold nearly all of a healthy fleet and change slowly: counted on every 15th refresh only."""

DAY: Final = dt.timedelta(days=1)
BUCKETS: Final[tuple[tuple[str, dt.timedelta | None], ...]] = (
    ("expired", 0 * DAY),
    ("1d", 1 * DAY),
    ("7d", 7 * DAY),
    ("30d", 30 * DAY),
    ("90d", 90 * DAY),
    ("365d", 365 * DAY),
    ("later", None),
)
"""Disjoint: each begins where the one before it ends. `expired` is what ended before now."""
_FAR: Final = frozenset({"365d", "later"})

_log = logging.getLogger(__name__)

ServerExpiry = Callable[[], Mapping[str, dt.datetime]]
"""The end of validity that comes first, by kind of the server's own certificates."""


class ExpiryGauges:
    """
    Keeps `handfast_certificates_expiring` and `handfast_server_certificate_not_after_seconds` up to date.

    Counting a million certificates takes a reader thread of the store 0.1 s of
    CPU, beside the event loop; a failure is logged and leaves the last numbers.
    """

    def __init__(self, store: Store, meter: Meter, clock: Clock, server: ServerExpiry) -> None:
        self._store = store
        self._meter = meter
        self._clock = clock
        self._server = server
        self._refreshes = 0

    async def run(self) -> None:
        """Refreshes now and every `REFRESH_S` until cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception:
                _log.exception("certificates could not be counted by expiry; trying again in a minute")
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """The gauges say what is so now; the far buckets only every `FAR_EVERY` calls, beginning with the first."""
        for kind, instant in (await asyncio.to_thread(self._server)).items():
            self._meter.gauge("handfast_server_certificate_not_after_seconds", int(instant.timestamp()), {"kind": kind})
        spans = _spans(self._clock.now())
        await self._count({name: span for name, span in spans.items() if name not in _FAR})
        if self._refreshes % FAR_EVERY == 0:
            for name in _FAR:  # one at a time, so that no other read waits for both
                await self._count({name: spans[name]})
        self._refreshes += 1

    async def _count(self, spans: Mapping[str, Span]) -> None:
        devices, cas = await self._store.count_active_by_expiry(list(spans.values()))
        for kind, counts in (("device", devices), ("ca", cas)):
            for bucket, count in zip(spans, counts, strict=True):
                self._meter.gauge("handfast_certificates_expiring", count, {"kind": kind, "bucket": bucket})


def _spans(now: dt.datetime) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    begin: dt.datetime | None = None
    for name, length in BUCKETS:
        end = None if length is None else now + length
        spans[name] = (begin, end)
        begin = end
    return spans
