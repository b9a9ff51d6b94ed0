"""The part of the registry about fleet provisioning: certificates that wait to be claimed, and limits of claims."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateRecord
from handfast.core.provisioning.fleet import ClaimLimits, ClaimRecord, OwnershipTokenRecord
from handfast.ports.values import Cause, Change


class FleetStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there. Tokens are spent by `provision`."""

    async def insert_unclaimed(
        self, certificate: CertificateRecord, token: OwnershipTokenRecord, cause: Cause
    ) -> list[Change]:
        """
        The certificate is registered and can be claimed with the token.

        In this order: "claim": the claim certificate is not registered and ACTIVE, "exhausted" (facts: devices): it
        has provisioned as many devices as its limits allow, then those of `insert_certificate`.
        """
        ...

    async def ownership_token(self, scope: Scope, certificate_id: CertificateId) -> OwnershipTokenRecord | None:
        """The token of the certificate, spent or not; None once its time is over."""
        ...

    async def expire_unclaimed(self, limit: int, cause: Cause) -> tuple[list[Change], int]:
        """
        Up to `limit` tokens whose time is over at `cause.at` are gone, and with each of them that was not spent its
        certificate, if it is PENDING_ACTIVATION still and has neither a thing nor a policy; how many tokens there were.
        """
        ...

    async def next_unclaimed_expiry(self) -> dt.datetime | None: ...  # of any scope

    async def claim(self, scope: Scope, certificate_id: CertificateId) -> ClaimRecord | None:
        """What is known of the certificate as a claim; None: it has no limits and has provisioned nothing."""
        ...

    async def set_claim_limits(
        self, scope: Scope, certificate_id: CertificateId, limits: ClaimLimits, cause: Cause
    ) -> list[Change]: ...  # in place of those before; "missing": no such certificate
