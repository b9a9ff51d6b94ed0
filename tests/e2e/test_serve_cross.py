"""Cross-certificates on the wire: who verifies the server with which root, in which version, as openssl sees it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from cryptography import x509
from tests.support.server import Server, after_first_run, start

OFFERS = {
    ("rsa", "1.2"): ["-tls1_2", "-cipher", "aRSA"],
    ("rsa", "1.3"): ["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"],
    ("ecdsa", "1.2"): ["-tls1_2", "-cipher", "aECDSA"],
    # The legacy root is RSA: who trusts it must be able to verify its signature, whatever the leaf's kind.
    ("ecdsa", "1.3"): ["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256:rsa_pkcs1_sha256"],
}
STORES = {"root-ca-1": {"rsa"}, "root-ca-3": {"ecdsa"}, "legacy-root": {"rsa", "ecdsa"}}


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("crossing") / "data"
    after_first_run(data_dir)
    running = start(data_dir, "--serve-cross")
    yield running
    assert 0 == running.stop()


def s_client(server: Server, store: str, options: list[str]) -> tuple[bool, list[x509.Certificate]]:
    """Whether a client with this root alone verified the server, and the chain that it was sent."""
    done = subprocess.run(
        [
            *["openssl", "s_client", "-connect", f"127.0.0.1:{server.mqtt_port}", "-showcerts", *options],
            *["-CAfile", str(server.trust / f"{store}.pem"), "-no-CApath", "-no-CAstore"],
            *["-verify_return_error", "-x509_strict", "-verify_hostname", server.endpoint],
            *["-servername", server.endpoint],
        ],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
    )
    output = done.stdout + done.stderr
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", output, re.DOTALL)
    sent = [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    verified = "Verification: OK" in output and "verify error" not in output
    return verified, [cert for position, cert in enumerate(sent) if cert not in sent[:position]]


@pytest.mark.parametrize(("kind", "version"), list(OFFERS))
@pytest.mark.parametrize("store", list(STORES))
def test_each_root_alone(server: Server, crossing: Server, store: str, kind: str, version: str) -> None:
    verified, _ = s_client(server, store, OFFERS[kind, version])
    assert (kind in STORES[store] and store != "legacy-root") == verified
    verified, sent = s_client(crossing, store, OFFERS[kind, version])
    assert (kind in STORES[store]) == verified
    if sent and verified:
        assert 3 == len(sent)
        assert all(cert.subject != cert.issuer for cert in sent), "a root is never sent"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_who_verifies_ecdsa_alone_is_sent_no_signature_of_rsa(crossing: Server, version: str) -> None:
    """A stack without RSA may fail to parse what it need not look at (RFC 5246 §7.4.2, RFC 8446 §4.4.2.2)."""
    ecdsa = OFFERS["ecdsa", version][:1] + ["-sigalgs", "ecdsa_secp256r1_sha256"]
    verified, sent = s_client(crossing, "root-ca-3", [*ecdsa, *(["-cipher", "aECDSA"] if version == "1.2" else [])])
    assert (True, 2) == (verified, len(sent))
    verified, _ = s_client(crossing, "legacy-root", ecdsa)
    assert not verified
