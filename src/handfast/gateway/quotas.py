"""AWS IoT's rate quotas as token buckets; time is an argument."""

from __future__ import annotations

from collections.abc import Hashable

PUBLISHES_PER_S = 100
"""PUBLISH packets of one connection, both directions together."""
BYTES_PER_S = 524_288
"""What one connection may send and receive, both directions together."""
CONNECTS_PER_S = 1
"""CONNECT packets of one client id."""
RETAINED_PER_S = 1
"""Retained messages of one topic."""


class TokenBucket:
    """Tokens that come back at a steady rate, a second's worth at most; `now` is in seconds and never runs back."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._at = now

    def available(self, now: float) -> int:
        """Whole tokens that are there; negative while there is debt."""
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return int(self._tokens // 1)

    def take(self, wanted: int, now: float) -> int:
        """As many of the wanted tokens as are there, now spent."""
        taken = min(wanted, max(0, self.available(now)))
        self._tokens -= taken
        return taken

    def spend(self, tokens: int, now: float) -> None:
        """Spend what was used already, into debt where it was too much; a negative number is given back."""
        self.available(now)
        self._tokens -= tokens


class KeyedRate:
    """A bucket of one token for each key; a key is forgotten once its token is back."""

    __slots__ = ("_admitted", "_interval_s")

    def __init__(self, rate: float) -> None:
        self._interval_s = 1 / rate
        self._admitted: dict[Hashable, float] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, key: Hashable, now: float) -> bool:
        """Take the key's token; False when it is not back yet. A refusal costs nothing."""
        admitted = self._admitted
        while admitted:
            oldest = next(iter(admitted))
            if now - admitted[oldest] < self._interval_s:
                break
            del admitted[oldest]
        if key in admitted:
            return False
        admitted[key] = now
        return True


class Quotas:
    """What the connections of one gateway share; keys begin with the scope."""

    __slots__ = ("connects", "retained")

    def __init__(self) -> None:
        self.connects = KeyedRate(CONNECTS_PER_S)
        self.retained = KeyedRate(RETAINED_PER_S)
