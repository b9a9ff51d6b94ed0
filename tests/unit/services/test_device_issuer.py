"""Issued device certificates, field by field; and that none of them can pass for the server."""

from __future__ import annotations

import base64
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, load_pem_public_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID
from tests.support.pki import (
    DOMAIN,
    REGION,
    START,
    MovableClock,
    copied_pki,
    csr,
    key_of,
    name,
    open_authority,
    openssl,
    openssl_verifies,
)

from handfast.core.pki.pem import read_certificate, read_certificates, read_request
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.services.device_issuer import DeviceIssuer


class OneKey:
    """Hands out a key that costs nothing."""

    async def take(self) -> rsa.RSAPrivateKey:
        key = key_of("rsa2048")
        assert isinstance(key, rsa.RSAPrivateKey)
        return key


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return copied_pki(tmp_path)


@pytest.fixture
def issuer(data_dir: Path) -> DeviceIssuer:
    return open_authority(data_dir).device_issuer(OneKey())


async def test_the_profile_field_by_field(issuer: DeviceIssuer) -> None:
    issued = await issuer.create_keys_and_certificate()
    parsed = read_certificate(issued.certificate_pem)
    cert = parsed.cert
    assert x509.Version.v3 == cert.version
    assert 20 == len(cert.serial_number.to_bytes(cert.serial_number.bit_length() // 8 + 1, "big"))
    assert SignatureAlgorithmOID.RSA_WITH_SHA256 == cert.signature_algorithm_oid
    assert [["OU"]] == [[a.rfc4514_attribute_name for a in rdn] for rdn in cert.issuer.rdns]
    assert "Handfast Device Issuing CA O=Handfast" == next(iter(cert.issuer)).value
    assert _ASN1Type.UTF8String == next(iter(cert.issuer))._type
    assert "CN=AWS IoT Certificate" == cert.subject.rfc4514_string()
    assert START.replace(microsecond=0) - dt.timedelta(seconds=120) == cert.not_valid_before_utc
    assert dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC) == cert.not_valid_after_utc
    assert b"\x17\x0d491231235959Z" in parsed.der  # UTCTime
    expected = [
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
        (ExtensionOID.BASIC_CONSTRAINTS, True),
        (ExtensionOID.KEY_USAGE, True),
    ]
    assert expected == [(extension.oid, extension.critical) for extension in cert.extensions]
    authority_key, subject_key, constraints, usage = (extension.value for extension in cert.extensions)
    own = x509.SubjectKeyIdentifier.from_public_key(issuer.certificate.public_key())
    assert x509.AuthorityKeyIdentifier(own.digest, None, None) == authority_key
    assert x509.SubjectKeyIdentifier.from_public_key(key_of("rsa2048").public_key()) == subject_key
    assert x509.BasicConstraints(ca=False, path_length=None) == constraints
    assert x509.KeyUsage(True, False, False, False, False, False, False, False, False) == usage
    assert 64 == max(map(len, issued.certificate_pem.splitlines()))
    assert issued.certificate_pem.endswith("-----END CERTIFICATE-----\n")


async def test_the_keys_are_in_the_forms_that_aws_gives(issuer: DeviceIssuer) -> None:
    issued = await issuer.create_keys_and_certificate()
    for label, text in (("RSA PRIVATE KEY", issued.private_key_pem), ("PUBLIC KEY", issued.public_key_pem)):
        assert re.fullmatch(rf"-----BEGIN {label}-----\n[\s\S]*-----END {label}-----\n", text)
    private = load_pem_private_key(issued.private_key_pem.encode(), None)
    public = load_pem_public_key(issued.public_key_pem.encode())
    certified = read_certificate(issued.certificate_pem).cert.public_key()
    assert private.public_key() == public == certified
    assert isinstance(private, rsa.RSAPrivateKey)
    assert (2048, 65537) == (private.key_size, private.public_key().public_numbers().e)


async def test_no_private_key_of_a_device_is_kept(issuer: DeviceIssuer, data_dir: Path) -> None:
    issued = await issuer.create_keys_and_certificate()
    secret = issued.private_key_pem.splitlines()[3]
    assert secret not in repr(issued)
    for path in data_dir.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "p256", "p384", "p521"])
async def test_a_request_of_each_kind_is_signed_with_rsa(issuer: DeviceIssuer, kind: str, tmp_path: Path) -> None:
    cert = read_certificate(await issuer.issue_from_csr(csr("device", key=key_of(kind)))).cert
    assert SignatureAlgorithmOID.RSA_WITH_SHA256 == cert.signature_algorithm_oid
    assert key_of(kind).public_key() == cert.public_key()
    assert "" == openssl_verifies(tmp_path, cert, trusted=[issuer.certificate])


@pytest.mark.parametrize("string_type", [t for t in _ASN1Type if t.name in {
    "UTF8String", "PrintableString", "IA5String", "T61String", "BMPString", "UniversalString", "NumericString",
}])  # fmt: skip
async def test_the_subject_is_copied_octet_for_octet(issuer: DeviceIssuer, string_type: Any) -> None:
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.test")]),
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, "1234", _type=string_type),
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "5678", _type=string_type),
                ]
            ),
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "again")]),
        ]
    )
    request = csr(subject)
    parsed = read_certificate(await issuer.issue_from_csr(request))
    assert subject.public_bytes() in read_request(request).der
    assert subject.public_bytes() in parsed.der


