"""With a public URL a ceremony makes intermediates that name their root's list, and the lists."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.pki import MovableClock, certificate, key_of, open_authority, openssl, pem
from tests.unit.services.test_publication import URL, fetch, pointers, published
from tests.unit.services.test_root_ceremony import LATER, Places

from handfast.core.pki.pointers import points_to
from handfast.core.pki.revocation_list import sign_list
from handfast.errors import ConfigurationError
from handfast.services import publication
from handfast.services.root_crls import AHEAD, LIFETIME

DAY = dt.timedelta(days=1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path)
    open_authority(made.data_dir, public_url=URL)  # the server ran with it: its leaves name it
    return made


async def test_openssl_checks_a_whole_chain_by_what_it_names(places: Places, tmp_path: Path) -> None:
    assert ["intermediate-rsa", "crl"] == [step.act for step in places.request("intermediate-rsa")]
    assert {"intermediate-rsa", "crl"} == {step.act for step in places.sign()}
    places.install()
    clock = MovableClock(LATER)
    authority = open_authority(places.data_dir, clock, public_url=URL)
    chain = authority.chain("rsa")
    assert points_to(chain.intermediate, pointers("root-ca-1"))
    assert points_to(chain.leaf, pointers("rsa-2"))
    publications = await published(authority, clock)
    lists = [x509.load_der_x509_crl(fetch(publications, pointers(name).revocations)) for name in ("rsa-2", "root-ca-1")]
    files = {"leaf": pem(chain.leaf), "intermediate": pem(chain.intermediate)}
    files["crls"] = "".join(each.public_bytes(Encoding.PEM).decode() for each in lists)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    printed = openssl(
        "verify", "-x509_strict", "-crl_check_all", "-attime", str(int(LATER.timestamp())),
        "-CAfile", authority.trust_dir / "root-ca-1.pem", "-untrusted", tmp_path / "intermediate",
        "-CRLfile", tmp_path / "crls", tmp_path / "leaf",
    )  # fmt: skip
    assert printed.strip().endswith("OK")


def test_without_a_public_url_a_ceremony_makes_none(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert ["intermediate-rsa"] == [step.act for step in places.request("intermediate-rsa")]
    assert "publicUrl" not in json.loads((places.stick / "intermediate-rsa.request.json").read_text())
    places.sign()
    places.install()
    assert points_to(places.folder.intermediate("rsa").certificate, None)
    assert not (places.data_dir / "pki" / "crl").exists()


def test_lists_alone_are_renewed_once_a_year(places: Places) -> None:
    places.request("crl")
    assert {f"root-ca-{n}" for n in range(1, 5)} == {step.signer for step in places.sign()}
    assert 4 == len(places.install())
    assert [] == publication.warnings(places.folder, LATER)
    soon = LATER + LIFETIME - AHEAD + DAY
    assert 4 == len(publication.warnings(places.folder, soon))
    first = places.folder.list_of("root-ca-1")
    places.request("crl")
    places.sign(now=soon)
    places.install(now=soon)
    assert first != places.folder.list_of("root-ca-1")
    assert [] == places.install(now=soon)  # once more changes nothing
    assert first is not None
    (places.stick / "root-ca-1.crl").write_bytes(first)
    newest = places.folder.list_of("root-ca-1")
    assert [] == places.install(now=soon)  # nor does an older one
    assert newest == places.folder.list_of("root-ca-1")


def test_lists_that_are_refused(places: Places) -> None:
    places.stick.mkdir(mode=0o700)
    other = certificate("Handfast Root CA 1", key=key_of("p256"), ca=True)
    root = places.folder.roots()["root-ca-1"]

    def made(issuer: x509.Certificate, now: dt.datetime = LATER) -> bytes:
        return sign_list(b"", issuer=issuer, key=key_of("p256"), number=1, this_update=now, next_update=now + LIFETIME)

    before = places.snapshot()
    for der, said in ((b"", "is no list"), (b"damage", "is no list"), (made(other), "is not signed by root-ca-1")):
        (places.stick / "root-ca-1.crl").write_bytes(der)
        with pytest.raises(ConfigurationError, match=said):
            places.install()
    places.request("crl")
    places.sign(now=LATER)
    for now in (LATER - DAY, LATER + LIFETIME + DAY):
        with pytest.raises(ConfigurationError, match="is not in date"):
            places.install(now=now)
    assert before == places.snapshot()
    assert places.folder.list_of("root-ca-1") is None
    assert root == places.folder.roots()["root-ca-1"]


def test_urls_that_are_refused(places: Places) -> None:
    places.request("intermediate-rsa")
    places.tampered("intermediate-rsa", publicUrl="https://elsewhere.example.test")
    with pytest.raises(ConfigurationError, match="names no public URL"):
        places.sign()
    places.tampered("intermediate-rsa", publicUrl="http://elsewhere.example.test")
    places.sign()
    with pytest.raises(ConfigurationError, match="another public URL than ours"):
        places.install()
