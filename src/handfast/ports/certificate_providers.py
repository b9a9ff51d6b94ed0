"""The part of the registry about certificate providers and provisioning claims."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.records import (
    CertificateProviderName,
    CertificateProviderRecord,
    ProvisioningClaimRecord,
)
from handfast.ports.values import NO_TAGS, Cause, Change, Tags


class CertificateProviderStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def create_certificate_provider(
        self, provider: CertificateProviderRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]:
        """ "exists": one of this name; "limit": the scope has one of another name."""
        ...

    async def certificate_provider(self, scope: Scope) -> CertificateProviderRecord | None: ...  # the scope's one
    async def update_certificate_provider(
        self, scope: Scope, name: CertificateProviderName, *, function_arn: str, cause: Cause
    ) -> list[Change]: ...  # "missing"
    async def delete_certificate_provider(
        self, scope: Scope, name: CertificateProviderName, cause: Cause
    ) -> list[Change]: ...  # "missing"


class ProvisioningClaimStore(Protocol):
    """
    Part of `ports.Store`. A claim is a principal (`principals`, `default_registrations`) and no certificate: no other
    method finds it. It ends when its template is deleted or disabled, in that very transaction.
    """

    async def insert_provisioning_claim(
        self, claim: ProvisioningClaimRecord, *, limit: int, cause: Cause
    ) -> list[Change]:
        """In this order: "missing": no such template, "type": not FLEET_PROVISIONING, "disabled", "limit": of claims
        of the scope that are not over."""
        ...

    async def sweep_provisioning_claims(self, before: dt.datetime, limit: int) -> int:
        """Up to `limit` claims of any scope that were over before then are forgotten; how many. Their end was told
        when they were made, so this is audited no more."""
        ...