async def test_an_empty_subject_stays_empty(issuer: DeviceIssuer) -> None:
    assert [] == list(read_certificate(await issuer.issue_from_csr(csr(x509.Name([])))).cert.subject)


async def test_extensions_of_a_request_are_not_carried_over(issuer: DeviceIssuer, tmp_path: Path) -> None:
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name("device"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.test")]), critical=False)
        .sign(key_of("p256"), hashes.SHA256())
    )
    cert = read_certificate(await issuer.issue_from_csr(request.public_bytes(Encoding.PEM).decode())).cert
    assert 4 == len(list(cert.extensions))
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


async def test_the_same_request_twice_gives_two_certificates(issuer: DeviceIssuer) -> None:
    request = csr()
    first, second = await issuer.issue_from_csr(request), await issuer.issue_from_csr(request)
    assert read_certificate(first).certificate_id != read_certificate(second).certificate_id


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("text_empty", ""),
        ("armour_missing", "hello"),
        ("key_size", csr(key=key_of("rsa1024"))),
        ("key_curve", csr(key=key_of("k256"))),
        ("signature_algorithm", csr(digest=hashes.SHA224())),
    ],
)
async def test_bad_requests_are_refused_with_their_rule(issuer: DeviceIssuer, rule: str, text: str) -> None:
    with pytest.raises(CertificateInputError) as caught:
        await issuer.issue_from_csr(text)
    assert rule == caught.value.rule


async def test_a_request_that_its_own_key_did_not_sign_is_refused(issuer: DeviceIssuer) -> None:
    first, *_, last = csr().splitlines()
    spoiled = bytearray(read_request(csr()).der)
    spoiled[-1] ^= 1
    with pytest.raises(CertificateInputError) as caught:
        await issuer.issue_from_csr("\n".join([first, base64.b64encode(spoiled).decode(), last]))
    assert "signature_unproven" == caught.value.rule


class TestTrustDomain:
    async def test_a_device_named_like_the_endpoint_is_no_server_under_any_published_file(
        self, issuer: DeviceIssuer, data_dir: Path, tmp_path: Path
    ) -> None:
        host = f"abc-ats.iot.{REGION}.{DOMAIN}"
        authority = open_authority(data_dir)
        cert = read_certificate(await issuer.issue_from_csr(csr(host))).cert
        pool = [authority.chain("rsa").intermediate, authority.chain("ecdsa").intermediate, issuer.certificate]
        for number in (1, 2, 3, 4):
            pool += [parsed.cert for parsed in self.published(data_dir, f"cross-root-ca-{number}.pem")]
        files = sorted((data_dir / "trust").glob("*.pem"))
        assert 12 == len(files)
        for file in files:
            for partial in (False, True):
                said = openssl_verifies(
                    tmp_path,
                    cert,
                    trusted=[parsed.cert for parsed in self.published(data_dir, file.name)],
                    untrusted=pool,
                    purpose="sslserver",
                    host=host,
                    partial=partial,
                )
                assert "verification failed" in said, file

    def published(self, data_dir: Path, name: str) -> list[Any]:
        return read_certificates((data_dir / "trust" / name).read_text())

    def test_the_issuer_is_in_no_published_file_and_nobody_signed_it(
        self, issuer: DeviceIssuer, data_dir: Path
    ) -> None:
        own = issuer.certificate
        assert own.subject == own.issuer
        own.verify_directly_issued_by(own)
        for file in (data_dir / "trust").glob("*.pem"):
            for parsed in self.published(data_dir, file.name):
                assert parsed.cert.public_key() != own.public_key()
                assert parsed.cert.subject != own.subject

    def test_the_issuer_outlives_its_devices(self, issuer: DeviceIssuer, tmp_path: Path) -> None:
        assert 2050 == issuer.certificate.not_valid_after_utc.year
        assert "" == openssl_verifies(tmp_path, issuer.certificate, trusted=[issuer.certificate])

    async def test_no_server_chain_carries_it(self, issuer: DeviceIssuer, data_dir: Path) -> None:
        for chain in open_authority(data_dir).chains():
            sent = read_certificates((chain.chain_pem + chain.cross_pem).decode())
            assert issuer.certificate not in [parsed.cert for parsed in sent]


def test_a_key_that_is_not_the_issuers_stops_the_start(data_dir: Path) -> None:
    authority = open_authority(data_dir, MovableClock())
    (data_dir / "pki/device-ca/issuer-1.key").write_bytes((data_dir / "pki/intermediates/rsa-1.key").read_bytes())
    with pytest.raises(ConfigurationError, match="is not the key of"):
        authority.device_issuer(OneKey())


async def test_openssl_prints_what_a_person_expects(issuer: DeviceIssuer, tmp_path: Path) -> None:
    file = tmp_path / "device.pem"
    file.write_text((await issuer.create_keys_and_certificate()).certificate_pem)
    printed = openssl("x509", "-in", file, "-noout", "-issuer", "-subject", "-enddate")
    assert "issuer=OU = Handfast Device Issuing CA O=Handfast" in printed
    assert "subject=CN = AWS IoT Certificate" in printed
    assert "notAfter=Dec 31 23:59:59 2049 GMT" in printed
