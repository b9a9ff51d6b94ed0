"""Why a certificate, or what it asks for, may not be served at this moment: the reasons of a verdict, in one place."""

from __future__ import annotations

import datetime as dt

from cryptography import x509

from handfast.core.identity.records import CertificateStatus
from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.services.certificate_rules import instant, rule_reason
from handfast.services.endpoints import EndpointService
from handfast.services.principal import Principal

_STATUS_REASONS = {
    CertificateStatus.INACTIVE: ReasonCode.CERTIFICATE_INACTIVE,
    CertificateStatus.REGISTER_INACTIVE: ReasonCode.CERTIFICATE_INACTIVE,
    CertificateStatus.REVOKED: ReasonCode.CERTIFICATE_REVOKED,
    CertificateStatus.PENDING_TRANSFER: ReasonCode.CERTIFICATE_PENDING_TRANSFER,
    CertificateStatus.PENDING_ACTIVATION: ReasonCode.CERTIFICATE_PENDING_ACTIVATION,
}
NOT_BUILT = {
    EndpointService.CREDENTIALS: "the credential provider (iot:CredentialProvider)",
    EndpointService.JOBS: "the data plane of jobs (iot:Jobs)",
}
"""Services whose endpoints have names and nobody behind them."""


def standing(principal: Principal | None, now: float) -> tuple[Reason, ...]:
    """Every reason why the principal may not be connected at the epoch second `now`; empty when it may."""
    if principal is None:
        return (Reason(ReasonCode.CERTIFICATE_NOT_REGISTERED, "its registration is gone"),)
    if principal.usable and not principal.broken_rules and principal.valid_at(now):
        return ()
    reasons: list[Reason] = []
    if principal.status in _STATUS_REASONS:
        reasons.append(Reason(_STATUS_REASONS[principal.status], f"its status is {principal.status}"))
    if not principal.account_enabled:
        reasons.append(Reason(ReasonCode.ACCOUNT_DISABLED, f"account {principal.key[0].account} is disabled"))
    if now < principal.not_before:
        reasons.append(
            Reason(ReasonCode.CERTIFICATE_NOT_YET_VALID, f"it is not valid before {instant(principal.not_before)}")
        )
    if not principal.valid_at(max(now, principal.not_before)):
        reasons.append(Reason(ReasonCode.CERTIFICATE_EXPIRED, f"it expired at {instant(principal.not_after)}"))
    reasons.extend(rule_reason(*broken) for broken in principal.broken_rules or ())
    return tuple(reasons)


def claim_ended(der: bytes, now: dt.datetime) -> Reason:
    """Of a claim of CreateProvisioningClaim that lets nobody in any more."""
    end = x509.load_der_x509_certificate(der).not_valid_after_utc
    why = f"its five minutes ended at {end:%Y-%m-%dT%H:%M:%SZ}" if now > end else "its template was disabled or deleted"
    return Reason(ReasonCode.PROVISIONING_CLAIM_ENDED, why)


def not_built(service: EndpointService | None) -> Reason:
    """Of an endpoint whose name is given out, and which serves nobody yet."""
    what = "a service" if service is None else NOT_BUILT.get(service, "a service")
    return Reason(ReasonCode.ENDPOINT_SERVICE_NOT_BUILT, f"the endpoint is that of {what}, which is not built")


def legacy_mqtt5() -> Reason:
    """Of MQTT 5 at the legacy endpoint."""
    return Reason(ReasonCode.MQTT5_AT_LEGACY_ENDPOINT, "MQTT 5 is not served at the legacy endpoint")
