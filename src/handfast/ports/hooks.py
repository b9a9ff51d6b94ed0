"""The operator's hooks: where they are kept, what calls them, and what provisioning asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.provisioning.hooks import Hook, HookEvent, HookName, Webhook
from handfast.core.provisioning.records import PreProvisioningHook, TemplateName
from handfast.ports.values import Cause, Change


class HookStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there. The secrets are sealed at rest."""

    async def add_hook(self, hook: Webhook, *, limit: int, cause: Cause) -> list[Change]: ...  # "exists", "limit"
    async def hook(self, name: HookName) -> Webhook | None: ...
    async def hooks(self) -> list[Webhook]: ...  # by name
    # "missing"; "named" (facts: names) unless forced, while a template or certificate provider names it
    async def remove_hook(self, name: HookName, cause: Cause, *, force: bool = False) -> list[Change]: ...


class HookRunner(Protocol):
    """Calls hooks, each in bounded number, outside the event loop, within the hook's own limit of time."""

    async def run(self, hook: Hook, event: HookEvent, body: bytes) -> bytes:
        """
        What the hook answered, at most `MAX_ANSWER_BYTES`.

        Raises:
            HookFailed: REFUSED, TIMEOUT, BUSY, UNREACHABLE, INVALID (too long).
        """
        ...


class AsksBeforeProvisioning(Protocol):
    """Asks the hook of a template whether a device may be provisioned (services.hooks.PreProvisioningHooks)."""

    async def ask(
        self,
        scope: Scope,
        hook: PreProvisioningHook,
        *,
        template_name: TemplateName,
        claim_certificate_id: CertificateId,
        certificate_id: CertificateId,
        certificate_pem: str,
        client_id: str,
        parameters: Mapping[str, str],
    ) -> Mapping[str, str]:
        """The `parameterOverrides`, {} when there are none. HookDenied: anything but a clear yes in time."""
        ...


class IssuesByProvider(Protocol):
    """Has an account's certificate provider issue (services.certificate_providers.CertificateProviders)."""

    async def issue(self, scope: Scope, csr_pem: str, *, client_id: str | None, principal: CertificateId) -> str | None:
        """
        The certificate in PEM, checked against the request; None: the account has no provider, so the built-in
        issuer is to be used.

        Raises:
            ProviderFailed: It has one, and that gave no certificate that can be used.
        """
        ...
