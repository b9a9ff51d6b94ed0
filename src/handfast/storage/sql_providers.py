"""The part of `ports.Store` about certificate providers and provisioning claims."""

from __future__ import annotations

import datetime as dt

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.records import (
    CertificateProviderName,
    CertificateProviderRecord,
    ProvisioningClaimRecord,
)
from handfast.ports import NO_TAGS, Cause, Change, Tags
from handfast.storage import certificate_providers as providers
from handfast.storage import provisioning_claims as claims
from handfast.storage.sqlite import SQLiteDatabase


class ProviderOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    _database: SQLiteDatabase

    async def create_certificate_provider(
        self, provider: CertificateProviderRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]:
        return await self._database.write(lambda c: providers.create(c, provider, tags, cause))

    async def certificate_provider(self, scope: Scope) -> CertificateProviderRecord | None:
        return await self._database.read(lambda c: providers.get(c, scope))

    async def update_certificate_provider(
        self, scope: Scope, name: CertificateProviderName, *, function_arn: str, cause: Cause
    ) -> list[Change]:
        return await self._database.write(lambda c: providers.change(c, scope, name, function_arn, cause))

    async def delete_certificate_provider(
        self, scope: Scope, name: CertificateProviderName, cause: Cause
    ) -> list[Change]:
        return await self._database.write(lambda c: providers.remove(c, scope, name, cause))

    async def insert_provisioning_claim(
        self, claim: ProvisioningClaimRecord, *, limit: int, cause: Cause
    ) -> list[Change]:
        return await self._database.write(lambda c: claims.add(c, claim, limit, cause))

    async def sweep_provisioning_claims(self, before: dt.datetime, limit: int) -> int:
        return await self._database.write(lambda c: claims.sweep(c, before, limit))
