"""A root is added, promoted, gone back from and retired: what devices verify at each step, and kills in between."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.pki import (
    ROOT_PASSPHRASE,
    START,
    MovableClock,
    RealEntropy,
    copied_pki,
    open_authority,
    openssl_verifies,
)

from handfast.cli.main import run
from handfast.core.pki import chain as chains
from handfast.core.pki.pem import read_certificates
from handfast.core.pki.trust_lint import TODAY, Status
from handfast.errors import ConfigurationError
from handfast.keystore.file import FileKeyStore
from handfast.services import pki_folder, root_changes, roots_plan, trust, trust_forecast
from handfast.services import root_ceremony as ceremony
from handfast.services.authorities import ServerChain
from handfast.services.pki_folder import PkiFolder, load_certificates
from handfast.services.rehearsal_report import Failure, Good, How, NextChain, Report
from handfast.services.root_changes import Blocker

DAY = dt.timedelta(days=1)


class Places:
    """A data directory, its root keys in a safe, and the stick between them."""

    def __init__(self, tmp_path: Path, safe: Path) -> None:
        self.tmp_path = tmp_path
        self.data_dir = copied_pki(tmp_path)
        shutil.rmtree(self.data_dir / "pki" / "offline")
        self.safe = Path(shutil.copytree(safe, tmp_path / "safe"))
        self.stick = tmp_path / "stick"
        self.folder = PkiFolder(self.data_dir / "pki")
        self.online = FileKeyStore(self.folder.path, None, RealEntropy())
        self.trust = self.data_dir / "trust"

    def request(self, *acts: str, under: int | None = None, key: str | None = None) -> list[ceremony.Step]:
        return ceremony.request(self.folder, self.online, self.stick, acts, under=under, key=key)

    def sign(self) -> list[ceremony.Step]:
        keys = FileKeyStore(self.safe, None, RealEntropy())
        return ceremony.sign(self.stick, keys, self.safe, now=START, entropy=RealEntropy())

    def install(self) -> list[ceremony.Step]:
        return ceremony.install(self.folder, self.online, self.trust, self.stick, now=START)

    def add(self, key: str = "p256", kind: str = "ecdsa") -> None:
        self.request("root", f"next-{kind}", under=self.folder.next_root(), key=key)
        self.sign()
        self.install()

    def verifies(self, chain: ServerChain, anchor: str, *, cross: bool = False) -> bool:
        """Whether a device that holds this root alone verifies what is sent, as openssl sees it."""
        leaf, *sent = (parsed.cert for parsed in read_certificates(chain.presented(cross=cross).decode()))
        trusted = load_certificates(next(self.data_dir.glob(f"*/**/{anchor}.pem")))
        return "" == openssl_verifies(self.tmp_path, leaf, trusted=trusted, untrusted=sent, purpose="sslserver")


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root keys without a passphrase: opening an encrypted one takes its time, on purpose."""
    kept = copied_pki(tmp_path_factory.mktemp("safe")) / "pki" / "offline"
    sealed, plain = (FileKeyStore(kept, passphrase, RealEntropy()) for passphrase in (ROOT_PASSPHRASE, None))
    for name in ("root-ca-1", "root-ca-3", "root-ca-4", "legacy-root"):
        plain.save(name, sealed.signing_key(name))
    return kept


@pytest.fixture
def places(tmp_path: Path, safe: Path) -> Places:
    return Places(tmp_path, safe)


def rehearsed(
    root: str, *signers: str, good: str | None = None, dark: str | None = None, at: dt.datetime = START
) -> Report:
    """A report of the ECDSA chain below `root`: a device that verified it, and one that did not."""
    report = Report(
        rehearsal_id="r",
        started=at,
        ended=at,
        end="stopped",
        share=1.0,
        stop_after=5,
        name=None,
        alone=not signers,
        chains=(NextChain(kind="ecdsa", root=root, signers=signers, intermediate="i", sent_bytes=1),),
    )
    if good is not None:
        report.good[good] = Good(first_seen=at, last_seen=at, kinds={"ecdsa"})
    if dark is not None:
        failure = Failure(
            at=at, kind="ecdsa", address="192.0.2.7", sni="", fingerprint="f", how=How.ALERT, alert="unknown_ca"
        )
        failure.saw(dark, at, same_hello=True)
        report.failures.append(failure)
    return report


def codes(found: list[Blocker]) -> list[str]:
    return [each.code for each in found]


