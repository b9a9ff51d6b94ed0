"""Bundles that manufacturers deliver: PEM of any length, PKCS#7, and what is in them that is no certificate."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pki import certificate, der, key_of, openssl, pem

from handfast.core.pki import bundle, pkcs7
from handfast.core.pki.bundle import Block, blocks
from handfast.core.pki.pem import MAX_CERTIFICATE_CHARACTERS
from handfast.errors import CertificateInputError

ONE, TWO = certificate("one"), certificate("two")


def read(text: str) -> list[Block]:
    return list(blocks(text.encode().splitlines(keepends=True)))


def test_certificates_come_with_the_line_they_begin_on_and_text_between_is_ignored() -> None:
    text = f"Bag Attributes\n  friendlyName: one\n{pem(ONE)}\nsubject=CN = two\r\n" + pem(TWO).replace("\n", "\r\n")
    first, second = read(text)
    assert (3, "CERTIFICATE", der(ONE)) == (first.line, first.label, first.data)
    assert (der(TWO), None) == (second.data, second.error)
    assert text.splitlines()[second.line - 1] == "-----BEGIN CERTIFICATE-----"


def test_a_certificate_on_one_line_and_an_indented_one() -> None:
    flat = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(der(ONE)).decode()}\n-----END CERTIFICATE-----\n"
    indented = "".join(f"    {line}\n" for line in pem(TWO).splitlines())
    assert [der(ONE), der(TWO)] == [block.data for block in read(flat + indented)]


def test_other_blocks_are_named_and_not_read() -> None:
    key = key_of("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    first, second = read(key + pem(ONE))
    assert Block(1, "PRIVATE KEY") == first
    assert der(ONE) == second.data


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "no -----END line before"),
        ("-----BEGIN CERTIFICATE-----\nAA*A\n-----END CERTIFICATE-----\n", "base64"),
        ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "empty"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END X509 CRL-----\n", "another label"),
        (f"-----BEGIN CERTIFICATE-----\n{'A' * (MAX_CERTIFICATE_CHARACTERS + 4)}\n-----END CERTIFICATE-----\n", "most"),
    ],
)
def test_a_broken_block_is_told_with_its_line_and_the_next_one_is_read(broken: str, said: str) -> None:
    first, second = read("# a delivery\n" + broken + pem(ONE))
    assert (2, None) == (first.line, first.data)
    assert said in str(first.error)
    assert der(ONE) == second.data


def test_a_file_that_ends_inside_a_block_says_so() -> None:
    first, second = read(pem(ONE) + "-----BEGIN CERTIFICATE-----\nAAAA")
    assert der(ONE) == first.data
    assert "ends inside" in str(second.error)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.binary(max_size=80)
        | st.sampled_from([b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"-----BEGIN PKCS7-----"])
        | st.sampled_from([line.encode() for line in pem(ONE).splitlines()])
    )
)
def test_any_lines_are_answered(lines: list[bytes]) -> None:
    for block in blocks(lines):
        assert 1 <= block.line <= len(lines)
        assert block.data is None or block.error is None


# --- PKCS#7


@pytest.fixture
def delivered(tmp_path: Path) -> Path:
    """Both certificates as `openssl crl2pkcs7 -nocrl` packs them: bundle.der, bundle.pem."""
    (tmp_path / "both.pem").write_text(pem(ONE) + pem(TWO))
    for form in ("der", "pem"):
        out = tmp_path / f"bundle.{form}"
        openssl("crl2pkcs7", "-nocrl", "-certfile", str(tmp_path / "both.pem"), "-outform", form, "-out", str(out))
    return tmp_path


def test_the_certificates_of_what_openssl_packed(delivered: Path) -> None:
    packed = (delivered / "bundle.der").read_bytes()
    assert pkcs7.is_pkcs7(packed[:16])
    assert {der(ONE), der(TWO)} == set(pkcs7.certificates(packed))
    (block,) = read((delivered / "bundle.pem").read_text())
    assert ("PKCS7", packed) == (block.label, block.data)


def test_the_librarys_remarks_are_not_shown_to_the_user(delivered: Path) -> None:
    program = "import sys; from handfast.core.pki import pkcs7; pkcs7.certificates(sys.stdin.buffer.read())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    packed = (delivered / "bundle.der").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", program], input=packed, env=environment, capture_output=True, timeout=60
    )
    assert (0, b"") == (done.returncode, done.stderr)


def test_a_certificate_is_not_taken_for_pkcs7() -> None:
    assert not pkcs7.is_pkcs7(der(ONE))
    assert not pkcs7.is_pkcs7(b"")
    assert not pkcs7.is_pkcs7(b"\x30\x80")


def test_pkcs7_that_is_none_is_too_long_or_holds_nothing_is_refused(delivered: Path) -> None:
    with pytest.raises(CertificateInputError, match="not PKCS#7"):
        pkcs7.certificates((delivered / "bundle.der").read_bytes()[:-10])
    with pytest.raises(CertificateInputError) as caught:
        pkcs7.certificates(b"\0" * (pkcs7.MAX_PKCS7_BYTES + 1))
    assert "der_too_long" == caught.value.rule
    # ContentInfo, SignedData without certificates and signers: what a CRL-only file looks like
    empty = bytes.fromhex("301f06092a864886f70d010702a0123010020101310030 0906092a864886f70d010701".replace(" ", ""))
    with pytest.raises(CertificateInputError):
        pkcs7.certificates(empty)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    pkcs7.is_pkcs7(data)
    with pytest.raises(CertificateInputError):
        pkcs7.certificates(data)


def test_the_bounds_fit_each_other() -> None:
    assert bundle.MAX_PKCS7_CHARACTERS * 3 // 4 <= pkcs7.MAX_PKCS7_BYTES
