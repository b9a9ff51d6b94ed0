"""Which keys and signatures are good enough, and that every reason comes back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from tests.support.pki import START, certificate, csr, key_of, openssl

from handfast.core.pki.keys import certificate_key_kind, is_pss_only, key_refusals, refusals, request_refusals
from handfast.core.pki.pem import read_certificate, read_request


def rules(cert: x509.Certificate, now: dt.datetime | None = None) -> list[str]:
    return [broken.rule for broken in refusals(cert, now=now)]


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"])
def test_accepted_keys(kind: str) -> None:
    assert [] == rules(certificate(key=key_of(kind)))


@pytest.mark.parametrize(
    ("expected", "kind"), [(["key_size"], "rsa1024"), (["key_size"], "rsa2047"), (["key_curve"], "k256")]
)
def test_refused_keys(expected: list[str], kind: str) -> None:
    assert expected == rules(certificate(key=key_of(kind)))


def test_keys_of_other_algorithms_are_refused_by_name() -> None:
    for key, said in (
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
        (dsa.generate_private_key(2048), "DSA 2048"),
    ):
        (broken,) = key_refusals(key.public_key())
        assert ("key_algorithm", True) == (broken.rule, said in broken.message)


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.BrainpoolP256R1(), ec.SECP256K1()])
def test_a_curve_of_the_right_size_is_not_enough(curve: ec.EllipticCurve) -> None:
    assert ["key_curve"] == [broken.rule for broken in key_refusals(ec.generate_private_key(curve).public_key())]


def test_an_exponent_that_is_no_exponent_is_refused() -> None:
    modulus = key_of("rsa2048").public_key().public_numbers().n  # type: ignore[union-attr]
    large = rsa.RSAPublicNumbers((1 << 256) + 1, modulus).public_key()
    assert ["key_exponent"] == [broken.rule for broken in key_refusals(large)]
    assert () == key_refusals(rsa.RSAPublicNumbers(3, modulus).public_key())


def test_a_curve_that_is_spelled_out_is_refused(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl("ecparam", "-name", "prime256v1", "-param_enc", "explicit", "-genkey", "-noout", "-out", key)
    openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=x", "-out", cert)
    assert ["key_explicit_curve"] == rules(read_certificate(cert.read_text()).cert)


def test_a_compressed_point_on_a_named_curve_is_accepted(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl("ecparam", "-name", "prime256v1", "-conv_form", "compressed", "-genkey", "-noout", "-out", key)
    openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=x", "-out", cert)
    assert [] == rules(read_certificate(cert.read_text()).cert)


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_accepted_signatures(kind: str, digest: hashes.HashAlgorithm) -> None:
    assert [] == rules(certificate(key=key_of(kind), digest=digest))


def test_pss_needs_the_same_hash_in_its_mask() -> None:
    def signed(digest: hashes.HashAlgorithm, mask: hashes.HashAlgorithm) -> list[str]:
        chosen = padding.PSS(padding.MGF1(mask), digest.digest_size)
        return rules(certificate(key=key_of("rsa2048"), digest=digest, padding=chosen))

    assert [] == signed(hashes.SHA256(), hashes.SHA256())
    assert [] == signed(hashes.SHA512(), hashes.SHA512())
    assert ["signature_parameters"] == signed(hashes.SHA256(), hashes.SHA512())
    assert ["signature_algorithm"] == signed(hashes.SHA224(), hashes.SHA224())


def test_sha1_and_sha224_signatures_are_refused(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl("genrsa", "-out", key, "2048")
    for digest in ("-sha1", "-md5", "-sha224"):
        openssl("req", "-x509", "-new", "-key", key, digest, "-subj", "/CN=x", "-out", cert)
        assert ["signature_algorithm"] == rules(read_certificate(cert.read_text()).cert)


def test_a_pss_key_is_accepted_and_marked(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    openssl("req", "-x509", "-new", "-key", key, "-sha256", "-subj", "/CN=x", "-out", cert)
    parsed = read_certificate(cert.read_text()).cert
    assert [] == rules(parsed)
    assert is_pss_only(parsed)
    assert not is_pss_only(certificate(key=key_of("rsa2048")))


def test_validity_includes_both_its_ends() -> None:
    second = dt.timedelta(seconds=1)
    first, last = START.replace(microsecond=0), START.replace(microsecond=0) + dt.timedelta(days=1)
    cert = certificate(not_before=first, not_after=last)
    assert ["validity_not_yet"] == rules(cert, first - second)
    assert [] == rules(cert, first)
    assert [] == rules(cert, last + dt.timedelta(milliseconds=900))
    assert ["validity_expired"] == rules(cert, last + second)


def test_every_broken_rule_comes_back() -> None:
    cert = certificate(key=key_of("rsa1024"), digest=hashes.SHA224())
    assert ["key_size", "signature_algorithm", "validity_expired"] == rules(cert, START + dt.timedelta(days=9999))


def test_a_request_must_be_signed_by_its_own_key() -> None:
    good = read_request(csr()).request
    assert () == request_refusals(good)
    body = bytearray(read_request(csr()).der)
    body[-3] ^= 1
    spoiled = x509.load_der_x509_csr(bytes(body))
    assert ["signature_unproven"] == [broken.rule for broken in request_refusals(spoiled)]


def test_a_weak_request_says_all_that_is_wrong() -> None:
    request = read_request(csr(key=key_of("rsa1024"), digest=hashes.SHA224())).request
    assert ["key_size", "signature_algorithm"] == [broken.rule for broken in request_refusals(request)]


def test_kinds_have_short_names() -> None:
    expected = {"rsa2048": "RSA 2048", "p256": "P-256", "p384": "P-384", "p521": "P-521", "k256": "EC secp256k1"}
    assert expected == {kind: certificate_key_kind(certificate(key=key_of(kind))) for kind in expected}


def test_a_critical_extension_of_a_very_long_identifier_is_named_by_its_beginning() -> None:
    identifier = "1.22" + ".11" * 60  # its 128th character is a dot
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(identifier), b"\x05\x00")
    key = key_of("p256")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "d")])
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, START, START + dt.timedelta(days=9))
        .add_extension(unknown, critical=True)
        .sign(key, hashes.SHA256())
    )
    (broken,) = refusals(cert)
    assert "extension_critical" == broken.rule
    assert f"extension {identifier[:128]} is critical" in broken.message
