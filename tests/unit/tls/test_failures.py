"""OpenSSL's words for a failed handshake, and the reason that each of them is."""

from __future__ import annotations

import pytest

from handfast.core.identity.refusal import ReasonCode
from handfast.tls.failures import classify


@pytest.mark.parametrize(
    ("errors", "code", "word"),
    [
        (("peer did not return a certificate",), ReasonCode.NO_CLIENT_CERTIFICATE, "no certificate"),
        (("provider signature failure", "bad signature"), ReasonCode.POSSESSION_NOT_PROVEN, "private key"),
        (("first octet invalid", "RSA lib", "bad signature"), ReasonCode.POSSESSION_NOT_PROVEN, "private key"),
        (("wrong curve",), ReasonCode.CLIENT_KEY_UNUSABLE, "P-256"),
        (("wrong signature type",), ReasonCode.CLIENT_KEY_UNUSABLE, "wrong signature type"),
        (("no shared cipher",), ReasonCode.NO_COMMON_CIPHER, "no shared cipher"),
        (("unsupported protocol",), ReasonCode.NO_COMMON_VERSION, "unsupported protocol"),
        (("excessive message size",), ReasonCode.CLIENT_CERTIFICATE_TOO_LARGE, "excessive"),
        (("tlsv1 alert unknown ca",), ReasonCode.CLIENT_REJECTED_SERVER, "unknown_ca"),
        (("ssl/tls alert bad certificate",), ReasonCode.CLIENT_REJECTED_SERVER, "bad_certificate"),
        (("sslv3 alert certificate expired",), ReasonCode.CLIENT_REJECTED_SERVER, "clock"),
        (("ssl/tls alert certificate unknown",), ReasonCode.CLIENT_REJECTED_SERVER, "certificate_unknown"),
        (("tlsv1 alert access denied",), ReasonCode.CLIENT_REJECTED_SERVER, "access_denied"),
        (("tlsv1 alert internal error",), ReasonCode.TLS_FAILURE, "internal error"),
        (("bad record type",), ReasonCode.TLS_FAILURE, "bad record type"),
        ((), ReasonCode.TLS_FAILURE, "no reason"),
    ],
)
def test_the_reason(errors: tuple[str, ...], code: ReasonCode, word: str) -> None:
    reason = classify(errors)
    assert code == reason.code
    assert word in reason.detail


def test_it_is_bounded() -> None:
    assert 600 > len(classify(("x" * 5000, "y" * 5000)).detail)
