"""How often something may happen, for each of many keys."""

from __future__ import annotations

from collections.abc import Hashable

_PRUNE_AT = 1024
"""Keys that are kept before any is looked at again."""


class Pace:
    """
    The generic cell rate algorithm: a burst, which comes back at a steady rate.

    Keys are forgotten once all of their burst is back, so their number is
    bounded by what is admitted in that time. Time is an argument, in seconds
    that only grow.
    """

    def __init__(self) -> None:
        self._whole_at: dict[Hashable, float] = {}  # when all of the key's burst is back
        self._prune_at = _PRUNE_AT

    def admit(self, key: Hashable, now: float, *, per_s: float, burst: float) -> bool:
        """Whether it may happen once more, which is then counted; a refusal costs nothing."""
        # Each time moves the instant of recovery on by its share of a second.
        whole_at = max(self._whole_at.get(key, now), now) + 1 / per_s
        if whole_at > now + burst / per_s + 1e-9:
            return False
        self._whole_at[key] = whole_at
        if len(self._whole_at) > self._prune_at:
            self._whole_at = {key: at for key, at in self._whole_at.items() if at > now}
            self._prune_at = max(_PRUNE_AT, 2 * len(self._whole_at))
        return True

    def __len__(self) -> int:
        return len(self._whole_at)
