"""The part of the registry that takes in devices which no one registered before."""

from __future__ import annotations

from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateRecord
from handfast.ports.values import Cause, Change


class JustInTimeStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def auto_registering_cas(self) -> list[CACertificateRecord]: ...  # ACTIVE and ENABLE, of every scope

    async def register_just_in_time(self, certificate: CertificateRecord, cause: Cause) -> list[Change]:
        """Registered, because its CA vouches for it and nothing is known against it at this moment. In this order:
        "account": disabled; "ca": the CA that it names is not registered, ACTIVE and auto-registering in this scope;
        "revoked", "transferred": a tombstone here says so; "elsewhere": registered in DEFAULT mode in another account
        of the region; "offered": its transfer to this account is pending; "exists": registered here."""
        ...

    async def waiting_under_ca(self, scope: Scope, ca_certificate_id: CertificateId, limit: int) -> int:
        """How many certificates registered under the CA are PENDING_ACTIVATION; counted up to `limit`."""
        ...
