"""What a device with a given store verifies, judged against a real PKI; openssl agrees about today."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from tests.support.pki import START, certificate, copied_pki, der, key_of, openssl_verifies, pem
from tests.support.tls_ca import issue, new_key

from handfast.core.pki.describe import pin
from handfast.core.pki.trust_lint import TODAY, Severity, Status
from handfast.errors import ConfigurationError
from handfast.services import trust_forecast
from handfast.services.pki_folder import PkiFolder, load_certificates
from handfast.services.trust_forecast import LEGACY_ENDPOINT, LEGACY_RETIRED, Report

YES, PARTIAL, NO = Status.YES, Status.PARTIAL, Status.NO


class Server:
    """A data directory whose PKI was made at START, and devices of its fleet."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.trust = copied_pki(tmp_path) / "trust"
        self.folder = PkiFolder(tmp_path / "data" / "pki")

    def certificate(self, name: str) -> x509.Certificate:
        return load_certificates(self.trust / f"{name}.pem")[0]

    def chain(self, kind: Literal["rsa", "ecdsa"]) -> list[x509.Certificate]:
        chain = self.folder.leaf_chain("us-east-1", kind)
        assert chain is not None
        return chain

    def lint(
        self,
        *held: x509.Certificate | bytes,
        prefer: Literal["rsa", "ecdsa"] = "rsa",
        sends_cross: bool = False,
        now: dt.datetime = START,
    ) -> Report:
        files = []
        for number, each in enumerate(held):
            file = self.tmp_path / f"store-{number}"
            file.write_bytes(each if isinstance(each, bytes) else der(each))
            files.append(file)
        return trust_forecast.lint(self.folder, files, prefer=prefer, sends_cross=sends_cross, now=now)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("server"))


def statuses(report: Report, kind: str) -> dict[str, tuple[Status, ...]]:
    """By time: without a cross-certificate, and with it where there is one."""
    found: dict[str, tuple[Status, ...]] = {}
    for each in report.verdicts:
        if each.kind == kind:
            found[each.when] = (*found.get(each.when, ()), each.status)
    return found


def codes(report: Report) -> dict[str, Severity]:
    return {each.code: each.severity for each in report.findings}


def test_one_root_is_blind_to_the_other_kind_and_to_the_one_in_reserve(server: Server) -> None:
    report = server.lint(server.certificate("root-ca-1"))
    assert {
        TODAY: (YES, YES),
        LEGACY_ENDPOINT: (NO,),
        "new intermediate under root-ca-1": (YES, YES),
        "root-ca-2 in place of root-ca-1": (NO, NO),
        "a new root that root-ca-1 vouches for": (YES, YES),
        LEGACY_RETIRED: (YES,),
    } == statuses(report, "rsa")
    assert {(NO, NO), (NO,)} == set(statuses(report, "ecdsa").values())
    assert {"reserve_missing": Severity.MEDIUM} == codes(report)
    today = report.verdicts[0]
    assert (server.certificate("root-ca-1").not_valid_after_utc, None) == (today.until, today.why)


def test_the_legacy_root_alone_depends_on_what_is_sent(server: Server) -> None:
    legacy = server.certificate("legacy-root")
    report = server.lint(legacy)
    for kind in ("rsa", "ecdsa"):
        found = statuses(report, kind)
        assert (NO,) == found.pop(LEGACY_RETIRED)
        assert (None if kind == "ecdsa" else (YES,)) == found.pop(LEGACY_ENDPOINT, None)
        assert {(NO, YES)} == set(found.values())
    assert {"legacy_only": Severity.HIGH, "dark": Severity.CRITICAL} == codes(report)
    assert {None, legacy.not_valid_after_utc} == {each.until for each in report.verdicts}
    assert {"legacy_only": Severity.HIGH} == codes(server.lint(legacy, sends_cross=True))


