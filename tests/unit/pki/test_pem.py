"""One certificate or request out of text: what is read, and every way in which it is not one."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pki import certificate, csr, der, key_of, openssl, pem

from handfast.core.pki.pem import (
    MAX_CERTIFICATE_CHARACTERS,
    MAX_REQUEST_CHARACTERS,
    certificate_id,
    encode_certificate,
    read_certificate,
    read_certificate_der,
    read_certificates,
    read_request,
)
from handfast.errors import CertificateInputError

GOOD = certificate()
GOOD_PEM = pem(GOOD)
BODY = GOOD_PEM.splitlines()[1:-1]


def rule_of(text: str) -> str:
    with pytest.raises(CertificateInputError) as caught:
        read_certificate(text)
    assert str(caught.value)
    return caught.value.rule


def armoured(content: bytes, label: str = "CERTIFICATE") -> str:
    return f"-----BEGIN {label}-----\n{base64.b64encode(content).decode()}\n-----END {label}-----\n"


class TestCertificate:
    def test_the_id_is_the_sha256_of_the_der(self) -> None:
        parsed = read_certificate(GOOD_PEM)
        assert hashlib.sha256(der(GOOD)).hexdigest() == parsed.certificate_id == certificate_id(der(GOOD))
        assert (GOOD_PEM, der(GOOD)) == (parsed.pem, parsed.der)
        assert (GOOD.not_valid_before_utc, GOOD.not_valid_after_utc) == (parsed.not_before, parsed.not_after)

    @pytest.mark.parametrize(
        "text",
        [
            GOOD_PEM.replace("\n", "\r\n"),
            "\n\n  " + GOOD_PEM + "\n \t\n",
            armoured(der(GOOD)),
            GOOD_PEM.rstrip("\n"),
            GOOD_PEM.replace("\n" + BODY[1], "\n  " + BODY[1] + "  "),
        ],
        ids=["crlf", "white space round it", "one long line", "no last newline", "indented"],
    )
    def test_wrapping_does_not_change_the_certificate(self, text: str) -> None:
        assert certificate_id(der(GOOD)) == read_certificate(text).certificate_id

    def test_encoding_is_what_openssl_writes(self) -> None:
        assert GOOD_PEM == encode_certificate(der(GOOD))

    @pytest.mark.parametrize(
        ("rule", "text"),
        [
            ("text_empty", ""),
            ("text_empty", " \r\n"),
            ("text_too_long", GOOD_PEM + " " * MAX_CERTIFICATE_CHARACTERS),
            ("text_characters", GOOD_PEM + "\u00a0"),
            ("armour_missing", "hello"),
            ("armour_missing", "".join(BODY)),
            ("armour_missing", GOOD_PEM.replace("-----END", "-----STOP")),
            ("armour_missing", GOOD_PEM.replace("-----END CERTIFICATE", "-----END X509 CRL")),
            ("armour_label", csr()),
            ("armour_label", GOOD_PEM.replace(" CERTIFICATE", " TRUSTED CERTIFICATE")),
            ("armour_label", GOOD_PEM.replace(" CERTIFICATE", " \x1b[31mX")),
            ("armour_several", GOOD_PEM * 2),
            ("armour_several", GOOD_PEM + GOOD_PEM.replace(" CERTIFICATE", " PRIVATE KEY")),
            ("armour_several", GOOD_PEM.replace(BODY[1], "-----BEGIN CERTIFICATE-----")),
            ("armour_surroundings", "Certificate:\n  Data:\n" + GOOD_PEM),
            ("armour_surroundings", GOOD_PEM + "x"),
            ("armour_surroundings", GOOD_PEM + "\0"),
            ("base64", GOOD_PEM.replace(BODY[1][:4], "!!!!", 1)),
            ("base64", GOOD_PEM.replace(BODY[0], BODY[0] + "=")),
            ("der_empty", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"),
            ("der_syntax", armoured(b"hello")),
            ("der_syntax", armoured(der(GOOD) + b"\0")),
            ("der_syntax", armoured(der(GOOD)[:-1])),
            ("der_syntax", armoured(der(GOOD) * 2)),
            ("der_syntax", armoured(base64.b64decode("".join(csr().splitlines()[1:-1])))),
        ],
    )
    def test_refused(self, rule: str, text: str) -> None:
        assert rule == rule_of(text)

    def test_ber_instead_of_der_is_refused(self) -> None:
        content = der(GOOD)
        assert b"\x30\x82" == content[:2]
        longer = b"\x30\x83\x00" + content[2:]  # the length in three octets where two do
        assert "der_syntax" == rule_of(armoured(longer))

    @pytest.mark.parametrize("serial", ["0", "-5"])
    def test_a_serial_number_that_is_not_positive_is_refused(self, serial: str) -> None:
        made = openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
            "-subj", "/CN=x", "-set_serial", serial,
        )  # fmt: skip
        found = re.search("-----BEGIN CERTIFICATE.*END CERTIFICATE-----\n", made, re.S)
        assert found is not None
        assert "serial_number" == rule_of(found[0])

    def test_an_extension_that_cannot_be_read_is_refused(self) -> None:
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x04\x00")
        assert "extensions" == rule_of(pem(certificate(extensions=[broken])))

    def test_what_was_refused_is_not_quoted(self) -> None:
        with pytest.raises(CertificateInputError) as caught:
            read_certificate(GOOD_PEM.replace(" CERTIFICATE", " \x1b[31mEVIL"))
        assert "EVIL" not in str(caught.value)
        assert "\x1b" not in str(caught.value)

    def test_der_alone(self) -> None:
        assert certificate_id(der(GOOD)) == read_certificate_der(der(GOOD)).certificate_id
        for rule, content in (("der_empty", b""), ("der_syntax", b"x"), ("der_too_long", b"x" * 70_000)):
            with pytest.raises(CertificateInputError) as caught:
                read_certificate_der(content)
            assert rule == caught.value.rule

    def test_a_bundle_is_read_in_order(self) -> None:
        other = certificate("other")
        assert [GOOD, other] == [parsed.cert for parsed in read_certificates(pem(GOOD, other) + "\n")]
        for rule, text in (("text_empty", ""), ("armour_missing", GOOD_PEM + "x"), ("armour_several", GOOD_PEM * 17)):
            with pytest.raises(CertificateInputError) as caught:
                read_certificates(text)
            assert rule == caught.value.rule


def test_reading_prints_nothing() -> None:
    """The parser warns of long names on stderr, where a peer's certificates would fill the log."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "d" * 200, _validate=False)])
    script = "import sys; from handfast.core.pki.pem import read_certificate; read_certificate(sys.stdin.read())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pem(certificate(subject)), capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert ("", "") == (done.stdout, done.stderr)


