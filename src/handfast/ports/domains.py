"""The part of the registry about domain configurations and the server certificates that are served for them."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from handfast.core.identity.domains import (
    CertificateHealth,
    DomainConfigurationEdit,
    DomainConfigurationName,
    DomainConfigurationRecord,
    ServerCertificateId,
    ServerCertificateRecord,
)
from handfast.core.identity.ids import AccountId, Scope
from handfast.ports.values import NO_TAGS, Cause, Change, Page, PageRequest, Tags


class DomainStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def create_domain_configuration(
        self, domain: DomainConfigurationRecord, cause: Cause, *, limit: int, tags: Tags = NO_TAGS
    ) -> list[Change]:
        """In this order: "exists" (facts: resource): one of this name in the scope; "domain": its prefix or domain name
        is another configuration's, of whatever scope; "limit": of configurations of the scope, the endpoint's own not
        counted; "certificate": one that it names is not in the scope."""
        ...

    async def domain_configuration(
        self, scope: Scope, name: DomainConfigurationName
    ) -> DomainConfigurationRecord | None: ...
    async def domain_configurations(self) -> list[DomainConfigurationRecord]: ...  # of every scope
    async def update_domain_configuration(
        self, scope: Scope, name: DomainConfigurationName, edit: DomainConfigurationEdit, *, cause: Cause
    ) -> list[Change]: ...  # "missing", "certificate" as above
    async def set_endpoint_policy(self, domain: DomainConfigurationRecord, *, cause: Cause) -> list[Change]:
        """The configuration of the scope's own endpoint says what this record does; made where there is none."""
        ...

    async def delete_domain_configuration(
        self, scope: Scope, name: DomainConfigurationName, *, disabled_until: dt.datetime | None, cause: Cause
    ) -> list[Change]:
        """In this order: "missing", "status": not DISABLED, "waiting" (facts: since): DISABLED only after
        `disabled_until`, for one that is AWS-managed."""
        ...

    async def list_domain_configurations(self, scope: Scope, page: PageRequest) -> Page[str]:
        """Their `resource`s by name; the endpoint's own is always among them."""
        ...

    # server certificates
    async def create_server_certificate(
        self, certificate: ServerCertificateRecord, cause: Cause, *, limit: int
    ) -> list[Change]:
        """In this order: "account": there is none; "exists": one of this name in the scope; "limit": of those of the
        scope."""
        ...

    async def server_certificate(
        self, scope: Scope, certificate_id: ServerCertificateId
    ) -> ServerCertificateRecord | None: ...
    async def server_certificates(self, account: AccountId | None = None) -> list[ServerCertificateRecord]: ...
    async def replace_server_certificate(
        self, certificate: ServerCertificateRecord, *, expected: ServerCertificateRecord, cause: Cause
    ) -> list[Change]:
        """What is served is this; "changed": it was no longer `expected`; "missing"."""
        ...

    async def set_server_certificate_health(
        self, scope: Scope, certificate_id: ServerCertificateId, health: CertificateHealth, detail: str, *, cause: Cause
    ) -> list[Change]: ...  # "missing"
    async def delete_server_certificate(
        self, scope: Scope, certificate_id: ServerCertificateId, cause: Cause
    ) -> list[Change]: ...  # "missing", "domains": configurations name it (facts: names)