def test_everything_is_good_in_the_bundle_for_everyone(server: Server) -> None:
    report = server.lint((server.trust / "bundle.pem").read_bytes())
    assert {YES} == {each.status for each in report.verdicts}
    assert {} == codes(report)
    assert {"legacy_missing": Severity.LOW} == codes(
        server.lint(*[server.certificate(f"root-ca-{n}") for n in (1, 2, 3, 4)], sends_cross=True)
    )


@pytest.mark.parametrize("name", ["root-ca-1", "root-ca-3", "legacy-root", "cross-root-ca-1"])
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_openssl_agrees_about_today(server: Server, tmp_path: Path, name: str, kind: Literal["rsa", "ecdsa"]) -> None:
    held = server.certificate(name)
    leaf, intermediate = server.chain(kind)
    cross = server.certificate("cross-root-ca-1" if kind == "rsa" else "cross-root-ca-3")
    report = server.lint(held)
    for verdict, sent in zip(
        [each for each in report.verdicts if (each.when, each.kind) == (TODAY, kind)],
        ([intermediate], [intermediate, cross]),
        strict=True,
    ):
        whole = openssl_verifies(tmp_path, leaf, trusted=[held], untrusted=sent)
        partial = openssl_verifies(tmp_path, leaf, trusted=[held], untrusted=sent, partial=True)
        assert {YES: (True, True), PARTIAL: (False, True), NO: (False, False)}[verdict.status] == (
            whole == "",
            partial == "",
        )


def test_what_is_no_root_ends_a_path_for_some_verifiers_only(server: Server) -> None:
    cross = server.lint(server.certificate("cross-root-ca-3"))
    assert (PARTIAL, PARTIAL) == statuses(cross, "ecdsa")[TODAY]
    assert Severity.MEDIUM == codes(cross)["cross_trusted"]
    leaf, intermediate = server.chain("ecdsa")
    below = server.lint(intermediate)
    assert (PARTIAL, PARTIAL) == statuses(below, "ecdsa")[TODAY]
    assert (NO, NO) == statuses(below, "ecdsa")["new intermediate under root-ca-3"]
    assert Severity.HIGH == codes(below)["intermediate_trusted"]
    assert intermediate.not_valid_after_utc in {each.until for each in below.verdicts}
    trusted_leaf = codes(server.lint(leaf))
    assert (Severity.CRITICAL, Severity.HIGH) == (trusted_leaf["leaf_trusted"], trusted_leaf["blind_soon"])
    # Beside its root, an intermediate takes nothing away.
    assert (YES, YES) == statuses(server.lint(intermediate, server.certificate("root-ca-3")), "ecdsa")[TODAY]
    # A cross-certificate in the store stands in for one that is not sent.
    both = server.lint(server.certificate("cross-root-ca-3"), server.certificate("legacy-root"))
    assert (YES, YES) == statuses(both, "ecdsa")[TODAY]


def test_pins(server: Server) -> None:
    root = server.certificate("root-ca-1")
    key = (pin(root) or "").encode()
    alone = server.lint(key)
    assert (NO, PARTIAL) == statuses(alone, "rsa")[TODAY]
    assert {"pins_alone", "dark", "reserve_missing"} == set(codes(alone))
    assert {"reserve_missing"} == set(codes(server.lint(key, root)))
    whole = server.lint(hashlib.sha256(der(root)).hexdigest().encode(), root)
    assert Severity.CRITICAL == codes(whole)["certificate_pin"]
    assert (NO, NO) == statuses(whole, "rsa")[TODAY]
    leaf, intermediate = server.chain("rsa")
    for cert, code in ((leaf, "leaf_pinned"), (intermediate, "intermediate_pinned")):
        report = server.lint((pin(cert) or "").encode(), root)
        assert code in codes(report)
        assert (YES, YES) == statuses(report, "rsa")[TODAY]
        assert (NO, NO) == statuses(report, "rsa")["new intermediate under root-ca-1"]
    assert "unknown_pin" in codes(server.lint(b"00" * 32, root))


