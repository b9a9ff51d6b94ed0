"""Revocation lists made by openssl: good ones count, all others are refused by name."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from handfast.core.pki.crl import RevocationList, genuine_issuers, read_revocation_file, verified_list
from handfast.errors import CertificateInputError


def now() -> dt.datetime:
    """openssl dates a list by the clock of the moment, whenever a test is reached."""
    return dt.datetime.now(dt.UTC)


CONFIG = """
[ca]
default_ca = this
[this]
dir = {dir}
database = {dir}/index.txt
crlnumber = {dir}/crlnumber
default_md = sha256
default_crl_days = 30
[indirect]
issuingDistributionPoint = critical, @indirect_point
[indirect_point]
fullname = URI:http://crl.example/
indirectCRL = TRUE
[delta]
deltaCRL = critical, DER:02:01:01
2.5.29.27 = critical, DER:02:01:01
[user]
issuingDistributionPoint = critical, @user_point
[user_point]
fullname = URI:http://crl.example/
onlyuser = TRUE
[unknown]
1.2.3.4.5 = critical, DER:05:00
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


class CA:
    """A CA of openssl's, with what it has signed."""

    def __init__(self, folder: Path, name: str, *, usage: str = "keyCertSign,cRLSign") -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "ca.cnf").write_text(CONFIG.format(dir=folder).replace("deltaCRL = critical, DER:02:01:01\n", ""))
        (folder / "index.txt").touch()
        (folder / "crlnumber").write_text("05\n")
        openssl(
            folder,
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", "ca.key"),
            *("-out", "ca.pem", "-days", "30", "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", f"keyUsage=critical,{usage}"),
        )
        self.cert = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())

    def sign(self, name: str, serial: int, *, ca: bool = False) -> x509.Certificate:
        (self.folder / "ext").write_text(f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}\n")
        openssl(
            self.folder,
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", f"{name}.key"),
            *("-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        openssl(
            self.folder,
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "5"),
            *("-set_serial", str(serial), "-extfile", "ext", "-out", f"{name}.pem"),
        )
        return x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes())

    def revoke(self, name: str, reason: str = "keyCompromise") -> None:
        self._ca("-revoke", f"{name}.pem", "-crl_reason", reason)

    def crl(self, *options: str, extensions: str | None = None) -> bytes:
        more = ("-crlexts", extensions) if extensions else ()
        self._ca("-gencrl", "-out", "list.pem", *more, *options)
        return (self.folder / "list.pem").read_bytes()

    def _ca(self, *arguments: str) -> None:
        openssl(self.folder, "ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-batch", *arguments)


@pytest.fixture
def ca(tmp_path: Path) -> CA:
    made = CA(tmp_path / "ca", "Own CA")
    made.sign("stolen", 0x1234)
    made.revoke("stolen")
    return made


def the_list(data: bytes, *issuers: x509.Certificate, at: dt.datetime | None = None) -> RevocationList | list[str]:
    (crl,) = read_revocation_file(data).lists
    outcome = verified_list(crl, issuers, now=at or now())
    return outcome if isinstance(outcome, RevocationList) else [rule.rule for rule in outcome]


def good(data: bytes, *issuers: x509.Certificate, at: dt.datetime | None = None) -> RevocationList:
    outcome = the_list(data, *issuers, at=at)
    assert isinstance(outcome, RevocationList), outcome
    return outcome


