"""Claim certificates: how many devices may be provisioned with one, how fast, and from where."""

from __future__ import annotations

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.provisioning.fleet import ClaimLimits, ClaimRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Store
from handfast.services.certificates import not_found
from handfast.services.commit import Committer


class Claims:
    """The use cases of claims. Raises ServiceErrors; what devices ask is judged by the limits from then on."""

    def __init__(self, store: Store, commit: Committer) -> None:
        self._store = store
        self._commit = commit

    async def set_limits(
        self, scope: Scope, cause: Cause, certificate_id: CertificateId, limits: ClaimLimits
    ) -> ClaimRecord:
        """The certificate has these limits in place of those before; any certificate may be one day's claim."""
        try:
            await self._commit(
                self._store.set_claim_limits(scope, certificate_id, limits, cause),
                suspects=[Change(ChangeKind.CLAIM, scope, certificate_id)],
            )
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise not_found(certificate_id) from None
        return await self.describe(scope, certificate_id)

    async def describe(self, scope: Scope, certificate_id: CertificateId) -> ClaimRecord:
        """The certificate's limits and what it was used for; ResourceNotFoundError: it is not registered."""
        known = await self._store.claim(scope, certificate_id)
        if known is not None:
            return known
        if await self._store.certificate(scope, certificate_id) is None:
            raise not_found(certificate_id)
        return ClaimRecord(scope=scope, certificate_id=certificate_id, limits=ClaimLimits(), provisioned=0)