class TestRequest:
    def test_both_labels_are_read(self) -> None:
        text = csr("thing 1")
        assert "CN=thing 1" == read_request(text).request.subject.rfc4514_string()
        assert read_request(text).der == read_request(text.replace(" CERT", " NEW CERT")).der

    @pytest.mark.parametrize(
        ("rule", "text"),
        [
            ("text_empty", ""),
            ("text_too_long", csr() + "\n" * MAX_REQUEST_CHARACTERS),
            ("armour_label", GOOD_PEM),
            ("armour_several", csr() * 2),
            ("armour_surroundings", csr() + "garbage"),
            ("der_syntax", armoured(b"0", "CERTIFICATE REQUEST")),
            ("der_syntax", armoured(der(GOOD), "CERTIFICATE REQUEST")),
        ],
    )
    def test_refused(self, rule: str, text: str) -> None:
        with pytest.raises(CertificateInputError) as caught:
            read_request(text)
        assert rule == caught.value.rule

    def test_a_request_may_fill_its_4096_characters(self) -> None:
        text = csr(key=key_of("rsa2048"))
        assert read_request(text + "\n" * (MAX_REQUEST_CHARACTERS - len(text)))


@given(st.text(max_size=400))
def test_no_text_raises_anything_else(text: str) -> None:
    for read in (read_certificate, read_request):
        with pytest.raises(CertificateInputError):
            read(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(der(GOOD)) - 1), st.integers(1, 255))
def test_a_changed_octet_is_another_certificate_or_none(position: int, change: int) -> None:
    content = bytearray(der(GOOD))
    content[position] ^= change
    try:
        parsed = read_certificate_der(bytes(content))
    except CertificateInputError:
        return
    assert certificate_id(der(GOOD)) != parsed.certificate_id
    assert bytes(content) == parsed.der


@given(st.integers(1, 200))
def test_any_line_length_gives_the_same_certificate(width: int) -> None:
    text = base64.b64encode(der(GOOD)).decode()
    body = "\n".join(text[i : i + width] for i in range(0, len(text), width))
    wrapped = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    assert certificate_id(der(GOOD)) == read_certificate(wrapped).certificate_id


@given(
    st.lists(
        st.tuples(
            st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.TITLE]),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=16),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_subject_survives_reading(attributes: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    assert subject == read_certificate(pem(certificate(subject))).cert.subject
