"""Root keys in two halves: each act, and what a tampered request or answer can obtain."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.support.pki import (
    ROOT_PASSPHRASE,
    START,
    MovableClock,
    RealEntropy,
    certificate,
    copied_pki,
    csr,
    key_of,
    name,
    open_authority,
    openssl_verifies,
    pem,
)

from handfast.core.pki import chain as chains
from handfast.core.pki.pem import read_certificates
from handfast.errors import ConfigurationError
from handfast.keystore.file import FileKeyStore
from handfast.services import root_ceremony as ceremony
from handfast.services.authorities import WARN_INTERMEDIATE, ServerChain
from handfast.services.legacy_chain import LegacyAuthority
from handfast.services.pki_folder import PkiFolder

LATER = START + dt.timedelta(days=4 * 365)


class Places:
    """The server's data directory, the safe that pki/offline was moved to, and the stick between them."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.data_dir = copied_pki(tmp_path)
        self.safe = Path(shutil.move(self.data_dir / "pki" / "offline", tmp_path / "safe"))
        self.stick = tmp_path / "stick"
        self.folder = PkiFolder(self.data_dir / "pki")

    @property
    def online(self) -> FileKeyStore:
        return FileKeyStore(self.folder.path, None, RealEntropy())

    def request(self, *acts: str, under: int | None = None, key: str | None = None) -> list[ceremony.Step]:
        return ceremony.request(self.folder, self.online, self.stick, acts, under=under, key=key)

    def sign(self, passphrase: bytes = ROOT_PASSPHRASE, now: dt.datetime = LATER) -> list[ceremony.Step]:
        keys = FileKeyStore(self.safe, passphrase, RealEntropy())
        return ceremony.sign(self.stick, keys, self.safe, now=now, entropy=RealEntropy())

    def install(self, now: dt.datetime = LATER) -> list[ceremony.Step]:
        return ceremony.install(self.folder, self.online, self.data_dir / "trust", self.stick, now=now)

    def tampered(self, act: str, /, **changes: Any) -> None:
        file = self.stick / f"{act}.request.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def answered(self, act: str, *certificates: x509.Certificate) -> None:
        self.stick.mkdir(exist_ok=True)
        (self.stick / f"{act}.answer.pem").write_text(pem(*certificates))

    def snapshot(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.data_dir.rglob("*.pem")}

    def verifies(self, chain: ServerChain, anchor: str, extra: Sequence[x509.Certificate] = ()) -> str:
        leaf, intermediate = (parsed.cert for parsed in read_certificates(chain.chain_pem.decode()))
        trusted = [parsed.cert for parsed in read_certificates((self.data_dir / "trust" / anchor).read_text())]
        return openssl_verifies(
            self.tmp_path, leaf, trusted=trusted, untrusted=[intermediate, *extra], purpose="sslserver", at=LATER
        )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.mark.parametrize(("kind", "root"), [("rsa", "root-ca-1.pem"), ("ecdsa", "root-ca-3.pem")])
def test_an_intermediate_is_renewed_while_the_server_runs(places: Places, kind: Any, root: str) -> None:
    clock = MovableClock(LATER)
    running = open_authority(places.data_dir, clock)
    old = running.chain(kind)
    (asked,) = places.request(f"intermediate-{kind}")
    assert [] == running.renew_due(LATER)
    assert any("waits for `handfast roots install`" in warning for warning in running.warnings(LATER))
    (signed,) = places.sign()
    (installed,) = places.install()
    assert asked.key == signed.key == installed.key
    (new,) = running.renew_due(LATER)
    assert new.intermediate != old.intermediate
    assert 5 == round((new.intermediate.not_valid_after_utc - LATER) / dt.timedelta(days=365))
    assert "M02" in new.intermediate.subject.rfc4514_string()
    assert "" == places.verifies(new, root)
    cross = [parsed.cert for parsed in read_certificates(new.cross_pem.decode())]
    assert "" == places.verifies(new, "legacy-root.pem", cross)
    assert "" == places.verifies(old, root)  # connections in progress are not concerned
    assert new.leaf == open_authority(places.data_dir, clock).chain(kind).leaf
    assert not any("waits for" in warning for warning in running.warnings(LATER))