def test_the_walk_from_one_root_to_the_next_in_which_no_device_goes_dark(places: Places) -> None:
    """add, promote, promote --alone, retire: at each step what holds the old root, the new, the legacy, verifies."""
    running = open_authority(places.data_dir, MovableClock())
    old = running.chain("ecdsa")

    places.add("p384")
    assert [] == running.renew_due(START), "what was added is not served"
    assert old == running.chain("ecdsa")
    new_root = load_certificates(places.trust / "root-ca-5.pem")[0]
    for bundle, inside in (("bundle.pem", True), ("bundle-ecc.pem", True), ("bundle-rsa.pem", False)):
        assert inside == (new_root in load_certificates(places.trust / bundle)), bundle
    signers = {cert.issuer for cert in load_certificates(places.trust / "cross-root-ca-5.pem")}
    assert signers == {
        load_certificates(places.trust / f"{each}.pem")[0].subject for each in ("root-ca-3", "legacy-root")
    }
    assert (places.safe / "root-ca-5.key").exists()
    assert not list(places.folder.path.rglob("root-ca-5.key")), "its key never comes to the server"

    promotion = root_changes.promote(places.folder, 5)
    assert ("root-ca-3", "root-ca-5", True) == (promotion.before, promotion.after, promotion.changed)
    (promoted,) = running.renew_due(START)
    assert "ecdsa" == promoted.kind
    for anchor in ("root-ca-3", "root-ca-5"):
        assert places.verifies(promoted, anchor), f"{anchor} alone"
    assert not places.verifies(promoted, "legacy-root")
    for anchor in ("root-ca-3", "root-ca-5", "legacy-root"):
        assert places.verifies(promoted, anchor, cross=True), f"{anchor} alone, with --serve-cross"
    assert places.verifies(old, "root-ca-3"), "open connections are not concerned"
    assert promoted == open_authority(places.data_dir, MovableClock()).chain("ecdsa"), "after a restart too"
    assert not root_changes.promote(places.folder, 5).changed

    root_changes.promote(places.folder, 5, alone=True)
    (alone,) = running.renew_due(START)
    assert (promoted.leaf, b"") == (alone.leaf, alone.bridge_pem)
    assert places.verifies(alone, "root-ca-5")
    assert not places.verifies(alone, "root-ca-3")
    assert places.verifies(alone, "legacy-root", cross=True)

    evidence = [rehearsed("root-ca-5", good="a" * 64)]
    assert [] == root_changes.blockers(places.folder, 3, evidence, now=START)
    root_changes.retire(places.folder, 3, places.trust)
    assert not (places.trust / "root-ca-3.pem").exists()
    assert not (places.trust / "cross-root-ca-3.pem").exists()
    assert ["root-ca-4.pem", "root-ca-5.pem"] == [
        each.file for each in trust.bundle(places.trust, "bundle-ecc.pem").members
    ]
    assert [] == running.renew_due(START)
    again = open_authority(places.data_dir, MovableClock())
    assert alone == again.chain("ecdsa")
    held = [places.folder.path / "retired" / "root-ca-3.pem"]
    linted = trust_forecast.lint(places.folder, held, prefer="rsa", sends_cross=False, now=START)
    assert {"old_root", "dark"} == {each.code for each in linted.findings}, "a retired root is nobody else's"
    assert places.folder.next_root() == 6, "the number of a retired root is not used again"
    with pytest.raises(ConfigurationError, match="was retired"):
        root_changes.promote(places.folder, 3)


def test_promoting_the_old_root_goes_back_and_the_new_one_waits_again(places: Places) -> None:
    running = open_authority(places.data_dir, MovableClock())
    before = running.chain("ecdsa")
    places.add()
    root_changes.promote(places.folder, 5)
    running.renew_due(START)
    assert "intermediates/ecdsa-1" == root_changes.promote(places.folder, 3).intermediate
    (back,) = running.renew_due(START)
    assert (before.intermediate, b"") == (back.intermediate, back.bridge_pem)
    staged = places.folder.staged("ecdsa")
    assert staged is not None
    assert "intermediates/ecdsa-2" == staged.name == root_changes.promote(places.folder, 5).intermediate


