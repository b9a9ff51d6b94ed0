"""A response is believed that its CA, or whom the CA named, signed about exactly this certificate, for a time."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.ocsp import DELEGATE_KEY, ISSUER_KEY, issuer, leaf, response
from tests.support.pki import START, MovableClock, certificate, key_of

from handfast.core.pki.ocsp import (
    MAX_RESPONSE_BYTES,
    AskResult,
    CertificateState,
    ResponderFailed,
    Staple,
    build_request,
    read_response,
    responder_url,
)

CLOCK = MovableClock()
DAY = dt.timedelta(days=1)
OCSP_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


def delegate(**changes: object) -> x509.Certificate:
    """A responder that the issuer delegated to."""
    usual: dict[str, object] = {
        "key": DELEGATE_KEY,
        "issuer": issuer(),
        "issuer_key": ISSUER_KEY,
        "extensions": [OCSP_SIGNING],
    }
    return certificate("responder", **(usual | changes))  # type: ignore[arg-type]


def read(der: bytes, **changes: object) -> Staple:
    return read_response(der, leaf(), issuer(), now=START, **changes)  # type: ignore[arg-type]


def refusal(der: bytes, **changes: object) -> str:
    with pytest.raises(ResponderFailed) as caught:
        read(der, **changes)
    assert AskResult.INVALID == caught.value.result
    return str(caught.value)


def test_a_request_names_the_certificate_by_sha1_and_has_no_nonce() -> None:
    request = ocsp.load_der_ocsp_request(build_request(leaf(), issuer()))
    assert leaf().serial_number == request.serial_number
    assert "sha1" == request.hash_algorithm.name
    assert 0 == len(request.extensions)


def test_the_responder_is_the_first_over_http_that_the_certificate_names() -> None:
    assert "http://ocsp.example.test" == responder_url(leaf())
    assert responder_url(leaf(None)) is None
    assert responder_url(issuer()) is None


def test_what_a_good_response_says() -> None:
    whole = START.replace(microsecond=0)
    staple = read(response(CLOCK))
    assert (CertificateState.GOOD, None) == (staple.state, staple.revoked_at)
    assert (whole - dt.timedelta(minutes=1), whole + DAY) == (staple.this_update, staple.next_update)


def test_a_revoked_certificate_and_one_that_nobody_knows() -> None:
    revoked = read(response(CLOCK, status=ocsp.OCSPCertStatus.REVOKED))
    assert (CertificateState.REVOKED, START.replace(microsecond=0) - DAY) == (revoked.state, revoked.revoked_at)
    assert CertificateState.UNKNOWN == read(response(CLOCK, status=ocsp.OCSPCertStatus.UNKNOWN)).state


@pytest.mark.parametrize("by_key", [False, True])
def test_the_issuer_may_delegate(by_key: bool) -> None:
    made = delegate()
    signed = response(CLOCK, signer=made, key=DELEGATE_KEY, enclosed=(made,), by_key=by_key)
    assert CertificateState.GOOD == read(signed).state


def test_an_authorized_responder_is_believed_only_where_it_is_authorized() -> None:
    own = certificate("own responder", key=DELEGATE_KEY)
    signed = response(CLOCK, signer=own, key=DELEGATE_KEY, enclosed=(own,))
    assert CertificateState.GOOD == read(signed, authorized=own).state
    assert "not authorized" in refusal(signed)
    assert CertificateState.GOOD == read(response(CLOCK), authorized=own).state


@pytest.mark.parametrize(
    "changes",
    [
        {"extensions": []},
        {"extensions": [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]},
        {"not_after": START - DAY / 24},
        {"not_before": START + DAY / 24},
        {"issuer": None, "issuer_key": None},
        {"issuer_key": key_of("p256")},
    ],
    ids=["no EKU", "another EKU", "over", "not yet", "self-signed", "not the issuer's key"],
)
def test_who_is_no_delegate(changes: dict[str, object]) -> None:
    made = delegate(**changes)
    assert "not authorized" in refusal(response(CLOCK, signer=made, key=DELEGATE_KEY, enclosed=(made,)))


def test_signatures_that_prove_nothing() -> None:
    namesake = certificate("Issuing CA", key=DELEGATE_KEY, ca=True)
    assert "its signature" in refusal(response(CLOCK, signer=namesake, key=DELEGATE_KEY))
    assert "neither the issuing CA" in refusal(response(CLOCK, signer=delegate(), key=DELEGATE_KEY))
    spoiled = bytearray(response(CLOCK))
    spoiled[-1] ^= 1
    assert "its signature" in refusal(bytes(spoiled))
    assert "its signature" in refusal(response(CLOCK, digest=hashes.SHA224()))


def test_about_another_certificate() -> None:
    other = certificate("server", issuer=issuer(), issuer_key=ISSUER_KEY)
    assert "another certificate" in refusal(response(CLOCK, about=other))
    twin = certificate("Issuing CA", key=key_of("p256"), ca=True)
    with pytest.raises(ResponderFailed, match="another certificate"):
        read_response(response(CLOCK), leaf(), twin, now=START)


def test_times() -> None:
    assert CertificateState.GOOD == read(response(CLOCK, begins=dt.timedelta(minutes=4))).state
    assert "of the future" in refusal(response(CLOCK, begins=dt.timedelta(minutes=6)))
    assert "no nextUpdate" in refusal(response(CLOCK, ends=None))
    assert "is over" in refusal(response(CLOCK, begins=-DAY, ends=dt.timedelta(seconds=-1)))


def test_what_is_no_response() -> None:
    for broken in (b"", b"\x30", b"garbage", response(CLOCK)[:-1], response(CLOCK) + b"\0"):
        assert "is not an OCSP response" in refusal(broken)
    later = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert "the responder answered try_later" == refusal(later.public_bytes(Encoding.DER))
    with pytest.raises(ResponderFailed) as caught:
        read(bytes(MAX_RESPONSE_BYTES + 1))
    assert AskResult.OVERSIZED == caught.value.result


def test_every_truncation_is_refused_and_none_raises_anything_else() -> None:
    whole = response(CLOCK)
    for length in range(0, len(whole), 3):
        with pytest.raises(ResponderFailed):
            read(whole[:length])
