"""When a certificate was last let in by what is on its way out, or in: the legacy endpoint, key exchanges."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from handfast.core.identity.ids import CertificateId, Scope


class Trait(StrEnum):
    """What a list of certificates is about."""

    LEGACY_ENDPOINT = "LEGACY_ENDPOINT"  # they came to the legacy endpoint (iot:Data)
    POST_QUANTUM = "POST_QUANTUM"  # they offered a hybrid key exchange with ML-KEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The last times, each to the hour or better; None: never, as far as is still recorded."""

    scope: Scope
    certificate_id: CertificateId
    legacy_at: dt.datetime | None = None
    hybrid_offered_at: dt.datetime | None = None
    hybrid_agreed_at: dt.datetime | None = None

    def joined(self, later: Sighting) -> Sighting:
        """Both as one; what the later one does not say stays."""
        return Sighting(
            scope=self.scope,
            certificate_id=self.certificate_id,
            legacy_at=later.legacy_at or self.legacy_at,
            hybrid_offered_at=later.hybrid_offered_at or self.hybrid_offered_at,
            hybrid_agreed_at=later.hybrid_agreed_at or self.hybrid_agreed_at,
        )
