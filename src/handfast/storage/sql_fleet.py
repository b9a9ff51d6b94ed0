"""The part of `ports.Store` about fleet provisioning."""

from __future__ import annotations

import datetime as dt

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateRecord
from handfast.core.provisioning.fleet import ClaimLimits, ClaimRecord, OwnershipTokenRecord
from handfast.ports import Cause, Change
from handfast.storage import fleet
from handfast.storage.sqlite import SQLiteDatabase


class FleetOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    async def insert_unclaimed(
        self, certificate: CertificateRecord, token: OwnershipTokenRecord, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: fleet.insert_unclaimed(c, certificate, token, cause))

    async def ownership_token(self, scope: Scope, certificate_id: CertificateId) -> OwnershipTokenRecord | None:
        return await self._read(lambda c: fleet.token(c, scope, certificate_id))

    async def expire_unclaimed(self, limit: int, cause: Cause) -> tuple[list[Change], int]:
        return await self._write(lambda c: fleet.expire(c, limit, cause))

    async def next_unclaimed_expiry(self) -> dt.datetime | None:
        return await self._read(fleet.next_expiry)

    async def claim(self, scope: Scope, certificate_id: CertificateId) -> ClaimRecord | None:
        return await self._read(lambda c: fleet.claim(c, scope, certificate_id))

    async def set_claim_limits(
        self, scope: Scope, certificate_id: CertificateId, limits: ClaimLimits, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: fleet.set_limits(c, scope, certificate_id, limits, cause))