def test_cross_certificates_are_issued_anew(places: Places) -> None:
    running = open_authority(places.data_dir, MovableClock(LATER))
    before = {path.name: path.read_bytes() for path in (places.data_dir / "trust").glob("*.pem")}
    places.request("cross")
    places.sign()
    places.install()
    changed = {
        path.name for path in (places.data_dir / "trust").glob("*.pem") if path.read_bytes() != before[path.name]
    }
    assert {f"cross-root-ca-{number}.pem" for number in (1, 2, 3, 4)} == changed
    taken_up = running.renew_due(LATER)
    assert ["ecdsa", "rsa"] == sorted(chain.kind for chain in taken_up)
    for chain in taken_up:
        cross = [parsed.cert for parsed in read_certificates(chain.cross_pem.decode())]
        assert "" == places.verifies(chain, "legacy-root.pem", cross)


def test_the_legacy_root_lives_ten_more_years_with_the_same_key(places: Places) -> None:
    (old,) = (p.cert for p in read_certificates((places.data_dir / "trust/legacy-root.pem").read_text()))
    places.request("cross", "legacy")
    assert ["legacy", "cross"] == [step.act for step in places.sign()]
    places.install()
    (new,) = (p.cert for p in read_certificates((places.data_dir / "trust/legacy-root.pem").read_text()))
    assert chains.same_key(old, new)
    assert 4 == round((new.not_valid_after_utc - old.not_valid_after_utc) / dt.timedelta(days=365))
    running = open_authority(places.data_dir, MovableClock(LATER))
    for chain in running.chains():
        cross = [parsed.cert for parsed in read_certificates(chain.cross_pem.decode())]
        assert "" == places.verifies(chain, "legacy-root.pem", cross)
        assert new.not_valid_after_utc == cross[0].not_valid_after_utc


def test_the_reserve_roots_can_take_over(places: Places) -> None:
    places.request("intermediate-rsa", under=2)
    places.request("intermediate-ecdsa", under=4)
    places.sign()
    places.install()
    running = open_authority(places.data_dir, MovableClock(LATER))
    assert "" == places.verifies(running.chain("rsa"), "root-ca-2.pem")
    assert "" == places.verifies(running.chain("ecdsa"), "root-ca-4.pem")


def test_what_is_due(places: Places) -> None:
    def due(now: dt.datetime) -> list[str]:
        return ceremony.due(places.folder, now, WARN_INTERMEDIATE)

    assert [] == due(START)
    assert ["intermediate-rsa", "intermediate-ecdsa"] == due(START + dt.timedelta(days=3 * 365 + 1))
    assert ["intermediate-rsa", "intermediate-ecdsa", "legacy", "cross"] == due(START + dt.timedelta(days=8 * 365 + 1))


def test_every_step_may_be_repeated(places: Places) -> None:
    first = places.request("intermediate-rsa")
    again = places.request("intermediate-rsa")
    assert first[0].key == again[0].key
    places.sign()
    places.sign()
    places.install()
    once = places.snapshot()
    places.install()
    assert once == places.snapshot()


def test_a_new_request_removes_the_answer_of_an_earlier_one(places: Places) -> None:
    places.request("intermediate-rsa")
    places.sign()
    places.request("intermediate-rsa")
    with pytest.raises(ConfigurationError, match=r"no \*\.answer\.pem"):
        places.install()


