"""The runs of just-in-time provisioning: listed, and repeated for a device that waits."""

from __future__ import annotations

import re
from datetime import datetime

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateRecord, CertificateStatus
from handfast.core.pki.keys import validity_refusals
from handfast.core.pki.pem import ParsedCertificate, read_certificate
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.errors import CertificateStateError, InvalidRequestError, ResourceNotFoundError
from handfast.ports import Cause, Page, PageRequest, Store
from handfast.services.certificates import not_found
from handfast.services.first_provisioning import FirstProvisioning
from handfast.services.paging import page_of

_CERTIFICATE_ID = re.compile(r"[0-9a-fA-F]{64}")


class ProvisioningRuns:
    """The use cases of runs. Raises ServiceErrors."""

    def __init__(self, store: Store, provisioning: FirstProvisioning) -> None:
        self._store = store
        self._provisioning = provisioning

    async def list_page(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        outcome: RunOutcome | None,
        certificate_id: CertificateId | None,
        latest: bool = False,
    ) -> Page[ProvisioningRun]:
        """One page, newest first; `latest`: of each certificate its last run alone (`Store.list_provisioning_runs`)."""
        return await page_of(
            self._store.list_provisioning_runs(
                scope, page, outcome=outcome, certificate_id=certificate_id, latest=latest
            )
        )

    async def retry(self, scope: Scope, cause: Cause, target: str) -> ProvisioningRun:
        """
        The template of its CA, as it is now, carried out for a device that just-in-time registration left waiting.

        `target` is a run or a certificateId. A run that fails again is an answer, not an error.
        """
        certificate_id = await self._certificate_of(scope, target)
        record = await self._store.certificate(scope, certificate_id)
        if record is None:
            raise not_found(certificate_id)
        ca = await self._ca_of(record)
        parsed = read_certificate(record.pem)
        _require_waiting(record, parsed, cause.at)
        run = await self._provisioning.run(ca, parsed, cause, register=None)
        return run if run.outcome is RunOutcome.SUCCEEDED else await self._store.record_provisioning_run(run)

    async def _certificate_of(self, scope: Scope, target: str) -> CertificateId:
        if _CERTIFICATE_ID.fullmatch(target):
            return CertificateId(target.lower())
        run = await self._store.provisioning_run(scope, target.lower())
        if run is None:
            raise ResourceNotFoundError("There is no provisioning run with this id in this account and region")
        return run.certificate_id

    async def _ca_of(self, record: CertificateRecord) -> CACertificateRecord:
        if record.ca_certificate_id is None:
            raise CertificateStateError(f"Certificate {record.certificate_id} was not registered just in time")
        ca = await self._store.ca_certificate(record.scope, record.ca_certificate_id)
        if ca is None or ca.registration_config is None:
            raise InvalidRequestError(
                f"CA certificate {record.ca_certificate_id} is not registered, or has no registrationConfig to "
                "provision by"
            )
        return ca


def _require_waiting(record: CertificateRecord, parsed: ParsedCertificate, now: datetime) -> None:
    if record.status is not CertificateStatus.PENDING_ACTIVATION:
        what = f"Certificate {record.certificate_id} is {record.status}"
        raise CertificateStateError(f"{what}: only one that is PENDING_ACTIVATION is provisioned")
    broken = validity_refusals(parsed.cert, now)
    if broken:
        raise CertificateStateError(f"Certificate {record.certificate_id}: {' '.join(rule.message for rule in broken)}")
