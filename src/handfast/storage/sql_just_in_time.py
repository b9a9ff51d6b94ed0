"""The part of `ports.Store` about devices that are taken in at their first connection."""

from __future__ import annotations

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateRecord
from handfast.ports import Cause, Change
from handfast.storage import just_in_time
from handfast.storage.sqlite import SQLiteDatabase


class JustInTimeOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    async def auto_registering_cas(self) -> list[CACertificateRecord]:
        return await self._read(just_in_time.registering_cas)

    async def register_just_in_time(self, certificate: CertificateRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: just_in_time.register(c, certificate, cause))

    async def waiting_under_ca(self, scope: Scope, ca_certificate_id: CertificateId, limit: int) -> int:
        return await self._read(lambda c: just_in_time.waiting(c, scope, ca_certificate_id, limit))