def load(ca: CA, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((ca.folder / f"{name}.pem").read_bytes())


def test_a_revoked_certificate_is_on_the_list_with_its_reason_and_others_are_not(ca: CA) -> None:
    fresh = ca.sign("fresh", 0x99)
    crl = good(ca.crl(), ca.cert)
    entry = crl.revocation(load(ca, "stolen"), is_ca=False)
    assert entry is not None
    assert "keyCompromise" == entry.reason
    assert None is crl.revocation(fresh, is_ca=False)
    assert not crl.expired(now())


def test_der_is_read_as_pem_is(ca: CA) -> None:
    ca.crl()
    openssl(ca.folder, "crl", "-in", "list.pem", "-outform", "DER", "-out", "list.der")
    assert [0x1234] == list(good((ca.folder / "list.der").read_bytes(), ca.cert).revoked)


def test_the_same_serial_number_of_another_ca_of_this_name_is_not_revoked(ca: CA, tmp_path: Path) -> None:
    twin = CA(tmp_path / "twin", "Own CA")
    other = twin.sign("other", 0x1234)
    assert None is good(ca.crl(), twin.cert, ca.cert).revocation(other, is_ca=False)


def test_a_list_signed_by_another_key_is_refused(ca: CA, tmp_path: Path) -> None:
    twin = CA(tmp_path / "twin", "Own CA")
    assert ["crl_signature"] == the_list(ca.crl(), twin.cert)


def test_a_list_of_a_ca_that_is_not_known_is_refused(ca: CA, tmp_path: Path) -> None:
    assert ["crl_issuer"] == the_list(ca.crl(), CA(tmp_path / "other", "Other CA").cert)


def test_a_ca_that_may_not_sign_lists_signs_none(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca", "Own CA", usage="keyCertSign")
    ca.sign("stolen", 7)
    ca.revoke("stolen")
    assert ["crl_signature"] == the_list(ca.crl(), ca.cert)


def test_an_expired_list_still_counts_and_says_so(ca: CA) -> None:
    later = now() + dt.timedelta(days=31)
    crl = good(ca.crl(), ca.cert, at=later)
    assert crl.expired(later)
    assert crl.revocation(load(ca, "stolen"), is_ca=False)


def test_a_list_from_the_future_is_refused(ca: CA) -> None:
    assert ["crl_future"] == the_list(ca.crl(), ca.cert, at=now() - dt.timedelta(days=1))


@pytest.mark.parametrize(
    ("extensions", "rule"), [("indirect", "crl_indirect"), ("delta", "crl_delta"), ("unknown", "crl_extension")]
)
def test_a_list_that_does_not_stand_for_itself_is_refused(ca: CA, extensions: str, rule: str) -> None:
    assert [rule] == the_list(ca.crl(extensions=extensions), ca.cert)


def test_a_list_of_leaves_says_nothing_about_cas(ca: CA) -> None:
    crl = good(ca.crl(extensions="user"), ca.cert)
    stolen = load(ca, "stolen")
    assert crl.revocation(stolen, is_ca=False)
    assert None is crl.revocation(stolen, is_ca=True)


def test_an_issuer_beside_the_list_counts_only_when_it_signed_a_registered_ca(ca: CA, tmp_path: Path) -> None:
    below = ca.sign("below", 0x55, ca=True)
    pretender = CA(tmp_path / "pretender", "Own CA")
    file = read_revocation_file(ca.crl() + (ca.folder / "ca.pem").read_bytes())
    assert [ca.cert] == list(file.certificates)
    assert [ca.cert] == genuine_issuers([ca.cert, pretender.cert], [below])
    assert [] == genuine_issuers([pretender.cert], [below])
    assert [] == genuine_issuers([ca.cert], [pretender.cert])


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "crl_syntax"),
        (b"hello", "crl_syntax"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "crl_syntax"),
        (b"-----BEGIN X509 CRL-----\n!!\n-----END X509 CRL-----\n", "base64"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "crl_missing"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n" * 65, "crl_syntax"),
    ],
)
def test_what_is_no_list_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(CertificateInputError) as caught:
        read_revocation_file(data)
    assert rule == caught.value.rule


def test_a_file_of_too_many_blocks_is_refused(ca: CA) -> None:
    with pytest.raises(CertificateInputError) as caught:
        read_revocation_file(ca.crl() * 65)
    assert "crl_blocks" == caught.value.rule
