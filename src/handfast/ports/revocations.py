"""The part of the registry that remembers which certificates issued here were revoked."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple, Protocol


class RevocationRecord(NamedTuple):
    """One revocation. `sequence` grows with every later one; `reason` is RFC 5280's word."""

    sequence: int
    pem: str
    revoked_at: dt.datetime
    reason: str


class RevocationStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def revocations_after(self, sequence: int, limit: int) -> list[RevocationRecord]:
        """Certificates registered in DEFAULT mode under no CA that became REVOKED, of every account, in their order:
        up to `limit` above `sequence`. They stay when a registration is deleted, and nothing takes them back."""
        ...