def test_the_legacy_endpoints_intermediate_is_signed_for_a_directory_that_has_none(places: Places) -> None:
    (places.folder.path / "intermediates" / "legacy-1.pem").unlink()

    def opened() -> LegacyAuthority:
        return LegacyAuthority(
            places.folder, places.online, domain="example.test", clock=MovableClock(LATER), entropy=RealEntropy()
        )

    with pytest.raises(ConfigurationError, match="roots request DIR --act intermediate-legacy"):
        opened()
    (asked,) = places.request("intermediate-legacy")
    (signed,) = places.sign()
    assert asked.key == signed.key
    places.install()
    made = opened().chain("us-east-1")
    leaf, intermediate = x509.load_pem_x509_certificates(made.chain_pem)
    assert places.folder.intermediate("rsa").certificate.public_key() == intermediate.public_key()
    roots = places.folder.roots()
    assert () == tuple(chains.verify([leaf, intermediate], [roots["legacy-root"]], at=LATER))
    assert chains.verify([leaf, intermediate], [roots[f"root-ca-{number}"] for number in (1, 2, 3, 4)], at=LATER)
    assert leaf.not_valid_before_utc < made.renew_at < leaf.not_valid_after_utc


def test_a_later_legacy_endpoints_intermediate_is_that_of_the_new_intermediate(places: Places) -> None:
    places.request("intermediate-legacy")
    places.sign()
    # Meanwhile another RSA intermediate came into use.
    answer = (places.stick / "intermediate-legacy.answer.pem").read_bytes()
    places.request("intermediate-rsa")
    (places.stick / "intermediate-legacy.request.json").unlink()
    places.sign()
    (places.stick / "intermediate-legacy.answer.pem").unlink()
    places.install()
    (places.stick / "intermediate-legacy.answer.pem").write_bytes(answer)
    with pytest.raises(ConfigurationError, match="not the RSA intermediate in use"):
        places.install()
    found = places.folder.legacy_intermediate()
    assert found is not None
    assert 1 == found.generation, "what is in use stays"


def test_the_request_holds_no_private_key(places: Places) -> None:
    places.request("root", "next-rsa", "intermediate-ecdsa", "cross", "legacy", key="p256")
    for file in places.stick.iterdir():
        assert "PRIVATE" not in file.read_text()


class TestTheSignerRefuses:
    @pytest.mark.parametrize(
        ("said", "changes"),
        [
            ("none of", {"act": "roots"}),
            ("lacks", {"act": "root"}),
            ("none of", {"act": ["intermediate-rsa"]}),
            ("format", {"format": 2}),
            ("cannot sign", {"root": 3}),
            ("root-ca-5.key cannot be read", {"root": 5}),
            ("cannot sign", {"root": "1"}),
            ("lacks", {"generation": "2"}),
            ("lacks", {"generation": True}),
            ("lacks", {"generation": -1}),
            ("lacks", {"csr": None}),
            ("PEM", {"csr": "nonsense"}),
            ("is not RSA 2048", {"csr": csr(key=key_of("p256"))}),
            ("is not RSA 2048", {"csr": csr(key=key_of("rsa3072"))}),
            ("1024", {"csr": csr(key=key_of("rsa1024"))}),
        ],
    )
    def test_tampered_requests(self, places: Places, said: str, changes: dict[str, Any]) -> None:
        places.request("intermediate-rsa")
        places.tampered("intermediate-rsa", **changes)
        with pytest.raises(ConfigurationError, match=said):
            places.sign()
        assert [] == list(places.stick.glob("*.answer.pem"))

    @pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 10_000, "x" * 20_000])
    def test_what_is_no_request(self, places: Places, text: str) -> None:
        places.stick.mkdir()
        (places.stick / "cross.request.json").write_text(text)
        with pytest.raises(ConfigurationError):
            places.sign()

    def test_an_empty_folder(self, places: Places) -> None:
        places.stick.mkdir()
        with pytest.raises(ConfigurationError, match="begin with"):
            places.sign()

    def test_a_wrong_passphrase(self, places: Places) -> None:
        places.request("cross")
        with pytest.raises(ConfigurationError, match="passphrase"):
            places.sign(b"wrong")

    def test_a_key_that_is_not_its_roots(self, places: Places) -> None:
        places.request("cross")
        shutil.copy(places.safe / "root-ca-1.key", places.safe / "legacy-root.key")
        with pytest.raises(ConfigurationError, match="is not the key of"):
            places.sign()

    def test_a_requested_subject_or_extension_has_no_effect(self, places: Places) -> None:
        places.request("intermediate-rsa")
        places.tampered("intermediate-rsa", csr=csr(name("Root of evil"), key=key_of("rsa2048")))
        places.sign()
        (answer,) = read_certificates((places.stick / "intermediate-rsa.answer.pem").read_text())
        assert "CN=Handfast RSA 2048 M02,O=Handfast" == answer.cert.subject.rfc4514_string()
        constraints = answer.cert.extensions.get_extension_for_class(x509.BasicConstraints)
        assert x509.BasicConstraints(ca=True, path_length=0) == constraints.value


