"""Refusals as they are recorded, told to the log and the meter: every one is counted, a flood does not fill the log."""

from __future__ import annotations

import structlog

from handfast.core.identity.refusal import Refusal
from handfast.ports import Clock, Meter
from handfast.services.rates import Bucket

BURST = 200
PER_SECOND = 10.0
"""Lines, on end: a quarter of a gigabyte a day at the most."""

log = structlog.get_logger("handfast")


class RefusalReports:
    """`RefusalLog`'s `on_record` and `on_drop`."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self._lines = Bucket(BURST, PER_SECOND, clock.monotonic())
        self._unsaid = 0

    def recorded(self, refusal: Refusal) -> None:
        """It is in the record, where `handfast explain` finds it whether or not the log has a line."""
        self._meter.count(
            "handfast_refusals_total", labels={"stage": str(refusal.stage), "reason": str(refusal.reasons[0].code)}
        )
        if not self._lines.available(self._clock.monotonic()):
            self._unsaid += 1
            return
        self._lines.take()
        unsaid, self._unsaid = self._unsaid, 0
        log.info(
            "refused",
            trace_id=refusal.trace_id,
            stage=str(refusal.stage),
            reasons=[str(reason.code) for reason in refusal.reasons],
            address=refusal.address,
            **({"refusals_without_a_line": unsaid} if unsaid else {}),
        )

    def dropped(self) -> None:
        """It was only counted."""
        self._meter.count("handfast_refusals_unrecorded_total")
