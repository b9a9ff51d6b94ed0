"""The life of a device certificate as one table: what may follow what, and the error for what may not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from handfast.core.identity.ids import CertificateId
from handfast.core.identity.records import CertificateStatus
from handfast.errors import CertificateStateError, InvalidRequestError, ServiceError, TransferAlreadyCompletedError


class CertificateEvent(StrEnum):
    """What can happen to a registration. `UPDATE_TO_X` is UpdateCertificate with newStatus X."""

    # the first event of every registration; its status before is None
    REGISTER_ACTIVE = "REGISTER_ACTIVE"
    REGISTER_INACTIVE = "REGISTER_INACTIVE"
    REGISTER_REVOKED = "REGISTER_REVOKED"
    REGISTER_JUST_IN_TIME = "REGISTER_JUST_IN_TIME"  # by an auto-registering CA, and by fleet provisioning
    # UpdateCertificate
    UPDATE_TO_ACTIVE = "UPDATE_TO_ACTIVE"
    UPDATE_TO_INACTIVE = "UPDATE_TO_INACTIVE"
    UPDATE_TO_REVOKED = "UPDATE_TO_REVOKED"
    UPDATE_TO_PENDING_TRANSFER = "UPDATE_TO_PENDING_TRANSFER"
    UPDATE_TO_REGISTER_INACTIVE = "UPDATE_TO_REGISTER_INACTIVE"
    UPDATE_TO_PENDING_ACTIVATION = "UPDATE_TO_PENDING_ACTIVATION"
    # transfers between accounts
    TRANSFER = "TRANSFER"
    ACCEPT = "ACCEPT"
    ACCEPT_ACTIVE = "ACCEPT_ACTIVE"
    REJECT = "REJECT"
    CANCEL = "CANCEL"


_S = CertificateStatus
_E = CertificateEvent

TRANSITIONS: Mapping[tuple[CertificateStatus | None, CertificateEvent], CertificateStatus] = MappingProxyType(
    {
        (None, _E.REGISTER_ACTIVE): _S.ACTIVE,
        (None, _E.REGISTER_INACTIVE): _S.INACTIVE,
        (None, _E.REGISTER_REVOKED): _S.REVOKED,
        (None, _E.REGISTER_JUST_IN_TIME): _S.PENDING_ACTIVATION,
        (_S.ACTIVE, _E.UPDATE_TO_ACTIVE): _S.ACTIVE,
        (_S.ACTIVE, _E.UPDATE_TO_INACTIVE): _S.INACTIVE,
        (_S.ACTIVE, _E.UPDATE_TO_REVOKED): _S.REVOKED,
        (_S.INACTIVE, _E.UPDATE_TO_ACTIVE): _S.ACTIVE,
        (_S.INACTIVE, _E.UPDATE_TO_INACTIVE): _S.INACTIVE,
        (_S.INACTIVE, _E.UPDATE_TO_REVOKED): _S.REVOKED,
        (_S.INACTIVE, _E.TRANSFER): _S.PENDING_TRANSFER,
        # Revocation is irreversible: the only update left is the idempotent one.
        (_S.REVOKED, _E.UPDATE_TO_REVOKED): _S.REVOKED,
        (_S.PENDING_ACTIVATION, _E.UPDATE_TO_ACTIVE): _S.ACTIVE,
        (_S.PENDING_ACTIVATION, _E.UPDATE_TO_INACTIVE): _S.INACTIVE,
        (_S.PENDING_ACTIVATION, _E.UPDATE_TO_REVOKED): _S.REVOKED,
        # Out of a transfer only by its own operations, never by UpdateCertificate.
        (_S.PENDING_TRANSFER, _E.ACCEPT): _S.INACTIVE,
        (_S.PENDING_TRANSFER, _E.ACCEPT_ACTIVE): _S.ACTIVE,
        (_S.PENDING_TRANSFER, _E.REJECT): _S.INACTIVE,
        (_S.PENDING_TRANSFER, _E.CANCEL): _S.INACTIVE,
    }
)
"""(status, event) → status. A pair that is not here is forbidden; `forbidden` says with which error."""

_SETTLED = frozenset({_E.ACCEPT, _E.ACCEPT_ACTIVE, _E.REJECT, _E.CANCEL})

KEPT_FROM_DELETION = frozenset({_S.ACTIVE, _S.PENDING_TRANSFER})
"""DeleteCertificate refuses these, with and without forceDelete."""


def update_event(new_status: CertificateStatus) -> CertificateEvent:
    """The event of UpdateCertificate with this `newStatus`."""
    return CertificateEvent(f"UPDATE_TO_{new_status}")


def register_event(status: CertificateStatus) -> CertificateEvent:
    """
    The event of RegisterCertificate* with this `status`.

    Raises:
        CertificateStateError: PENDING_ACTIVATION or PENDING_TRANSFER, which
            only the service itself sets.
        InvalidRequestError: REGISTER_INACTIVE, which is deprecated.
    """
    match status:
        case _S.ACTIVE:
            return _E.REGISTER_ACTIVE
        case _S.INACTIVE:
            return _E.REGISTER_INACTIVE
        case _S.REVOKED:
            return _E.REGISTER_REVOKED
        case _S.REGISTER_INACTIVE:
            raise InvalidRequestError("REGISTER_INACTIVE is deprecated; use INACTIVE")
        case _:
            raise CertificateStateError(f"Not allowed to register certificate with {status} status")


def next_status(
    status: CertificateStatus | None, event: CertificateEvent, certificate_id: CertificateId
) -> CertificateStatus:
    """
    The status after the event; equal to `status` for an update that changes nothing.

    Raises:
        ServiceError: The one that `forbidden` gives.
    """
    new = TRANSITIONS.get((status, event))
    if new is None:
        raise forbidden(status, event, certificate_id)
    return new


def forbidden(status: CertificateStatus | None, event: CertificateEvent, certificate_id: CertificateId) -> ServiceError:
    """The error that answers a pair which `TRANSITIONS` does not hold."""
    if event is _E.UPDATE_TO_REGISTER_INACTIVE:
        return InvalidRequestError("REGISTER_INACTIVE is deprecated; use INACTIVE")
    if event in _SETTLED:
        # Without the status: who asks may be the other side, to whom what came of the certificate is not told.
        return TransferAlreadyCompletedError(f"No transfer of certificate {certificate_id} is pending")
    if event is _E.TRANSFER:
        return CertificateStateError(
            f"Certificate must be INACTIVE to be transferred, not {status}. Id: {certificate_id}"
        )
    if status is _S.REVOKED:
        return CertificateStateError(f"Certificate is REVOKED, which cannot be undone. Id: {certificate_id}")
    if status is _S.PENDING_TRANSFER:
        return CertificateStateError(
            f"Certificate is being transferred; accept, reject or cancel the transfer first. Id: {certificate_id}"
        )
    return CertificateStateError(f"Certificate cannot go from {status} by {event}. Id: {certificate_id}")
