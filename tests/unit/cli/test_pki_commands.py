"""`trust`, `roots` and `chain` as a user runs them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.support.pki import ROOT_PASSPHRASE, certificate, key_of, openssl, pem

from handfast.cli.main import run
from handfast.keystore.file import FileKeyStore
from handfast.services.authorities import ServerAuthority
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PKI of today: the commands look at the real clock."""
    data_dir = tmp_path_factory.mktemp("data")
    data_dir.chmod(0o700)
    open_today(data_dir)
    return data_dir


@pytest.fixture
def data_dir(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = Path(shutil.copytree(made, tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDFAST_DATA_DIR", str(copy))
    return copy


def open_today(data_dir: Path) -> ServerAuthority:
    return ServerAuthority.open(
        data_dir,
        region="us-east-1",
        domain="localhost",
        server_names=(),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        keystore=FileKeyStore,
        root_passphrase=ROOT_PASSPHRASE,
    )


class TestTrust:
    def test_list_says_what_openssl_says(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == run(["trust", "list", "--json"])
        listed = json.loads(capsys.readouterr().out)
        assert ["RSA 2048", "RSA 4096", "P-256", "P-384", "RSA 2048"] == [root["key"] for root in listed]
        for root in listed:
            file = root["file"]
            printed = openssl("x509", "-in", file, "-noout", "-fingerprint", "-sha256")
            assert root["fingerprint"] == printed.partition("=")[2].strip().replace(":", "").lower()
            public = data_dir / "public.der"
            openssl(
                "pkey",
                "-pubin",
                "-outform",
                "DER",
                "-out",
                public,
                text=openssl("x509", "-in", file, "-noout", "-pubkey"),
            )
            assert root["pin"] in openssl("dgst", "-sha256", public)

    def test_list_for_a_person(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == run(["trust", "list"])
        printed = capsys.readouterr().out
        for word in ("root-ca-4.pem", "legacy-root.pem", "P-384", "pin (SPKI)", "cross-signs"):
            assert word in printed

    @pytest.mark.parametrize(("count", "flags"), [(5, []), (5, ["--all"]), (3, ["--rsa"]), (2, ["--ecc"])])
    def test_bundle(self, data_dir: Path, capsys: pytest.CaptureFixture[str], count: int, flags: list[str]) -> None:
        assert 0 == run(["trust", "bundle", *flags])
        printed = capsys.readouterr().out
        assert count == printed.count("BEGIN CERTIFICATE")
        assert 0 == run(["trust", "bundle", *flags, "-o", "out.pem"])
        assert printed == Path("out.pem").read_text()

    def test_bundle_replaces_nothing_but_a_trust_bundle(
        self, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = (data_dir / "trust" / "root-ca-3.pem").read_text()
        device = certificate("device")
        key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        der = ssl.PEM_cert_to_DER_cert(root)
        precious = [key, root + key, key + root, f"[server]\n{root}", f"{root}# \n\x00", pem(device) + root, "x"]
        for content in [*(each.encode() for each in precious), der + b"\x30\x82\x00\x01x", der[:-1], b"\xff\xfe"]:
            kept = tmp_path / "precious"
            kept.write_bytes(content)
            assert 2 == run(["trust", "bundle", "--out", str(kept)])
            said = capsys.readouterr()
            assert ("", 1) == (said.out, len(said.err.splitlines()))
            assert "no trust bundle" in said.err
            assert content == kept.read_bytes()
        for name in (tmp_path, Path("/dev/null")):
            assert 2 == run(["trust", "bundle", "--out", str(name)])
        for content in (b"", f"# roots\n{root}\n{root}".encode(), der + der):
            Path("old").write_bytes(content)
            assert 0 == run(["trust", "bundle", "--ecc", "--out", "old"])
            assert (data_dir / "trust" / "bundle-ecc.pem").read_text() == Path("old").read_text()
        capsys.readouterr()
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert 2 == run(["trust", "bundle", "--der"])
        said = capsys.readouterr()
        assert ("", True) == (said.out, "--out FILE" in said.err)

    def test_bundle_says_what_it_takes_of_a_device(
        self, data_dir: Path, capsysbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        files = [data_dir / "trust" / f"root-ca-{number}.pem" for number in (3, 4)]
        expected = [ssl.PEM_cert_to_DER_cert(file.read_text()) for file in files]
        assert 0 == run(["trust", "bundle", "--ecc", "--der"])
        said = capsysbinary.readouterr()
        assert b"".join(expected) == said.out
        assert f"{sum(map(len, expected))}".encode() in said.err.splitlines()[-1]
        assert 0 == run(["trust", "bundle", "--ecc", "--der", "--out", "out.der", "--json"])
        answer = json.loads(capsysbinary.readouterr().out)
        assert b"".join(expected) == Path("out.der").read_bytes()
        assert [len(der) for der in expected] == [each["der_bytes"] for each in answer["certificates"]]
        assert [file.stat().st_size for file in files] == [each["pem_bytes"] for each in answer["certificates"]]
        assert (sum(map(len, expected)), sum(file.stat().st_size for file in files)) == (
            answer["der_bytes"],
            answer["pem_bytes"],
        )

    def test_pins_are_of_keys_and_warn_of_the_certificates_that_share_them(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trust = data_dir / "trust"
        assert 0 == run(["trust", "pins", "--rsa", "--json"])
        answer = json.loads(capsys.readouterr().out)
        assert ["root-ca-1.pem", "root-ca-2.pem", "legacy-root.pem"] == [each["file"] for each in answer["pins"]]
        first = answer["pins"][0]
        public = x509.load_pem_x509_certificate((trust / "root-ca-1.pem").read_bytes()).public_key()
        digest = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        assert (digest.hex(), base64.b64encode(digest).decode()) == (first["pin"], first["pin_base64"])
        twins = [ssl.PEM_cert_to_DER_cert((trust / f"{name}root-ca-1.pem").read_text()) for name in ("", "cross-")]
        assert [hashlib.sha256(der).hexdigest() for der in twins] == first["fingerprints"]
        assert "never a whole certificate" in answer["warning"]
        assert 0 == run(["trust", "pins", "--rsa"])
        printed = capsys.readouterr().out
        assert f"sha256/{first['pin_base64']}  # root-ca-1.pem" in printed.splitlines()[0]
        assert "never a whole certificate" in printed

    def test_lint_reads_what_bundle_and_pins_write(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == run(["trust", "bundle", "--der", "-o", "roots.der"])
        assert 0 == run(["trust", "pins"])
        Path("pins.txt").write_text(capsys.readouterr().out.partition("\ntogether")[2].partition("\n")[2])
        assert 0 == run(["trust", "lint", "roots.der", "pins.txt", "--json", "--fail-on", "low"])
        report = json.loads(capsys.readouterr().out)
        assert (5, 5, []) == (report["certificates"], report["pins"], report["findings"])
        assert {"yes"} == {each["status"] for each in report["verdicts"]}
        assert {False, True} == {each["cross"] for each in report["verdicts"]}

    def test_lint_for_a_person_and_its_exit_status(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lint = ["trust", "lint", str(data_dir / "trust" / "legacy-root.pem")]
        assert 0 == run(lint)
        printed = capsys.readouterr().out
        for words in (
            "root-ca-2 in place of root-ca-1",
            "CRITICAL  dark",
            "HIGH  legacy_only",
            "--serve-cross of serve",
        ):
            assert words in printed
        assert 1 == run([*lint, "--fail-on", "critical"])
        (data_dir.parent / "handfast.toml").write_text("serve-cross = true\n")
        capsys.readouterr()
        assert 0 == run([*lint, "--fail-on", "critical"])
        printed = capsys.readouterr().out
        assert "sends them" in printed
        assert printed.endswith("\n1 finding.\n")

    def test_what_cannot_be_done_is_one_line(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for arguments in (
            ["trust", "lint", "missing.pem"],
            ["trust", "lint", ".", "--fail-on", "none"],
            ["trust", "lint", ".", "--prefer-chain", "dsa"],
            ["trust", "bundle", "--rsa", "--ecc"],
            ["trust", "pins", "--rsa", "--all"],
            ["trust", "bundle", "-o", "no/such/folder/x"],
            ["trust", "list", "--data-dir", "nowhere"],
        ):
            assert 2 == run(arguments)
            said = capsys.readouterr()
            assert "" == said.out
            assert 1 == said.err.count("\n")


class TestRoots:
    def test_an_intermediate_in_two_halves(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = open_today(data_dir).chain("rsa")
        safe = shutil.move(data_dir / "pki" / "offline", "safe")
        Path("passphrase").write_bytes(ROOT_PASSPHRASE + b"\n")
        assert 0 == run(["roots", "request", "stick", "--act", "intermediate-rsa", "--json"])
        (asked,) = json.loads(capsys.readouterr().out)
        sign = ["roots", "sign", "--offline", "stick", "--passphrase-file", "passphrase", "--data-dir", "nowhere"]
        assert 2 == run(sign)
        assert "give --keys" in capsys.readouterr().err
        assert 0 == run([*sign, "--keys", str(safe), "--json"])
        (signed,) = json.loads(capsys.readouterr().out)
        assert asked["key"] == signed["key"]
        assert 0 == run(["roots", "install", "stick"])
        assert asked["key"] in capsys.readouterr().out
        assert before.intermediate != open_today(data_dir).chain("rsa").intermediate

    def test_root_keys_that_travel_with_the_requests(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == run(["roots", "request", "stick", "--act", "cross"])
        shutil.move(data_dir / "pki" / "offline", "stick")
        Path("passphrase").write_bytes(ROOT_PASSPHRASE)
        sign = ["roots", "sign", "--offline", "stick", "--passphrase-file", "passphrase"]
        assert 0 == run([*sign, "--data-dir", "nowhere"])
        assert 0 == run(["roots", "install", "stick"])

    def test_plan(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == run(["roots", "plan", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert {"good"} == {each["state"] for each in report["certificates"]}
        assert "handfast roots request DIR --act intermediate-" in report["next"][0]["todo"]
        assert 0 == run(["roots", "plan"])
        lines = capsys.readouterr().out.splitlines()
        assert [] == [line for line in lines if len(line) > 100]
        printed = " ".join(word for line in lines for word in line.split())
        for words in (
            "RSA chain of us-east-1",
            "by itself",
            "--serve-cross is off",
            "--act intermediate-rsa --under 1",
            "Add an RSA root",
            "Add an ECDSA root",
        ):
            assert words in printed

    def test_nothing_is_due_in_a_new_pki(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert 0 == run(["roots", "request", "stick"])
        assert "Nothing is due" in capsys.readouterr().out
        assert not Path("stick").exists()

    def test_what_cannot_be_done_is_one_line(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("empty").mkdir()
        Path("file").write_text("")
        Path("wrong").write_text("wrong\n")
        assert 0 == run(["roots", "request", "stick", "--act", "cross"])
        capsys.readouterr()
        for arguments in (
            ["roots", "request", "file/below", "--act", "cross"],
            ["roots", "request", "stick", "--act", "nonsense"],
            ["roots", "request", "stick", "--act", "intermediate-rsa", "--under", "3"],
            ["roots", "request", "stick", "--data-dir", "nowhere"],
            ["roots", "plan", "--data-dir", "nowhere"],
            ["roots", "sign", "--offline", "empty", "--passphrase-file", "wrong"],
            ["roots", "sign", "--offline", "stick", "--passphrase-file", "wrong"],
            ["roots", "sign", "--offline", "stick", "--passphrase-file", "file"],
            ["roots", "sign", "--offline", "stick", "--passphrase-file", "missing"],
            ["roots", "install", "empty"],
            ["roots", "install", "missing"],
        ):
            assert 2 == run(arguments), arguments
            assert 1 == capsys.readouterr().err.count("\n"), arguments

    def test_a_wrong_passphrase_leaves_no_request_behind(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("wrong").write_text("wrong\n")
        before = sorted((data_dir / "pki").rglob("*"))
        assert 2 == run(["roots", "add", "--key", "p256", "--passphrase-file", "wrong"])
        assert "does not open the private key" in capsys.readouterr().err
        assert before == sorted((data_dir / "pki").rglob("*"))

    def test_nobody_types_a_passphrase_for_nothing(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        assert 2 == run(["roots", "sign", "--offline", "missing"])
        assert "missing holds no *.request.json" in capsys.readouterr().err
        assert 0 == run(["roots", "request", "stick", "--act", "cross"])
        capsys.readouterr()
        assert 2 == run(["roots", "sign", "--offline", "stick"])
        (line,) = capsys.readouterr().err.splitlines()
        assert "give --passphrase-file FILE" in line
        monkeypatch.setattr("sys.stdin", io.StringIO(ROOT_PASSPHRASE.decode() + "\n"))
        assert 0 == run(["roots", "sign", "--offline", "stick"])
        assert "" == capsys.readouterr().err


@contextmanager
def server(data_dir: Path, kind: str, *options: str) -> Iterator[int]:
    """`openssl s_server` with one of the chains; its port."""
    leaves = data_dir / "pki" / "leaves"
    (key,) = leaves.glob(f"us-east-1-{kind}-*.key")
    chain = leaves / f"us-east-1-{kind}.pem"
    certificates = chain.read_text().split("-----END CERTIFICATE-----\n")
    intermediate = data_dir / "intermediate.pem"
    intermediate.write_text(certificates[1] + "-----END CERTIFICATE-----\n")
    command = [
        "openssl",
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        chain,
        "-key",
        key,
        "-cert_chain",
        intermediate,
    ]
    child = subprocess.Popen(
        [*map(str, command), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            accepted = re.match(r"ACCEPT 127\.0\.0\.1:(\d+)", line)
            if accepted:
                yield int(accepted[1])
                break
        else:
            pytest.fail("s_server did not start")
    finally:
        child.kill()
        child.wait()


class TestChain:
    @pytest.mark.parametrize(("kind", "root"), [("rsa", "root-ca-1.pem"), ("ecdsa", "root-ca-3.pem")])
    @pytest.mark.parametrize("options", [[], ["-tls1_2"], ["-Verify", "1", "-tls1_2"], ["-Verify", "1", "-tls1_3"]])
    def test_of_a_server_that_may_require_a_certificate(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str], kind: str, root: str, options: list[str]
    ) -> None:
        with server(data_dir, kind, *options) as port:
            assert 0 == run(["chain", f"localhost:{port}", "--json"])
        shown = json.loads(capsys.readouterr().out)
        assert shown["group"].lower() in ("x25519mlkem768", "x25519")
        leaf, intermediate = shown["chain"]
        assert [[], []] == [leaf["problems"], intermediate["problems"]]
        assert leaf["authority_key_identifier"] == intermediate["subject_key_identifier"]
        assert [root] == [each["file"] for each in shown["roots"]]
        assert shown["servername_covered"]
        assert ("complete" == shown["handshake"]) == ("-Verify" not in options or "-tls1_3" in options)

    def test_for_a_person(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with server(data_dir, "rsa", "-Verify", "1") as port:
            assert 0 == run(["chain", f"127.0.0.1:{port}", "--rsa", "--servername", "other.test"])
        printed = capsys.readouterr().out
        for words in (
            "0 leaf",
            "1 intermediate",
            "root-ca-1.pem",
            "RSA 2048",
            "other.test is none",
            "TLSv1.2",
            "ended",
        ):
            assert words in printed

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_sizes_are_those_that_openssl_receives(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str], version: str
    ) -> None:
        member = "tls12" if version == "-tls1_2" else "tls13"
        with server(data_dir, "ecdsa") as port:
            assert 0 == run(["chain", f"127.0.0.1:{port}", "--sizes", "--json"])
            trace = openssl("s_client", "-connect", f"127.0.0.1:{port}", version, "-msg", text="", check=False)
        received = re.search(r"<<< TLS 1\.[23], Handshake \[length ([0-9a-f]+)\], Certificate\n", trace)
        assert received is not None, trace
        without, with_cross = json.loads(capsys.readouterr().out)["sizes"]
        assert int(received[1], 16) == without["certificate_message"][member]
        assert (True, False) == (without["sent"], with_cross["sent"])
        cross = ssl.PEM_cert_to_DER_cert((data_dir / "trust" / "cross-root-ca-3.pem").read_text())
        grown = with_cross["certificate_message"]["certificates"] - without["certificate_message"]["certificates"]
        assert len(cross) == grown

    def test_sizes_for_a_person(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with server(data_dir, "rsa") as port:
            assert 0 == run(["chain", f"127.0.0.1:{port}", "--sizes"])
        printed = capsys.readouterr().out
        assert 2 == printed.count("\nRSA ")
        assert "verifies ECDSA only" in printed

    def test_the_other_kind_is_not_to_be_had(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with server(data_dir, "rsa") as port:
            assert 2 == run(["chain", f"127.0.0.1:{port}", "--ecdsa"])
        assert "verifies ECDSA only" in capsys.readouterr().err

    def test_without_a_trust_folder_the_root_is_named(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with server(data_dir, "ecdsa") as port:
            assert 0 == run(["chain", f"127.0.0.1:{port}", "--data-dir", "nowhere"])
        assert "needs the root O=Handfast,CN=Handfast Root CA 3, key " in capsys.readouterr().out

    def test_escapes_of_a_hostile_server_do_not_reach_the_terminal(
        self, data_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evil = "\x1b]0;owned\x07\u202e"
        cert = certificate(f"{evil}.test", extensions=[x509.SubjectAlternativeName([x509.DNSName("a.test")])])
        (data_dir / "evil.pem").write_text(pem(cert))
        key = key_of("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (data_dir / "evil.key").write_bytes(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(data_dir / "evil.pem", data_dir / "evil.key")
        with listener(lambda peer: context.wrap_socket(peer, server_side=True).close()) as port:
            assert 0 == run(["chain", f"127.0.0.1:{port}"])
        printed = capsys.readouterr().out
        assert not set(printed) & {"\x1b", "\x07", "\u202e"}
        assert "owned" in printed

    def test_what_is_no_server(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def complaint(*arguments: str) -> str:
            assert 2 == run(["chain", *arguments])
            said = capsys.readouterr()
            assert "" == said.out
            assert 1 == said.err.count("\n")
            return said.err

        with listener(lambda peer: peer.sendall(b"SSH-2.0-x\r\n" + b"\x1b[31m" * 10)) as port:
            assert "presents no certificate" in complaint(f"127.0.0.1:{port}")
        with listener(lambda peer: peer.recv(1)) as port:
            assert "presents no certificate" in complaint(f"127.0.0.1:{port}")
        silence = threading.Event()
        with listener(lambda peer: silence.wait(20)) as port:
            begun = time.monotonic()
            assert "too long" in complaint(f"127.0.0.1:{port}", "--timeout", "0.2")
            assert time.monotonic() - begun < 10
            silence.set()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        assert "cannot be reached" in complaint(f"127.0.0.1:{port}")
        assert "cannot be reached" in complaint("no.such.host.invalid:1")
        for text in ("host:port", "host:0", "host:65536", ":1", ""):
            assert "is not HOST:PORT" in complaint(text)
        assert "exclude each other" in complaint("localhost:1", "--rsa", "--ecdsa")


@contextmanager
def listener(answer: Any) -> Iterator[int]:
    """Takes one connection and does this with it."""

    def serve() -> None:
        peer, _ = listening.accept()
        with peer:
            try:
                answer(peer)
            except OSError:
                pass  # the client has left

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)
