"""The server's PKI as openssl judges it; first run, names, renewal, and what stops a start."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support import forked
from tests.support.forked import Started
from tests.support.pki import (
    DOMAIN,
    REGION,
    ROOT_PASSPHRASE,
    START,
    MovableClock,
    copied_pki,
    open_authority,
    openssl,
    openssl_verifies,
)

from handfast.core.pki import chain as chains
from handfast.core.pki.pem import read_certificates
from handfast.errors import ConfigurationError
from handfast.services.authorities import ChainKind, ServerAuthority, ServerChain
from handfast.services.pki_folder import KINDS

DAY = dt.timedelta(days=1)
HOST = f"abc-ats.iot.{REGION}.{DOMAIN}"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return copied_pki(tmp_path)


@pytest.fixture
def authority(data_dir: Path) -> ServerAuthority:
    return open_authority(data_dir)


def trust(data_dir: Path, name: str) -> list[x509.Certificate]:
    return [parsed.cert for parsed in read_certificates((data_dir / "trust" / name).read_text())]


def sent(chain: ServerChain) -> list[x509.Certificate]:
    return [parsed.cert for parsed in read_certificates(chain.chain_pem.decode())]


def value(cert: x509.Certificate, kind: type[Any]) -> Any:
    return cert.extensions.get_extension_for_class(kind).value


ROOT_OF = {"rsa": "root-ca-1.pem", "ecdsa": "root-ca-3.pem"}


class TestAsOpensslSeesIt:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("host", [HOST, f"iot.{REGION}.{DOMAIN}", "localhost", "127.0.0.1", "::1"])
    def test_the_leaf_verifies_strictly_under_every_bundle_for_it(
        self, authority: ServerAuthority, data_dir: Path, tmp_path: Path, kind: ChainKind, host: str
    ) -> None:
        leaf, intermediate = sent(authority.chain(kind))
        for bundle in ("bundle.pem", ROOT_OF[kind], {"rsa": "bundle-rsa.pem", "ecdsa": "bundle-ecc.pem"}[kind]):
            assert "" == openssl_verifies(
                tmp_path,
                leaf,
                trusted=trust(data_dir, bundle),
                untrusted=[intermediate],
                purpose="sslserver",
                host=host,
            )

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_leaf_verifies_with_only_the_legacy_root_and_the_cross_certificate(
        self, authority: ServerAuthority, data_dir: Path, tmp_path: Path, kind: ChainKind
    ) -> None:
        chain = authority.chain(kind)
        leaf, intermediate = sent(chain)
        cross = [parsed.cert for parsed in read_certificates(chain.cross_pem.decode())]
        legacy = trust(data_dir, "legacy-root.pem")
        assert "" == openssl_verifies(
            tmp_path, leaf, trusted=legacy, untrusted=[intermediate, *cross], purpose="sslserver", host=HOST
        )
        assert "" != openssl_verifies(tmp_path, leaf, trusted=legacy, untrusted=[intermediate])

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_intermediate_verifies_strictly(
        self, authority: ServerAuthority, data_dir: Path, tmp_path: Path, kind: ChainKind
    ) -> None:
        _, intermediate = sent(authority.chain(kind))
        assert "" == openssl_verifies(tmp_path, intermediate, trusted=trust(data_dir, ROOT_OF[kind]))

    def test_roots_and_cross_certificates_verify_strictly(
        self, authority: ServerAuthority, data_dir: Path, tmp_path: Path
    ) -> None:
        legacy = trust(data_dir, "legacy-root.pem")
        for number in (1, 2, 3, 4):
            (root,) = trust(data_dir, f"root-ca-{number}.pem")
            (cross,) = trust(data_dir, f"cross-root-ca-{number}.pem")
            assert "" == openssl_verifies(tmp_path, root, trusted=[root])
            assert "" == openssl_verifies(tmp_path, cross, trusted=legacy)
            assert chains.same_key(root, cross)
            assert root.subject == cross.subject
        assert "" == openssl_verifies(tmp_path, legacy[0], trusted=legacy)

    def test_the_other_kinds_bundle_does_not_verify(
        self, authority: ServerAuthority, data_dir: Path, tmp_path: Path
    ) -> None:
        leaf, intermediate = sent(authority.chain("rsa"))
        assert "" != openssl_verifies(
            tmp_path, leaf, trusted=trust(data_dir, "bundle-ecc.pem"), untrusted=[intermediate]
        )


class TestWhatIsMade:
    def test_the_roots_keys_and_lives(self, authority: ServerAuthority, data_dir: Path) -> None:
        kinds, ends = [], []
        for name in ("root-ca-1", "root-ca-2", "root-ca-3", "root-ca-4", "legacy-root"):
            (root,) = trust(data_dir, f"{name}.pem")
            key = root.public_key()
            kinds.append(key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else key.key_size)  # type: ignore[union-attr]
            ends.append(root.not_valid_after_utc - START)
        assert [2048, 4096, "secp256r1", "secp384r1", 2048] == kinds
        second = dt.timedelta(seconds=1)
        expected = [25 * 365 * DAY + quarter * 91 * DAY for quarter in range(4)] + [10 * 365 * DAY]
        assert all(abs(wanted - end) < second for wanted, end in zip(expected, ends, strict=True))

    def test_names(self, authority: ServerAuthority, data_dir: Path) -> None:
        subjects = [cert.subject.rfc4514_string() for cert in trust(data_dir, "bundle.pem")]
        numbered = [f"CN=Handfast Root CA {number},O=Handfast" for number in (1, 2, 3, 4)]
        assert [*numbered, "CN=Handfast Legacy Root,O=Handfast"] == subjects
        assert 3 == len(trust(data_dir, "bundle-rsa.pem"))
        assert 2 == len(trust(data_dir, "bundle-ecc.pem"))

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_leaf(self, authority: ServerAuthority, kind: ChainKind) -> None:
        chain = authority.chain(kind)
        leaf, intermediate = sent(chain)
        assert f"CN=*.iot.{REGION}.{DOMAIN}" == leaf.subject.rfc4514_string()
        names = value(leaf, x509.SubjectAlternativeName)
        dns = [f"*.iot.{REGION}.{DOMAIN}", f"iot.{REGION}.{DOMAIN}", f"*.credentials.iot.{REGION}.{DOMAIN}"]
        dns.append(f"*.jobs.iot.{REGION}.{DOMAIN}")
        assert [*dns, "localhost"] == names.get_values_for_type(x509.DNSName)
        assert ["127.0.0.1", "::1"] == [str(each) for each in names.get_values_for_type(x509.IPAddress)]
        usages = list(value(leaf, x509.ExtendedKeyUsage))
        assert [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH] == usages
        assert not value(leaf, x509.BasicConstraints).ca
        assert START.replace(microsecond=0) + 365 * DAY == leaf.not_valid_after_utc == chain.not_after
        assert chains.authority_key_identifier(leaf) == chains.subject_key_identifier(intermediate)
        assert (True, 0) == (
            value(intermediate, x509.BasicConstraints).ca,
            value(intermediate, x509.BasicConstraints).path_length,
        )
        assert 5 == round((intermediate.not_valid_after_utc - START) / (365 * DAY))
        key = load_pem_private_key(chain.key_pem, None)
        assert isinstance(key, rsa.RSAPrivateKey if kind == "rsa" else ec.EllipticCurvePrivateKey)
        assert key.public_key() == leaf.public_key()

    def test_the_whole_rsa_chain_is_rsa_and_the_whole_ecdsa_chain_is_ec(self, authority: ServerAuthority) -> None:
        for kind, signature in (("rsa", "sha256WithRSAEncryption"), ("ecdsa", "ecdsa-with-SHA256")):
            for cert in sent(authority.chain(kind)):  # type: ignore[arg-type]
                assert signature == cert.signature_algorithm_oid._name

    def test_a_private_key_is_in_no_repr(self, authority: ServerAuthority) -> None:
        chain = authority.chain("rsa")
        assert "PRIVATE" not in repr(chain)
        assert "PRIVATE" not in repr(authority)

    def test_everything_is_private(self, authority: ServerAuthority, data_dir: Path) -> None:
        for path in data_dir.rglob("*"):
            assert 0 == path.stat().st_mode & 0o077, path

    def test_root_keys_open_only_with_the_passphrase(self, data_dir: Path) -> None:
        offline = data_dir / "pki" / "offline"
        assert 5 == sum("BEGIN ENCRYPTED PRIVATE KEY" in key.read_text() for key in offline.glob("*.key"))
        root = offline / "root-ca-1.key"
        openssl("pkey", "-in", root, "-passin", f"pass:{ROOT_PASSPHRASE.decode()}", "-noout")
        assert "Could not read key" in openssl("pkey", "-in", root, "-passin", "pass:other", "-noout", check=False)


class TestServerNames:
    def test_a_long_name_has_no_cn_and_a_critical_alternative_name(self, tmp_path: Path) -> None:
        data_dir = copied_pki(tmp_path)
        domain = "a" * 40 + ".example.test"
        chain = open_authority(data_dir, domain=domain).chain("ecdsa")
        assert [] == list(chain.leaf.subject)
        assert chain.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
        leaf, intermediate = sent(chain)
        host = f"x-ats.iot.{REGION}.{domain}"
        assert "" == openssl_verifies(
            tmp_path, leaf, trusted=trust(data_dir, "bundle.pem"), untrusted=[intermediate], host=host
        )

    def test_names_that_were_added_are_in_the_next_leaf(self, data_dir: Path, tmp_path: Path) -> None:
        before = open_authority(data_dir).chain("rsa")
        same = open_authority(data_dir).chain("rsa")
        assert before.leaf == same.leaf
        names = ["Gateway.Local.", "192.0.2.7", "[2001:DB8::7]", "localhost"]
        after = open_authority(data_dir, server_names=names).chain("rsa")
        assert before.leaf != after.leaf
        leaf, intermediate = sent(after)
        for host in ("gateway.local", "192.0.2.7", "2001:db8::7"):
            assert "" == openssl_verifies(
                tmp_path, leaf, trusted=trust(data_dir, "bundle.pem"), untrusted=[intermediate], host=host
            )
        assert before.leaf.extensions != open_authority(data_dir, domain="other.test").chain("rsa").leaf.extensions

    @pytest.mark.parametrize("name", ["not a name", "*.*.x", "über.test", ""])
    def test_what_is_no_name_stops_the_start(self, data_dir: Path, name: str) -> None:
        with pytest.raises(ConfigurationError, match="cannot stand in the server's certificate"):
            open_authority(data_dir, server_names=[name])

    def test_another_region_gets_its_leaf_when_it_is_asked_for(self, data_dir: Path, tmp_path: Path) -> None:
        authority = open_authority(data_dir)
        assert 2 == len(authority.chains())
        leaf, intermediate = sent(authority.chain("ecdsa", "eu-west-1"))
        assert "" == openssl_verifies(
            tmp_path,
            leaf,
            trusted=trust(data_dir, "bundle.pem"),
            untrusted=[intermediate],
            host=f"x-ats.iot.eu-west-1.{DOMAIN}",
        )
        again = open_authority(data_dir)
        assert {("us-east-1", "rsa"), ("us-east-1", "ecdsa"), ("eu-west-1", "ecdsa"), ("eu-west-1", "rsa")} == {
            (chain.region, chain.kind) for chain in again.chains()
        }
        assert leaf == again.chain("ecdsa", "eu-west-1").leaf

    @pytest.mark.parametrize("region", ["", "../x", "US", "a/b", "a" * 64, "-a"])
    def test_a_region_is_a_name(self, authority: ServerAuthority, region: str) -> None:
        with pytest.raises(ConfigurationError):
            authority.chain("rsa", region)


class TestRenewal:
    def test_with_a_third_of_the_life_left(self, data_dir: Path, tmp_path: Path) -> None:
        clock = MovableClock()
        authority = open_authority(data_dir, clock)
        first = {kind: authority.chain(kind) for kind in KINDS}
        # 365 days, and the hour that notBefore lies back
        third = (365 * DAY + dt.timedelta(hours=1)) / 3
        clock.at = first["rsa"].not_after - third - dt.timedelta(seconds=1)
        assert [] == authority.renew_due(clock.at)
        clock.at = first["rsa"].not_after - third
        renewed = authority.renew_due(clock.at)
        assert ["ecdsa", "rsa"] == sorted(chain.kind for chain in renewed)
        for chain in renewed:
            assert chain.not_after == clock.at.replace(microsecond=0) + 365 * DAY
            assert chain.leaf.public_key() != first[chain.kind].leaf.public_key()
            assert chain == authority.chain(chain.kind)
            leaf, intermediate = sent(chain)
            assert "" == openssl_verifies(
                tmp_path, leaf, trusted=trust(data_dir, "bundle.pem"), untrusted=[intermediate], at=clock.at
            )
        assert [] == authority.renew_due(clock.at)

    def test_the_replaced_key_is_gone(self, data_dir: Path) -> None:
        clock = MovableClock()
        authority = open_authority(data_dir, clock)
        clock.at = START + 300 * DAY
        authority.renew_due(clock.at)
        assert 4 == len(list((data_dir / "pki" / "leaves").iterdir()))
        assert authority.chain("rsa").leaf == open_authority(data_dir, clock).chain("rsa").leaf

    def test_a_start_after_a_long_rest_renews(self, data_dir: Path) -> None:
        old = open_authority(data_dir).chain("rsa")
        new = open_authority(data_dir, MovableClock(START + 500 * DAY)).chain("rsa")
        assert old.not_after < new.not_before

    def test_a_leaf_that_could_not_live_longer_is_left(self, data_dir: Path) -> None:
        clock = MovableClock(START + (5 * 365 - 30) * DAY)  # the intermediate has a month left
        authority = open_authority(data_dir, clock)
        assert authority.chain("rsa").not_after == authority.chain("rsa").intermediate.not_valid_after_utc
        clock.at += 25 * DAY
        assert [] == authority.renew_due(clock.at)
        assert any("RSA intermediate expires" in warning for warning in authority.warnings(clock.at))

    def test_damaged_leaf_files_are_made_anew(self, data_dir: Path) -> None:
        (data_dir / "pki" / "leaves" / f"{REGION}-rsa.pem").write_text("damage")
        for key in (data_dir / "pki" / "leaves").glob(f"{REGION}-ecdsa-*.key"):
            key.unlink()
        authority = open_authority(data_dir)
        assert [("ecdsa", REGION), ("rsa", REGION)] == [(chain.kind, chain.region) for chain in authority.chains()]


class TestWarnings:
    def test_the_intermediates_two_years_ahead(self, authority: ServerAuthority) -> None:
        def said(now: dt.datetime) -> int:
            return sum("intermediate expires" in warning for warning in authority.warnings(now))

        end = authority.chain("rsa").intermediate.not_valid_after_utc
        assert 0 == said(end - 2 * 365 * DAY)
        assert 2 == said(end - 2 * 365 * DAY + dt.timedelta(seconds=1))

    def test_root_keys_here_and_plain_keys(self, data_dir: Path) -> None:
        assert 2 == len(open_authority(data_dir).warnings(START))
        shutil.rmtree(data_dir / "pki" / "offline")
        assert 1 == len(open_authority(data_dir).warnings(START))
        assert [] == open_authority(data_dir, key_passphrase=b"secret").warnings(START)


class TestStart:
    def test_the_root_keys_are_never_opened_and_may_be_elsewhere(self, data_dir: Path) -> None:
        for key in (data_dir / "pki" / "offline").glob("*.key"):
            key.write_text("damaged")
        open_authority(data_dir)
        shutil.rmtree(data_dir / "pki" / "offline")
        assert open_authority(data_dir).chain("rsa")

    def test_published_files_are_written_again(self, data_dir: Path) -> None:
        expected = {path.name: path.read_bytes() for path in (data_dir / "trust").iterdir()}
        (data_dir / "trust" / "bundle.pem").write_text("damaged")
        (data_dir / "trust" / "root-ca-1.pem").unlink()
        open_authority(data_dir)
        assert expected == {path.name: path.read_bytes() for path in (data_dir / "trust").iterdir()}
        shutil.rmtree(data_dir / "trust")
        open_authority(data_dir)
        assert expected == {path.name: path.read_bytes() for path in (data_dir / "trust").iterdir()}

    def test_trust_without_pki_is_never_replaced(self, data_dir: Path) -> None:
        shutil.rmtree(data_dir / "pki")
        expected = (data_dir / "trust" / "bundle.pem").read_bytes()
        with pytest.raises(ConfigurationError, match="restore it from a backup"):
            open_authority(data_dir)
        assert expected == (data_dir / "trust" / "bundle.pem").read_bytes()

    def test_keys_are_sealed_with_a_passphrase_and_stay_so(self, data_dir: Path) -> None:
        first = open_authority(data_dir, key_passphrase=b"secret").chain("rsa")
        keys = [path for path in (data_dir / "pki").rglob("*.key") if "device-ca" not in str(path)]
        assert len(keys) == sum("ENCRYPTED" in path.read_text() for path in keys)
        with pytest.raises(ConfigurationError, match="passphrase"):
            open_authority(data_dir)
        assert first.leaf == open_authority(data_dir, key_passphrase=b"secret").chain("rsa").leaf

    @pytest.mark.parametrize(
        ("file", "other", "said"),
        [
            ("intermediates/rsa-1.pem", "intermediates/ecdsa-1.pem", "is not the key of"),
            ("intermediates/rsa-1.pem", "roots/root-ca-4.pem", "is not the key of"),
            ("intermediates/rsa-1.pem", "device-ca/issuer-1.pem", "does not verify"),
            ("intermediates/rsa-1.key", "intermediates/ecdsa-1.key", "is not the key of"),
            ("roots/root-ca-1.pem", "roots/root-ca-2.pem", "lacks|does not verify"),
            ("roots/cross.pem", "roots/root-ca-1.pem", "does not verify"),
            ("roots/cross.pem", "roots/root-ca-2.pem", "lacks"),
        ],
    )
    def test_a_mixed_up_file_stops_the_start(self, data_dir: Path, file: str, other: str, said: str) -> None:
        shutil.copy(data_dir / "pki" / other, data_dir / "pki" / file)
        with pytest.raises(ConfigurationError, match=said):
            open_authority(data_dir)

    @pytest.mark.parametrize(
        "file", ["intermediates/rsa-1.pem", "intermediates/ecdsa-1.key", "roots/root-ca-3.pem", "roots/cross.pem"]
    )
    @pytest.mark.parametrize("damage", ["missing", "empty", "garbage"])
    def test_a_damaged_file_stops_the_start(self, data_dir: Path, file: str, damage: str) -> None:
        path = data_dir / "pki" / file
        if damage == "missing":
            path.unlink()
        else:
            path.write_text("" if damage == "empty" else "-----BEGIN CERTIFICATE-----\nAAAA\n")
        with pytest.raises(ConfigurationError):
            open_authority(data_dir)

    def test_an_expired_intermediate_stops_the_start_and_says_what_to_do(self, data_dir: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"expired.*handfast roots"):
            open_authority(data_dir, MovableClock(START + 6 * 365 * DAY))

    def test_an_expired_legacy_root_does_not(self, data_dir: Path) -> None:
        (data_dir / "pki" / "roots" / "cross.pem").read_text()
        authority = open_authority(data_dir)
        legacy = trust(data_dir, "legacy-root.pem")[0]
        assert any("legacy-root" in text for text in authority.warnings(legacy.not_valid_after_utc - DAY))


class TestFirstRun:
    def test_a_generated_passphrase_is_revealed_before_the_pki_is_in_place(self, tmp_path: Path) -> None:
        data_dir = tmp_path / "data"
        data_dir.mkdir(mode=0o700)
        seen: list[tuple[str, bool]] = []
        said: list[str] = []
        authority = open_authority(
            data_dir,
            root_passphrase=None,
            reveal=lambda passphrase: seen.append((passphrase, (data_dir / "pki").exists())),
            progress=said.append,
        )
        ((passphrase, in_place),) = seen
        assert not in_place
        assert passphrase == authority.generated_root_passphrase
        assert len(said) >= 2
        openssl("pkey", "-in", data_dir / "pki/offline/root-ca-2.key", "-passin", f"pass:{passphrase}", "-noout")
        everything = b"".join(path.read_bytes() for path in data_dir.rglob("*") if path.is_file())
        assert passphrase.encode() not in everything
        assert open_authority(data_dir, root_passphrase=None).generated_root_passphrase is None

    def test_what_cannot_be_revealed_is_not_made(self, tmp_path: Path) -> None:
        data_dir = tmp_path / "data"
        data_dir.mkdir(mode=0o700)

        def fail(_: str) -> None:
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            open_authority(data_dir, root_passphrase=None, reveal=fail)
        assert [] == list(data_dir.iterdir())


_CHILD = """
import sys
from pathlib import Path
from tests.support.pki import open_authority
open_authority(Path(sys.argv[1]))
print("done", flush=True)
"""


def first_run(data_dir: Path, printed: Path) -> Started:
    """A first run in a process of its own, which prints into a file."""
    with printed.open("wb") as out:
        return forked.begin([str(data_dir)], dict(os.environ), out.fileno(), out.fileno(), program=_CHILD)


def killed_when(data_dir: Path, condition: Any) -> bool:
    """A first run, killed as soon as `condition()`; whether it was killed before its end."""
    printed = data_dir.with_name("printed")
    child = first_run(data_dir, printed)
    try:
        deadline = time.monotonic() + 60
        while child.poll() is None and not condition():
            assert time.monotonic() < deadline
            time.sleep(0.0005)  # leaves the processor to the child; the files come and go in milliseconds
    finally:
        child.kill()
        child.wait()
    return "done" not in printed.read_text()


EARLY = (".pki-new-*/offline/*.key", ".pki-new-*/roots/root-ca-1.pem", ".pki-new-*/device-ca/issuer-1.pem", "pki")
LATE = (".trust-new", ".trust-new/root-ca-1.pem", "trust", "pki/leaves/*.key", f"pki/leaves/{REGION}-rsa.pem")


@pytest.mark.parametrize("pattern", [*EARLY, *LATE])
def test_killed_anywhere_in_the_first_run_the_next_start_completes(tmp_path: Path, pattern: str) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    if pattern in LATE:
        # The keys of these were made before: what is left to be killed follows the rename.
        shutil.move(copied_pki(tmp_path / "copy") / "pki", data_dir)
        shutil.rmtree(data_dir / "pki" / "leaves")
    killed = killed_when(data_dir, lambda: any(data_dir.glob(pattern)))
    assert killed or pattern != EARLY[0]  # the later ones may win the race
    was_in_place = (data_dir / "pki").exists()
    if was_in_place:
        before = (data_dir / "pki" / "roots" / "root-ca-1.pem").read_bytes()
    else:
        assert not (data_dir / "trust").exists()
    authority = open_authority(data_dir)
    if was_in_place:
        # Somebody may have seen these roots already: what was complete stays.
        assert before == (data_dir / "pki" / "roots" / "root-ca-1.pem").read_bytes()
    assert [] == [path.name for path in data_dir.iterdir() if path.name.startswith(".")]
    for kind in KINDS:
        leaf, intermediate = sent(authority.chain(kind))
        assert "" == openssl_verifies(
            tmp_path, leaf, trusted=trust(data_dir, "bundle.pem"), untrusted=[intermediate], host=HOST
        )


def test_two_first_runs_at_once_make_one_pki(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    files = [tmp_path / "one", tmp_path / "two"]
    children = [first_run(data_dir, file) for file in files]
    for child in children:
        child.wait()
    printed = [file.read_text() for file in files]
    assert any("done" in each for each in printed)
    for each in printed:
        assert "done" in each or "Another handfast is making the PKI" in each, printed
    assert open_authority(data_dir)