def test_a_second_new_root_is_asked_for_on_purpose(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANDFAST_DATA_DIR", str(places.data_dir))
    places.add()
    asked = ["roots", "add", "--request", str(places.tmp_path / "second"), "--key"]
    assert 2 == run([*asked, "p384"])
    said = capsys.readouterr().err
    for word in ("root-ca-5 (p256", "handfast roots promote 5", "--another"):
        assert word in said
    assert not (places.tmp_path / "second").exists()
    assert 0 == run([*asked, "rsa4096"])
    assert 0 == run([*asked, "p384", "--another"])
    assert root_changes.promotion(places.folder, 5)[0].changed
    root_changes.promote(places.folder, 5)
    assert not root_changes.promotion(places.folder, 5)[0].changed
    assert 0 == run([*asked, "p384"])


def test_a_root_in_reserve_takes_over_without_a_bridge(places: Places) -> None:
    with pytest.raises(ConfigurationError, match="No intermediate was made below root-ca-4"):
        root_changes.promote(places.folder, 4)
    places.request("next-ecdsa", under=4)
    places.sign()
    places.install()
    running = open_authority(places.data_dir, MovableClock())
    assert "root-ca-3" == ceremony.carrier(places.folder, "ecdsa").file
    root_changes.promote(places.folder, 4)
    (chain,) = running.renew_due(START) or [running.chain("ecdsa")]
    assert places.verifies(chain, "root-ca-4")
    assert not places.verifies(chain, "root-ca-3")
    assert "root-ca-4" == ceremony.carrier(places.folder, "ecdsa").file


def test_a_renewal_after_a_promotion_stays_under_its_root(places: Places) -> None:
    places.add()
    root_changes.promote(places.folder, 5)
    (asked,) = places.request("intermediate-ecdsa")
    assert "root-ca-5" == asked.signer
    shutil.rmtree(places.stick)
    places.request("intermediate-ecdsa")
    places.sign()
    places.install()
    assert 3 == places.folder.intermediate("ecdsa").generation
    assert "root-ca-5" == ceremony.carrier(places.folder, "ecdsa").file
    places.install()
    assert 3 == places.folder.intermediate("ecdsa").generation


class Killed(BaseException):
    """What a kill -9 is to the code that it meets."""


@pytest.mark.parametrize("survived", [0, 1, 3, 5, 7])
def test_a_ceremony_killed_between_any_two_writes_is_done_again_with_the_same_root(
    places: Places, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    real = pki_folder.write_atomically
    left = [survived]

    def until_killed(path: Path, content: bytes, *rest: Any) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(path, content, *rest)

    places.request("root", "next-ecdsa", under=5, key="p256")
    with monkeypatch.context() as patched:
        patched.setattr(pki_folder, "write_atomically", until_killed)
        patched.setattr(ceremony, "write_atomically", until_killed)
        with pytest.raises(Killed):
            places.sign()
            places.install()
            raise Killed  # all of it was written before
    running = open_authority(places.data_dir, MovableClock())
    assert "root-ca-3" == ceremony.carrier(places.folder, "ecdsa").file, "never half a PKI: what was served is served"
    first = (places.safe / "root-ca-5.pem").read_bytes() if (places.safe / "root-ca-5.pem").exists() else None
    places.sign()
    places.install()
    assert first in (None, (places.trust / "root-ca-5.pem").read_bytes())
    assert 5 == max(spec.number for spec in places.folder.rooted())
    root_changes.promote(places.folder, 5)
    (chain,) = running.renew_due(START)
    assert places.verifies(chain, "root-ca-3")
    assert places.verifies(chain, "root-ca-5")


def test_what_a_tampered_request_or_answer_obtains(places: Places) -> None:
    places.request("root", key="p256")
    file = places.stick / "root.request.json"
    asked = json.loads(file.read_text())
    assert {"format": 1, "act": "root", "number": 5, "key": "p256", "root": 3} == asked
    for change in ({"number": 6}, {"number": 3}, {"key": "rsa1024"}, {"root": 1}, {"root": 99}, {"root": True}):
        file.write_text(json.dumps(asked | change))
        with pytest.raises(ConfigurationError):
            places.sign()
    assert not (places.safe / "root-ca-6.pem").exists()
    file.write_text(json.dumps(asked))
    places.sign()
    answer = places.stick / "root.answer.pem"
    good = load_certificates(answer)
    other = load_certificates(places.trust / "cross-root-ca-3.pem")[0]
    before = sorted(places.folder.path.rglob("*.pem"))
    for spoiled in ([good[0]], [good[1], good[0]], [good[0], other], [*good, good[0]]):
        answer.write_bytes(pki_folder.bundle_pem(spoiled))
        with pytest.raises(ConfigurationError, match="root is refused"):
            places.install()
    assert before == sorted(places.folder.path.rglob("*.pem")), "nothing was changed"


def test_an_answer_without_the_legacy_root_is_enough(places: Places) -> None:
    (places.safe / "legacy-root.key").unlink()
    places.add("rsa2048", "rsa")
    root_changes.promote(places.folder, 5)
    chain = open_authority(places.data_dir, MovableClock()).chain("rsa")
    assert places.verifies(chain, "root-ca-1")
    assert places.verifies(chain, "root-ca-5")
    assert places.verifies(chain, "legacy-root", cross=True), "over the old root, which the legacy root signed"


def test_why_a_root_is_not_retired(places: Places) -> None:
    dark = "d" * 64
    places.add()
    assert ["carries"] == codes(root_changes.blockers(places.folder, 3, [], now=START))
    assert [] == root_changes.blockers(places.folder, 4, [], now=START), "nothing ever hung on it"
    running = open_authority(places.data_dir, MovableClock())
    root_changes.promote(places.folder, 5)
    running.renew_due(START)
    found = root_changes.blockers(places.folder, 3, [rehearsed("root-ca-5", "root-ca-3", good="a" * 64)], now=START)
    assert ["vouches", "untested"] == codes(found)
    assert "only cross-signer" in found[1].text
    root_changes.promote(places.folder, 5, alone=True)
    running.renew_due(START)
    assert ["untested"] == codes(root_changes.blockers(places.folder, 3, [], now=START))
    reports = [rehearsed("root-ca-5", good="a" * 64, dark=dark)]
    (needed,) = root_changes.blockers(places.folder, 3, reports, now=START + DAY)
    assert "needed" == needed.code
    for words in (dark, "probable", "unknown_ca", "192.0.2.7", f"{START:%Y-%m-%d %H:%M}"):
        assert words in needed.text
    assert not root_changes.may_retire([needed], force=False)
    assert root_changes.may_retire([needed], force=True)
    assert not root_changes.may_retire([Blocker(code="vouches", text="")], force=True)
    healed = [*reports, rehearsed("root-ca-5", good=dark, at=START + DAY)]
    assert [] == root_changes.blockers(places.folder, 3, healed, now=START + 2 * DAY)
    assert [] == root_changes.blockers(places.folder, 3, reports, now=START + 31 * DAY), "not seen lately"


def test_lint_and_plan_follow_each_step(places: Places) -> None:
    def statuses(held: str) -> dict[str, Status]:
        file = places.tmp_path / f"{held}.store"
        if not file.exists():
            file.write_bytes((places.trust / f"{held}.pem").read_bytes())
        report = trust_forecast.lint(places.folder, [file], prefer="rsa", sends_cross=False, now=START)
        return {each.when: each.status for each in report.verdicts if each.kind == "ecdsa" and not each.cross}

    def todo() -> str:
        entries = roots_plan.plan(places.folder, serves_cross=False, now=START)
        return "\n".join(each.todo for each in entries)

    yes, no = Status.YES, Status.NO
    assert yes == statuses("root-ca-3")["a new root that root-ca-3 vouches for"]
    assert "handfast roots add --key p256" in todo()
    places.add()
    old, new = statuses("root-ca-3"), statuses("root-ca-5")
    assert (yes, yes, no) == tuple(
        old[when] for when in (TODAY, "root-ca-5 in place of root-ca-3", "root-ca-5 alone, root-ca-3 retired")
    )
    assert (no, yes, yes) == tuple(
        new[when] for when in (TODAY, "root-ca-5 in place of root-ca-3", "root-ca-5 alone, root-ca-3 retired")
    )
    assert "intermediates/ecdsa-2 waits under root-ca-5" in todo()
    root_changes.promote(places.folder, 5)
    open_authority(places.data_dir, MovableClock())
    old, new = statuses("root-ca-3"), statuses("root-ca-5")
    assert (yes, no) == (old[TODAY], old["root-ca-5 alone, root-ca-3 retired"])
    assert (yes, yes) == (new[TODAY], new["root-ca-5 alone, root-ca-3 retired"])
    assert "handfast roots retire 3" in todo()
    entries = {each.name: each for each in roots_plan.plan(places.folder, serves_cross=False, now=START)}
    assert ("ECDSA chain of us-east-1 for devices with root-ca-3 alone",) == entries["root-ca-5-by-root-ca-3"].carries[
        :1
    ]
    bridge = load_certificates(places.folder.path / "roots" / "root-ca-5-by-root-ca-3.pem")[0]
    assert chains.signed_by(bridge, places.folder.roots()["root-ca-3"])


def test_a_damaged_pointer_stops_the_start(places: Places) -> None:
    places.add()
    file = places.folder.path / "serving.json"
    good = file.read_text()
    for spoiled in ("", "[]", '{"format": 2}', good.replace('"bridged": true', '"bridged": 1'), "{" * 5000):
        file.write_text(spoiled)
        with pytest.raises(ConfigurationError, match=r"serving\.json is not what handfast writes"):
            open_authority(places.data_dir, MovableClock())
    file.unlink()
    assert 2 == places.folder.intermediate("ecdsa").generation, "without it the newest is served"
