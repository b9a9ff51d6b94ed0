"""Rates as token buckets, one or one for each key; bounded, and time is an argument."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable


class Bucket:
    """A token bucket."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at = now

    def available(self, now: float) -> bool:
        """Whether there is a token."""
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
        return self._tokens >= 1.0

    def take(self) -> None:
        """A token is gone."""
        self._tokens -= 1.0

    def full(self, now: float) -> bool:
        """Whether it is as good as new."""
        self.available(now)
        return self._tokens >= self._burst


class KeyedBuckets:
    """A bucket for each key, at most `limit`: those that are as good as new go first, then the oldest."""

    def __init__(self, *, burst: float, per_second: float, limit: int) -> None:
        self._burst = burst
        self._rate = per_second
        self._limit = limit
        self._buckets: dict[Hashable, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def available(self, key: Hashable, now: float) -> bool:
        """Whether the key has a token."""
        bucket = self._buckets.get(key)
        return bucket is None or bucket.available(now)

    def take(self, key: Hashable, now: float) -> None:
        """A token of the key is gone."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._limit:
                self._forget(now)
            bucket = self._buckets[key] = Bucket(self._burst, self._rate, now)
        bucket.take()

    def _forget(self, now: float) -> None:
        idle = [key for key, bucket in self._buckets.items() if bucket.full(now)]
        for key in idle or list(self._buckets)[: max(1, self._limit // 10)]:
            del self._buckets[key]


def source_of(address: str) -> str:
    """Whom a rate belongs to: the address, or the 64-bit network that one IPv6 host commands."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
