"""With a public URL, certificates name places below it, and what they name is there; without one they name nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.pki import START, MovableClock, copied_pki, key_of, open_authority, openssl, pem
from tests.unit.services.test_revocation_lists import Registry

from handfast.core.pki.issue import SigningKey
from handfast.core.pki.pointers import Pointers, points_to
from handfast.keystore.file import FileKeyStore
from handfast.services.authorities import ServerAuthority
from handfast.services.pki_folder import KINDS, ROOTS, ChainKind, PkiFolder
from handfast.services.publication import Publications, warnings
from handfast.services.revocation_lists import RevocationLists
from handfast.services.root_crls import AHEAD, LIFETIME
from handfast.telemetry.metrics import PrometheusMeter

URL = "http://pki.example.test/a"


def pointers(name: str, url: str = URL) -> Pointers:
    return Pointers(f"{url}/aia/{name}.cer", f"{url}/crl/{name}.crl")


async def published(authority: ServerAuthority, clock: MovableClock | None = None) -> Publications:
    """What the server publishes of it."""
    folder = PkiFolder(authority.data_dir / "pki")
    publications = Publications(folder, authority.list_issuers, lambda name: lists.get(name))
    lists = RevocationLists(Registry(), folder, publications.look, clock or MovableClock(), PrometheusMeter())
    await lists.start()
    await lists.close()
    return publications


def fetch(publications: Publications, url: str, base: str = URL) -> bytes:
    """What is there, for a URL as it stands in a certificate."""
    folder, name = url.removeprefix(f"{base}/").split("/")
    found = publications.get(folder, name)
    assert found is not None, url
    assert {"aia": "application/pkix-cert", "crl": "application/pkix-crl"}[folder] == found.media_type
    return found.content


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_public_url_nothing_is_named(tmp_path: Path, kind: ChainKind) -> None:
    authority = open_authority(copied_pki(tmp_path))
    chain = authority.chain(kind)
    for cert in (chain.leaf, chain.intermediate):
        assert points_to(cert, None)
    assert not (authority.data_dir / "pki" / "crl").exists()


async def test_leaves_are_made_anew_when_the_url_appears_changes_and_goes(tmp_path: Path) -> None:
    data_dir = copied_pki(tmp_path)
    before = open_authority(data_dir).chain("rsa")
    with_url = open_authority(data_dir, public_url=URL)
    leaf = with_url.chain("rsa").leaf
    assert points_to(leaf, pointers("rsa-1"))
    assert before.leaf != leaf
    assert before.intermediate == with_url.chain("rsa").intermediate  # signed by a root that lies in a safe
    again = open_authority(data_dir, public_url=URL)
    assert leaf == again.chain("rsa").leaf
    other = open_authority(data_dir, public_url="http://other.example.test").chain("ecdsa").leaf
    assert points_to(other, pointers("ecdsa-1", "http://other.example.test"))
    assert points_to(open_authority(data_dir).chain("rsa").leaf, None)


async def test_openssl_checks_a_leaf_by_what_it_names(tmp_path: Path) -> None:
    authority = open_authority(copied_pki(tmp_path), public_url=URL)
    publications = await published(authority)
    root = tmp_path / "root.pem"
    for kind, anchor in (("rsa", "root-ca-1"), ("ecdsa", "root-ca-3")):
        leaf = tmp_path / f"{kind}.pem"
        leaf.write_text(pem(authority.chain(kind).leaf))  # type: ignore[arg-type]
        named = pointers(f"{kind}-1")
        intermediate, crl = tmp_path / "intermediate.pem", tmp_path / "crl.pem"
        intermediate.write_text(pem(x509.load_der_x509_certificate(fetch(publications, named.certificate))))
        crl.write_bytes(x509.load_der_x509_crl(fetch(publications, named.revocations)).public_bytes(Encoding.PEM))
        root.write_bytes((authority.trust_dir / f"{anchor}.pem").read_bytes())
        at = ["-attime", str(int(START.timestamp()))]
        verify = ["verify", "-x509_strict", "-crl_check", *at, "-CAfile", root, "-untrusted", intermediate]
        assert openssl(*verify, "-CRLfile", crl, leaf).strip().endswith("OK")
        assert "unable to get certificate CRL" in openssl(*verify, leaf, check=False)


async def test_names_that_are_published_and_others(tmp_path: Path) -> None:
    publications = await published(open_authority(copied_pki(tmp_path), public_url=URL))
    for name in ("root-ca-1", "root-ca-4", "legacy-root", "rsa-1", "ecdsa-1", "device-ca-1"):
        assert publications.get("aia", f"{name}.cer") is not None
    for name in ("rsa-1", "ecdsa-1", "device-ca-1"):
        assert publications.get("crl", f"{name}.crl") is not None
    for folder, name in (
        ("aia", "rsa-2.cer"), ("aia", "rsa-1"), ("aia", "rsa-1.key"), ("aia", "rsa-1.crl"), ("crl", "rsa-1"),
        ("crl", "root-ca-1.crl"), ("crl", "device-ca-1.json"), ("crl", "../handfast.db"), ("pki", "rsa-1.cer"),
        ("", ""),
    ):  # fmt: skip
        assert publications.get(folder, name) is None


class QuickKeys(FileKeyStore):
    """A first run whose keys were made before."""

    def new_key(self, kind: str) -> SigningKey:
        return key_of({"rsa4096": "rsa2048"}.get(kind, kind))

    def generate(self, name: str, kind: str) -> SigningKey:
        key = self.new_key(kind)
        self.save(name, key)
        return key


async def test_a_first_run_with_a_public_url_names_the_roots_lists_and_makes_them(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    keystore: Any = QuickKeys
    authority = open_authority(data_dir, public_url=URL, keystore=keystore)
    folder = PkiFolder(data_dir / "pki")
    publications = await published(authority)
    for kind, number in (("rsa", 1), ("ecdsa", 3)):
        intermediate = authority.chain(kind).intermediate  # type: ignore[arg-type]
        named = pointers(f"root-ca-{number}")
        assert points_to(intermediate, named)
        root = x509.load_der_x509_certificate(fetch(publications, named.certificate))
        assert root.subject == intermediate.issuer
        crl = x509.load_der_x509_crl(fetch(publications, named.revocations))
        assert crl.is_signature_valid(root.public_key())  # type: ignore[arg-type]
        assert START.replace(microsecond=0) + LIFETIME == crl.next_update_utc
    assert [] == warnings(folder, START + LIFETIME - AHEAD - dt.timedelta(days=1))
    said = warnings(folder, START + LIFETIME - AHEAD + dt.timedelta(days=1))
    assert len(ROOTS) == len(said)
    assert "root-ca-1 ends on 2027-04-08" in said[0]
    assert "ended on" in warnings(folder, START + LIFETIME + dt.timedelta(days=1))[0]
    folder.write_list("root-ca-1", b"damage")
    assert "cannot be read" in warnings(folder, START)[0]
