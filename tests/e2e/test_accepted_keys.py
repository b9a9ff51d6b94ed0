"""A device connects with each kind of key and signature that may be registered, made by openssl."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.support import made_by_openssl as made
from tests.support.device import Device, register_self_signed
from tests.support.mqtt import Client
from tests.support.server import Server

PSS = ("-sigopt", "rsa_padding_mode:pss")
BOTH = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def registered(server: Server, folder: Path, kind: str, *signing: str) -> Device:
    pem = made.self_signed(kind, *signing).encode(), made.key_file(kind).read_bytes()
    return register_self_signed(server, folder, pem=pem)


@pytest.mark.parametrize("version", BOTH, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize(
    ("kind", "signing"),
    [
        ("RSA 2048", ("-sha256",)),
        ("RSA 2048", ("-sha384", *PSS)),
        ("RSA 3072", ("-sha512",)),
        ("RSA 4096", ("-sha256",)),
        ("RSA 7640", ("-sha256",)),
        ("EC prime256v1", ("-sha256",)),
        ("EC secp384r1", ("-sha384",)),
        ("EC secp521r1", ("-sha512",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_an_accepted_key_connects(
    server: Server, folder: Path, kind: str, signing: tuple[str, ...], version: ssl.TLSVersion
) -> None:
    with Client(server, registered(server, folder, kind, *signing), tls_version=version) as client:
        assert 0 == client.connect().value


@pytest.mark.parametrize("kind", ["RSA-PSS 2048", "RSA-PSS 2048 sha256"])
def test_a_pss_key_connects_with_tls_1_3(server: Server, folder: Path, kind: str) -> None:
    with Client(server, registered(server, folder, kind), tls_version=ssl.TLSVersion.TLSv1_3) as client:
        assert 0 == client.connect().value


def test_a_pss_key_is_refused_in_tls_1_2_and_explain_says_so(server: Server, folder: Path) -> None:
    device = registered(server, folder, "RSA-PSS 2048")
    with Client(server, device, tls_version=ssl.TLSVersion.TLSv1_2) as client:
        assert "Not authorized" == str(client.connect())
    (refusal,) = server.explain(device.certificate_id)
    assert [("CLIENT_KEY_UNUSABLE", True)] == [
        (reason["code"], "TLS 1.2" in reason["detail"]) for reason in refusal["reasons"]
    ]
