"""The legacy endpoint with what it needs: a composition root of its own, for the server."""

from __future__ import annotations

import asyncio
import datetime as dt

from handfast.config.settings import Settings
from handfast.keystore.file import FileKeyStore
from handfast.ports import Clock, Entropy
from handfast.services.endpoints import EndpointDirectory, EndpointService
from handfast.services.legacy_chain import LegacyAuthority
from handfast.services.pki_folder import PkiFolder
from handfast.tls.client_hello import ClientHello
from handfast.tls.contexts import Contexts
from handfast.tls.serving import Serving


class LegacyEndpoint:
    """
    Serves `PREFIX.iot.REGION.DOMAIN` of every region that was ensured; its decider says who gets that chain.

    Without `--legacy-endpoint` it does nothing, and decides nothing.
    """

    def __init__(
        self, settings: Settings, contexts: Contexts, endpoints: EndpointDirectory, clock: Clock, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._contexts = contexts
        self._endpoints = endpoints
        self._clock = clock
        self._entropy = entropy
        self._authority: LegacyAuthority | None = None
        self._renew_at: dict[str, dt.datetime] = {}

    async def open(self, passphrase: bytes | None) -> None:
        """It can issue. Raises ConfigurationError: the PKI has no intermediate under the legacy root."""
        settings = self._settings
        if not settings.legacy_endpoint:
            return
        folder = PkiFolder(settings.data_dir / "pki")
        keys = FileKeyStore(folder.path, passphrase, self._entropy)

        def opened() -> LegacyAuthority:
            return LegacyAuthority(folder, keys, domain=settings.domain, clock=self._clock, entropy=self._entropy)

        self._authority = await asyncio.to_thread(opened)

    async def ensure(self, region: str) -> None:
        """The region's legacy endpoint is served."""
        if self._authority is not None and region not in self._renew_at:
            await self._issue(self._authority, region)

    async def renew(self, now: dt.datetime) -> list[str]:
        """The regions whose leaf was replaced, because a third of its life or less was left."""
        authority = self._authority
        if authority is None:
            return []
        due = [region for region, instant in self._renew_at.items() if now >= instant]
        for region in due:
            await self._issue(authority, region)
        return due

    async def _issue(self, authority: LegacyAuthority, region: str) -> None:
        chain = await asyncio.to_thread(authority.chain, region)
        self._contexts.install(_certificates(region), "rsa", chain.chain_pem, chain.key_pem)
        self._renew_at[region] = chain.renew_at

    def decide(self, sni: str | None, _hello: ClientHello, _address: str) -> Serving | None:
        """`tls.serving.Decider`."""
        if sni is None or self._endpoints.service_of(sni) is not EndpointService.LEGACY_DATA:
            return None
        scope = self._endpoints.resolve_sni(sni)
        assert scope is not None
        return Serving(certificates=_certificates(scope.region), only="rsa")


def _certificates(region: str) -> str:
    return f"legacy:{region}"
