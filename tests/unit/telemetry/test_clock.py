"""The system's clock and generator as the ports describe them."""

from __future__ import annotations

import datetime as dt
import uuid

from handfast.ports import Clock, Entropy
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy


def test_the_clock_is_aware_utc_and_can_be_shifted() -> None:
    clock: Clock = SystemClock()
    shifted: Clock = SystemClock(dt.timedelta(days=400))
    assert dt.timedelta(0) == clock.now().utcoffset()
    assert dt.timedelta(days=399) < shifted.now() - clock.now() < dt.timedelta(days=401)
    assert clock.monotonic() <= clock.monotonic()


def test_entropy_gives_what_was_asked_for() -> None:
    entropy: Entropy = SystemEntropy()
    assert 32 == len(entropy.token_bytes(32))
    assert entropy.token_bytes(32) != entropy.token_bytes(32)
    assert 4 == uuid.UUID(entropy.uuid()).version
