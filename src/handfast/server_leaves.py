"""The server's own leaf certificates: there for every region that is served, and renewed in time."""

from __future__ import annotations

import asyncio

import structlog

from handfast.legacy_endpoint import LegacyEndpoint
from handfast.ports import Clock
from handfast.services.authorities import ServerAuthority, ServerChain
from handfast.services.pki_folder import KINDS
from handfast.tls.contexts import Contexts

RENEWAL_INTERVAL_S = 3600.0

log = structlog.get_logger("handfast")


class ServerLeaves:
    """What the authorities issue for the server, put before its clients."""

    def __init__(
        self,
        authority: ServerAuthority,
        legacy: LegacyEndpoint,
        contexts: Contexts,
        clock: Clock,
        *,
        serves_cross: bool,
    ) -> None:
        self._authority = authority
        self._legacy = legacy
        self._contexts = contexts
        self._clock = clock
        self._serves_cross = serves_cross

    async def ensure(self, region: str) -> None:
        """The region's server leaves exist and are served."""
        if region not in self._contexts.names():
            for kind in KINDS:
                chain = await asyncio.to_thread(self._authority.chain, kind, region)
                self.present(chain)
        await self._legacy.ensure(region)

    def present(self, chain: ServerChain) -> None:
        """New connections get this chain."""
        certificates = chain.presented(cross=self._serves_cross)
        self._contexts.install(chain.region, chain.kind, certificates, chain.key_pem)

    async def keep(self) -> None:
        """Until cancelled: leaves with a third of their life left are replaced; new connections get the new ones."""
        while True:
            now = self._clock.now()
            try:
                for chain in await asyncio.to_thread(self._authority.renew_due, now):
                    self.present(chain)
                    log.info("server certificate renewed", region=chain.region, kind=chain.kind)
                for region in await self._legacy.renew(now):
                    log.info("server certificate of the legacy endpoint renewed", region=region)
                for warning in self._authority.warnings(now):
                    log.warning(warning)
            except Exception:
                log.exception("server certificates could not be renewed; trying again within the hour")
            await asyncio.sleep(RENEWAL_INTERVAL_S)
