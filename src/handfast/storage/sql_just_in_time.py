"""The part of `ports.Store` about devices that are taken in at their first connection."""

from __future__ import annotations

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateRecord
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.ports import Cause, Change, Page, PageRequest
from handfast.storage import just_in_time, provisioning_runs
from handfast.storage.sqlite import SQLiteDatabase


class JustInTimeOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    async def auto_registering_cas(self) -> list[CACertificateRecord]:
        return await self._read(just_in_time.registering_cas)

    async def register_just_in_time(
        self, certificate: CertificateRecord, cause: Cause, *, run: ProvisioningRun | None = None
    ) -> list[Change]:
        return await self._write(lambda c: just_in_time.register(c, certificate, run, cause))

    async def waiting_under_ca(self, scope: Scope, ca_certificate_id: CertificateId, limit: int) -> int:
        return await self._read(lambda c: just_in_time.waiting(c, scope, ca_certificate_id, limit))

    async def record_provisioning_run(self, run: ProvisioningRun) -> ProvisioningRun:
        return await self._write(lambda c: provisioning_runs.add(c, run))

    async def provisioning_run(self, scope: Scope, run_id: str) -> ProvisioningRun | None:
        return await self._read(lambda c: provisioning_runs.get(c, scope, run_id))

    async def list_provisioning_runs(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        outcome: RunOutcome | None = None,
        certificate_id: CertificateId | None = None,
        latest: bool = False,
    ) -> Page[ProvisioningRun]:
        return await self._read(
            lambda c: provisioning_runs.list_page(
                c, scope, page, outcome=outcome, certificate_id=certificate_id, latest=latest
            )
        )
