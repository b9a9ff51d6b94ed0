"""What subscribers are told about a certificate that a registered CA brought in (spec: JITR, D and S)."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateStatus

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


def registered_event(
    scope: Scope,
    certificate_id: CertificateId,
    ca_certificate_id: CertificateId,
    *,
    at: dt.datetime,
    registered_at: dt.datetime | None,
) -> tuple[str, bytes]:
    """
    Topic and payload of an attempt at `at` to connect with a certificate that is PENDING_ACTIVATION.

    `registered_at` is None on the first attempt, which registered it; afterwards the time of that one, which is told
    as text.
    """
    payload: dict[str, Any] = {
        "certificateId": certificate_id,
        "caCertificateId": ca_certificate_id,
        "timestamp": _epoch_ms(at),
        "certificateStatus": CertificateStatus.PENDING_ACTIVATION.value,
        "awsAccountId": scope.account,
        "certificateRegistrationTimestamp": None if registered_at is None else str(_epoch_ms(registered_at)),
    }
    topic = f"$aws/events/certificates/registered/{ca_certificate_id}"
    return topic, json.dumps(payload, separators=(",", ":")).encode()


def failed_event(
    scope: Scope,
    certificate_id: CertificateId,
    ca_certificate_id: CertificateId,
    *,
    at: dt.datetime,
    run_id: str,
    template_name: str | None,
    resource: str,
    reason: str,
    message: str,
) -> tuple[str, bytes]:
    """Topic and payload of a run of a CA's template that failed. Ours: AWS IoT tells nobody."""
    payload: dict[str, Any] = {
        "certificateId": certificate_id,
        "caCertificateId": ca_certificate_id,
        "timestamp": _epoch_ms(at),
        "awsAccountId": scope.account,
        "runId": run_id,
        "templateName": template_name,
        "resource": resource,
        "reason": reason,
        "message": message,
    }
    topic = f"$aws/events/certificates/provisioning-failed/{ca_certificate_id}"
    return topic, json.dumps(payload, separators=(",", ":")).encode()


def _epoch_ms(instant: dt.datetime) -> int:
    return (instant - _EPOCH) // _MILLISECOND
