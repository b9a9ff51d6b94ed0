"""The rules that a presented certificate breaks, as reasons of a refusal."""

from __future__ import annotations

import datetime as dt

from cryptography import x509

from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.core.pki import keys
from handfast.seam import TLSFacts

_RULE_REASONS = {
    "validity_not_yet": ReasonCode.CERTIFICATE_NOT_YET_VALID,
    "validity_expired": ReasonCode.CERTIFICATE_EXPIRED,
    "validity_order": ReasonCode.CERTIFICATE_EXPIRED,
    "extension_critical": ReasonCode.CERTIFICATE_EXTENSION_REFUSED,
    "extension_ca": ReasonCode.CERTIFICATE_PURPOSE_REFUSED,
    "extension_key_usage": ReasonCode.CERTIFICATE_PURPOSE_REFUSED,
    "extension_purpose": ReasonCode.CERTIFICATE_PURPOSE_REFUSED,
}
_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")
"""The OBJECT IDENTIFIER id-RSASSA-PSS; it names a key or a signature."""


def broken_rules(der: bytes, now: dt.datetime | None = None) -> list[tuple[str, str]]:
    """The rules of `core.pki.keys` that the certificate breaks, with a sentence each."""
    try:
        return [(rule, message) for rule, message in keys.refusals(x509.load_der_x509_certificate(der), now=now)]
    except Exception as error:
        return [("key_unreadable", f"The certificate cannot be read ({type(error).__name__}).")]


def key_too_new(facts: TLSFacts) -> bool:
    """Whether an id-RSASSA-PSS key was used in TLS 1.2, where AWS IoT refuses it: it would fail the device there."""
    if facts.version != "TLSv1.2" or _RSASSA_PSS not in facts.certificate_der:
        return False
    return keys.is_pss_only(x509.load_der_x509_certificate(facts.certificate_der))


def rule_reason(rule: str, message: str) -> Reason:
    """The broken rule as a reason."""
    code = _RULE_REASONS.get(rule)
    if code is None:
        code = (
            ReasonCode.CERTIFICATE_SIGNATURE_REFUSED
            if rule.startswith("signature_")
            else ReasonCode.CERTIFICATE_KEY_REFUSED
        )
    return Reason(code, message)


def instant(epoch_s: float) -> str:
    """Epoch seconds for a person."""
    return f"{dt.datetime.fromtimestamp(epoch_s, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
