"""Each rule that a server certificate of somebody else's has to keep, one broken at a time."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.pki import key_of, name

from handfast.core.pki.issue import SigningKey
from handfast.core.pki.server_certificates import (
    belongs,
    chain_kind,
    encode_chain,
    leads_to,
    named,
    names_of,
    read_chain,
    refusals,
    rotation_refusals,
    served_part,
)
from handfast.errors import CertificateInputError

NOW = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
ROOT_KEY = key_of("p384")


def certificate(
    subject: str = "mqtt.example.org",
    issuer: str = "Root",
    *,
    key: str = "p256",
    signer: SigningKey = ROOT_KEY,
    names: tuple[str, ...] = ("mqtt.example.org",),
    usages: tuple[x509.ObjectIdentifier, ...] = SERVER,
    key_usage: bool | None = None,
    ca: bool = False,
    days: tuple[int, int] = (-1, 90),
    digest: hashes.HashAlgorithm | None = None,
    padding_bytes: int = 0,
) -> x509.Certificate:
    public: Any = (signer if issuer == subject else key_of(key)).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject) if subject else x509.Name([]))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if key_usage is not None:
        others = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"),
            False,
        )
        usage = x509.KeyUsage(digital_signature=key_usage, key_encipherment=True, key_cert_sign=False, **others)
        builder = builder.add_extension(usage, critical=True)
    if padding_bytes:
        filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), bytes(padding_bytes))
        builder = builder.add_extension(filler, critical=False)
    return builder.sign(signer, digest or hashes.SHA256())


def root(**changes: Any) -> x509.Certificate:
    return certificate("Root", "Root", names=(), usages=(), ca=True, **changes)


@pytest.mark.parametrize("key", ["p256", "rsa2048"])
def test_the_valid_ones_break_nothing(key: str) -> None:
    leaf = certificate(key=key)
    assert () == refusals((leaf, root()), NOW)
    assert () == refusals((certificate(key=key, key_usage=True),), NOW)
    assert ("rsa" if key == "rsa2048" else "ecdsa") == chain_kind(leaf)


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"usages": ()}, "extended_key_usage", "serverAuth"),
        ({"usages": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "extended_key_usage", "serverAuth"),
        ({"key_usage": False}, "key_usage", "digitalSignature"),
        ({"key": "p384"}, "key_algorithm", "P-384"),
        ({"days": (-9, -1)}, "validity_expired", "expired"),
        ({"days": (1, 9)}, "validity_not_yet", "not valid before"),
        ({"names": tuple(f"{n}.example.org" for n in range(5))}, "server_name", "5 names; at most 4"),
        ({"names": (), "subject": ""}, "server_name", "no name"),
        ({"padding_bytes": 17_000}, "chain_size", "at most 16384"),
        ({"digest": hashes.SHA224()}, "signature_algorithm", "SHA224"),
    ],
)
def test_each_rule(changes: dict[str, Any], rule: str, words: str) -> None:
    broken = refusals((certificate(**changes), root()), NOW)
    assert [rule] == list(dict.fromkeys(each.rule for each in broken))
    assert words in broken[0].message


def test_at_most_five_certificates() -> None:
    signer = ROOT_KEY
    chain = [certificate(issuer="CA 4")]
    for number in range(4, 0, -1):
        upper = "Root" if number == 1 else f"CA {number - 1}"
        chain.append(certificate(f"CA {number}", upper, key="p384", signer=signer, names=(), usages=(), ca=True))
    assert () == refusals(tuple(chain), NOW)
    broken = refusals((*chain, root()), NOW)
    assert [("chain_depth", "The chain has 6 certificates; at most 5 are served.")] == [tuple(each) for each in broken]


def test_a_link_to_another_name() -> None:
    broken = refusals((certificate(issuer="Other"), root()), NOW)
    assert ["chain_name", "chain_signature"] == [each.rule for each in broken]
    assert "CN=Other" in broken[0].message


def test_a_link_that_is_signed_by_another_key() -> None:
    broken = refusals((certificate(signer=key_of("p521")), root()), NOW)
    assert ["chain_signature"] == [each.rule for each in broken]


def test_the_alternative_names_win_over_the_common_name() -> None:
    assert ("a.example.org",) == names_of(certificate("cn.example.org", names=("a.example.org",)))
    assert ("cn.example.org",) == names_of(certificate("cn.example.org", names=()))


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("mqtt.example.org", "mqtt.example.org", True),
        ("*.example.org", "mqtt.example.org", True),
        ("*.example.org", "a.mqtt.example.org", False),
        ("*.example.org", "example.org", False),
        ("MQTT.example.org", "mqtt.example.org", True),
    ],
)
def test_which_domain_it_is_for(pattern: str, host: str, covered: bool) -> None:
    broken = named(certificate("cn.example.org", names=(pattern,)), host)
    assert covered == (broken == ())
    if not covered:
        assert pattern in broken[0].message


def test_only_the_same_kind_of_key_and_names_take_its_place() -> None:
    old = certificate("one", names=("a.example.org", "b.example.org"))
    assert () == rotation_refusals(old, certificate("two", names=("b.example.org", "a.example.org")))
    assert () == rotation_refusals(old, certificate("one", names=("c.example.org",)))
    assert ["rotation_names"] == [r.rule for r in rotation_refusals(old, certificate("two", names=("c.example.org",)))]
    other_key = certificate("one", key="rsa2048", names=("a.example.org",))
    assert ["rotation_algorithm"] == [r.rule for r in rotation_refusals(old, other_key)]


def test_who_vouches() -> None:
    leaf, other = certificate(), certificate("Root", "Root", signer=key_of("p521"), names=(), usages=(), ca=True)
    assert leads_to((leaf,), [root()], NOW)
    assert not leads_to((leaf,), [other], NOW)
    assert not leads_to((leaf,), [root(days=(-9, -1))], NOW)
    assert not leads_to((leaf,), [], NOW)
    alone = certificate("alone", "alone", signer=key_of("p256"))
    assert leads_to((alone,), [alone], NOW)


def test_the_root_is_not_sent_and_the_rest_in_order() -> None:
    leaf, top = certificate(), root()
    assert (leaf,) == served_part((leaf, top))
    alone = certificate("alone", "alone", signer=key_of("p256"))
    assert (alone,) == served_part((alone,))
    assert (leaf, top) == read_chain(encode_chain([leaf, top])) == read_chain(encode_chain([leaf]), encode_chain([top]))
    with pytest.raises(CertificateInputError, match="More than 10"):
        read_chain(encode_chain([leaf] * 11))


def test_the_key_is_that_of_the_certificate() -> None:
    assert belongs(key_of("p256"), certificate())
    assert not belongs(key_of("p521"), certificate())