class TestTheServerRefuses:
    """Whatever is refused, nothing at all has changed."""

    def refused(self, places: Places, said: str) -> None:
        before = places.snapshot()
        with pytest.raises(ConfigurationError, match=said):
            places.install()
        assert before == places.snapshot()
        assert open_authority(places.data_dir).chains()

    def test_an_intermediate_for_another_key(self, places: Places) -> None:
        places.request("intermediate-rsa", "cross")
        places.tampered("intermediate-rsa", csr=csr(key=key_of("rsa2048")))
        places.sign()
        self.refused(places, "another key")

    def test_an_intermediate_that_was_not_requested(self, places: Places) -> None:
        places.request("intermediate-rsa")
        places.sign()
        (places.folder.path / "intermediates" / "rsa-2.key").unlink()
        self.refused(places, "no request for it")

    def test_an_intermediate_of_nobody(self, places: Places) -> None:
        places.request("intermediate-rsa")
        places.answered("intermediate-rsa", certificate("x", key=key_of("rsa2048"), ca=True, path_length=0))
        self.refused(places, "No trusted root")

    def test_a_root_in_the_intermediates_place(self, places: Places) -> None:
        places.answered("intermediate-rsa", places.folder.roots()["root-ca-1"])
        self.refused(places, "intermediate-rsa is refused")

    def test_cross_certificates_that_are_not_all_four(self, places: Places) -> None:
        cross = places.folder.cross_certificates()
        for wrong in (cross[:3], [*cross[:3], cross[0]], [*cross, cross[0]]):
            places.answered("cross", *wrong)
            self.refused(places, "is not in it once")

    def test_cross_certificates_of_another_legacy_root(self, places: Places) -> None:
        own = places.folder.roots()
        forged = [
            certificate(root.subject, key=key, ca=True, issuer=own["legacy-root"], issuer_key=key_of("rsa3072"))
            for root, key in zip([own[f"root-ca-{n}"] for n in (1, 2, 3, 4)], [key_of("rsa2048")] * 4, strict=True)
        ]
        places.answered("cross", *forged)
        self.refused(places, "is not in it once")

    def test_another_legacy_root(self, places: Places) -> None:
        subject = places.folder.roots()["legacy-root"].subject
        places.answered(
            "legacy", certificate(subject, key=key_of("rsa3072"), ca=True, not_after=LATER + (LATER - START))
        )
        self.refused(places, "not the legacy root's name and key")

    def test_an_expired_answer(self, places: Places) -> None:
        places.request("intermediate-ecdsa")
        places.sign(now=START)
        before = places.snapshot()
        with pytest.raises(ConfigurationError, match="expired"):
            places.install(now=START + dt.timedelta(days=6 * 365))
        assert before == places.snapshot()

    def test_damage(self, places: Places) -> None:
        places.stick.mkdir()
        (places.stick / "cross.answer.pem").write_text("damage")
        self.refused(places, "PEM")
