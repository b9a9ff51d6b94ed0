"""The part of the registry that takes in devices which no one registered before."""

from __future__ import annotations

from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateRecord
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.ports.values import Cause, Change, Page, PageRequest


class JustInTimeStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def auto_registering_cas(self) -> list[CACertificateRecord]: ...  # ACTIVE and ENABLE, of every scope

    async def register_just_in_time(
        self, certificate: CertificateRecord, cause: Cause, *, run: ProvisioningRun | None = None
    ) -> list[Change]:
        """Registered, with the record of a run that failed, because its CA vouches for it and nothing is known against
        it at this moment. In this order: "account": disabled; "ca": the CA that it names is not registered, ACTIVE and
        auto-registering in this scope; "revoked", "transferred": a tombstone here says so; "elsewhere": registered in
        DEFAULT mode in another account of the region; "offered": its transfer to this account is pending; "exists":
        registered here."""
        ...

    async def waiting_under_ca(self, scope: Scope, ca_certificate_id: CertificateId, limit: int) -> int:
        """How many certificates registered under the CA are PENDING_ACTIVATION; counted up to `limit`."""
        ...

    async def record_provisioning_run(self, run: ProvisioningRun) -> ProvisioningRun:
        """The run as it is recorded: one that failed as the certificate's latest one did is one more attempt of that.
        Of each scope at least the newest 10,000 of the last 30 days are kept."""
        ...

    async def provisioning_run(self, scope: Scope, run_id: str) -> ProvisioningRun | None: ...
    async def list_provisioning_runs(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        outcome: RunOutcome | None = None,
        certificate_id: CertificateId | None = None,
        latest: bool = False,
    ) -> Page[ProvisioningRun]:
        """
        One page, the newest first.

        `latest`: of each certificate its last run alone; those that FAILED without the certificates that have left
        PENDING_ACTIVATION since, as one does that somebody sets ACTIVE by hand.
        """
        ...
