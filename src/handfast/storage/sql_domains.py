"""The part of `ports.Store` about domain configurations and server certificates."""

from __future__ import annotations

import datetime as dt

from handfast.core.identity.domains import (
    CertificateHealth,
    DomainConfigurationEdit,
    DomainConfigurationName,
    DomainConfigurationRecord,
    ServerCertificateId,
    ServerCertificateRecord,
)
from handfast.core.identity.ids import AccountId, Scope
from handfast.ports import NO_TAGS, Cause, Change, Page, PageRequest, Tags
from handfast.storage import domains, server_certificates
from handfast.storage.sqlite import SQLiteDatabase


class DomainOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    _database: SQLiteDatabase

    async def create_domain_configuration(
        self, domain: DomainConfigurationRecord, cause: Cause, *, limit: int, tags: Tags = NO_TAGS
    ) -> list[Change]:
        return await self._database.write(lambda c: domains.create(c, domain, limit, tags, cause))

    async def domain_configuration(
        self, scope: Scope, name: DomainConfigurationName
    ) -> DomainConfigurationRecord | None:
        return await self._database.read(lambda c: domains.get(c, scope, name))

    async def domain_configurations(self) -> list[DomainConfigurationRecord]:
        return await self._database.read(domains.list_all)

    async def list_domain_configurations(self, scope: Scope, page: PageRequest) -> Page[str]:
        return await self._database.read(lambda c: domains.list_page(c, scope, page))

    async def update_domain_configuration(
        self, scope: Scope, name: DomainConfigurationName, edit: DomainConfigurationEdit, *, cause: Cause
    ) -> list[Change]:
        return await self._database.write(lambda c: domains.change(c, scope, name, edit, cause))

    async def set_endpoint_policy(self, domain: DomainConfigurationRecord, *, cause: Cause) -> list[Change]:
        return await self._database.write(lambda c: domains.set_endpoint_policy(c, domain, cause))

    async def delete_domain_configuration(
        self, scope: Scope, name: DomainConfigurationName, *, disabled_until: dt.datetime | None, cause: Cause
    ) -> list[Change]:
        return await self._database.write(
            lambda c: domains.remove(c, scope, name, disabled_until=disabled_until, cause=cause)
        )

    async def create_server_certificate(
        self, certificate: ServerCertificateRecord, cause: Cause, *, limit: int
    ) -> list[Change]:
        return await self._database.write(lambda c: server_certificates.create(c, certificate, limit, cause))

    async def server_certificate(
        self, scope: Scope, certificate_id: ServerCertificateId
    ) -> ServerCertificateRecord | None:
        return await self._database.read(lambda c: server_certificates.get(c, scope, certificate_id))

    async def server_certificates(self, account: AccountId | None = None) -> list[ServerCertificateRecord]:
        return await self._database.read(lambda c: server_certificates.list_all(c, account))

    async def replace_server_certificate(
        self, certificate: ServerCertificateRecord, *, expected: ServerCertificateRecord, cause: Cause
    ) -> list[Change]:
        return await self._database.write(lambda c: server_certificates.replace_served(c, certificate, expected, cause))

    async def set_server_certificate_health(
        self, scope: Scope, certificate_id: ServerCertificateId, health: CertificateHealth, detail: str, *, cause: Cause
    ) -> list[Change]:
        return await self._database.write(
            lambda c: server_certificates.set_health(c, scope, certificate_id, health, detail, cause)
        )

    async def delete_server_certificate(
        self, scope: Scope, certificate_id: ServerCertificateId, cause: Cause
    ) -> list[Change]:
        return await self._database.write(lambda c: server_certificates.remove(c, scope, certificate_id, cause))
