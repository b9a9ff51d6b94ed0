"""Prepare, then sign: what is checked before a key is touched, and that a ticket is good once."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from tests.support.pki import START, certificate, csr, key_of, name

from handfast.core.pki import profile as profiles
from handfast.core.pki.issue import Ticket, general_name, prepare, prepare_device, serial_number, sign
from handfast.core.pki.pem import read_request
from handfast.errors import CertificateInputError, IssuerMismatch, TicketSpent

SERIAL = bytes(range(20))


def ca(path_length: int | None = None, **changes: Any) -> x509.Certificate:
    usage = x509.KeyUsage(True, False, False, False, False, changes.pop("key_cert_sign", True), True, False, False)
    options = {"key": key_of("p384"), "ca": True, "path_length": path_length, "extensions": [usage]}
    return certificate("issuer", **(options | changes))


def ticket(**changes: Any) -> Ticket:
    options: dict[str, Any] = {
        "issuer": ca(0),
        "subject": name("device"),
        "public_key": key_of("p256").public_key(),
        "now": START,
        "serial": SERIAL,
    }
    return prepare(changes.pop("profile", profiles.DEVICE), **(options | changes))


def rule_of(**changes: Any) -> str:
    with pytest.raises(CertificateInputError) as caught:
        ticket(**changes)
    return caught.value.rule


def test_a_ticket_is_redeemed_once() -> None:
    checked = ticket()
    assert x509.load_der_x509_certificate(sign(checked, key_of("p384")))
    with pytest.raises(TicketSpent):
        sign(checked, key_of("p384"))


def test_a_ticket_is_redeemed_once_by_many_threads() -> None:
    checked = ticket()

    def attempt(_: int) -> bool:
        try:
            sign(checked, key_of("p384"))
        except TicketSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert 1 == sum(pool.map(attempt, range(32)))


def test_another_key_does_not_spend_the_ticket() -> None:
    checked = ticket()
    with pytest.raises(IssuerMismatch):
        sign(checked, key_of("p256"))
    assert sign(checked, key_of("p384"))


def test_not_after_ends_with_the_issuer() -> None:
    end = START.replace(microsecond=0) + dt.timedelta(days=30)
    issued = x509.load_der_x509_certificate(sign(ticket(issuer=ca(0, not_after=end)), key_of("p384")))
    assert end == issued.not_valid_after_utc


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("key_size", {"public_key": key_of("rsa1024").public_key()}),
        ("key_curve", {"public_key": key_of("k256").public_key()}),
        ("validity_zone", {"now": START.replace(tzinfo=None)}),
        ("server_names", {"server_names": ("example.test",)}),
        ("server_names", {"profile": profiles.SERVER_RSA}),
        ("issuer_not_ca", {"issuer": ca(ca=False)}),
        ("issuer_not_ca", {"issuer": ca(key_cert_sign=False)}),
        ("issuer_path_length", {"issuer": ca(0), "profile": profiles.INTERMEDIATE}),
        ("issuer_validity", {"issuer": ca(not_after=START - dt.timedelta(hours=1))}),
        ("issuer_validity", {"issuer": ca(not_before=START + dt.timedelta(hours=1))}),
        ("server_name", {"profile": profiles.SERVER_RSA, "server_names": ("a b",)}),
    ],
)
def test_refused_before_a_key_is_touched(rule: str, changes: dict[str, Any]) -> None:
    assert rule == rule_of(**changes)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a.test", "a-.test", "*", "a.*.test", "*.*.test", "A.test", "é.test", "1.2.3.4.5", "300.1.1.1",
     "fe80::1%eth0", "a" * 64, ".".join(["a" * 60] * 5), "a/b", "a\n"],
)  # fmt: skip
def test_what_is_not_a_server_name(text: str) -> None:
    with pytest.raises(CertificateInputError) as caught:
        general_name(text)
    assert "server_name" == caught.value.rule


def test_server_names_of_each_form() -> None:
    assert x509.DNSName("*.iot.us-east-1.localhost") == general_name("*.iot.us-east-1.localhost")
    assert x509.DNSName("localhost") == general_name("localhost")
    assert "::1" == str(general_name("::1").value)


def test_a_device_request_is_judged_whole() -> None:
    with pytest.raises(CertificateInputError) as caught:
        prepare_device(read_request(csr(key=key_of("rsa1024"))), issuer=ca(0), now=START, serial=SERIAL)
    assert "key_size" == caught.value.rule
    assert "1024" in str(caught.value)


@given(st.binary(min_size=20, max_size=20))
def test_serial_numbers_are_positive_and_have_20_octets(entropy: bytes) -> None:
    number = serial_number(entropy)
    assert 20 == (number.bit_length() + 8) // 8  # with the sign bit
    assert 0 < number < 1 << 159
