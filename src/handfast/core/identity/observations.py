"""What gateways saw of connections that had something in common which no two devices should have."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from enum import StrEnum

from handfast.core.identity.ids import Scope

MAX_SAMPLES = 8
"""Client ids, certificates or addresses that an observation names; the first ones seen stay."""
LOOK_BACK = dt.timedelta(days=31)
"""AWS's window; what was last seen before it is forgotten."""


class Sighting(StrEnum):
    """What was seen, and what `subject` and `parties` are then."""

    SHARED_CERTIFICATE = "shared_certificate"  # a certificateId; the client ids that were connected with it
    CLIENT_ID_TAKEN = "client_id_taken"  # a client id; the certificateIds that took it from each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One subject in one scope, and what was seen of it from `first_seen` to `last_seen`, `count` times."""

    scope: Scope
    sighting: Sighting
    subject: str
    first_seen: dt.datetime
    last_seen: dt.datetime
    count: int
    parties: tuple[str, ...]
    addresses: tuple[str, ...]

    def joined(self, later: Observation) -> Observation:
        """Both as one; what lies further back than the window of the later one is forgotten."""
        if later.last_seen - self.last_seen > LOOK_BACK:
            return later
        return replace(
            self,
            first_seen=min(self.first_seen, later.first_seen),
            last_seen=max(self.last_seen, later.last_seen),
            count=self.count + later.count,
            parties=merged(self.parties, later.parties),
            addresses=merged(self.addresses, later.addresses),
        )


def merged(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """The first `MAX_SAMPLES` different ones, in order."""
    return tuple(dict.fromkeys((*known, *more)))[:MAX_SAMPLES]
