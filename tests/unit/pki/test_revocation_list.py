"""Lists that openssl and cryptography read as they were meant."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.pki import START, certificate, key_of, openssl, pem

from handfast.core.pki.issue import SigningKey
from handfast.core.pki.reasons import REASONS
from handfast.core.pki.revocation_list import encode_entry, entries_of, sign_list
from handfast.errors import IssuerMismatch

DAY = dt.timedelta(days=1)
WHOLE = START.replace(microsecond=0)


def issuer_of(key: SigningKey) -> x509.Certificate:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return certificate("Issuing CA", key=key, ca=True, extensions=[usage])


def made(entries: bytes = b"", *, kind: str = "p256", number: int = 1, end: dt.datetime = START + DAY) -> bytes:
    key = key_of(kind)
    return sign_list(entries, issuer=issuer_of(key), key=key, number=number, this_update=START, next_update=end)


@pytest.mark.parametrize("kind", ["rsa2048", "rsa4096", "p256", "p384"])
def test_openssl_verifies_it_and_reads_what_is_in_it(tmp_path: Path, kind: str) -> None:
    ca, crl = tmp_path / "ca.pem", tmp_path / "list.crl"
    ca.write_text(pem(issuer_of(key_of(kind))))
    crl.write_bytes(made(encode_entry(0xABCDEF, START - DAY, "keyCompromise"), kind=kind, number=0x1234))
    printed = openssl("crl", "-inform", "DER", "-in", crl, "-noout", "-text", "-CAfile", ca)
    assert "verify OK" in printed
    assert "Version 2 (0x1)" in printed
    assert "ABCDEF" in printed
    assert "Key Compromise" in printed
    assert "X509v3 CRL Number: \n                4660" in printed
    assert ("SHA384" if kind in ("rsa4096", "p384") else "SHA256") in printed.upper()


def test_entries_as_cryptography_reads_them() -> None:
    serials = [1, 127, 128, 255, 256, 2**63, 2**158 + 1, 2**159 - 1]
    entries = b"".join(
        encode_entry(serial, START - n * DAY, reason)
        for n, (serial, reason) in enumerate(zip(serials, [*REASONS, "unspecified"], strict=True))
    )
    crl = x509.load_der_x509_crl(made(entries, number=2**128))
    assert serials == [entry.serial_number for entry in crl]
    assert [WHOLE - n * DAY for n in range(8)] == [entry.revocation_date_utc for entry in crl]
    named = [
        entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        for entry in crl
        if len(entry.extensions)
    ]
    assert list(REASONS)[1:] == named  # RFC 5280 §5.3.1: unspecified is left out
    assert (WHOLE, WHOLE + DAY) == (crl.last_update_utc, crl.next_update_utc)
    assert 2**128 == crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert crl.is_signature_valid(key_of("p256").public_key())
    assert entries == entries_of(made(entries))


def test_an_empty_list_has_no_entries_at_all_and_years_from_2050_are_written_out() -> None:
    der = made(end=dt.datetime(2050, 1, 1, tzinfo=dt.UTC))
    crl = x509.load_der_x509_crl(der)
    assert 0 == len(crl)
    assert crl.next_update_utc is not None
    assert 2050 == crl.next_update_utc.year
    assert b"20500101000000Z" in der
    assert b"" == entries_of(der)


def test_many_entries() -> None:
    entries = b"".join(encode_entry(2**158 + n, START) for n in range(5_000))
    der = made(entries)
    assert 5_000 == len(x509.load_der_x509_crl(der))
    assert entries == entries_of(der)


def test_another_issuers_key_signs_nothing() -> None:
    with pytest.raises(IssuerMismatch):
        sign_list(
            b"", issuer=issuer_of(key_of("p256")), key=key_of("p384"), number=1, this_update=START, next_update=START
        )


def test_what_is_no_list() -> None:
    der = made(encode_entry(1, START))
    for broken in (b"", b"\x30", b"garbage", der[:-1], der[:40], bytes(100), b"\x30\x84" + bytes(3)):
        with pytest.raises(ValueError, match=r"it ends|not a list"):
            entries_of(broken)


def test_a_reason_that_is_none() -> None:
    with pytest.raises(KeyError):
        encode_entry(1, START, "certificateHold")
