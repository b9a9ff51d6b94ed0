"""What is told of a handshake that failed: OpenSSL's words turned into the reasons that a refusal record holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.seam import ListenerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFailure:
    """
    A connection that did not get through the handshake (Stage.TLS).

    `address` is "" where the peer was gone at once. `sni`, `alpn` (what was offered)
    and `offered` (`ClientHello.summary`, each key with `offered_` before it) are
    printable and bounded; `alert` is what the client was told, where it was told in plain text.

    `flight_sent` says that the client had our certificates, those of `chain_kind`; `client_alert` names what it said
    about them, in plain text or encrypted.

    `certificate_der` is what the client presented, as far as the handshake came; its key was not proven to be held.
    """

    listener: ListenerKind
    reasons: tuple[Reason, ...]
    address: str
    port: int
    sni: str | None = None
    alpn: str | None = None
    alert: int | None = None
    client_alert: str | None = None
    flight_sent: bool = False
    chain_kind: str = ""
    offered: Mapping[str, str] = field(default_factory=dict)
    certificate_der: bytes = b""


# The client's own alert, by the name that OpenSSL has for it: what it did not like about our certificate.
_REJECTING_ALERTS: Final = {
    "alert bad certificate": "bad_certificate",
    "alert unsupported certificate": "unsupported_certificate",
    "alert certificate revoked": "certificate_revoked",
    "alert certificate expired": "certificate_expired",
    "alert certificate unknown": "certificate_unknown",
    "alert unknown ca": "unknown_ca",
    "alert access denied": "access_denied",
    "alert bad certificate status response": "bad_certificate_status_response",
}

_ADVICE: Final = {
    "unknown_ca": "it does not trust the root of the chain that it got; give it the root for that chain",
    "certificate_expired": "its clock may be wrong, or the server certificate has expired",
    "bad_certificate": "it could not verify the server certificate, perhaps for its name",
    "certificate_unknown": "it could not verify the server certificate",
}

# In the order of looking; a substring of any queued reason decides.
_REASONS: Final = (
    ("did not return a certificate", ReasonCode.NO_CLIENT_CERTIFICATE, "the client sent no certificate"),
    ("unsupported protocol", ReasonCode.NO_COMMON_VERSION, ""),
    ("no shared cipher", ReasonCode.NO_COMMON_CIPHER, ""),
    ("no suitable groups", ReasonCode.NO_COMMON_CIPHER, ""),
    ("no suitable key share", ReasonCode.NO_COMMON_CIPHER, ""),
    ("no suitable signature algorithm", ReasonCode.NO_COMMON_CIPHER, ""),
    ("no application protocol", ReasonCode.UNKNOWN_ALPN, ""),
    ("excessive message size", ReasonCode.CLIENT_CERTIFICATE_TOO_LARGE, ""),
    ("wrong curve", ReasonCode.CLIENT_KEY_UNUSABLE, "the curve of the client's key is not one of P-256, P-384, P-521"),
    ("illegal curve", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("unknown group", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("unsupported elliptic curve", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("ee key too small", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("wrong signature type", ReasonCode.CLIENT_KEY_UNUSABLE, "the signature does not fit the key's kind"),
    ("wrong certificate type", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("unknown certificate type", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("unsupported algorithm", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("unable to find public key parameters", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    (
        "unable to get certs public key",
        ReasonCode.CLIENT_KEY_UNUSABLE,
        "the key in the client's certificate cannot be read: it is no point of its curve, its curve is given by "
        "parameters and not by name, or it is of an unknown kind",
    ),
    ("for non ecc certificate", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
    ("bad signature", ReasonCode.POSSESSION_NOT_PROVEN, ""),
    ("bad ecc cert", ReasonCode.CLIENT_KEY_UNUSABLE, ""),
)
_POSSESSION: Final = "the client does not hold the private key of the certificate that it sent"


def client_alert(errors: tuple[str, ...]) -> str | None:
    """The alert that the client sent, by TLS's name (`unknown_ca`), from what OpenSSL queued; None: it sent none."""
    for error in errors:
        lowered = error.lower()
        at = lowered.find("alert ")
        if at >= 0:
            return lowered[at + 6 :].strip().replace(" ", "_")[:64]
    return None


def classify(errors: tuple[str, ...]) -> Reason:
    """The reason for what OpenSSL queued; its own words are kept in the detail."""
    words = "; ".join(errors)[:400] or "OpenSSL gave no reason"
    for error in errors:
        lowered = error.lower()
        at = lowered.find("alert ")
        if at >= 0:
            alert = _REJECTING_ALERTS.get(lowered[at:])
            if alert is not None:
                advice = _ADVICE.get(alert, "")
                detail = f"the client sent the alert {alert}" + (f": {advice}" if advice else "")
                return Reason(ReasonCode.CLIENT_REJECTED_SERVER, detail)
            return Reason(ReasonCode.TLS_FAILURE, f"the client ended the handshake: {words}")
    for error in errors:
        lowered = error.lower()
        for fragment, code, detail in _REASONS:
            if fragment in lowered:
                if code is ReasonCode.POSSESSION_NOT_PROVEN:
                    detail = _POSSESSION
                return Reason(code, f"{detail} ({words})" if detail else words)
    return Reason(ReasonCode.TLS_FAILURE, words)