def test_what_else_is_wrong_with_a_store(server: Server) -> None:
    root = server.certificate("root-ca-1")
    impostor = certificate(root.subject, ca=True, key=key_of("p256"))
    other = certificate("Other Root", ca=True, key=key_of("p384"))
    weak = certificate("Weak Root", ca=True, key=key_of("rsa1024"), not_after=START - dt.timedelta(hours=1))
    private = b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
    report = server.lint(pem(root, root, impostor, other, weak).encode(), private)
    assert {
        "private_key": Severity.CRITICAL,
        "other_root": Severity.HIGH,
        "weak_key": Severity.HIGH,
        "expired": Severity.MEDIUM,
        "reserve_missing": Severity.MEDIUM,
        "duplicate": Severity.LOW,
        "unknown": Severity.LOW,
    } == codes(report)
    severities = [each.severity for each in report.findings]
    assert sorted(severities, reverse=True) == severities


def test_one_kind_where_the_server_prefers_the_other(server: Server) -> None:
    rsa = server.lint((server.trust / "bundle-rsa.pem").read_bytes(), prefer="ecdsa")
    assert {"preference": Severity.HIGH} == codes(rsa)
    assert {} == codes(server.lint((server.trust / "bundle-rsa.pem").read_bytes()))
    # The legacy root among them verifies the ECDSA chain as well once cross-certificates are sent.
    assert {} == codes(server.lint((server.trust / "bundle-rsa.pem").read_bytes(), prefer="ecdsa", sends_cross=True))


def test_dates(server: Server) -> None:
    root = server.certificate("root-ca-1")
    end = root.not_valid_after_utc
    near = server.lint(root, now=end - dt.timedelta(days=100))
    assert (NO, NO) == statuses(near, "rsa")[TODAY], "the leaf of START has run out by then"
    assert (YES, YES) == statuses(near, "rsa")["new intermediate under root-ca-1"]
    gone = server.lint(root, now=end + dt.timedelta(seconds=1))
    assert {NO} == {each.status for each in gone.verdicts}
    assert Severity.HIGH == codes(gone)["expired"]


def test_folders_and_what_cannot_be_read(server: Server, tmp_path: Path) -> None:
    store = tmp_path / "certs"
    store.mkdir()
    (store / "a.pem").write_text(pem(server.certificate("root-ca-1")))
    (store / "0123abcd.0").symlink_to("a.pem")
    report = trust_forecast.lint(server.folder, [store], prefer="rsa", sends_cross=False, now=START)
    assert 1 == len(report.store.certificates)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        trust_forecast.lint(server.folder, [tmp_path / "none"], prefer="rsa", sends_cross=False, now=START)
    with pytest.raises(ConfigurationError, match="start `handfast serve` once"):
        trust_forecast.lint(PkiFolder(tmp_path / "none"), [store], prefer="rsa", sends_cross=False, now=START)


def test_chains_of_the_operators_own(server: Server, tmp_path: Path) -> None:
    root = issue("Plant Root", new_key("p256", 61), ca=True, not_before_days=-900, not_after_days=3650)
    middle = issue("Plant CA", new_key("p256", 62), root, ca=True, not_before_days=-900, not_after_days=3650)
    leaf = issue("mqtt.plant.example", new_key("p256", 63), middle, names=("mqtt.plant.example",))
    file = tmp_path / "plant.pem"
    file.write_bytes(leaf.pem + middle.pem + root.pem)
    store = tmp_path / "store.pem"
    now = dt.datetime.now(dt.UTC)

    def told(*held: bytes) -> tuple[Status, str | None]:
        store.write_bytes(b"".join(held))
        report = trust_forecast.lint(
            server.folder, [store], prefer="rsa", sends_cross=False, now=now, own_chains=[file]
        )
        (own,) = [each for each in report.verdicts if each.when == "plant.pem"]
        assert "ecdsa" == own.kind
        return own.status, own.why

    assert (YES, None) == told(root.pem)
    assert (NO, "It lacks CN=Plant Root.") == told((server.trust / "root-ca-1.pem").read_bytes())
    file.write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match=r"plant\.pem: "):
        told(root.pem)
    file.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        told(root.pem)
