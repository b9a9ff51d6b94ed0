"""Rotations: a certificate, the successor that was made for it, and what retires the one for the other."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from handfast.core.identity.ids import CertificateId, Scope


class RotationState(StrEnum):
    """WAITING is the only state that changes."""

    WAITING = "WAITING"  # both certificates are good; the successor has not connected yet
    RETIRED = "RETIRED"  # the old certificate is out of use
    CANCELLED = "CANCELLED"  # the old certificate stays as it is


class RotationEnd(StrEnum):
    """Why a rotation is no longer WAITING."""

    CONNECTED = "CONNECTED"  # the successor was let in
    DEADLINE = "DEADLINE"  # it was not let in in time
    REQUEST = "REQUEST"  # CancelRotation
    CERTIFICATE_CHANGED = "CERTIFICATE_CHANGED"  # somebody else deactivated, revoked or deleted the old certificate
    SUCCESSOR_CHANGED = "SUCCESSOR_CHANGED"  # somebody deactivated, revoked or deleted the successor


class RetireAction(StrEnum):
    """What retiring does to the old certificate."""

    DEACTIVATE = "DEACTIVATE"  # INACTIVE: it can be activated again
    REVOKE = "REVOKE"  # REVOKED: for good


class DeadlineAction(StrEnum):
    """What happens when the successor was not let in until the deadline."""

    RETIRE = "RETIRE"  # the old certificate is retired all the same
    KEEP = "KEEP"  # the old certificate stays, the rotation is CANCELLED


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRecord:
    """
    A rotation; at most one of a certificate is WAITING.

    `successor_id` names it: a successor is made for one rotation. `ended_at`
    and `ended_by` are None while it is WAITING.
    """

    scope: Scope
    certificate_id: CertificateId
    successor_id: CertificateId
    state: RotationState = RotationState.WAITING
    retire_action: RetireAction
    on_deadline: DeadlineAction
    started_at: dt.datetime
    deadline: dt.datetime
    ended_at: dt.datetime | None = None
    ended_by: RotationEnd | None = None
