"""CreateProvisioningClaim: a certificate for five minutes, with which a trusted user provisions one device."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, field

from handfast.core.identity.ids import Scope
from handfast.core.pki.pem import read_certificate
from handfast.core.provisioning.records import ProvisioningClaimRecord, TemplateName, TemplateType
from handfast.errors import InvalidRequestError, ServiceError, StoreConflict, StoreUnavailable, ThrottlingError
from handfast.ports import Cause, Change, ChangeKind, Store
from handfast.services.certificates import Issuer
from handfast.services.commit import Committer
from handfast.services.provisioning_templates import not_found

log = logging.getLogger(__name__)

CLAIMS_MAX = 10_000
"""Claims of an account in a region that are not over; more than 33 a second on end."""
KEPT = dt.timedelta(hours=1)
"""How long a claim that is over is remembered, so that a refusal can say that it is."""
_SWEPT_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ProvisioningClaim:
    """What CreateProvisioningClaim answers, once. The private key exists nowhere else."""

    record: ProvisioningClaimRecord
    public_key_pem: str
    private_key_pem: str = field(repr=False)


class ProvisioningClaims:
    """
    The use case of claims. A claim is no certificate of the registry: no operation lists, describes or changes it.

    What it may do stands in `core.provisioning.claims`. It ends with its
    validity, its sessions too, or when its template is deleted or disabled.
    """

    def __init__(self, store: Store, issuer: Issuer, commit: Committer) -> None:
        self._store = store
        self._issuer = issuer
        self._commit = commit

    async def create(self, scope: Scope, cause: Cause, name: TemplateName) -> ProvisioningClaim:
        """A claim for the template, good at once. Raises ServiceErrors."""
        template = await self._store.provisioning_template(scope, name)
        # Before a key is spent on it; what counts is what the store says.
        if template is None:
            raise not_found(name)
        if template.type is not TemplateType.FLEET_PROVISIONING:
            raise _wrong_type(name)
        if not template.enabled:
            raise _disabled(name)
        issued = await self._issuer.create_provisioning_claim()
        parsed = read_certificate(issued.certificate_pem)
        record = ProvisioningClaimRecord(
            scope=scope,
            certificate_id=parsed.certificate_id,
            template_name=name,
            pem=parsed.pem,
            not_before=parsed.not_before,
            not_after=parsed.not_after,
            creation_date=cause.at,
        )
        suspects = [Change(ChangeKind.PROVISIONING_CLAIM, scope, record.certificate_id)]
        write = self._store.insert_provisioning_claim(record, limit=CLAIMS_MAX, cause=cause)
        try:
            await self._commit(write, suspects=suspects)
        except StoreConflict as conflict:
            raise _refusal(conflict.kind, name) or conflict from None
        await self._sweep(cause.at - KEPT)
        return ProvisioningClaim(record, issued.public_key_pem, issued.private_key_pem)

    async def _sweep(self, before: dt.datetime) -> None:
        try:
            await self._store.sweep_provisioning_claims(before, _SWEPT_AT_ONCE)
        except StoreUnavailable:
            log.warning("claims that are over could not be swept; the next one that is made tries again")


def _refusal(kind: str, name: TemplateName) -> ServiceError | None:
    """What the caller is told; None for a conflict that says nothing to it."""
    match kind:
        case "missing":
            return not_found(name)
        case "type":
            return _wrong_type(name)
        case "disabled":
            return _disabled(name)
        case "limit":
            return ThrottlingError(f"There are {CLAIMS_MAX} claims that are not over; try again in a minute")
        case _:
            return None


def _wrong_type(name: TemplateName) -> InvalidRequestError:
    return InvalidRequestError(f"Provisioning template {name} is not of type FLEET_PROVISIONING, which a claim is for")


def _disabled(name: TemplateName) -> InvalidRequestError:
    return InvalidRequestError(f"Provisioning template {name} is not enabled")
