"""The audit trail for those who may read it: listed, verified, and the key that vouches for it."""

from __future__ import annotations

import asyncio

from handfast.core.identity.audit_chain import AuditRow
from handfast.core.identity.checkpoint import CheckpointKey
from handfast.errors import InvalidRequestError, StoreConflict, ThrottlingError
from handfast.ports import AuditQuery, Page, PageRequest, Store
from handfast.services.audit_sealer import AuditSealer, Sealed
from handfast.services.audit_verification import AuditReport, verify


class Audit:
    """Reads the trail of a store while its sealer runs. Who may see which chain is decided before."""

    def __init__(self, store: Store, sealer: AuditSealer) -> None:
        self._store = store
        self._sealer = sealer
        self._verifying = asyncio.Lock()

    async def seal(self) -> None:
        """What was audited up to now is sealed, as far as that succeeds."""
        await self._sealer.attempt()

    async def events(self, query: AuditQuery, page: PageRequest) -> Page[AuditRow]:
        """
        One page of the rows that the query asks for.

        Raises:
            InvalidRequestError: The page's marker is not of this listing.
        """
        try:
            return await self._store.audit_events(query, page)
        except StoreConflict as error:
            if error.kind == "marker":
                raise InvalidRequestError("The nextToken does not belong to this listing") from None
            raise

    def key(self) -> tuple[CheckpointKey, Sealed | None]:
        """The public key of the checkpoints, and the newest of them."""
        return self._sealer.key, self._sealer.last

    async def verify(self, chain: str | None) -> AuditReport:
        """
        The whole trail, or one chain, verified against itself and the checkpoints.

        Raises:
            ThrottlingError: Another verification is under way.
        """
        if self._verifying.locked():
            raise ThrottlingError("A verification of the audit trail is under way; try again when it is done")
        async with self._verifying:
            lines, torn, expected = await self._sealer.kept()
            return await verify(self._store, lines, self._sealer.key, torn=torn, expected=expected, chain=chain)
