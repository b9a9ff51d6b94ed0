"""Revocation with a receipt: the status is REVOKED, and every session of the certificate is seen to be gone."""

from __future__ import annotations

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateStatus
from handfast.ports import Cause, Meter
from handfast.seam import Cut, Farewells
from handfast.services.certificates import Certificates


class Revocations:
    """What UpdateCertificate to REVOKED does, measured."""

    def __init__(self, certificates: Certificates, farewells: Farewells, meter: Meter) -> None:
        self._certificates = certificates
        self._farewells = farewells
        self._meter = meter

    async def revoke(
        self, scope: Scope, cause: Cause, certificate_id: CertificateId, reason: str = "unspecified"
    ) -> Cut:
        """
        The certificate is REVOKED, for a reason of RFC 5280's, and every connection that it had is closed.

        The delay runs from this call until the last connection's transport is closed:
        the peer was sent its end, nothing more is read or written. None counts for a
        certificate that was REVOKED already. Errors are those of `update_status`.
        """
        with self._farewells.watch_principal(scope, certificate_id) as farewell:
            await self._certificates.update_status(scope, cause, certificate_id, CertificateStatus.REVOKED, reason)
            cut = await farewell.last_gone()
        if cut.sessions:
            self._meter.observe("handfast_revocation_seconds", cut.worst_delay_s)
        return cut
