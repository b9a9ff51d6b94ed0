"""The server's chain, as OpenSSL's own client sees it."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.device import create_device
from tests.support.server import Server


def s_client(server: Server, *options: str, port: int | None = None) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port or server.mqtt_port}", "-showcerts", *options],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout + done.stderr


def chain(output: str) -> list[x509.Certificate]:
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", output, re.DOTALL)
    found = [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    return [c for i, c in enumerate(found) if c not in found[:i]]


def assert_chain(output: str, kind: type) -> None:
    leaf, intermediate = chain(output)
    assert isinstance(leaf.public_key(), kind)
    assert isinstance(intermediate.public_key(), kind)
    aki = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    ski = intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert ski == aki
    assert leaf.issuer == intermediate.subject
    assert intermediate.issuer != intermediate.subject, "the root is never sent"


@pytest.mark.parametrize("port", ["mqtt", "https"])
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-cipher", "aECDSA"], ec.EllipticCurvePublicKey),
        (["-cipher", "aECDSA", "-tls1_2"], ec.EllipticCurvePublicKey),
        (["-cipher", "aRSA", "-tls1_2"], rsa.RSAPublicKey),
        (["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"], ec.EllipticCurvePublicKey),
        (["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], rsa.RSAPublicKey),
        (["-tls1_3"], rsa.RSAPublicKey),
        (["-tls1_2"], rsa.RSAPublicKey),
        ([], rsa.RSAPublicKey),
    ],
)
def test_the_chain_is_one_that_the_client_can_verify(server: Server, port: str, options: list[str], kind: type) -> None:
    number = server.mqtt_port if port == "mqtt" else server.https_port
    assert_chain(s_client(server, *options, port=number), kind)


@pytest.mark.parametrize(
    ("store", "options"),
    [
        ("root-ca-1.pem", ["-cipher", "aRSA", "-tls1_2"]),
        ("root-ca-3.pem", ["-cipher", "aECDSA", "-tls1_2"]),
        ("bundle-rsa.pem", ["-tls1_3"]),
        ("bundle-ecc.pem", ["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"]),
        ("bundle.pem", []),
    ],
)
def test_a_device_with_the_right_roots_verifies_the_endpoint(
    server: Server, folder: Path, store: str, options: list[str]
) -> None:
    device = create_device(server, folder)
    output = s_client(
        server,
        *["-CAfile", str(server.trust / store), "-verify_return_error", "-x509_strict"],
        *["-servername", server.endpoint, "-verify_hostname", server.endpoint],
        *["-cert", str(device.certificate), "-key", str(device.key), *options],
    )
    assert "Verify return code: 0 (ok)" in output, output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_session_is_resumed(server: Server, folder: Path, version: str) -> None:
    """In TLS 1.3 sessions are named to the client, good for a second; in neither version is one taken up again."""
    device = create_device(server, folder)
    session = folder / "session.pem"
    options = ["-connect", f"127.0.0.1:{server.mqtt_port}", version, "-servername", "localhost"]
    files = ["-cert", str(device.certificate), "-key", str(device.key)]

    def handshake(*more: str, until: str) -> str:
        process = subprocess.Popen(
            ["openssl", "s_client", *options, *files, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = threading.Timer(20, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            seen = ""
            for line in process.stdout:
                seen += line
                if until in line:
                    break
            process.kill()
            return seen + process.communicate(timeout=20)[0]
        finally:
            limit.cancel()

    first = handshake(
        "-sess_out", str(session), until="Extended master secret" if version == "-tls1_2" else "Max Early"
    )
    if version == "-tls1_2":
        assert "lifetime hint" not in first
        assert not session.exists(), "a session with neither id nor ticket cannot be kept"
        return
    assert "lifetime hint: 1 (seconds)" in first
    again = handshake("-sess_in", str(session), until="Verify return code")
    assert "New, TLS" in again
    assert "Reused, TLS" not in again


def test_no_client_certificate_is_refused_by_tls(server: Server) -> None:
    for version, alert in (("-tls1_2", "alert handshake failure"), ("-tls1_3", "alert certificate required")):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.mqtt_port}", version, "-ign_eof"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert alert in done.stderr, done.stderr
    assert "NO_CLIENT_CERTIFICATE" in str(server.explain("127.0.0.1"))


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_not_spoken(server: Server, version: str) -> None:
    assert "Cipher is (NONE)" in s_client(server, version, "-cipher", "DEFAULT@SECLEVEL=0")


def test_the_device_issuer_is_in_no_bundle_and_no_chain(server: Server, folder: Path) -> None:
    device = x509.load_pem_x509_certificate(create_device(server, folder).certificate.read_bytes())
    for path in server.trust.glob("*.pem"):
        for trusted in x509.load_pem_x509_certificates(path.read_bytes()):
            assert trusted.subject != device.issuer, path.name


def test_the_command_line_reads_the_chain(server: Server) -> None:
    told = server.handfast("chain", f"localhost:{server.mqtt_port}").stdout
    assert "Handfast Root CA 1" in told
    listed = server.handfast("trust", "list").stdout
    for n in (1, 2, 3, 4):
        assert f"Handfast Root CA {n}" in listed
